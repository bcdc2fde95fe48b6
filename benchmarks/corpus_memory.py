"""Does memory grow with the corpus?

    python benchmarks/corpus_memory.py [--megabytes 20 200] [--output benchmarks/results/corpus_memory.json]

`korformer pretrain` on texts of two sizes, written for this: reading, tokenizing, splitting, checking and a few steps
of a small model, each in a process of its own with an empty cache. The table shows the peak memory of the process and
how long it took. Texts are made-up words in lines of twelve; documents have some two thousand characters.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from measuring import Facts, arguments_parser, interleave, peak_bytes, run_benchmark

from korformer.commands.app import main as korformer
from korformer.storage import staged_directory
from korformer.text.wordpiece import VocabularySettings, train_vocabulary

WORDS = 30_000
DOCUMENT_WORDS = 500
ENDINGS = ("에서", "으로", "에게", "까지", "하고", "이다.", "했다.", "였다.", "은", "를")
MODEL = {
    "model.dim": 128, "model.depth": 2, "model.heads": 4, "model.max_seq_len": 512, "model.bucket_size": 32,
    "training.batch_size": 4, "training.sample_every": 0, "training.eval_tokens": 4096, "data.valid_share": 0.005,
}  # fmt: skip


def words() -> list[str]:
    """Made-up words of one to four syllables with endings; the frequent ones are short."""
    draws = np.random.default_rng(0)
    found = []
    for number in range(WORDS):
        syllables = draws.integers(0, 11_172, 1 + min(3, number // 2000))
        found.append("".join(chr(0xAC00 + int(each)) for each in syllables) + ENDINGS[number % len(ENDINGS)])
    return found


def documents(megabytes: float, seed: int) -> list[str]:
    """Texts of that many megabytes of UTF-8; words come as often as their rank lets expect (Zipf)."""
    vocabulary = np.array(words(), dtype=object)
    share = 1 / np.arange(1, WORDS + 1)
    draws = np.random.default_rng(seed)
    texts, size = [], 0
    while size < megabytes * 1e6:
        chosen = vocabulary[draws.choice(WORDS, DOCUMENT_WORDS, p=share / share.sum())]
        texts.append("\n".join(" ".join(chosen[at : at + 12]) for at in range(0, DOCUMENT_WORDS, 12)))
        size += len(texts[-1].encode()) + 2
    return texts


def measurement(specification: Facts) -> Facts:
    """Peak memory of `korformer pretrain` in this process."""
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        assignments = [f"{key}={value}" for key, value in MODEL.items()]
        arguments = ["pretrain", "--quiet", "--vocab", specification["vocabulary"], "--corpus", specification["corpus"]]
        arguments += ["-o", f"{folder}/run", "--cache", f"{folder}/cache", "--steps", str(specification["steps"])]
        for assignment in assignments:
            arguments += ["--set", assignment]
        code: object = 0
        try:
            sys.stdout, stdout = sys.stderr, sys.stdout  # the figures are the only thing on stdout
            korformer(arguments)
        except SystemExit as left:
            code = left.code
        finally:
            sys.stdout = stdout
        if code:
            raise SystemExit(f"korformer pretrain ended with {code}")
    return {"peak_mb": peak_bytes() / 1e6, "seconds": time.perf_counter() - begun}


def benchmark(options: argparse.Namespace) -> tuple[Facts, str, list[str]]:
    """Write the texts, and measure each size."""
    with tempfile.TemporaryDirectory() as folder:
        sample = documents(2, seed=1)
        with staged_directory(Path(folder) / "vocabulary") as staged:
            train_vocabulary(sample, VocabularySettings(size=8000)).save_files(staged)
        specifications = {}
        for megabytes in options.megabytes:
            path = Path(folder) / f"{megabytes:g}.txt"
            with path.open("w", encoding="utf-8") as file:
                for part in range(-(-int(megabytes) // 10)):
                    texts = documents(min(10.0, megabytes - 10 * part), seed=part)
                    file.write("\n\n".join(texts) + "\n\n")
            specifications[f"{megabytes:g} MB"] = {
                "corpus": str(path),
                "vocabulary": str(Path(folder) / "vocabulary"),
                "steps": options.steps,
            }
        measured = interleave(Path(__file__), specifications, options.rounds)
    rows = {
        name: {key: measured.median(name, key) for key in ("peak_mb", "seconds")}
        for name, runs in measured.runs.items()
        if runs
    }
    lines = [f"{'corpus':12} {'peak MB':>10} {'seconds':>10}"]
    lines += [f"{name:12} {row['peak_mb']:10,.0f} {row['seconds']:10,.1f}" for name, row in rows.items()]
    first, *_, last = specifications
    growth = rows[last]["peak_mb"] / rows[first]["peak_mb"] if {first, last} <= set(rows) else None
    if growth is not None:
        lines.append(f"peak memory of {last} against {first}: {growth:.3f} times")
    figures = {"model": MODEL, "rows": rows, "growth": growth, "runs": measured.runs}
    return figures, "\n".join(lines), [name for name in specifications if name not in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write it where asked."""
    parser = arguments_parser(__doc__)
    parser.add_argument("--megabytes", type=float, nargs="+", default=[20.0, 200.0])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    return run_benchmark(parser, arguments, measurement, benchmark)


if __name__ == "__main__":
    sys.exit(main())
