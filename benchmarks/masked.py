"""How fast does an encoder learn to fill masked tokens, beside the peers?

    python benchmarks/masked.py [--rounds 3] [--output benchmarks/results/masked.json]

6 layers of 512 at 512 tokens, batches of 8, reformer-pytorch's own hashed attention on both sides; 15% of the tokens
are to be predicted. A measurement is a training step in a process of its own that has taken one step before, the
systems taking turns. The peers, reformer-pytorch of the same shape and a plain dense encoder, are measured as they
come and tuned (see `training.py`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from measuring import Facts, arguments_parser, interleave, run_benchmark
from peers import shape_of, shape_options
from training import OURS, SMALL, measurement, ratios, specifications, system_rows, table

PEERS = ("reformer-pytorch", "reformer-pytorch, tuned", "dense", "dense, tuned")


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Measure every system in turns."""
    shape = shape_of(options, causal=False)
    names = [OURS, SMALL, *PEERS]
    specified = {
        name: {**specification, "batch": options.batch, "unmeasured": 1, "steps": 1}
        for name, specification in specifications(names, shape, extrapolated=()).items()
    }
    measured = interleave(Path(__file__), specified, options.rounds)
    rows = system_rows(measured, names, shape, options.batch)
    figures = {
        "shape": asdict(shape),
        "batch": options.batch,
        "korformer_config": shape.config.model_dump(mode="json"),
        "rounds": options.rounds,
        "systems": rows,
        "ratios": ratios(rows),
        "runs": measured.runs,
    }
    return figures, table(rows) if OURS in rows else "", [name for name in names if name not in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write it where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each system (default 3)")
    shape_options(parser, length=512, dim=512, depth=6, heads=8)
    parser.add_argument("--batch", type=int, default=8)
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
