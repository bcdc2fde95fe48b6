"""Does hashed attention learn to find what is far away? The duplication task of the Reformer paper.

    python benchmarks/duplication.py [--output benchmarks/results/duplication.json]

A sequence is 0 w 0 w with a random word w; the second w is to be predicted, which needs every token of it to attend to
one certain token half a sequence before (Kitaev et al. 2020, section 5, where sequences have 1,024 tokens; here they
are shorter). A model of one layer is trained with each number of rounds, and full attention, and evaluated with all of
them on sequences it has not seen. The figure is the accuracy over the second w.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import Facts, arguments_parser, interleave, run_benchmark, settings_from
from torch import Tensor

from korformer.model.backbone import ReformerModel, TrainingDraw
from korformer.model.config import ModelConfig

FULL = "full"
KINDS = ["causal_lsh", "lsh"]
ENOUGH = 0.99
POSITION_SCALE = 4.0
"""Position embeddings begin this much larger than in a new model of `korformer pretrain`."""


def words(count: int, length: int, symbols: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Token ids and targets, each (count, length): targets are -100 but for the second word."""
    half = length // 2
    word = torch.randint(1, symbols, (count, half - 1), generator=generator)
    once = torch.cat([torch.zeros(count, 1, dtype=torch.int64), word], dim=1)
    tokens = torch.cat([once, once], dim=1)
    targets = torch.full_like(tokens, -100)
    targets[:, half:-1] = word
    return tokens, targets


def config_of(specification: Facts, attention: str) -> ModelConfig:
    """The model's shape; `attention` is "full" or a kind and a number of rounds such as "causal_lsh-4"."""
    kind, _, rounds = attention.partition("-")
    values: dict[str, Any] = {
        "dim": 256,
        "depth": 1,
        "heads": 4,
        "max_seq_len": specification["length"],
        "bucket_size": specification["bucket_size"],
        "axial_position_emb": False,
        "absolute_position_emb": True,
        "attention": kind,
        "n_hashes": int(rounds or 1),
        "ff_mult": 1,
        **specification["more"],
    }
    return ModelConfig(**values)


@torch.no_grad()
def accuracy(model: ReformerModel, tokens_BT: Tensor, targets_BT: Tensor) -> float:
    """Share of the second words' tokens that the model finds likeliest."""
    right = total = 0
    for tokens, targets in zip(tokens_BT.split(64), targets_BT.split(64), strict=True):
        wanted = targets >= 0
        best = model.logits(model(tokens)[wanted]).argmax(dim=-1)
        right += int((best == targets[wanted]).sum())
        total += int(wanted.sum())
    return right / total


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Linear warm-up over a twentieth of the steps, then linearly down to a tenth."""
    return highest * min(step / (steps / 20), 1 - 0.9 * step / steps)


def measurement(specification: Facts) -> Facts:
    """Train one model and evaluate it with every kind of attention."""
    length, symbols, seed = specification["length"], specification["symbols"], specification["seed"]
    model = ReformerModel(config_of(specification, specification["attention"]), symbols)
    model.initialise(seed)
    with torch.no_grad():  # the task is all about positions; larger ones are told apart sooner
        model.lm.pos_emb.emb.weight.mul_(POSITION_SCALE)
    generator = torch.Generator().manual_seed(seed)
    held_out = words(specification["held_out"], length, symbols, torch.Generator().manual_seed(seed + 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    began, steps = time.perf_counter(), specification["steps"]
    learnt_at = None
    batch = specification["batch"]
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, specification["learning_rate"])
        tokens, targets = words(batch, length, symbols, generator)
        draw = TrainingDraw(seed=seed, step=step, samples=range(batch))
        mean, _ = model.loss(model(tokens, draw=draw), targets)
        mean.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % specification["look_every"] == 0:
            now = accuracy(model, *(x[:64] for x in held_out))
            print(
                f"{specification['attention']} step {step}: loss {float(mean.detach()):.3f}, {now:.1%}", file=sys.stderr
            )
            if learnt_at is None and now >= ENOUGH:
                learnt_at = step
    seconds = time.perf_counter() - began
    result = {}
    for attention in specification["evaluate"]:
        evaluated = ReformerModel(config_of(specification, attention), symbols)
        evaluated.load_state_dict(model.state_dict())
        result[attention] = accuracy(evaluated, *held_out)
    return {"accuracy": result, "learnt_at_step": learnt_at, "seconds": seconds}


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Train every model and print the table."""
    evaluated = [FULL, *(f"{kind}-{rounds}" for kind in options.kinds for rounds in (8, 4, 2, 1))]
    trained = [FULL, *(f"{kind}-{rounds}" for kind in options.kinds for rounds in options.trained)]
    common = {
        "length": options.length,
        "symbols": options.symbols,
        "bucket_size": options.bucket_size,
        "steps": options.steps,
        "batch": options.batch,
        "learning_rate": options.learning_rate,
        "look_every": options.look_every,
        "evaluate": evaluated,
        "more": settings_from(options.set),
        "seed": options.seed,
        "held_out": options.held_out,
    }
    specified = {attention: {**common, "attention": attention} for attention in trained}
    measured = interleave(Path(__file__), specified, 1)
    rows = {name: runs[0] for name, runs in measured.runs.items() if runs}
    lines = [f"{'trained with':16} " + " ".join(f"{name:>13}" for name in evaluated) + f" {'99% at step':>12}"]
    for name, row in rows.items():
        shown = " ".join(f"{row['accuracy'][other]:13.1%}" for other in evaluated)
        lines.append(f"{name:16} {shown} {row['learnt_at_step'] or '-':>12}  {row['seconds']:.0f} s")
    return {**common, "rows": rows}, "\n".join(lines), [name for name in trained if name not in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, evaluate, print the table, and write it where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of hashed attention")
    parser.add_argument("--trained", type=int, nargs="+", default=[4, 2, 1], help="rounds of the trained models")
    parser.add_argument("--length", type=int, default=128, help="tokens of a sequence (default 128)")
    parser.add_argument("--symbols", type=int, default=128, help="different tokens (default 128)")
    parser.add_argument("--bucket-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--look-every", type=int, default=50)
    parser.add_argument("--held-out", type=int, default=256, help="sequences to evaluate with (default 256)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of korformer's ModelConfig")
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
