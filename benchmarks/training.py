"""How fast does a step of training go, and in how much memory, beside the peers?

    python benchmarks/training.py [--length 5120] [--rounds 3] [--output benchmarks/results/training-5120.json]

One step is forward, backward, clipping and optimizer (fused AdamW for all) on one sample of random tokens, in a process
of its own that has allocated its optimizer's state before. The systems take turns. Those that are slow are measured at
depths 1 and 4 (1 and 2 beyond 16,384 tokens) and extrapolated linearly, time and memory alike; such rows are marked.
`--full` measures everything at its whole depth.

The peers stand in the table as their libraries come and tuned: reformer-pytorch with `ff_chunks=1` and `reverse_thres`
above the length, its fastest documented setting; all of them with torch's fastest fp32 matrix products and with the C
library told to keep freed memory, both of which `korformer pretrain` does by itself. Beyond 5,120 tokens the peer is
the dense decoder, the fastest of them; reformer-pytorch's hashing takes memory there that grows with the square of the
length, 12.9 GB a layer at 65,536 tokens.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from measuring import (
    Facts,
    Measurements,
    arguments_parser,
    interleave,
    line_through,
    peak_bytes,
    resident_bytes,
    run_benchmark,
)
from peers import IGNORED, NOTEBOOK_SETUPS, SETUPS, Setup, Shape, Trained, build, shape_of, shape_options

from korformer.training.allocator import keep_freed_memory

OURS, SMALL = "korformer fast", "korformer small-memory"
MIX = "korformer fast, presets' mix"
DEPTHS, FEW_DEPTHS = (1, 4), (1, 2)
FEW_BEYOND = 16384
"""Tokens beyond which the few depths are measured: a layer of dense attention takes minutes there."""
FULL_UPTO = 5120
"""Tokens up to which systems are measured at their whole depth."""
SLOW = ("reformer-pytorch, tuned", "transformers", "transformers, tuned")
"""Extrapolated even there: slow, or more memory at the whole depth than many machines have."""
FIRST_COUNTS = ("reformer-pytorch", "transformers", "dense")
"""Their steps take so long that the first is measured: it takes as long as the later ones. Of the others one is left
out, for which the process still has to get its memory; beyond `FULL_UPTO` that is a small part of any step."""
LONGEST = {
    name: 16384 if name == "dense" else 5120 for name in SETUPS if name not in (OURS, MIX, SMALL, "dense, tuned")
}
"""Tokens up to which a system is measured; further on only its fastest form is, and only of what is faster there."""


def prepare(trained: Trained) -> None:
    """Allocate the optimizer's state, by a step without gradient."""
    for parameter in trained.module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trained.optimizer.step()
    trained.optimizer.zero_grad(set_to_none=True)


def _touch_libraries() -> None:
    """Load what any step needs, by a step of something small."""
    small = torch.nn.Sequential(torch.nn.Embedding(8, 64), torch.nn.Linear(64, 64), torch.nn.LayerNorm(64))
    optimizer = torch.optim.AdamW(small.parameters(), fused=True)
    small(torch.arange(8)).softmax(dim=-1).sum().backward()
    optimizer.step()


