"""Does the peak memory that `korformer pretrain --dry-run` tells come true?

    python benchmarks/dry_run.py [--vocab DIR --corpus FILE] [--output benchmarks/results/dry_run.json]

Of each configuration: the dry run, and then the real run of a few steps with a look at held-out text, a sample and a
save. Measured is the highest resident memory that the system has noted of the run (ru_maxrss), against two predictions:
the one that the dry run prints, made by trying steps, and the one that it falls back on where no step can be tried,
reckoned from the model's shape alone. By default vocabulary and corpus are made of the sample texts of this repository.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import Facts, arguments_parser, interleave, run_benchmark

from korformer.commands.app import __file__ as program

SAMPLE = Path(__file__).parents[1] / "docs" / "sample"
HELD_OUT = 4
"""Sample texts to validate on."""

WITHIN = 0.15

COMMON = [
    "model.bucket_size=64",
    "model.axial_position_emb=false",
    "training.warmup_steps=1",
    "training.sample_tokens=8",
]


def _shape(dim: int, depth: int, heads: int, length: int, batch: int, *more: str) -> list[str]:
    return [
        f"model.dim={dim}", f"model.depth={depth}", f"model.heads={heads}", f"model.n_local_attn_heads={heads // 2}",
        f"model.max_seq_len={length}", f"training.batch_size={batch}", "training.precision=fp32", *more,
    ]  # fmt: skip


REVERSIBLE, BF16, FOUR = "training.reversible=always", "training.precision=bf16", "training.accumulate=4"
CONFIGURATIONS = {
    "small": _shape(128, 4, 4, 512, 8),
    "small, reversible": _shape(128, 4, 4, 512, 8, REVERSIBLE),
    "small, bf16": _shape(128, 4, 4, 512, 8, BF16),
    "medium": _shape(256, 6, 4, 1024, 4),
    "medium, four passes": _shape(256, 6, 4, 1024, 4, FOUR),
    "medium, lsh": _shape(256, 6, 4, 1024, 4, "model.attention=lsh"),
    "medium, full": _shape(256, 6, 4, 1024, 4, "model.attention=full", "model.n_local_attn_heads=0"),
    "long": _shape(256, 4, 4, 8192, 1),
    "long, reversible": _shape(256, 4, 4, 8192, 1, REVERSIBLE),
    "large": _shape(768, 12, 12, 512, 4),
    "large, reversible": _shape(768, 12, 12, 512, 4, REVERSIBLE),
    "large, reversible, four passes": _shape(768, 12, 12, 512, 1, REVERSIBLE, FOUR),
    "large, bf16": _shape(768, 12, 12, 512, 4, BF16),
}


def measurement(specification: Facts) -> Facts:
    """A dry run and the real run of one configuration."""
    settings = [word for value in [*COMMON, *specification["settings"]] for word in ("--set", value)]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, program, "pretrain", "-o", f"{folder}/run", "--cache", f"{folder}/cache", "--quiet",
            "--steps", str(specification["steps"]), "--vocab", specification["vocab"],
            "--corpus", *specification["corpus"], "--valid", *specification["valid"], *settings,
        ]  # fmt: skip
        dry = subprocess.run([*command, "--dry-run", "--json"], capture_output=True, text=True, check=False)
        if dry.returncode:
            raise SystemExit(dry.stderr.strip() or "the dry run failed")
        plan = json.loads(dry.stdout)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status):
            raise SystemExit("the run failed")
    peak = usage.ru_maxrss * 1024
    return {
        "peak_gb": peak / 1e9,
        "told_gb": plan["peak_bytes"] / 1e9,
        "reckoned_gb": plan["reckoned_peak_bytes"] / 1e9,
        "told_off": plan["peak_bytes"] / peak - 1,
        "reckoned_off": plan["reckoned_peak_bytes"] / peak - 1,
    }


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Measure all configurations."""
    with tempfile.TemporaryDirectory() as folder:
        texts = sorted(map(str, SAMPLE.glob("*.txt")))
        corpus, valid = options.corpus or texts[:-HELD_OUT], options.valid or texts[-HELD_OUT:]
        vocab = options.vocab
        if vocab is None:
            vocab = f"{folder}/vocab"
            command = [sys.executable, program, "vocab", *texts, "--size", "4000", "-o", vocab, "--quiet"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        specifications = {
            name: {
                "settings": settings,
                "vocab": str(vocab),
                "corpus": corpus,
                "valid": valid,
                "steps": options.steps,
            }
            for name, settings in CONFIGURATIONS.items()
            if not options.only or name in options.only
        }
        measured = interleave(Path(__file__), specifications, options.rounds)
    keys = ("peak_gb", "told_gb", "told_off", "reckoned_gb", "reckoned_off")
    rows = {name: {key: measured.median(name, key) for key in keys} for name, runs in measured.runs.items() if runs}
    lines = [f"{'':32} {'peak GB':>8} {'dry run':>8} {'':>7} {'reckoned':>9}"]
    lines += [
        f"{name:32} {row['peak_gb']:8.3f} {row['told_gb']:8.3f} {row['told_off']:+7.1%} {row['reckoned_gb']:9.3f} "
        f"{row['reckoned_off']:+7.1%}"
        for name, row in rows.items()
    ]
    for key, what in (("told_off", "dry run"), ("reckoned_off", "reckoned")):
        worst = max((abs(row[key]) for row in rows.values()), default=0.0)
        lines.append(f"{what}: at most {worst:.1%} off, {'within' if worst <= WITHIN else 'NOT within'} {WITHIN:.0%}")
    figures = {"rows": rows, "runs": measured.runs}
    return figures, "\n".join(lines), [name for name in specifications if name not in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write it where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--vocab", type=Path, help="vocabulary (default: one of the sample texts)")
    parser.add_argument("--corpus", nargs="+", help="training text (default: the sample texts)")
    parser.add_argument("--valid", nargs="+", help="held-out text (default: the last sample texts)")
    parser.add_argument("--steps", type=int, default=12, help="of the real run (default 12)")
    parser.add_argument("--rounds", type=int, default=1, help="of each configuration (default 1)")
    parser.add_argument("--only", nargs="+", choices=CONFIGURATIONS, help="these configurations only")
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
