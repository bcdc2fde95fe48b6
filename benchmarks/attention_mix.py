"""Which attention learns most in the same time: kinds, local heads, windows and rounds of hashing compared.

    python benchmarks/attention_mix.py --corpus train.txt.xz --valid valid.txt.xz --vocab DIR --out DIR --length 1024

Every variant of the same model trains for the same number of processor minutes: first the speed of each is measured
(a few steps, on an otherwise idle machine), and from it follow the steps that it may do; its learning rate falls to
its end within them. So the training itself may run beside other work, be stopped and started again. The table shows
bits per character on the validation text at the end, by the strict definition of `korformer eval`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from measuring import RESULTS, environment
from training_runs import kept_speeds, last_figures, training_speed

from korformer.storage import write_json

BASE: dict[str, object] = {"dim": 256, "depth": 6, "heads": 4, "axial_position_emb": False, "bucket_size": 64}
VARIANTS: dict[str, dict[str, object]] = {
    "hashed, 4 rounds": {"n_hashes": 4},
    "hashed + 2 local heads, 4 rounds": {"n_hashes": 4, "n_local_attn_heads": 2},
    "hashed + 2 local heads, 2 rounds": {"n_hashes": 2, "n_local_attn_heads": 2},
    "hashed + 2 local heads, 1 round": {"n_hashes": 1, "n_local_attn_heads": 2},
    "hashed + 3 local heads, 2 rounds": {"n_hashes": 2, "n_local_attn_heads": 3},
    "hashed + 2 local heads, 2 rounds, W = 32": {"n_hashes": 2, "n_local_attn_heads": 2, "window": 32},
    "local and hashed layers, 2 rounds": {
        "n_hashes": 2,
        "attention_layers": ["local", "causal_lsh"] * 3,
    },
    "local": {"attention": "local"},
    "full": {"attention": "full"},
}
BATCH_TOKENS = 5120
"""Tokens of an optimizer step."""


def model_settings(variant: str, length: int) -> dict[str, object]:
    """The model section of a variant."""
    return {**BASE, "max_seq_len": length, **VARIANTS[variant]}


def speeds(arguments: argparse.Namespace, vocabulary_size: int) -> dict[str, float]:
    """Training tokens a second of all variants."""

    def measured(variant: str) -> float:
        return training_speed(
            model_settings(variant, arguments.length),
            vocabulary_size,
            rows=BATCH_TOKENS // arguments.length,
            length=arguments.length,
            optimizer="adamw",
            bf16=False,
        )

    return kept_speeds(arguments.out / f"speeds-{arguments.length}.json", arguments.variants, measured)


def train(variant: str, arguments: argparse.Namespace, steps: int) -> float:
    """Train one variant to its last step, or find it trained; bits per character at the end."""
    name = "".join(letter if letter.isalnum() else "-" for letter in variant)
    run = arguments.out / f"{arguments.length}-{arguments.minutes:g}m-{name}"
    changes = {**{f"model.{key}": value for key, value in model_settings(variant, arguments.length).items()}}
    changes |= {
        "training.steps": steps,
        "training.batch_size": BATCH_TOKENS // arguments.length,
        "training.learning_rate": 0.002,
        "training.precision": "fp32",
        "training.warmup_steps": max(1, steps // 10),
        "training.eval_every": steps,
        "training.eval_tokens": arguments.eval_tokens,
        "training.sample_every": 0,
        "training.save_every": 50,
        "training.keep": 1,
        "training.seed": arguments.seed,
    }
    figures = last_figures(run, "ar", changes, corpus=arguments.corpus, valid=arguments.valid, vocab=arguments.vocab)
    return figures["bits_per_character"]


def main() -> None:
    """Measure, train, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, nargs="+", required=True)
    parser.add_argument("--valid", type=Path, required=True)
    parser.add_argument("--vocab", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--minutes", type=float, default=5.0, help="processor time of each variant")
    parser.add_argument("--eval-tokens", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--only-speeds", action="store_true", help="stop when the speeds are measured")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    vocabulary_size = len((arguments.vocab / "vocab.txt").read_text(encoding="utf-8").splitlines())
    known = speeds(arguments, vocabulary_size)
    if arguments.only_speeds:
        print(json.dumps(known, indent=2))
        return
    rows = []
    for variant in arguments.variants:
        steps = max(1, round(known[variant] * arguments.minutes * 60 / BATCH_TOKENS))
        bits = train(variant, arguments, steps)
        row = {"variant": variant, "tokens_per_second": known[variant], "steps": steps, "bits_per_character": bits}
        rows.append(row)
        print(f"{variant:45} {known[variant]:8,.0f} tokens/s {steps:6,} steps {bits:8.3f} bits/character", flush=True)
    result = {"environment": environment(), "length": arguments.length, "minutes": arguments.minutes}
    result |= {"seed": arguments.seed, "model": BASE, "vocabulary": vocabulary_size, "batch_tokens": BATCH_TOKENS}
    write_json(RESULTS / f"attention_mix_{arguments.length}.json", {**result, "rows": rows})


if __name__ == "__main__":
    main()
