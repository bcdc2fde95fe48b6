"""Banded attention over sorted axes on a GPU: gathered, attended and merged without sorted copies.

What is computed is `banded`'s: a query of rank r sees the ranks [max(lower_r, r - window), r - 1] of its own axis and
itself with `SELF_BIAS`. There are R axes over the same tokens, one for each round of hashing, each with the tokens in
an order of its own, and their softmaxes are merged into one.

A program of the forward pass holds a tile of query ranks in registers and walks the key ranks that any of them sees,
with the running maximum and sum of flash attention (Dao et al. 2022). It reads every row through `order`, straight from
where the projections left it, so nothing is sorted but the indices. Rounds run one after another: a round adds its
share to what the earlier ones left at the token's own place, which needs one float32 accumulator whatever R is.
Backward does the same with log-sum-exp and output of the merged softmax; one kernel makes the gradient of queries, tile
by tile, and one that of keys and values. Two runs give the same bits. Scores, softmax and all sums are float32.

Legend: B samples, H heads, R rounds, T tokens, d head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
from torch import Tensor

from korformer.model.attention.triton_kernels import correction_kernel, forward_kernel, key_kernel, query_kernel

DTYPES = (torch.float16, torch.bfloat16, torch.float32)
WIDEST_HEAD = 128


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """How the kernels cut their work.

    Attributes:
        held: ranks of the tile that a program keeps (queries, or keys where their gradient is made); a power of two,
            at least 16.
        walked: ranks of the tiles that it walks past it; likewise.
        warps: groups of 32 threads that share a program.
        stages: walked tiles on their way from memory at a time.
    """

    held: int
    walked: int
    warps: int
    stages: int


def supports(q_BHTd: Tensor) -> bool:
    """Whether the kernels take such queries, and would be compiled to matrix instructions on their device."""
    if q_BHTd.dtype not in DTYPES or q_BHTd.shape[-1] > WIDEST_HEAD:
        return False
    # Triton has none for older cards; torch's own kernels have.
    return q_BHTd.device.type != "cuda" or torch.cuda.get_device_capability(q_BHTd.device) >= (8, 0)


def tiles_for(dtype: torch.dtype) -> Tiles:
    """Tiles that fit registers and shared memory at every head width from compute capability 8.0 on."""
    if dtype == torch.float32:
        return Tiles(held=32, walked=32, warps=4, stages=1)
    return Tiles(held=64, walked=32, warps=4, stages=2)


def _result(like_BHTd: Tensor, dtype: torch.dtype) -> Tensor:
    """Room for (B, H, T, d) that lies as (B, T, H, d), which is what the output projection reads."""
    B, H, T, d = like_BHTd.shape
    return torch.empty(B, T, H, d, dtype=dtype, device=like_BHTd.device).transpose(1, 2)


def _strides(*tensors: Tensor) -> list[int]:
    """Strides of sample, head and token of each (B, H, T, d), or of sample and head of each (B, H, T)."""
    return [stride for x in tensors for stride in x.stride()[:-1]]


def _last_contiguous(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


@dataclass(frozen=True, kw_only=True)
class _Launch:
    """What the launches of a call share."""

    shape: torch.Size
    tiles: Tiles
    sizes: dict[str, Any]

    @property
    def grid(self) -> tuple[int, int]:
        B, H, T, _ = self.shape
        return triton.cdiv(T, self.tiles.held), B * H


def _launch(q_BHTd: Tensor, tiles: Tiles | None) -> _Launch:
    d = q_BHTd.shape[-1]
    tiles = tiles or tiles_for(q_BHTd.dtype)
    exact = q_BHTd.dtype != torch.float32 or torch.get_float32_matmul_precision() == "highest"
    sizes = {
        "d": d,
        "width": max(16, triton.next_power_of_2(d)),
        "precision": "ieee" if exact else "tf32",
        "num_warps": tiles.warps,
        "num_stages": tiles.stages,
    }
    return _Launch(shape=q_BHTd.shape, tiles=tiles, sizes=sizes)


def _axis(order_BHRT: Tensor | None, lower_BHRT: Tensor, hash_round: int) -> tuple[Tensor, Tensor]:
    """Order and lower bounds of one round, each (B, H, T) with neighbouring ranks side by side."""
    lower = _last_contiguous(lower_BHRT[:, :, hash_round])
    return lower if order_BHRT is None else _last_contiguous(order_BHRT[:, :, hash_round]), lower


def forward(
    q_BHTd: Tensor,
    k_BHTd: Tensor,
    v_BHTd: Tensor,
    order_BHRT: Tensor | None,
    lower_BHRT: Tensor,
    window: int,
    *,
    tiles: Tiles | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention output (B, H, T, d) of all rounds merged, and its log-sum-exp (B, H, T) float32; no graph.

    Args:
        q_BHTd, k_BHTd, v_BHTd: queries, unit-length keys and values in the order of time, one dtype of `DTYPES`, any
            strides; d at most `WIDEST_HEAD`. T need not be a multiple of anything.
        order_BHRT: integer; the token at each rank of each round. None where the order is that of time.
        lower_BHRT: integer, never falling along T; the rank at which each rank's group begins. May be expanded.
        window: earlier keys of its group that a query sees in a round.
        tiles: other tiles than those chosen by dtype.
    """
    B, H, T, d = q_BHTd.shape
    q, k, v = (_last_contiguous(x) for x in (q_BHTd, k_BHTd, v_BHTd))
    launch = _launch(q, tiles)
    rounds = lower_BHRT.shape[2]
    out = _result(q, q.dtype)
    so_far = _result(q, torch.float32) if rounds > 1 else out
    lse = torch.empty(B, H, T, dtype=torch.float32, device=q.device)
    for hash_round in range(rounds):
        order, lower = _axis(order_BHRT, lower_BHRT, hash_round)
        forward_kernel[launch.grid](
            q, k, v, order, lower, so_far, out if hash_round == rounds - 1 else so_far, lse,
            H, T, window, d**-0.5, *_strides(q, k, v, order, lower),
            BLOCK_Q=launch.tiles.held, BLOCK_K=launch.tiles.walked, ordered=order_BHRT is not None,
            first=hash_round == 0, **launch.sizes,
        )  # fmt: skip
    return out, lse


