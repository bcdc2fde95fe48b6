"""Which optimizer learns most from the same tokens: AdamW and Muon, each at several learning rates.

    python benchmarks/optimizers.py --corpus train.txt.xz --valid valid.txt.xz --vocab DIR --out DIR [--steps 150]

6 layers of 256, 4 heads (2 local, 2 hashed in two rounds), 1,024 tokens, 8 sequences a step, bf16, a cosine to a tenth.
The table shows bits per character on the validation text at the end. A run that was stopped goes on where it stood.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from measuring import RESULTS, environment
from training_runs import last_figures

from korformer.storage import write_json

MODEL: dict[str, Any] = {
    "dim": 256, "depth": 6, "heads": 4, "axial_position_emb": False, "bucket_size": 64, "n_hashes": 2,
    "n_local_attn_heads": 2, "max_seq_len": 1024,
}  # fmt: skip
RATES = {"adamw": (0.001, 0.002, 0.005), "muon": (0.002, 0.005, 0.01)}


def train(optimizer: str, rate: float, options: argparse.Namespace) -> dict[str, float]:
    """Train to the last step, or find it trained; the last figures on the validation text."""
    run = options.out / f"{optimizer}-{rate:g}"
    changes = {f"model.{key}": value for key, value in MODEL.items()}
    changes |= {
        "training.steps": options.steps,
        "training.batch_size": 8,
        "training.optimizer": optimizer,
        "training.learning_rate": rate,
        "training.precision": "bf16",
        "training.warmup_steps": options.steps // 10,
        "training.eval_every": options.steps,
        "training.eval_tokens": options.eval_tokens,
        "training.sample_every": 0,
        "training.save_every": 1000,
        "training.keep": 1,
    }
    return last_figures(run, "ar", changes, corpus=options.corpus, valid=options.valid, vocab=options.vocab)


def main() -> None:
    """Train, compare, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--valid", required=True)
    parser.add_argument("--vocab", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--eval-tokens", type=int, default=60_000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    print("| optimizer | learning rate | bits per character |\n|---|---|---|", flush=True)
    for optimizer, rates in RATES.items():
        for rate in rates:
            bits = train(optimizer, rate, options)["bits_per_character"]
            print(f"| {optimizer} | {rate:g} | {bits:.3f} |", flush=True)
            rows.append({"optimizer": optimizer, "learning_rate": rate, "bits_per_character": bits})
    facts = {"environment": environment(), "model": MODEL, "steps": options.steps, "batch_tokens": 8 * 1024}
    write_json(RESULTS / "optimizers.json", {**facts, "rows": rows})


if __name__ == "__main__":
    main()
