"""How far is the incremental decode of reformer-pytorch's attention from computing everything anew?

    python benchmarks/frozen_prefix.py --model DIR --data FILE [--positions 64] [--output RESULT.json]

In a model with lsh attention the chunk of a token changes with what follows it, so a decode that keeps what it has
computed cannot equal a new forward over every prefix. The frozen prefix gives each token the chunk that it had when it
was the last one. Printed is the Kullback-Leibler divergence from the frozen prefix to a forward over the whole prefix,
and beside it the noise floor: the divergence between two such forwards that differ in nothing but the seed of their
random rotations, which reformer-pytorch draws anew at every call. Both are means over positions of held-out text.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from measuring import Facts, arguments_parser, run_benchmark
from torch import Tensor

from korformer.config import build
from korformer.model.backbone import ReformerModel
from korformer.model.directory import LoadedModel, load_model
from korformer.text.documents import Documents, ReadSettings

FROZEN, FLOOR = "frozen prefix || full recompute", "full recompute, seed A || seed B"
LESS = "full recompute with one round less || with all"


def documents(loaded: LoadedModel, data: Sequence[str], shortest: int) -> Iterator[list[int]]:
    """Token ids of documents that have at least `shortest` tokens, cut to the model's window."""
    for text in Documents(data, build(ReadSettings, {})):
        ids = loaded.vocabulary.encode_batch([text], add_special_tokens=True)[0]
        if len(ids) > shortest:
            yield ids[: loaded.model.config.max_seq_len]


def varied(model: ReformerModel, **changes: int) -> ReformerModel:
    """The same weights under a changed configuration."""
    other = ReformerModel(model.config.model_copy(update=changes), model.vocabulary_size)
    other.load_state_dict(model.state_dict())
    return other.eval()


@torch.no_grad()
def recomputed(model: ReformerModel, prefix: Sequence[int]) -> Tensor:
    """Log-probabilities of the next token by one forward over the prefix, (V,)."""
    hidden = model(torch.tensor([prefix]))[0, -1]
    return model.logits(hidden).log_softmax(dim=0)


def divergence(p_V: Tensor, q_V: Tensor) -> float:
    """KL(p || q) in nats, of log-probabilities."""
    return float(F.kl_div(q_V, p_V, reduction="sum", log_target=True))


def compare(loaded: LoadedModel, data: Sequence[str], positions: int, seed: int) -> Facts:
    """Divergences and cross-entropies at random positions, as many a document as make `positions` of eight of them."""
    model = loaded.model
    other_seed = varied(model, hash_seed=model.config.hash_seed + 1)
    fewer = varied(model, n_hashes=model.config.n_hashes - 1) if model.config.n_hashes > 1 else None
    generator = torch.Generator().manual_seed(seed)
    shortest = 2 * model.config.bucket_size
    each = -(-positions // 8)
    found: dict[str, list[float]] = {FROZEN: [], FLOOR: [], LESS: []}
    losses: dict[str, list[float]] = {"frozen prefix": [], "full recompute": []}
    places = []
    for ids in islice(documents(loaded, data, shortest), 8):
        state = model.new_state()
        chosen = shortest + torch.randperm(len(ids) - shortest, generator=generator)[:each]
        for length in sorted(chosen.tolist()):
            frozen = state.append(ids[state.length : length]).log_softmax(dim=0)
            anew = recomputed(model, ids[:length])
            found[FROZEN].append(divergence(frozen, anew))
            found[FLOOR].append(divergence(anew, recomputed(other_seed, ids[:length])))
            if fewer is not None:
                found[LESS].append(divergence(recomputed(fewer, ids[:length]), anew))
            losses["frozen prefix"].append(-float(frozen[ids[length]]))
            losses["full recompute"].append(-float(anew[ids[length]]))
            places.append(length)
    if not places:
        raise SystemExit(f"no document of {', '.join(data)} has more than {shortest} tokens")
    return {
        "kl_nats": {name: summary(values) for name, values in found.items() if values},
        "loss_nats": {name: statistics.fmean(values) for name, values in losses.items()},
        "positions": len(places),
        "mean_position": statistics.fmean(places),
        "rounds": model.config.n_hashes,
        "window": model.config.max_seq_len,
    }


def summary(values: Sequence[float]) -> Facts:
    """Mean, standard error and median."""
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "standard_error": error, "median": statistics.median(values)}


def rendered(figures: Facts) -> str:
    """The table."""
    lines = [f"{'KL divergence in nats':48} {'mean':>9} {'+- (s.e.)':>10} {'median':>9}"]
    for name, row in figures["kl_nats"].items():
        lines.append(f"{name:48} {row['mean']:9.5f} {row['standard_error']:10.5f} {row['median']:9.5f}")
    lines += [f"loss of the next token, {name:24} {loss:9.4f} nats" for name, loss in figures["loss_nats"].items()]
    lines.append(f"at {figures['positions']} positions, {figures['mean_position']:.0f} tokens deep on average")
    return "\n".join(lines)


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Measure and print."""
    loaded = load_model(options.model)
    if "lsh" not in loaded.model.config.layer_kinds:
        raise SystemExit(f"{options.model}: no layer has lsh attention; the decode of other kinds is exact")
    figures = compare(loaded, options.data, options.positions, options.seed)
    return figures, rendered(figures), []


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print the table, and write it where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a model directory with lsh attention")
    parser.add_argument("--data", nargs="+", required=True, help="held-out text, as korformer eval takes it")
    parser.add_argument("--positions", type=int, default=64, help="positions to compare at (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="of the positions")
    return run_benchmark(parser, arguments, lambda facts: facts, benchmark)


if __name__ == "__main__":
    sys.exit(main())