def backward(
    grad_BHTd: Tensor,
    q_BHTd: Tensor,
    k_BHTd: Tensor,
    v_BHTd: Tensor,
    out_BHTd: Tensor,
    lse_BHT: Tensor,
    order_BHRT: Tensor | None,
    lower_BHRT: Tensor,
    window: int,
    *,
    tiles: Tiles | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values, each (B, H, T, d) in the dtype of its input, summed over the rounds.

    Args:
        grad_BHTd: gradient of the merged output, in the queries' dtype.
        q_BHTd, k_BHTd, v_BHTd, order_BHRT, lower_BHRT, window, tiles: what `forward` was given.
        out_BHTd, lse_BHT: what it returned.
    """
    _, H, T, d = q_BHTd.shape
    q, k, v, grad, out = (_last_contiguous(x) for x in (q_BHTd, k_BHTd, v_BHTd, grad_BHTd, out_BHTd))
    launch = _launch(q, tiles)
    held, walked = launch.tiles.held, launch.tiles.walked
    rounds = lower_BHRT.shape[2]
    results = [_result(q, x.dtype) for x in (q, k, v)]
    sums = [_result(q, torch.float32) for _ in results] if rounds > 1 else results
    delta = torch.empty_like(lse_BHT)
    correction_kernel[launch.grid](
        grad, out, delta, H, T, *_strides(grad, out), d=d, width=launch.sizes["width"], BLOCK_Q=held
    )
    most_tiles = triton.next_power_of_2(triton.cdiv(held + window, walked))
    for hash_round in range(rounds):
        order, lower = _axis(order_BHRT, lower_BHRT, hash_round)
        dq, dk, dv = results if hash_round == rounds - 1 else sums
        inputs = (q, k, v, grad, lse_BHT, delta, order, lower)
        numbers = (H, T, window, d**-0.5, *_strides(q, k, v, grad, order, lower))
        sizes = {"ordered": order_BHRT is not None, "first": hash_round == 0, **launch.sizes}
        query_kernel[launch.grid](*inputs, sums[0], dq, *numbers, BLOCK_Q=held, BLOCK_K=walked, **sizes)
        key_kernel[launch.grid](
            *inputs, sums[1], sums[2], dk, dv, *numbers, BLOCK_Q=walked, BLOCK_K=held, MOST_TILES=most_tiles, **sizes
        )
    return results[0], results[1], results[2]
