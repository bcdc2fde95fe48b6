"""Runs of `korformer pretrain` that a benchmark compares: trained once, gone on with where they were stopped."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def last_figures(
    run: Path, objective: str, changes: Mapping[str, Any], *, corpus: Sequence[str], valid: str, vocab: Path
) -> dict[str, float]:
    """Train to the last step, or find it trained; the last figures on the validation text.

    Args:
        run: folder of the run.
        objective: what it learns.
        changes: settings by their full names, "model.depth".
        corpus, valid, vocab: as on the command line.
    """
    command = [sys.executable, "-m", "korformer.commands.app", "pretrain", "--quiet", "--objective", objective]
    command += ["--vocab", str(vocab), "--corpus", *map(str, corpus), "--valid", str(valid), "-o", str(run)]
    for key, value in changes.items():
        command += ["--set", f"{key}={json.dumps(value)}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    looks = [line for line in lines if line["event"] == "validation"]
    return {name: value for name, value in looks[-1].items() if isinstance(value, int | float)}