def measurement(specification: Facts) -> Facts:
    """Seconds and peak memory of the median of `steps` steps, after `unmeasured` others.

    `activations_gb` is the peak without what the process held before, weights, gradients and AdamW's two moments.
    """
    setup = Setup(**specification["setup"])
    if setup.keep_memory:
        keep_freed_memory()
    shape = Shape(**specification["shape"])
    batch = specification.get("batch", 1)
    _touch_libraries()
    empty = resident_bytes()
    trained = build(setup.system, shape)
    prepare(trained)
    generator = torch.Generator().manual_seed(1)

    def sample() -> tuple[torch.Tensor, torch.Tensor]:
        tokens, targets = torch.randint(5, shape.vocabulary, (2, batch, shape.length), generator=generator)
        if not shape.causal:
            targets[torch.rand(targets.shape, generator=generator) > 0.15] = IGNORED
        return tokens, targets

    for _ in range(specification.get("unmeasured", 0)):
        trained.step(*sample(), setup)
    with suppress(OSError):  # where it is not allowed the peak since the start stands, which is hardly another
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    seconds = []
    for _ in range(specification.get("steps", 1)):
        tokens, targets = sample()
        began = time.perf_counter()
        trained.step(tokens, targets, setup)
        seconds.append(time.perf_counter() - began)
    parameters = sum(parameter.numel() for parameter in trained.module.parameters())
    peak = peak_bytes()
    return {
        "seconds": sorted(seconds)[len(seconds) // 2],
        "peak_gb": peak / 1e9,
        "activations_gb": (peak - empty - 16 * parameters) / 1e9,
        "parameters": parameters,
    }


def specifications(systems: Sequence[str], shape: Shape, extrapolated: Sequence[str]) -> dict[str, Facts]:
    """What to measure, by name and depth."""
    result: dict[str, Facts] = {}
    for name in systems:
        setup = (SETUPS | NOTEBOOK_SETUPS)[name]
        mix = {"n_local_attn_heads": shape.heads // 2, "n_hashes": 2} if setup.presets_mix else {}
        more = mix | shape.more if name.startswith("korformer") else {}
        few = FEW_DEPTHS if shape.length > FEW_BEYOND else DEPTHS
        for depth in few if name in extrapolated else (shape.depth,):
            result[f"{name} @{depth}"] = {
                "setup": asdict(setup),
                "shape": {**asdict(shape), "depth": depth, "more": more},
                "unmeasured": int(name not in FIRST_COUNTS and shape.length <= FULL_UPTO),
            }
    return result


def system_rows(measured: Measurements, systems: Sequence[str], shape: Shape, batch: int = 1) -> dict[str, Facts]:
    """Tokens per second and memory of every system of which all depths were measured."""
    rows: dict[str, Facts] = {}
    for system in systems:
        names = [name for name in measured.runs if name.rpartition(" @")[0] == system]
        if any(not measured.runs[name] or name in measured.failures for name in names):
            continue
        depths = [int(name.rpartition("@")[2]) for name in names]
        medians = {
            key: line_through(depths, [measured.median(name, key) for name in names], shape.depth)
            if len(depths) > 1
            else measured.median(names[0], key)
            for key in ("seconds", "peak_gb", "activations_gb")
        }
        rows[system] = {
            "tokens_per_second": batch * shape.length / medians["seconds"],
            **medians,
            "measured_at_depths": depths,
            "extrapolated": depths != [shape.depth],
        }
    return rows


def table(rows: Mapping[str, Facts], ours: str = OURS) -> str:
    """The figures as text."""
    lines = [f"{'':36} {'tokens/s':>9} {'seconds':>9} {'peak GB':>8} {f'{ours} is':>20}"]
    for name, row in rows.items():
        times = f"{row['tokens_per_second'] and rows[ours]['tokens_per_second'] / row['tokens_per_second']:.2f} x"
        marked = (
            f"  extrapolated from depths {' and '.join(map(str, row['measured_at_depths']))}"
            if row["extrapolated"]
            else ""
        )
        lines.append(
            f"{name:36} {row['tokens_per_second']:9.1f} {row['seconds']:9.2f} {row['peak_gb']:8.2f} "
            f"{'' if name == ours else times:>20}{marked}"
        )
    return "\n".join(lines)


def ratios(rows: Mapping[str, Facts]) -> Facts:
    """Ours over every peer: speed, and memory as a share of the peer's."""
    result: Facts = {}
    for ours in (OURS, MIX, SMALL):
        if ours in rows:
            result[ours] = {
                peer: {
                    "speed": rows[ours]["tokens_per_second"] / row["tokens_per_second"],
                    "memory": rows[ours]["peak_gb"] / row["peak_gb"],
                }
                for peer, row in rows.items()
                if not peer.startswith("korformer")
            }
    return result


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Measure every system in turns."""
    shape = shape_of(options, bucket_size=options.bucket_size)
    expected = [name for name in SETUPS if shape.length <= LONGEST.get(name, shape.length)]
    systems = [name for name in expected if options.only is None or name in options.only]
    everything = shape.length > FULL_UPTO or options.quick
    extrapolated = [name for name in systems if not options.full and (everything or name in SLOW)]
    if shape.depth <= max(DEPTHS):
        extrapolated = []
    measured = interleave(__file__, specifications(systems, shape, extrapolated), options.rounds)
    rows = system_rows(measured, systems, shape)
    figures = {
        "shape": asdict(shape),
        "korformer_config": shape.config.model_dump(mode="json"),
        "rounds": options.rounds,
        "systems": rows,
        "ratios": ratios(rows),
        "runs": measured.runs,
    }
    shown = table(rows) if OURS in rows else table(rows, next(iter(rows))) if rows else ""
    return figures, shown, [system for system in expected if system not in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write it where asked."""
    parser = arguments_parser(__doc__)
    shape_options(parser, length=5120)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each system (default 3)")
    parser.add_argument("--bucket-size", type=int, default=64)
    parser.add_argument("--full", action="store_true", help="extrapolate nothing")
    parser.add_argument("--quick", action="store_true", help="extrapolate everything")
    parser.add_argument("--only", nargs="+", choices=list(SETUPS), help="leave the others out (nothing is written)")
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
