"""Which way of computing hashed attention is fastest on this GPU, and from which length on does it beat dense?

    python benchmarks/gpu_attention.py [--lengths 5120 16384 32768 65536] [--output FIGURES.json]

One layer's causal_lsh attention from its buckets to its merged output, sorting included, 12 heads of width 64 in
bfloat16: korformer's Triton kernels, FlexAttention over the sorted axis with a static block mask, and plain torch
operations; beside them dense causal attention through torch's flash kernel. Forward, forward and backward, and the
memory that each takes on top of its inputs. Before anything is timed the three are compared with one another.
`--tiles` also times the Triton kernels at other tile sizes.

Without a GPU it leaves with 2 and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from gpu_measuring import NO_GPU, gpu_environment, peak_bytes, refuse_without_gpu, seconds
from measuring import Facts
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention

from korformer.model.attention import causal_lsh
from korformer.model.attention.banded import SELF_BIAS
from korformer.storage import write_json

HEADS, WIDTH, ROUNDS, WINDOW = 12, 64, 4, 64
BLOCK = 128
"""Ranks in a block of FlexAttention's mask."""

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def triton_attention(buckets: Tensor, documents: Tensor, n_buckets: int) -> Attention:
    """What `korformer pretrain` uses where Triton can be imported."""
    return lambda q, k, v: causal_lsh.causal_lsh(
        q, k, v, buckets, documents, n_buckets=n_buckets, chunk=WINDOW, window=WINDOW
    )


def plain_attention(buckets: Tensor, documents: Tensor, n_buckets: int) -> Attention:
    """The same with torch operations only."""
    fused = triton_attention(buckets, documents, n_buckets)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kernel, causal_lsh.fused_kernel = causal_lsh.fused_kernel, lambda q: None
        try:
            return fused(q, k, v)
        finally:
            causal_lsh.fused_kernel = kernel

    return attend


