"""A program that trains in forked processes and kills them where it is told to; torch is imported once for all of them.

It reads one JSON object a line from standard input and answers each with one on standard output:

    objective, values       settings of the run
    store, valid, vocabulary, path      folders
    processes               how many train together (1)
    kill                    {"rank", "at", "within"}: SIGKILL at that call of a function; of those within a save only
    signal                  {"rank", "step", "number"}: a signal to itself when that step is told
    fail                    {"rank", "step"}: an error that nobody foresaw, in the forward of that step

The answer: `exits` (of each process, negative for a signal), `calls` (made in all, and within saves, by the first
process of a run that was not killed), `errors` (what each process would tell, or null), `told` (whether it would).
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from korformer.data.token_store import TokenStore
from korformer.errors import KorformerError
from korformer.events import Event, Step
from korformer.objectives import objectives
from korformer.text.vocabulary import Vocabulary
from korformer.training import engine, loop
from korformer.training.distributed import joined
from korformer.training.settings import run_settings

PACKAGE = str(Path(loop.__file__).parents[1])
SECONDS = 60
"""After so long a process counts as hanging, shows where, and ends."""


class Calls:
    """Counts the calls of korformer's functions and of what they call in C, and kills the process at one of them."""

    def __init__(self, at: int | None, within: bool) -> None:
        self.every = 0
        self.saving = 0
        self._at = at
        self._within = within
        self._depth = 0

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return
        if code.co_name == "_write" and code.co_filename.endswith("loop.py"):
            self._depth += {"call": 1, "return": -1}.get(event, 0)
        if event in ("call", "c_call"):
            self.every += 1
            self.saving += self._depth > 0
            if self._at is not None and self._at == (self.saving if self._within else self.every):
                os.kill(os.getpid(), signal.SIGKILL)


def train(order: dict[str, Any], rank: int, report: Path) -> int:
    """One process of a run; its exit code."""
    calls = Calls(None, within=False)
    kill = order.get("kill")
    if kill and kill["rank"] == rank:
        calls = Calls(kill["at"], kill["within"])

    def hear(event: Event) -> None:
        asked = order.get("signal")
        if asked and asked["rank"] == rank and isinstance(event, Step) and event.step == asked["step"]:
            os.kill(os.getpid(), asked["number"])

    failing = order.get("fail")
    if failing and failing["rank"] == rank:
        accumulate = engine.Engine.accumulate

        def fail(self: engine.Engine, packs: Any, step: int, *others: Any) -> float:
            if step == failing["step"]:
                raise ZeroDivisionError
            return accumulate(self, packs, step, *others)

        engine.Engine.accumulate = fail  # type: ignore[method-assign, assignment]
    code, error = 0, None
    try:
        with joined() as group:
            data = engine.TrainingData(
                store=TokenStore.open(Path(order["store"])),
                valid=TokenStore.open(Path(order["valid"])),
                vocabulary=Vocabulary.load(Path(order["vocabulary"])),
            )
            settings = run_settings(order["objective"], order["values"])
            if order.get("count") or kill:
                sys.setprofile(calls)
            loop.pretrain(settings, data, Path(order["path"]), listen=hear, group=group)
    except KorformerError as caught:
        code, error = caught.exit_code, caught
    finally:
        sys.setprofile(None)
    facts = {
        "calls": [calls.every, calls.saving],
        "error": None if error is None else str(error),
        "told": error is not None and not error.told,
    }
    report.write_text(json.dumps(facts), encoding="utf-8")
    return code


def fork(order: dict[str, Any], rank: int, variables: dict[str, str], report: Path) -> int:
    """Start one process of a run."""
    report.unlink(missing_ok=True)
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.environ |= variables
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        code = train(order, rank, report)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """Do what one line asks."""
    processes = order.get("processes", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    reports = [Path(f"{order['path']}.{rank}.json") for rank in range(processes)]
    for rank, report in enumerate(reports):
        variables = {
            "RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        children.append(fork(order, rank, variables, report))
    exits = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    facts = [json.loads(report.read_text(encoding="utf-8")) if report.exists() else {} for report in reports]
    return {
        "exits": exits,
        "calls": facts[0].get("calls"),
        "errors": [each.get("error") for each in facts],
        "told": [each.get("told", False) for each in facts],
    }


if __name__ == "__main__":
    objectives()
    torch.optim.AdamW([torch.zeros(1)])  # imports for seconds what each process would import anew
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)
