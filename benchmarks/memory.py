"""Does memory for activations grow with depth?

    python benchmarks/memory.py [--output benchmarks/results/memory.json]

One training step of 5,120 tokens at 6 and at 24 layers of 768, in small-memory mode (reversible) and in fast mode, each
in a process of its own. Memory for activations is the process's peak without what it held before the model was made,
the weights, their gradients and AdamW's two moments (16 bytes a parameter).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from measuring import Facts, arguments_parser, interleave, run_benchmark, settings_from
from peers import Shape
from training import OURS, SMALL, measurement, specifications


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Measure both modes at both depths."""
    more = settings_from(options.set)
    names = {}
    for system in (SMALL, OURS):
        for depth in options.depths:
            shape = Shape(
                length=options.length,
                dim=options.dim,
                depth=depth,
                heads=options.heads,
                vocabulary=options.vocabulary,
                more=more,
            )
            names |= specifications([system], shape, extrapolated=())
    for specification in names.values():
        specification["unmeasured"] = 0  # the time is not asked for
    measured = interleave(Path(__file__), names, options.rounds)
    rows = {
        name: {key: measured.median(name, key) for key in ("peak_gb", "activations_gb", "parameters")}
        for name, runs in measured.runs.items()
        if runs
    }
    shallow, deep = (f"{SMALL} @{depth}" for depth in (options.depths[0], options.depths[-1]))
    growth = (
        rows[deep]["activations_gb"] / rows[shallow]["activations_gb"] - 1 if {deep, shallow} <= set(rows) else None
    )
    lines = [f"{'':30} {'parameters':>13} {'peak GB':>9} {'activations GB':>15}"]
    lines += [
        f"{name:30} {int(row['parameters']):13,} {row['peak_gb']:9.3f} {row['activations_gb']:15.3f}"
        for name, row in rows.items()
    ]
    if growth is not None:
        lines.append(f"small-memory activations from depth {options.depths[0]} to {options.depths[-1]}: {growth:+.1%}")
    figures = {
        "shape": {**asdict(shape), "depth": list(options.depths)},
        "rows": rows,
        "growth": growth,
        "runs": measured.runs,
    }
    return figures, "\n".join(lines), [name for name in names if name not in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write it where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="processes of each (default 1)")
    parser.add_argument("--depths", type=int, nargs="+", default=[6, 24])
    parser.add_argument("--length", type=int, default=5120)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--vocabulary", type=int, default=22000)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of korformer's ModelConfig")
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