def band_blocks(length: int, window: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """Blocks of keys that each block of queries may see: how many (1, 1, blocks), and which (1, 1, blocks, blocks)."""
    blocks = -(-length // BLOCK)
    reach = -(-window // BLOCK)
    query = torch.arange(blocks, device=device)
    first = (query - reach).clamp_min(0)
    count = (query - first + 1).int()
    return count[None, None], (first[:, None] + query).clamp_max(blocks - 1).int()[None, None]


def flex_attention_lsh(
    buckets: Tensor, documents: Tensor, n_buckets: int, *, window: int = WINDOW, compiled: bool = True
) -> Attention:
    """FlexAttention over the sorted axis of every round; gradients through output and log-sum-exp."""
    attend = torch.compile(flex_attention, dynamic=False) if compiled else flex_attention
    blocks = band_blocks(buckets.shape[-1], window, buckets.device)

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        B, H, T, d = q.shape
        order, lower = causal_lsh.sort_by_bucket(buckets, documents, n_buckets)
        rounds = order.shape[2]
        lower_NT = lower.reshape(-1, T)
        rows = order.long()[..., None].expand(-1, -1, -1, -1, d)
        queries, keys, values = (
            x[:, :, None].expand(-1, -1, rounds, -1, -1).gather(3, rows).view(1, -1, T, d) for x in (q, k, v)
        )

        def seen(b: Tensor, n: Tensor, query: Tensor, key: Tensor) -> Tensor:
            near = (key <= query) & (query - key <= window)
            return near & ((key >= lower_NT[n, query]) | (key == query))

        def biased(score: Tensor, b: Tensor, n: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return torch.where(query == key, score + SELF_BIAS, score)

        mask = BlockMask.from_kv_blocks(*blocks, BLOCK_SIZE=BLOCK, mask_mod=seen, seq_lengths=(T, T))
        out, more = attend(queries, keys, values, score_mod=biased, block_mask=mask, return_aux=AuxRequest(lse=True))
        inverse = torch.argsort(order, dim=-1)
        weight = torch.softmax(more.lse.view(B, H, rounds, T).gather(3, inverse), dim=2)
        in_time = out.view(B, H, rounds, T, d).gather(3, inverse[..., None].expand(-1, -1, -1, -1, d))
        return (in_time * weight[..., None].to(out.dtype)).sum(dim=2)

    return run


def dense_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention to everything before through torch's flash kernel."""
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def inputs(length: int, device: str, dtype: torch.dtype) -> tuple[list[Tensor], Tensor, Tensor, int]:
    """Queries, unit-length keys, values and a gradient (B, H, T, d); random buckets, one document, how many buckets."""
    generator = torch.Generator(device).manual_seed(0)
    q, v, grad = (torch.randn(1, HEADS, length, WIDTH, device=device, generator=generator) for _ in range(3))
    n_buckets = length // WINDOW
    buckets = torch.randint(0, n_buckets, (1, HEADS, ROUNDS, length), device=device, generator=generator)
    rows = [x.to(dtype) for x in (q, F.normalize(q, dim=-1), v, grad)]
    return rows, buckets.int(), torch.zeros(1, length, dtype=torch.long, device=device), n_buckets


def forward_and_backward(attend: Attention, rows: Sequence[Tensor]) -> list[Tensor]:
    """Output and gradients of queries, keys and values."""
    q, k, v = (x.detach().requires_grad_() for x in rows[:3])
    out = attend(q, k, v)
    return [out.detach(), *torch.autograd.grad(out, (q, k, v), rows[3])]


def require_agreement(systems: dict[str, Attention], rows: Sequence[Tensor]) -> None:
    """Stop where two ways of computing the same thing do not agree to bfloat16's rounding."""
    reference, *others = systems
    expected = forward_and_backward(systems[reference], rows)
    for name in others:
        for one, other in zip(forward_and_backward(systems[name], rows), expected, strict=True):
            distance = float((one.float() - other.float()).norm() / other.float().norm())
            if distance > 0.02:
                raise SystemExit(f"{name} is {distance:.3g} away from {reference}: nothing is measured")


def measure(length: int, runs: int) -> Facts:
    """Seconds and bytes of every system at a length."""
    rows, buckets, documents, n_buckets = inputs(length, "cuda", torch.bfloat16)
    ours: dict[str, Attention] = {
        "plain torch": plain_attention(buckets, documents, n_buckets),
        "triton": triton_attention(buckets, documents, n_buckets),
        "flex attention": flex_attention_lsh(buckets, documents, n_buckets),
    }
    if causal_lsh.fused_kernel(rows[0]) is None:
        raise SystemExit("Triton cannot run on this GPU: nothing is measured")
    require_agreement(ours, rows)
    result: Facts = {}
    for name, attend in {**ours, "dense flash": dense_attention}.items():

        def forward(attend: Attention = attend) -> Tensor:
            with torch.no_grad():
                return attend(*rows[:3])

        def both(attend: Attention = attend) -> list[Tensor]:
            return forward_and_backward(attend, rows)

        result[name] = {
            "forward_seconds": seconds(forward, runs),
            "forward_backward_seconds": seconds(both, runs),
            "peak_gb": peak_bytes(both) / 1e9,
        }
    sorting = seconds(lambda: causal_lsh.sort_by_bucket(buckets, documents, n_buckets), runs)
    return {"systems": result, "sorting_seconds": sorting}


def sweep(length: int, runs: int) -> list[Facts]:
    """Forward and backward kernels of the Triton path at other tiles, sorting left out."""
    from korformer.model.attention import triton_banded

    rows, buckets, documents, n_buckets = inputs(length, "cuda", torch.bfloat16)
    order, lower = causal_lsh.sort_by_bucket(buckets, documents, n_buckets)
    found = []
    for held in (32, 64, 128):
        for walked in (32, 64):
            for warps in (4, 8):
                for stages in (1, 2, 3):
                    tiles = triton_banded.Tiles(held=held, walked=walked, warps=warps, stages=stages)

                    def forward(tiles: triton_banded.Tiles = tiles) -> tuple[Tensor, Tensor]:
                        return triton_banded.forward(*rows[:3], order, lower, WINDOW, tiles=tiles)

                    def backward(
                        tiles: triton_banded.Tiles = tiles, *, kept: list[tuple[Tensor, Tensor]]
                    ) -> tuple[Tensor, Tensor, Tensor]:
                        return triton_banded.backward(rows[3], *rows[:3], *kept[0], order, lower, WINDOW, tiles=tiles)

                    try:
                        kept = [forward()]
                        times = (seconds(forward, runs), seconds(lambda: backward(kept=kept), runs))  # noqa: B023
                    except Exception as error:  # tiles that do not fit the device
                        found.append({**asdict(tiles), "fails": str(error).splitlines()[0]})
                        continue
                    found.append({**asdict(tiles), "forward_seconds": times[0], "backward_seconds": times[1]})
    return found


def table(length: int, figures: Facts) -> str:
    """The figures of one length as text."""
    lines = [f"{length:,} tokens (sorting alone {figures['sorting_seconds'] * 1000:.2f} ms)"]
    lines.append(f"  {'':16} {'forward ms':>11} {'both ms':>9} {'peak GB':>8} {'of dense':>9}")
    dense = figures["systems"]["dense flash"]["forward_backward_seconds"]
    for name, row in figures["systems"].items():
        lines.append(
            f"  {name:16} {row['forward_seconds'] * 1000:11.2f} {row['forward_backward_seconds'] * 1000:9.2f} "
            f"{row['peak_gb']:8.2f} {row['forward_backward_seconds'] / dense:9.2f}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and write them where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[5120, 16384, 32768, 65536])
    parser.add_argument("--runs", type=int, default=20, help="timed runs of each (default 20)")
    parser.add_argument("--tiles", action="store_true", help="time other tiles of the Triton kernels too")
    parser.add_argument("--output", type=Path, help="write the figures here as JSON too")
    options = parser.parse_args(arguments)
    if refuse_without_gpu():
        return NO_GPU
    figures: Facts = {"heads": HEADS, "width": WIDTH, "rounds": ROUNDS, "window": WINDOW, "runs": options.runs}
    figures["lengths"] = {}
    for length in options.lengths:
        figures["lengths"][str(length)] = measure(length, options.runs)
        print(table(length, figures["lengths"][str(length)]), flush=True)
    if options.tiles:
        figures["tiles"] = sweep(options.lengths[-1], options.runs)
        for row in figures["tiles"]:
            print(row)
    facts = gpu_environment()
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.output, {"environment": facts, **figures})
    return 0


if __name__ == "__main__":
    sys.exit(main())
