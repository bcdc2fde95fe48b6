"""Does a training step over half a million tokens fit in 8 GB?

    python benchmarks/half_million.py [--output benchmarks/results/half_million.json]

The model of the notebook "Pushing the limits of the Reformer" that came with transformers' Reformer (von Platen 2020):
6 layers of 256, local and hashed ones in turns, 2 heads of width 64, feed-forward 512, chunks of 64, one round of
hashing into 64 x 128 buckets, 320 tokens of vocabulary; 524,288 tokens at once. One step is forward, backward,
clipping and AdamW in float32, in a process of its own. korformer is measured in small-memory mode (reversible), and so
is the peer, which knows no other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from measuring import Facts, arguments_parser, interleave, run_benchmark, settings_from
from peers import NOTEBOOK_SETUPS, Shape
from training import SMALL, measurement, specifications

LIMIT_GB = 8.0


def shape_of(length: int, rows: int, factors: tuple[int, int]) -> Shape:
    """The notebook's model at a length of `rows` axial rows."""
    return Shape(
        length=length,
        dim=256,
        depth=6,
        heads=2,
        vocabulary=320,
        n_hashes=1,
        more={
            "dim_head": 64,
            "ff_mult": 2,
            "attention_layers": ["local", "causal_lsh"] * 3,
            "local_window": 64,
            "bucket_factors": list(factors),
            "axial_position_shape": [rows, length // rows],
        },
    )


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Measure one step of each."""
    shape = shape_of(options.length, options.rows, tuple(options.factors))
    shape.more.update(settings_from(options.set))
    names = [SMALL, *NOTEBOOK_SETUPS]
    specified = {
        name.rpartition(" @")[0]: {**specification, "shape": {**specification["shape"], "more": shape.more}}
        for name, specification in specifications(names, shape, extrapolated=()).items()
    }
    measured = interleave(Path(__file__), specified, options.rounds)
    rows = {
        name: {key: measured.median(name, key) for key in ("seconds", "peak_gb")}
        for name, runs in measured.runs.items()
        if runs
    }
    lines = [f"{'':36} {'seconds':>9} {'tokens/s':>9} {'peak GB':>8}"]
    lines += [
        f"{name:36} {row['seconds']:9.1f} {shape.length / row['seconds']:9.0f} {row['peak_gb']:8.2f}"
        for name, row in rows.items()
    ]
    figures = {
        "shape": asdict(shape),
        "korformer_config": shape.config.model_dump(mode="json"),
        "rows": rows,
        "under_limit": rows[SMALL]["peak_gb"] < LIMIT_GB if SMALL in rows else None,
        "runs": measured.runs,
    }
    return figures, "\n".join(lines), [name for name in names if name not in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write it where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="processes of each (default 1)")
    parser.add_argument("--length", type=int, default=2**19, help="tokens of the sample (default 524,288)")
    parser.add_argument("--rows", type=int, default=512, help="rows of the axial positions (default 512)")
    parser.add_argument("--factors", type=int, nargs=2, default=[64, 128], help="of the hash buckets (default 64 128)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of korformer's ModelConfig")
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
