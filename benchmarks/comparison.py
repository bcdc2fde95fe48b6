"""Which attention learns most from the same text, and from the same time? korformer's kinds beside the peers.

    python benchmarks/comparison.py --corpus FILE... --valid FILE --vocab DIR [--seeds 0 1 2] \
        [--output benchmarks/results/comparison.json]

Everybody has the same width, depth, heads and vocabulary, reads the same packs of documents in the same order, and
takes the same steps of the same AdamW at one learning rate after warm-up. korformer keeps the documents of a pack apart
and the peers do not, as they come. A system trains in a process of its own, one after another; its seconds are those
of the steps alone. All are measured in the same way, that of `korformer eval` (strict bits per character of whole
documents, each read alone), at several points on the way. The table shows what each has reached

    at equal tokens   at the end
    at equal time     when the fastest system was through, on the line between the two nearest looks

and bits per character by position at the end. Speed and memory are those of this training.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measuring import Facts, arguments_parser, interleave, peak_bytes, run_benchmark
from peers import DenseModel, Shape, reformer_pytorch_model
from torch import Tensor, nn

from korformer.data.packing import Packs, PackSampler
from korformer.data.store import cached_store, default_cache
from korformer.evaluation.language_model import LmSettings, evaluate_lm
from korformer.evaluation.result import LmResult
from korformer.model.backbone import ReformerModel, TrainingDraw
from korformer.model.products import fast_products
from korformer.text.documents import Documents
from korformer.text.vocabulary import Vocabulary
from korformer.training.optimizer import make_optimizer
from korformer.training.settings import TrainingSettings

OURS: dict[str, dict[str, Any]] = {
    "causal_lsh, 2 local heads": {"n_local_attn_heads": 2, "n_hashes": 2},
    "causal_lsh, 3 local heads": {"n_local_attn_heads": 3, "n_hashes": 2},
    "causal_lsh": {"n_hashes": 4},
    "local": {"attention": "local"},
    "lsh": {"attention": "lsh", "n_hashes": 4},
    "full": {"attention": "full"},
}
PEERS = ("reformer-pytorch", "dense")
SYSTEMS = (*OURS, *PEERS)
IGNORED = -100
LOOKS = 4
"""Times that a system is measured on its way."""


class Peer(nn.Module):
    """A peer that can be evaluated as korformer's own models are: one document at a time.

    Args:
        module: from (B, T) token ids to (B, T, V) scores.
        shape: of the model.
    """

    strictly_causal = False
    """Nothing else may stand in a forward pass: a peer does not keep documents apart."""

    def __init__(self, module: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.module = module
        self.config = shape.config

    def forward(self, tokens_BT: Tensor, *, documents_BT: Tensor, positions_BT: Tensor) -> Tensor:
        """The scores, (B, T, V)."""
        missing = -tokens_BT.shape[1] % (2 * self.config.bucket_size)  # reformer-pytorch wants whole pairs of buckets
        scores: Tensor = self.module(F.pad(tokens_BT, (0, missing)))
        return scores[:, : tokens_BT.shape[1]]

    def token_losses(self, scores_BTV: Tensor, targets_BT: Tensor) -> Tensor:
        """(B, T) nats; 0 where the target is -100."""
        flat = F.cross_entropy(scores_BTV.flatten(0, 1), targets_BT.flatten(), ignore_index=IGNORED, reduction="none")
        return flat.view(targets_BT.shape)


class Dense(nn.Module):
    """The plain decoder with its output layer.

    Args:
        shape: of the model.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.decoder = DenseModel(shape)

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Scores, (B, T, V)."""
        return self.decoder.logits(self.decoder(tokens_BT))


class Student:
    """A system in training.

    Args:
        system: one of `SYSTEMS`.
        shape: of the model.
        seed: of its weights, and of the order of the text.
    """

    def __init__(self, system: str, shape: Shape, seed: int) -> None:
        torch.manual_seed(seed)
        self.model: ReformerModel | Peer
        if system in OURS:
            self.model = ReformerModel(shape.config.model_validate(_settings(system, shape)), shape.vocabulary)
            self.model.initialise(seed)
        elif system == "dense":
            self.model = Peer(Dense(shape), shape)
        else:
            self.model = Peer(reformer_pytorch_model(shape, tuned=False), shape)
        self._seed = seed
        self._step = 0

    def loss(self, packs: Packs) -> Tensor:
        """Mean nats of a token."""
        self._step += 1
        tokens, targets = torch.from_numpy(packs.tokens), torch.from_numpy(packs.targets)
        if isinstance(self.model, Peer):
            losses = self.model.token_losses(self.model.module(tokens), targets)
            return losses.sum() / (targets != IGNORED).sum()
        draw = TrainingDraw(seed=self._seed, step=self._step, samples=range(len(tokens)))
        hidden = self.model(
            tokens,
            documents_BT=torch.from_numpy(packs.documents),
            positions_BT=torch.from_numpy(packs.positions),
            draw=draw,
        )
        return self.model.loss(hidden, targets)[0]


def _settings(system: str, shape: Shape) -> Facts:
    return {**shape.config.model_dump(), "axial_position_emb": False, **OURS[system]}


def measurement(specification: Facts) -> Facts:
    """Train one system; what it had reached at each look."""
    shape = Shape(**specification["shape"])
    vocabulary = Vocabulary.load(Path(specification["vocab"]))
    store = cached_store(specification["corpus"], vocabulary, default_cache())
    sampler = PackSampler(store, pack_tokens=shape.length, seed=specification["seed"])
    student = Student(specification["system"], shape, specification["seed"])
    settings = TrainingSettings(
        learning_rate=specification["learning_rate"], steps=specification["steps"], schedule="constant"
    )
    optimizer = make_optimizer(student.model, settings)
    warmup, steps, seconds = max(1, specification["steps"] // 20), specification["steps"], 0.0
    documents = list(islice(Documents([specification["valid"]]), specification["documents"]))
    looks: list[Facts] = []
    peak = 0
    for step in range(1, steps + 1):
        packs = sampler.next_packs(specification["batch"])
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, step / warmup)
        student.model.train()
        began = time.perf_counter()
        with fast_products():
            student.loss(packs).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(student.model.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds += time.perf_counter() - began
        if step == 3:
            peak = peak_bytes()
        if step * LOOKS % steps < LOOKS:
            result = evaluate_lm(student.model, vocabulary, documents, LmSettings(by_context=False))  # type: ignore[arg-type]
            looks.append(_look(result, step * specification["batch"] * shape.length, seconds))
    return {
        "looks": looks,
        "bits_per_character": looks[-1]["bits_per_character"],
        "tokens_per_second": looks[-1]["tokens"] / seconds,
        "peak_gb": peak / 1e9,
        "parameters": sum(parameter.numel() for parameter in student.model.parameters()),
    }


def _look(result: LmResult, tokens: int, seconds: float) -> Facts:
    positions = [(row.first, row.last, row.bits_per_character) for row in result.by_position]
    bits = result.bits_per_character
    return {"tokens": tokens, "seconds": seconds, "bits_per_character": bits, "by_position": positions}


def at_time(looks: Sequence[Facts], seconds: float) -> float | None:
    """Bits per character after so many seconds, on the line between two looks; None before the first."""
    for before, after in pairwise(looks):
        if before["seconds"] <= seconds <= after["seconds"]:
            share = (seconds - before["seconds"]) / (after["seconds"] - before["seconds"])
            difference = after["bits_per_character"] - before["bits_per_character"]
            return float(before["bits_per_character"] + share * difference)
    reached = [look["bits_per_character"] for look in looks if look["seconds"] <= seconds]
    return reached[-1] if reached else None


def summary(runs: dict[str, list[Facts]]) -> dict[str, Facts]:
    """A row for each system: means over its seeds."""
    shortest = min(run["looks"][-1]["seconds"] for of_system in runs.values() for run in of_system)
    rows: dict[str, Facts] = {}
    for name, of_system in runs.items():
        final = [run["bits_per_character"] for run in of_system]
        timely = [at_time(run["looks"], shortest) for run in of_system]
        known = [bits for bits in timely if bits is not None]
        rows[name] = {
            "equal_tokens": statistics.fmean(final),
            "deviation": statistics.stdev(final) if len(final) > 1 else None,
            "equal_time": statistics.fmean(known) if len(known) == len(timely) else None,
            "tokens_per_second": statistics.median(run["tokens_per_second"] for run in of_system),
            "peak_gb": max(run["peak_gb"] for run in of_system),
            "parameters": of_system[0]["parameters"],
            "by_position": of_system[0]["looks"][-1]["by_position"],
        }
    return rows


def table(rows: dict[str, Facts]) -> str:
    """Everything as text."""
    head = (
        f"{'':28} {'equal tokens':>13} {'+-':>6} {'equal time':>11} {'tokens/s':>9} {'peak GB':>8} {'parameters':>11}"
    )
    lines = [head]
    for name, row in rows.items():
        deviation = "" if row["deviation"] is None else f"{row['deviation']:.3f}"
        timely = "before a look" if row["equal_time"] is None else f"{row['equal_time']:.3f}"
        lines.append(
            f"{name:28} {row['equal_tokens']:13.3f} {deviation:>6} {timely:>11} {row['tokens_per_second']:9,.0f} "
            f"{row['peak_gb']:8.2f} {row['parameters']:11,}"
        )
    lines += ["", "by position in the document"]
    for name, row in rows.items():
        places = " ".join(f"{first}-{last}: {bits:.3f}" for first, last, bits in row["by_position"] if bits is not None)
        lines.append(f"{name:28} {places}")
    return "\n".join(lines)


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Train everything."""
    vocabulary = Vocabulary.load(options.vocab)
    shape = Shape(
        length=options.length, dim=options.dim, depth=options.depth, heads=options.heads, vocabulary=vocabulary.size
    )
    common = {
        "shape": asdict(shape),
        "corpus": [str(path) for path in options.corpus],
        "valid": str(options.valid),
        "vocab": str(options.vocab),
        "steps": options.steps,
        "batch": options.batch,
        "learning_rate": options.learning_rate,
        "documents": options.documents,
    }
    runs: dict[str, list[Facts]] = {name: [] for name in options.systems}
    failures: list[str] = []
    for seed in options.seeds:
        wanted = {name: {**common, "system": name, "seed": seed} for name in options.systems}
        measured = interleave(__file__, wanted, 1)
        failures += [f"{name}, seed {seed}" for name in measured.failures]
        for name, found in measured.runs.items():
            runs[name] += found
    if not any(runs.values()):
        raise SystemExit("nothing could be measured")
    rows = summary({name: found for name, found in runs.items() if found})
    kept = {"shape": asdict(shape), "steps": options.steps, "batch": options.batch, "seeds": options.seeds}
    figures = {**kept, "learning_rate": options.learning_rate, "rows": rows, "runs": runs}
    return figures, table(rows), failures


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print the tables, and write them where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--corpus", type=Path, nargs="+")
    parser.add_argument("--valid", type=Path)
    parser.add_argument("--vocab", type=Path)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=5, help="packs of a step (default 5)")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--documents", type=int, default=60, help="held-out documents to measure on (default 60)")
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
