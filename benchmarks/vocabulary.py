"""How long does a vocabulary take to learn, how much memory, and is it the same the next time?

    python benchmarks/vocabulary.py FILE... [--size 22000] [--runs 2] [--output RESULT.json]

Every run is a process of its own, rows taking turns: `korformer vocab` in both schemes, reading the files included, and
as the peer `tokenizers.BertWordPieceTokenizer` trained from the same documents with the same settings. Medians of
the wall time and the largest memory are printed, and whether all runs of a row gave the same vocabulary.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import tokenizers

from korformer import __version__
from korformer.storage import write_json

PEER = "tokenizers BertWordPieceTokenizer"
PEER_SCRIPT = """
import sys
from tokenizers import BertWordPieceTokenizer
from korformer.text.documents import Documents
output, size, *files = sys.argv[1:]
tokenizer = BertWordPieceTokenizer(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False)
tokenizer.train_from_iterator(Documents(files), vocab_size=int(size), limit_alphabet=6000, show_progress=False)
tokenizer.save_model(output)
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way of learning a vocabulary: median seconds, largest memory, whether every run gave the same."""

    name: str
    seconds: float
    peak_bytes: int
    same_every_time: bool | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One process: how long, how much memory, and the SHA-256 of vocab.txt."""

    seconds: float
    peak_bytes: int
    digest: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write it where asked; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="corpus, as korformer reads it")
    parser.add_argument("--size", type=int, default=22_000, help="tokens (default 22,000)")
    parser.add_argument("--runs", type=int, default=2, help="runs of each row (default 2)")
    parser.add_argument("--output", type=Path, help="write the figures here as JSON too")
    options = parser.parse_args(arguments)
    commands = {
        f"korformer vocab --scheme {scheme}": [
            *("-m", "korformer.commands.app", "vocab", *options.files, "--force", "--quiet"),
            *("--scheme", scheme, "--size", str(options.size), "-o", "OUTPUT"),
        ]
        for scheme in ("lossless", "bert")
    }
    commands[PEER] = ["-c", PEER_SCRIPT, "OUTPUT", str(options.size), *options.files]
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(options.runs):
        for name, command in commands.items():
            runs[name].append(run(command))
    rows = [row(name, taken) for name, taken in runs.items()]
    print(f"{'':<34} {'seconds':>8} {'peak memory':>12}   every run the same")
    for each in rows:
        same = {True: "yes", False: "no", None: "(one run)"}[each.same_every_time]
        print(f"{each.name:<34} {each.seconds:>8.1f} {each.peak_bytes / 1e9:>9.2f} GB   {same}")
    machine = {
        "python": platform.python_version(),
        "tokenizers": tokenizers.__version__,
        "korformer": __version__,
        "platform": platform.platform(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "size": options.size,
        "runs": options.runs,
        "corpus_bytes_on_disk": sum(Path(name).stat().st_size for name in options.files if Path(name).is_file()),
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if options.output is not None:
        write_json(options.output, {"rows": [asdict(each) for each in rows], **machine})
    return 0


def run(command: list[str]) -> Run:
    """One process, from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, *(folder if word == "OUTPUT" else word for word in command)]
        began = time.perf_counter()
        quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        _, status, usage = os.wait4(os.posix_spawn(sys.executable, words, os.environ, file_actions=quiet), 0)
        seconds = time.perf_counter() - began
        if status:
            raise SystemExit(f"vocabulary: a run failed ({' '.join(words[:6])} …)")
        unit = 1 if sys.platform == "darwin" else 1024
        digest = hashlib.sha256(Path(folder, "vocab.txt").read_bytes()).hexdigest()
        return Run(seconds=seconds, peak_bytes=usage.ru_maxrss * unit, digest=digest)


def row(name: str, runs: list[Run]) -> Row:
    """What the runs of one row came to."""
    return Row(
        name=name,
        seconds=statistics.median(each.seconds for each in runs),
        peak_bytes=max(each.peak_bytes for each in runs),
        same_every_time=len({each.digest for each in runs}) == 1 if len(runs) > 1 else None,
    )


if __name__ == "__main__":
    sys.exit(main())
