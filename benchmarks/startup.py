"""How long does the program keep a person waiting before it does anything?

    python benchmarks/startup.py [--runs 21] [--output RESULT.json]

Times whole processes, the rows taking turns so that a busy machine slows all of them alike, and prints medians. The
peer is a bare `python -c 'import typer'`: what any program with such a command line costs at least.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import typer

from korformer import __version__
from korformer.storage import write_json

BARE, PEER, OURS = "python -c pass", "python -c 'import typer'", "korformer --help"


def rows() -> dict[str, list[str]]:
    """The command of each row, by its name."""
    program = shutil.which("korformer", path=str(Path(sys.executable).parent)) or shutil.which("korformer")
    if program is None:
        raise SystemExit("startup: the program korformer is not installed beside this Python")
    return {
        BARE: [sys.executable, "-c", "pass"],
        PEER: [sys.executable, "-c", "import typer"],
        "korformer --version": [program, "--version"],
        OURS: [program, "--help"],
        "korformer generate --help": [program, "generate", "--help"],
        "korformer pretrain --help": [program, "pretrain", "--help"],
    }


def seconds(command: list[str]) -> float:
    """Wall time of one process, from its start to its end."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=21, help="processes a row (default 21)")
    parser.add_argument("--output", type=Path, help="write the figures here as JSON too")
    options = parser.parse_args()
    commands = rows()
    for command in commands.values():  # once unmeasured: compiled modules and disk caches are there afterwards
        seconds(command)
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.runs):
        for name, command in commands.items():
            taken[name].append(seconds(command))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{'command':<28} {'median':>9} {'over the peer':>14}")
    for name, median in medians.items():
        print(f"{name:<28} {median * 1000:>6.0f} ms {(median - medians[PEER]) * 1000:>+11.0f} ms")
    machine = {
        "python": platform.python_version(),
        "typer": typer.__version__,
        "korformer": __version__,
        "platform": platform.platform(),
        "runs": options.runs,
    }
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    if options.output is not None:
        write_json(options.output, {"median_seconds": medians, **machine})


if __name__ == "__main__":
    main()
