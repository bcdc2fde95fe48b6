"""What does each preset cost on this machine?

    python benchmarks/presets.py --vocab DIR --corpus FILE [--only NAME...] [--output benchmarks/results/presets.json]

The dry run of `korformer pretrain` with every preset, one after another: parameters, tokens of a step, peak memory, and
speed in training. Presets whose step does not fit into the free memory are named and have no speed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from measuring import Facts, arguments_parser, interleave, run_benchmark

from korformer.commands.app import __file__ as program
from korformer.training.presets import preset_names

TOKENS = 100_000_000


def measurement(specification: Facts) -> Facts:
    """The dry run of one preset."""
    command = [
        sys.executable, program, "pretrain", "--dry-run", "--json", "--quiet", "--preset", specification["preset"],
        "--objective", specification["objective"], "--vocab", specification["vocab"],
        "--corpus", *specification["corpus"],
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise SystemExit(done.stderr.strip() or "the dry run failed")
    plan = json.loads(done.stdout)
    speed = plan["tokens_per_second"]
    return {
        "parameters": plan["parameters"],
        "step_tokens": plan["step_tokens"],
        "peak_gb": plan["peak_bytes"] / 1e9,
        "tokens_per_second": float(speed or 0.0),
        "hours": TOKENS / speed / 3600 if speed else 0.0,
    }


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """The dry runs of all presets."""
    names = [name for name in preset_names() if not options.only or name in options.only]
    specifications = {
        name: {
            "preset": name,
            "objective": "mlm" if name.endswith("mlm") else "ar",
            "vocab": str(options.vocab),
            "corpus": options.corpus,
        }
        for name in names
    }
    measured = interleave(Path(__file__), specifications, options.rounds)
    keys = ("parameters", "step_tokens", "peak_gb", "tokens_per_second", "hours")
    rows = {name: {key: measured.median(name, key) for key in keys} for name, runs in measured.runs.items() if runs}
    lines = ["| preset | parameters | tokens a step | peak memory, GB | tokens a second | hours for 100 M tokens |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    lines += [
        f"| `{name}` | {row['parameters'] / 1e6:,.1f} M | {int(row['step_tokens']):,} | {row['peak_gb']:.1f} | "
        + (f"{row['tokens_per_second']:,.0f} | {row['hours']:,.0f} |" if row["hours"] else "- | - |")
        for name, row in rows.items()
    ]
    return {"rows": rows, "runs": measured.runs}, "\n".join(lines), [name for name in names if name not in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write it where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--vocab", type=Path, help="vocabulary")
    parser.add_argument("--corpus", nargs="+", help="training text")
    parser.add_argument("--rounds", type=int, default=1, help="of each preset (default 1)")
    parser.add_argument("--only", nargs="+", choices=preset_names(), help="these presets only")
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
