"""Measuring a task: a fine-tuned model on labelled data, or a file of predictions against it.

examples ─▶ windows ─▶ hidden states ─▶ predictions ─▶ figures, intervals, tables, the worst examples
▲
a file of predictions ────────────────────┘
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from korformer.config import build
from korformer.errors import InputError, UsageError
from korformer.evaluation.report import EvalRequest, Passage, Report, Table
from korformer.events import Listener, Notice, ignore
from korformer.model.directory import load_model
from korformer.supervised.names import repeated_ids
from korformer.supervised.running import run
from korformer.supervised.task import Example, Solver, SupervisedTask, task_of
from korformer.text.records import Problems

INTERVAL = "interval"
"""`NAME_interval` is the 95% interval of the figure NAME in the JSON object."""


def evaluate_task(task: SupervisedTask[Any], request: EvalRequest, listen: Listener = ignore) -> Report:
    """Figures of a fine-tuned model on labelled data, or of a file of predictions where `request.score` names one.

    Raises:
        PathError: a path is missing or unreadable.
        DataError, InputError: the data cannot be used.
        ModelDirectoryError: the checkpoint is none, damaged, or not of this task.
        UsageError: an option that the task does not have.
    """
    if request.score is not None:
        return _score(task, request, request.score, listen)
    return _measure(task, request, listen)


def _measure(task: SupervisedTask[Any], request: EvalRequest, listen: Listener) -> Report:
    if request.checkpoint is None:
        raise UsageError("needed", where="-m", hint=f"Give a model that was fine-tuned for {task.name}.")
    loaded = load_model(request.checkpoint, n_hashes=request.hashes, device=request.device)
    solver = task.loaded_solver(loaded, request.window, request.options)
    described = task_of(loaded)
    assert described is not None
    settings = build(task.settings, {**described.settings, **request.options}, where="--set")
    examples = _examples(task.read(request.data, settings), request)
    problems = Problems()
    solver.check(examples, problems)
    problems.refuse()
    began = time.monotonic()
    windows = solver.windows(examples)
    outputs = run(loaded.model, solver, windows, listen=listen)
    predictions = solver.predictions(examples, windows, outputs)
    seconds = time.monotonic() - began
    tokens = sum(map(len, windows))
    facts = {
        "model": str(request.checkpoint),
        "hashes": loaded.model.config.n_hashes,
        "window": solver.reader.max_tokens if solver.reader is not None else None,
        "device": str(loaded.model.device),
    }
    pace = {
        "windows": len(windows),
        "tokens": tokens,
        "seconds": round(seconds, 3),
        "examples_per_second": len(examples) / seconds if seconds else None,
        "tokens_per_second": tokens / seconds if seconds else None,
    }
    return _report(task, solver, examples, predictions, request, listen, facts, pace)


def _score(task: SupervisedTask[Any], request: EvalRequest, source: str, listen: Listener) -> Report:
    refused = {"-m": request.checkpoint, "--hashes": request.hashes, "--window": request.window}
    given = [name for name, value in refused.items() if value is not None]
    if given:
        raise UsageError(f"{' and '.join(given)} make no sense with --score, which runs no model", where="options")
    settings = build(task.settings, request.options, where="--set")
    examples = task.read_gold(request.data, settings)
    solver = task.scorer(examples, settings)
    records = solver.prediction_records(source, examples)
    known = {example.id for example in examples}
    examples = _examples(examples, request)
    problems = Problems()
    predictions = solver.read_predictions(examples, records, problems)
    problems.refuse("Mend the predictions; nothing was scored.")
    extra = sum(name not in known for name in records)
    if extra:
        listen(Notice(text=f"{extra:,} predictions have an id that the data does not have; they do not count"))
    about: dict[str, Any] = {"predictions": source, "extra_predictions": extra}
    return _report(task, solver, examples, predictions, request, listen, about, {})


def _examples(examples: list[Any], request: EvalRequest) -> list[Any]:
    if not examples:
        raise InputError("no examples in it", where=", ".join(request.data))
    return examples[: request.max_documents]


def _report(
    task: SupervisedTask[Any],
    solver: Solver[Any, Any],
    examples: Sequence[Example],
    predictions: Sequence[Any],
    request: EvalRequest,
    listen: Listener,
    facts: Mapping[str, Any],
    pace: Mapping[str, Any],
) -> Report:
    figures = solver.metrics(examples, predictions)
    intervals = solver.intervals(examples, predictions, resamples=request.resamples, seed=request.seed)
    repeated = repeated_ids(examples) if request.keep_predictions or request.score is not None else None
    for remark in [*solver.remarks(examples, predictions), *([repeated] if repeated else [])]:
        listen(Notice(text=remark, level="warning"))
    spans = {f"{name}_{INTERVAL}": list(span) if span is not None else None for name, span in intervals.items()}
    metrics = {
        "task": task.name,
        **facts,
        "data": list(request.data),
        **figures,
        **spans,
        "examples": len(examples),
        **pace,
        **solver.details(examples, predictions),
    }
    rows = [(name, _cell(value, intervals.get(name))) for name, value in figures.items()]
    rows += [("examples", f"{len(examples):,}")]
    if pace.get("examples_per_second"):
        rows += [
            ("examples a second", f"{pace['examples_per_second']:,.2f}"),
            ("tokens a second", f"{pace['tokens_per_second']:,.0f}"),
        ]
    note = "In brackets: 95% of 1,000 draws of other examples." if any(intervals.values()) else ""
    note = note.replace("1,000", f"{request.resamples:,}")
    summary = Table(title=task.name, columns=("", ""), rows=tuple(rows), note=note)
    return Report(
        metrics=metrics,
        tables=(summary, *solver.tables(examples, predictions)),
        passages=_worst(solver, examples, predictions, request.worst),
        predictions=solver.predictions_file(examples, predictions) if request.keep_predictions else None,
    )


def _cell(value: float, span: tuple[float, float] | None) -> str:
    shown = f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
    return shown if span is None else f"{shown} [{span[0]:.4f}, {span[1]:.4f}]"


def _worst(
    solver: Solver[Any, Any], examples: Sequence[Example], predictions: Sequence[Any], most: int
) -> tuple[Passage, ...]:
    """The examples with the lowest scores; no right ones."""
    scores = solver.scores(examples, predictions) if most else []
    return tuple(
        Passage(
            title=f"{examples[number].place}: {scores[number]:.2f}",
            lines=tuple(solver.context(examples[number], predictions[number]).split("\n")),
        )
        for number in lowest(scores, most)
        if scores[number] < 1
    )


def lowest(scores: Sequence[float], most: int) -> list[int]:
    """Numbers of the lowest scores, in rising order.

    Of scores that are the same, where not all have room, some at equal distances: neighbours, such as the questions of
    one text, often fail for one reason.
    """
    order = sorted(range(len(scores)), key=lambda number: (scores[number], number))
    if most >= len(order):
        return order
    edge = scores[order[most]]
    below = [number for number in order if scores[number] < edge]
    same = [number for number in order if scores[number] == edge]
    room = most - len(below)
    return below + [same[place * len(same) // room] for place in range(room)]
