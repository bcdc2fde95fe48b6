"""Runs of `korformer pretrain` that a benchmark compares: trained once, gone on with where they were stopped.

Equal budgets are minutes of an otherwise idle machine. What each variant can do in them follows from its speed,
measured beforehand in turns, so the training itself may run beside other work.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from korformer.model.backbone import ReformerModel, TrainingDraw
from korformer.model.config import ModelConfig
from korformer.model.products import fast_products
from korformer.storage import write_json
from korformer.training.optimizer import make_optimizer
from korformer.training.settings import TrainingSettings

MEASURED_STEPS, TURNS = 4, 3


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


def training_speed(
    settings: Mapping[str, Any], vocabulary_size: int, *, rows: int, length: int, optimizer: str, bf16: bool
) -> float:
    """Training tokens a second of a new model: forward, backward and optimizer, the first step left out."""
    model = ReformerModel(ModelConfig.model_validate(settings), vocabulary_size)
    model.initialise(0)
    steps = make_optimizer(model.lm, TrainingSettings.model_validate({"optimizer": optimizer}))
    tokens = torch.randint(5, vocabulary_size, (rows, length))
    begun = 0.0
    with fast_products():
        for step in range(MEASURED_STEPS + 1):
            if step == 1:
                begun = time.perf_counter()
            draw = TrainingDraw(seed=0, step=step, samples=range(rows))
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss, _ = model.loss(model(tokens, draw=draw), tokens.roll(-1, 1))
            loss.backward()  # type: ignore[no-untyped-call]
            steps.step()
            steps.zero_grad()
    return MEASURED_STEPS * rows * length / (time.perf_counter() - begun)


def kept_speeds(file: Path, variants: Sequence[str], measured: Callable[[str], float]) -> dict[str, float]:
    """The median speed of each variant, measured once in turns and kept in a file."""
    if file.exists():
        known: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
        if set(variants) <= set(known):
            return known
    turns = [{name: measured(name) for name in variants} for _ in range(TURNS)]
    result = {name: statistics.median(turn[name] for turn in turns) for name in variants}
    write_json(file, result)
    return result
