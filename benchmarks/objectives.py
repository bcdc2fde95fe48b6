"""Does every objective learn? Each trains the same small model, and is set beside what knows nothing but frequencies.

    python benchmarks/objectives.py --corpus train.txt.xz --valid valid.txt.xz --vocab DIR --out DIR [--steps 3000]

4 layers of 128, 4 heads (2 hashed, 2 local), 128 tokens, 32 sequences a step, rotary positions. The baselines:

    ar    bits per character of the tokens' frequencies in the training text
    mlm   accuracy of the most frequent token and perplexity of those frequencies, over the tokens that may be hidden
    pairs the more frequent answer
    rtd   accuracy of taking every token for original; F1 of taking every token for replaced

A run that was stopped goes on where it stood.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import RESULTS, environment
from training_runs import last_figures

from korformer.data.store import cached_store, default_cache
from korformer.data.token_store import TokenStore
from korformer.storage import write_json
from korformer.text.special import SPECIAL_TOKENS
from korformer.text.vocabulary import CLS_ID, Vocabulary

MODEL: dict[str, Any] = {
    "dim": 128, "depth": 4, "heads": 4, "max_seq_len": 128, "bucket_size": 16, "n_hashes": 1,
    "n_local_attn_heads": 2, "axial_position_emb": False,
}  # fmt: skip
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ar": ("ar", {}),
    "mlm": ("mlm", {}),
    "mlm, words, nsp": ("mlm", {"masking": "word", "sentence_pair": "nsp"}),
    "mlm, spans, sop": ("mlm", {"masking": "span", "sentence_pair": "sop"}),
    "rtd": ("rtd", {"generator_width": 0.0625}),
}
_READ_TOKENS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Unigram:
    """What the frequencies of tokens reach.

    Attributes:
        bits_per_character: of all tokens after [CLS].
        accuracy: of always naming the most frequent token, special ones apart.
        perplexity: of tokens that are not special.
    """

    bits_per_character: float
    accuracy: float
    perplexity: float


def frequencies(store: TokenStore, size: int) -> np.ndarray:
    """How often each token comes, (V,)."""
    counts = np.zeros(size, np.int64)
    for begin in range(0, store.tokens, _READ_TOKENS):
        end = min(begin + _READ_TOKENS, store.tokens)
        counts += np.bincount(store.read(np.array([begin]), np.array([end])), minlength=size)
    return counts


def unigram(train: np.ndarray, valid: np.ndarray, characters: int) -> Unigram:
    """The baseline from counts (V,) of the training and the validation text; each token is counted once more."""
    train, valid = train + 1, valid.copy()
    train[CLS_ID] = valid[CLS_ID] = 0
    bits = -np.log2(np.maximum(train, 1) / train.sum())
    plain, measured = train[len(SPECIAL_TOKENS) :], valid[len(SPECIAL_TOKENS) :]
    nats = -np.log(plain / plain.sum())
    return Unigram(
        bits_per_character=float((bits * valid).sum() / characters),
        accuracy=float(measured[plain.argmax()] / measured.sum()),
        perplexity=math.exp(float((nats * measured).sum() / measured.sum())),
    )


def compared(figures: Mapping[str, float], known: Unigram) -> list[tuple[str, float, float]]:
    """The figures of a run that have a baseline, each with it."""
    replaced = 1 - figures.get("always_original_accuracy", 1.0)
    baselines = {
        "bits_per_character": known.bits_per_character,
        "masked_accuracy": known.accuracy,
        "masked_perplexity": known.perplexity,
        "pair_accuracy": figures.get("always_the_same_accuracy", 0.5),
        "generator_accuracy": known.accuracy,
        "discriminator_accuracy": figures.get("always_original_accuracy", 0.0),
        "replaced_f1": 2 * replaced / (1 + replaced),
    }
    return [(name, figures[name], baseline) for name, baseline in baselines.items() if name in figures]


def train(variant: str, options: argparse.Namespace) -> dict[str, float]:
    """Train to the last step, or find it trained; the last figures on the validation text."""
    objective, section = VARIANTS[variant]
    run = options.out / "".join(letter if letter.isalnum() else "-" for letter in variant)
    changes = {f"model.{key}": value for key, value in MODEL.items()}
    changes |= {f"{objective}.{key}": value for key, value in section.items()}
    changes |= {
        "training.steps": options.steps,
        "training.batch_size": 32,
        "training.optimizer": "muon",
        "training.precision": "fp32",
        "training.learning_rate": 0.005,
        "training.warmup_steps": options.steps // 20,
        "training.eval_every": max(1, options.steps // 4),
        "training.eval_tokens": options.eval_tokens,
        "training.sample_every": 0,
        "training.keep": 1,
    }
    return last_figures(run, objective, changes, corpus=options.corpus, valid=options.valid, vocab=options.vocab)


def main() -> None:
    """Train, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--valid", required=True)
    parser.add_argument("--vocab", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--eval-tokens", type=int, default=100_000)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    vocabulary = Vocabulary.load(options.vocab)
    stores = [cached_store(files, vocabulary, default_cache()) for files in (options.corpus, [options.valid])]
    counts = [frequencies(store, vocabulary.size) for store in stores]
    known = unigram(counts[0], counts[1], stores[1].characters)
    rows = []
    print("| objective | figure | model | baseline |\n|---|---|---|---|", flush=True)
    for variant in options.variants:
        figures = train(variant, options)
        for name, value, baseline in compared(figures, known):
            print(f"| {variant} | {name} | {value:.4g} | {baseline:.4g} |", flush=True)
            rows.append({"variant": variant, "figure": name, "model": value, "baseline": baseline})
    facts = {"environment": environment(), "model": MODEL, "steps": options.steps, "vocabulary": vocabulary.size}
    write_json(RESULTS / "objectives.json", {**facts, "rows": rows})


if __name__ == "__main__":
    main()
