"""What the benchmarks share: a process of its own for each measurement, peak memory, medians, and results as JSON.

A measurement is a Python script started with `--measure SPECIFICATION` (one JSON object); it prints one JSON object as
its last line. So the peak memory is the measured system's alone, nothing is left over from another one, and a system
that runs out of memory takes nobody with it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

import korformer
from korformer import __version__
from korformer.storage import write_json

Facts = dict[str, Any]

RESULTS = Path(__file__).parent / "results"
"""Where the figures of docs/benchmarks.md lie."""

PARTIAL = ".partial.jsonl"
"""Ending of the file that keeps the measurements of a benchmark that is under way."""

PEER_PACKAGES = ("reformer-pytorch", "transformers")


def environment() -> Facts:
    """Versions, threads and processor: what the figures depend on beside the settings."""
    return {
        "korformer": __version__,
        "torch": torch.__version__,
        **{name: version(name) for name in PEER_PACKAGES},
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
    }


def _status_bytes(field_name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field_name + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit("memory is read from /proc/self/status, which this system does not have")


def resident_bytes() -> int:
    """Memory of this process now."""
    return _status_bytes("VmRSS")


def peak_bytes() -> int:
    """Highest memory of this process so far.

    Unlike getrusage's figure it begins with this program and not with the process that started it.
    """
    return _status_bytes("VmHWM")


@dataclass
class Measurements:
    """What was measured of each system, run after run."""

    runs: dict[str, list[Facts]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def median(self, name: str, key: str) -> float:
        """Median over the runs of a system."""
        return statistics.median(run[key] for run in self.runs[name])


class Journal:
    """Measurements of a benchmark that is under way, kept in a file so that one that was stopped goes on.

    Each is kept as soon as it is made. What the file holds of other code, or of another machine or library, is dropped.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: dict[str, list[Facts]] = {}
        head = json.dumps({"sources": sources_fingerprint(), "environment": environment()})
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if lines and lines[0] == head:
            for line in lines[1:]:
                with suppress(json.JSONDecodeError):  # a last line that was cut off
                    entry = json.loads(line)
                    self._kept.setdefault(entry["key"], []).append(entry["facts"])
            print(f"going on with the {len(lines) - 1} measurements of {path.name}", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(head + "\n", encoding="utf-8")

    def take(self, key: str) -> Facts | None:
        """The next kept measurement of this kind; each is given once."""
        kept = self._kept.get(key)
        return kept.pop(0) if kept else None

    def add(self, key: str, facts: Facts) -> None:
        """Keep a measurement."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "facts": facts}) + "\n")


_journal: ContextVar[Journal | None] = ContextVar("journal", default=None)


def sources_fingerprint() -> str:
    """SHA-256 of the code that is measured and of what measures it."""
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*here.glob("*.py"), *Path(korformer.__file__).parent.rglob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def measure(script: str | Path, specification: Mapping[str, Any]) -> Facts:
    """One measurement in a process of its own, or the one that a stopped benchmark has made.

    Raises:
        RuntimeError: it failed; the message is the last line of its stderr, or how it was killed.
    """
    key = f"{Path(script).name} {json.dumps(specification, sort_keys=True)}"
    journal = _journal.get()
    facts = journal.take(key) if journal is not None else None
    if facts is None:
        facts = _measure(script, specification)
        if journal is not None:
            journal.add(key, facts)
    return facts


def _measure(script: str | Path, specification: Mapping[str, Any]) -> Facts:
    command = [sys.executable, str(script), "--measure", json.dumps(specification)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        killed = f"killed by signal {-done.returncode} (9 is what a machine out of memory sends)"
        raise RuntimeError(killed if done.returncode < 0 else said[-1] if said else f"exit code {done.returncode}")
    return cast("Facts", json.loads(done.stdout.strip().splitlines()[-1]))


def interleave(
    script: str | Path, specifications: Mapping[str, Mapping[str, Any]], rounds: int, *, quiet: bool = False
) -> Measurements:
    """Measure every system `rounds` times, the systems taking turns so that a busy machine slows all of them alike."""
    result = Measurements({name: [] for name in specifications})
    for number in range(rounds):
        for name, specification in specifications.items():
            if name in result.failures:
                continue
            try:
                facts = measure(script, specification)
            except RuntimeError as error:
                result.failures[name] = str(error)
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                continue
            result.runs[name].append(facts)
            if not quiet:
                shown = ", ".join(f"{key} {value:.4g}" for key, value in facts.items() if isinstance(value, float))
                print(f"  round {number + 1}/{rounds}  {name}: {shown}", file=sys.stderr, flush=True)
    return result


def line_through(depths: Sequence[int], values: Sequence[float], depth: int) -> float:
    """The value at `depth` on the least-squares line through values at other depths."""
    middle, mean = statistics.fmean(depths), statistics.fmean(values)
    squares = sum((x - middle) ** 2 for x in depths)
    slope = sum((x - middle) * (y - mean) for x, y in zip(depths, values, strict=True)) / squares
    return mean + slope * (depth - middle)


def settings_from(pairs: Iterable[str]) -> Facts:
    """`--set name=value` options as a dictionary; values are JSON where they can be, else text."""
    values = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator:
            raise SystemExit(f"--set {pair}: write name=value")
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError:
            values[name] = text
    return values


def arguments_parser(document: str | None) -> argparse.ArgumentParser:
    """The options that all these benchmarks have."""
    parser = argparse.ArgumentParser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="write the figures here as JSON too")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser


def run_benchmark(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    measurement: Callable[[Facts], Facts],
    benchmark: Callable[[argparse.Namespace], tuple[Facts, str, list[str]]],
) -> int:
    """Be the measured process, or measure, print the table and write the figures. Returns the exit code.

    Where figures are to be written, measurements are kept one by one in a file beside them until all are there: the
    same command goes on from them after it was stopped.

    Args:
        parser: of the options.
        arguments: the command line, or None for that of the process.
        measurement: one measurement, from its specification.
        benchmark: everything, from the options; figures, the printed table, and the names of systems that were
            skipped. Figures of a comparison that lacks a peer are not written.
    """
    options = parser.parse_args(arguments)
    if options.measure is not None:
        print(json.dumps(measurement(json.loads(options.measure))))
        return 0
    _journal.set(Journal(options.output.with_suffix(PARTIAL)) if options.output is not None else None)
    figures, table, skipped = benchmark(options)
    print(table)
    facts = environment()
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    if skipped:
        print(f"skipped: {', '.join(skipped)}; nothing is written", file=sys.stderr)
        return 1
    if options.output is not None:
        given = sys.argv[1:] if arguments is None else list(arguments)
        script = Path(sys.argv[0]).name if arguments is None else parser.prog
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_json(options.output, {"command": " ".join([script, *given]), "environment": facts, **figures})
        options.output.with_suffix(PARTIAL).unlink(missing_ok=True)
    return 0
