"""Which size of model and of vocabulary learns most in the same time?

    python benchmarks/sizes.py --corpus FILE... --valid FILE --vocabs DIR... --out DIR [--minutes 20]

Every size trains with the first vocabulary, and the first size with every vocabulary, for the same minutes of an
otherwise idle machine, as `ko-mini` does: half of the heads local, two rounds of hashing, bf16, Muon. The table shows
bits per character on the validation text, by the strict definition, so vocabularies can be compared; and what a line
through the last two looks, over the logarithm of the time, gives for `--hours`: the prediction to choose by.

A run that was stopped goes on where it stood.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from measuring import RESULTS, Facts, environment
from training_runs import kept_speeds, last_figures, training_speed

from korformer.storage import write_json

BATCH_TOKENS = 8192


def model_settings(size: str, length: int) -> dict[str, Any]:
    """The model section of a size such as 6x256: layers of a width, a head for every 64 of it."""
    depth, dim = map(int, size.split("x"))
    return {
        "dim": dim, "depth": depth, "heads": dim // 64, "n_local_attn_heads": dim // 128, "n_hashes": 2,
        "bucket_size": 64, "axial_position_emb": False, "max_seq_len": length,
    }  # fmt: skip


def variants(options: argparse.Namespace) -> dict[str, tuple[str, Path]]:
    """Every size with the first vocabulary, and the first size with the others."""
    first, *others = options.vocabs
    pairs = [(size, first) for size in options.sizes] + [(options.sizes[0], vocab) for vocab in others]
    return {f"{size}, {vocab.name}": (size, vocab) for size, vocab in pairs}


def vocabulary_size(vocab: Path) -> int:
    """Tokens of a vocabulary."""
    return len((vocab / "vocab.txt").read_text(encoding="utf-8").splitlines())


def train(name: str, size: str, vocab: Path, steps: int, options: argparse.Namespace) -> Facts:
    """Train to the last step, or find it trained; the last two looks."""
    run = options.out / "".join(letter if letter.isalnum() else "-" for letter in f"{name}-{options.minutes:g}m")
    changes = {f"model.{key}": value for key, value in model_settings(size, options.length).items()}
    changes |= {
        "training.steps": steps,
        "training.batch_size": BATCH_TOKENS // options.length,
        "training.optimizer": "muon",
        "training.learning_rate": 0.005,
        "training.schedule": "constant",
        "training.precision": "bf16",
        "training.warmup_steps": max(1, steps // 10),
        "training.eval_every": max(1, steps // 2),
        "training.eval_tokens": options.eval_tokens,
        "training.sample_every": 0,
        "training.save_every": 100,
        "training.keep": 1,
    }
    last_figures(run, "ar", changes, corpus=options.corpus, valid=options.valid, vocab=vocab)
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    looks = {line["step"]: line["bits_per_character"] for line in lines if line["event"] == "validation"}
    (before, early), (after, late) = sorted(looks.items())[-2:]
    return {"steps": [before, after], "bits_per_character": [early, late]}


def predicted(looks: Facts, minutes: float, hours: float) -> float:
    """Bits per character after some hours, on the line through two looks over the logarithm of the steps."""
    (before, after), (early, late) = looks["steps"], looks["bits_per_character"]
    slope = (late - early) / math.log(after / before)
    return float(late + slope * math.log(hours * 60 / minutes))


def main() -> None:
    """Measure, train, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", nargs="+", required=True)
    parser.add_argument("--valid", required=True)
    parser.add_argument("--vocabs", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--sizes", nargs="+", default=["8x256", "6x384", "4x512"], help="layers x width")
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--hours", type=float, default=6.0, help="of the run to choose a size for")
    parser.add_argument("--eval-tokens", type=int, default=100_000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    chosen = variants(options)

    def measured(name: str) -> float:
        size, vocab = chosen[name]
        return training_speed(
            model_settings(size, options.length),
            vocabulary_size(vocab),
            rows=BATCH_TOKENS // options.length,
            length=options.length,
            optimizer="muon",
            bf16=True,
        )

    known = kept_speeds(options.out / "speeds.json", list(chosen), measured)
    rows = []
    print(f"| size, vocabulary | tokens/s | steps | bits per character | in {options.hours:g} hours |", flush=True)
    print("|---|---|---|---|---|", flush=True)
    for name, (size, vocab) in chosen.items():
        steps = max(2, round(known[name] * options.minutes * 60 / BATCH_TOKENS))
        looks = train(name, size, vocab, steps, options)
        later = predicted(looks, options.minutes, options.hours)
        bits = looks["bits_per_character"][-1]
        print(f"| {name} | {known[name]:,.0f} | {steps:,} | {bits:.3f} | {later:.3f} |", flush=True)
        rows.append({"variant": name, "tokens_per_second": known[name], **looks, "predicted": later})
    facts = {"environment": environment(), "minutes": options.minutes, "hours": options.hours, "length": options.length}
    write_json(RESULTS / "sizes.json", {**facts, "rows": rows})


if __name__ == "__main__":
    main()
