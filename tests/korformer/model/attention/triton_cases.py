"""Runs the Triton kernels in Triton's interpreter on a CPU and prints how far they are from the definition, as JSON.

A program of its own: the interpreter is chosen by an environment variable at the time Triton is imported. (It cannot
multiply bfloat16 matrices, so float32 and float16 stand for all.)
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass

os.environ["TRITON_INTERPRET"] = "1"

import torch
import torch.nn.functional as F
from torch import Tensor

from korformer.model.attention import causal_lsh, triton_banded
from korformer.model.attention.banded import SELF_BIAS
from korformer.model.attention.causal_lsh import sort_by_bucket


@dataclass(frozen=True, kw_only=True)
class Case:
    B: int = 1
    H: int = 2
    T: int = 70
    d: int = 16
    rounds: int = 2
    buckets: int = 4
    window: int = 8
    documents: int = 1
    dtype: torch.dtype = torch.float32
    small_indices: bool = False
    ordered: bool = True
    tiles: triton_banded.Tiles | None = None


SMALL = triton_banded.Tiles(held=16, walked=16, warps=4, stages=1)
UNEVEN = triton_banded.Tiles(held=16, walked=32, warps=4, stages=1)
CASES = {
    "several documents": Case(B=2, documents=3),
    "window wider than a tile": Case(T=100, buckets=2, window=70, tiles=SMALL),
    "window of one": Case(window=1, tiles=UNEVEN),
    "shorter than a tile": Case(T=5),
    "every token alone": Case(T=40, buckets=40),
    "one round": Case(rounds=1, T=64, tiles=SMALL),
    "three rounds, padded width": Case(rounds=3, d=24, tiles=UNEVEN),
    "half precision": Case(dtype=torch.float16, d=32, T=90, window=40),
    "small indices": Case(small_indices=True, tiles=SMALL),
    "in the order of time": Case(B=2, ordered=False, rounds=1, documents=2, window=20, tiles=SMALL),
}


def inputs(case: Case) -> tuple[list[Tensor], Tensor | None, Tensor]:
    """Queries, keys, values and the output's gradient as views like the model's; order and lower bounds."""
    torch.manual_seed(0)
    B, H, T, d = case.B, case.H, case.T, case.d
    q, v, grad = (torch.randn(B, T, H, d).transpose(1, 2) for _ in range(3))
    documents = (torch.arange(T) * case.documents // T).expand(B, T)
    alone = case.buckets == T
    buckets = torch.arange(T).expand(B, H, case.rounds, T) if alone else torch.randint(
        0, case.buckets, (B, H, case.rounds, T)
    )  # fmt: skip
    rows = [x.to(case.dtype) for x in (q, F.normalize(q, dim=-1), v, grad)]
    if not case.ordered:
        lower = sort_by_bucket(torch.zeros(B, 1, 1, T, dtype=torch.long), documents, 1)[1]
        return rows, None, lower.view(B, 1, 1, T).expand(B, H, 1, T)
    order, lower = (x.view(B, H, case.rounds, T) for x in sort_by_bucket(buckets, documents, case.buckets))
    return rows, order.int() if case.small_indices else order, lower.int() if case.small_indices else lower


def definition(rows: list[Tensor], order: Tensor | None, lower: Tensor, window: int) -> list[Tensor]:
    """Output, log-sum-exp and gradients in float64 from the table of all pairs."""
    q, k, v = (x.double().detach().requires_grad_() for x in rows[:3])
    B, H, rounds, T = lower.shape
    scores = q @ k.mT * q.shape[-1] ** -0.5
    tables = []
    for hash_round in range(rounds):
        at = torch.arange(T).expand(B, H, T) if order is None else order[:, :, hash_round].long()
        rank = torch.empty_like(at).scatter_(-1, at, torch.arange(T).expand(B, H, T))
        begins = lower[:, :, hash_round].long().gather(-1, rank)
        distance = rank[..., :, None] - rank[..., None, :]
        seen = (distance > 0) & (distance <= window) & (rank[..., None, :] >= begins[..., None])
        reached = scores.masked_fill(~seen, float("-inf"))
        tables.append(torch.where(distance == 0, scores + SELF_BIAS, reached))
    table = torch.cat(tables, dim=-1)
    out = torch.softmax(table, dim=-1) @ torch.cat([v] * rounds, dim=2)
    gradients = torch.autograd.grad(out, (q, k, v), rows[3].double())
    return [out.detach(), torch.logsumexp(table, dim=-1).detach(), *gradients]


def distances(case: Case) -> dict[str, float]:
    rows, order, lower = inputs(case)
    out, lse = triton_banded.forward(*rows[:3], order, lower, case.window, tiles=case.tiles)
    gradients = triton_banded.backward(rows[3], *rows[:3], out, lse, order, lower, case.window, tiles=case.tiles)
    assert all(x.dtype == case.dtype for x in (out, *gradients))
    assert lse.dtype == torch.float32
    expected = definition(rows, order, lower, case.window)
    names = ("output", "log-sum-exp", "queries", "keys", "values")
    found = (out, lse, *gradients)
    return {name: float((x - y).abs().max()) for name, x, y in zip(names, found, expected, strict=True)}


def through_the_model(*, hashed: bool) -> dict[str, float]:
    """The model's own functions with the kernels in place of torch's, against the same without them."""
    torch.manual_seed(0)
    rows = [torch.randn(2, 64, 2, 16).transpose(1, 2) for _ in range(4)]
    documents = (torch.arange(64) >= 24).long().expand(2, 64)
    buckets = torch.randint(0, 4, (2, 2, 2, 64))

    def run() -> list[Tensor]:
        q, k, v = (x.detach().requires_grad_() for x in rows[:3])
        if hashed:
            out = causal_lsh.causal_lsh(q, k, v, buckets, documents, n_buckets=4, chunk=16, window=16)
        else:
            out = causal_lsh.local(q, k, v, documents, window=16)
        return [out.detach(), *torch.autograd.grad(out, (q, k, v), rows[3])]

    expected = run()
    own, causal_lsh.fused_kernel = causal_lsh.fused_kernel, lambda q: triton_banded
    found = run()
    causal_lsh.fused_kernel = own
    names = ("output", "queries", "keys", "values")
    return {name: float((x - y).abs().max()) for name, x, y in zip(names, found, expected, strict=True)}


def main() -> None:
    results = {name: distances(case) for name, case in CASES.items()}
    results["causal_lsh of the model"] = through_the_model(hashed=True)
    results["local of the model"] = through_the_model(hashed=False)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
