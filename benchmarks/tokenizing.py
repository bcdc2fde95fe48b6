"""How fast does text become token ids, beside a bare loop over the `tokenizers` library?

    python benchmarks/tokenizing.py VOCABULARY FILE... [--megabytes 20] [--rounds 7] [--output RESULT.json]

VOCABULARY is a directory of `korformer vocab`. All rows tokenize the same documents, which are in memory, in the same
batches, with the same tokenizer.json, and end with lists of Python integers (the store: with files). Rows take turns,
so that a busy machine slows all alike; medians are printed. The peer is the library called directly, by its documented
`encode_batch` and by `encode_batch_fast`, which leaves out offsets; ratios are to the faster of the two.

A second table has texts of one megabyte without a space, which cost time quadratic in their length elsewhere.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import Tokenizer

from korformer import __version__
from korformer.data.store import build_store
from korformer.errors import KorformerError
from korformer.storage import write_json
from korformer.text.documents import Documents
from korformer.text.vocabulary import Vocabulary

BATCH_CHARACTERS = 1 << 20
PEERS = ("tokenizers encode_batch", "tokenizers encode_batch_fast")
OURS = "Vocabulary.encode_batch"
STORE = "build_store, onto disk"
NARROW = {
    "one syllable": "가",
    "a rare syllable": "뷁",
    "jamo": "ㅋ",
    "Latin letter": "a",
    "digit": "1",
    "number sign": "#",
    "line feed": "\n",
    "space": " ",
    "Chinese character": "漢",
    "emoji": "👨",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print both tables, and write them where asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocabulary", type=Path, help="directory of korformer vocab")
    parser.add_argument("files", nargs="+", help="text, as korformer reads it")
    parser.add_argument("--megabytes", type=float, default=20, help="UTF-8 text to tokenize at most (default 20)")
    parser.add_argument("--rounds", type=int, default=7, help="turns (default 7)")
    parser.add_argument("--output", type=Path, help="write the figures here as JSON too")
    options = parser.parse_args(arguments)
    try:
        vocabulary = Vocabulary.load(options.vocabulary)
        batches, size_bytes = read(options.files, options.megabytes * 1e6)
    except KorformerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    medians = measure(vocabulary, options.vocabulary / "tokenizer.json", batches, options.rounds)
    fastest = min(medians[name] for name in PEERS)
    print(f"{size_bytes / 1e6:.1f} MB in {sum(map(len, batches)):,} documents, {options.rounds} rounds")
    print(f"{'':<30} {'seconds':>8} {'MB/s':>7} {'of the peer’s speed':>20}")
    for name, seconds in medians.items():
        print(f"{name:<30} {seconds:>8.3f} {size_bytes / 1e6 / seconds:>7.2f} {fastest / seconds:>20.2f}")
    narrow = {name: megabyte(vocabulary, text) for name, text in unbroken().items()}
    print(f"\n{'a megabyte without a space':<30} {'seconds':>8}")
    for name, seconds in narrow.items():
        print(f"{name:<30} {seconds:>8.3f}")
    machine = {
        "python": platform.python_version(),
        "tokenizers": tokenizers.__version__,
        "korformer": __version__,
        "platform": platform.platform(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "scheme": vocabulary.scheme,
        "vocabulary_size": vocabulary.size,
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if options.output is not None:
        result = {
            "bytes": size_bytes,
            "rounds": options.rounds,
            "median_seconds": medians,
            "speed_of_the_fastest_peer": {name: fastest / seconds for name, seconds in medians.items()},
            "megabyte_without_a_space_seconds": narrow,
            **machine,
        }
        write_json(options.output, result)
    return 0


def read(files: Sequence[str], limit_bytes: float) -> tuple[list[list[str]], int]:
    """Documents in batches of about a million characters, and their size; of several files the first ones."""
    batches: list[list[str]] = [[]]
    characters = size_bytes = 0
    for document in Documents(files):
        if characters >= BATCH_CHARACTERS:
            batches.append([])
            characters = 0
        batches[-1].append(document)
        characters += len(document)
        size_bytes += len(document.encode("utf-8"))
        if size_bytes >= limit_bytes:
            break
    return batches, size_bytes


def measure(vocabulary: Vocabulary, path: Path, batches: list[list[str]], rounds: int) -> dict[str, float]:
    """Median seconds of each row."""
    peer = Tokenizer.from_file(str(path))
    peer.encode_special_tokens = vocabulary.scheme == "lossless"

    def bare() -> list[list[int]]:
        return [encoding.ids for batch in batches for encoding in peer.encode_batch(batch, add_special_tokens=False)]

    def bare_fast() -> list[list[int]]:
        return [item.ids for batch in batches for item in peer.encode_batch_fast(batch, add_special_tokens=False)]

    def ours() -> list[list[int]]:
        return [ids for batch in batches for ids in vocabulary.encode_batch(batch)]

    if not bare() == bare_fast() == ours():
        raise SystemExit("tokenizing: the rows do not give the same ids")
    with tempfile.TemporaryDirectory() as folder:

        def store() -> object:
            return build_store(
                (text for batch in batches for text in batch), vocabulary, Path(folder, "s"), replace=True
            )

        rows: dict[str, Callable[[], object]] = {PEERS[0]: bare, PEERS[1]: bare_fast, OURS: ours, STORE: store}
        taken: dict[str, list[float]] = {name: [] for name in rows}
        for _ in range(rounds):
            for name, row in rows.items():
                began = time.perf_counter()
                row()
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def unbroken() -> dict[str, str]:
    """Texts of a megabyte without a word's end."""
    draw = random.Random(1)
    texts = {name: unit * (1_000_000 // len(unit.encode("utf-8"))) for name, unit in NARROW.items()}
    texts["random syllables"] = "".join(chr(draw.randrange(0xAC00, 0xD7A4)) for _ in range(333_333))
    return texts


def megabyte(vocabulary: Vocabulary, text: str) -> float:
    """Median seconds of three."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        vocabulary.encode(text)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
