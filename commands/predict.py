"""`korformer predict`: a fine-tuned model on one's own text, a JSON line for each line as it comes."""

from __future__ import annotations

import json
import queue
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from korformer.commands import options
from korformer.errors import UsageError

if TYPE_CHECKING:
    from korformer.supervised.predicting import Line

MOST_LINES = 64
"""Lines that are answered together, where so many are there."""


def command(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE|-]...", help="One's own text, a line each, or JSON lines; - is stdin."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("-m", "--model", metavar="DIR", help="Model directory that `finetune` has made.")
    ] = None,
    assignments: options.TaskSettings = None,
    hashes: options.Hashes = None,
    window: options.Window = None,
    device: options.Device = "auto",
) -> None:
    """Answer one's own text: labels, entities, answers or scores, whatever the model was fine-tuned for."""
    from korformer.commands import checkpoint
    from korformer.model.directory import load_model
    from korformer.storage.atomic import finite
    from korformer.supervised.predicting import predict
    from korformer.supervised.task import task_of
    from korformer.tasks import trainable

    if not files and (sys.stdin is None or sys.stdin.isatty()):
        raise UsageError("needed: a file, or - for stdin", where="FILE", hint="Or pipe text into it.")
    path = checkpoint.resolve(model)
    loaded = load_model(path, n_hashes=hashes, device=device)
    described = task_of(loaded)
    task = described.name if described is not None else "lm"
    predictor = trainable(task).predictor(loaded, window, options.task_settings(assignments, task))
    for answer in predict(predictor, _groups(files or ["-"])):
        sys.stdout.write(json.dumps(finite(answer), ensure_ascii=False, allow_nan=False) + "\n")
        sys.stdout.flush()


def _groups(sources: list[str]) -> Iterator[list[Line]]:
    """Lines as they come: never waits for a second one while one is there to be answered."""
    from korformer.text.records import arriving_lines

    lines: queue.Queue[Line | BaseException | None] = queue.Queue(maxsize=4 * MOST_LINES)
    left = threading.Event()

    def put(item: Line | BaseException | None) -> None:
        while not left.is_set():
            try:
                lines.put(item, timeout=0.5)
            except queue.Full:
                continue
            return

    def read() -> None:
        try:
            for line in arriving_lines(sources):
                put(line)
                if left.is_set():
                    return
        except BaseException as error:  # raised again where it is heard
            put(error)
        else:
            put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        while True:
            group: list[Line] = []
            item = lines.get()
            while item is not None and not isinstance(item, BaseException):
                group.append(item)
                if len(group) == MOST_LINES:
                    break
                try:
                    item = lines.get_nowait()
                except queue.Empty:
                    break
            if group:
                yield group
            if isinstance(item, BaseException):
                raise item
            if item is None:
                return
    finally:
        left.set()
