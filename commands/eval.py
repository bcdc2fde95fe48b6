"""`korformer eval`: measure a model on a task, or a file of predictions against the data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from korformer.commands import options
from korformer.errors import UsageError


def command(
    line: typer.Context,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", metavar="FILE...", help="Data to measure on: files, directories, globs or -; compressed or not."
        ),
    ] = None,
    task: Annotated[
        str,
        typer.Option(
            "--task",
            help="What to measure: lm (perplexity, bits per character), passkey (recall over long contexts), korquad, "
            "ner, classify, pair.",
        ),
    ] = "lm",
    model: Annotated[
        Path | None,
        typer.Option("-m", "--model", help="Model directory; for lm and passkey by default the weights that ship."),
    ] = None,
    score: Annotated[
        str | None,
        typer.Option("--score", metavar="PREDICTIONS", help="Score this file of predictions; no model is run."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option("--predictions", metavar="OUT", help="Write the model's predictions to this new file."),
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    assignments: options.TaskSettings = None,
    hashes: options.Hashes = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="lm: read token by token, as generation does, with weights in fp32, bf16 or int8; slow. By default "
            "the text is read in parallel, in fp32.",
        ),
    ] = None,
    max_documents: Annotated[
        int | None,
        typer.Option("--max-documents", "--max-examples", min=1, help="Stop after this many documents or examples."),
    ] = None,
    window: options.Window = None,
    context: Annotated[
        bool, typer.Option("--context/--no-context", help="lm: also predict late tokens with their context cut short.")
    ] = True,
    document: Annotated[
        str, typer.Option(help="lm: block: a blank line ends a document; file: each file is one, verbatim.")
    ] = "block",
    errors: Annotated[str, typer.Option(help="lm: bytes that are not text: strict, replace or skip.")] = "strict",
    worst: Annotated[int, typer.Option("--worst", min=0, help="Show this many of the worst examples.")] = 5,
    resamples: Annotated[
        int, typer.Option("--resamples", min=0, help="Draws of the bootstrap for 95% intervals; 0 leaves them out.")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of these draws, and of what passkey hides.")] = 0,
    device: options.Device = "auto",
    plot: Annotated[bool, typer.Option("--plot/--no-plot", help="Draw the figures as well.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Measure a model on data it has not seen: the figures go to stdout, progress to stderr."""
    from korformer import tasks
    from korformer.commands import checkpoint
    from korformer.commands.console import reporting
    from korformer.commands.report import show, write_predictions
    from korformer.evaluation.report import EvalRequest
    from korformer.storage import check_new

    tasks.check(task)
    _refuse_without_use(task, line)
    sources = data or []
    if not sources and tasks.needs_data(task):
        raise UsageError("needed", where="--data", hint="Give files, directories, globs or - for stdin.")
    if score is not None and predictions is not None:
        raise UsageError(
            "exclude each other: one reads predictions, the other writes them", where="--score, --predictions"
        )
    if score == "-" and "-" in sources:
        raise UsageError("standard input can be read only once", where="--data, --score")
    if predictions is not None:
        check_new(predictions)
    settings = options.task_settings(assignments, task)
    request = EvalRequest(
        checkpoint=None if score is not None and model is None else checkpoint.resolve(model),
        data=sources,
        score=score,
        keep_predictions=predictions is not None,
        document=document,
        errors=errors,
        hashes=hashes,
        weights=weights,
        max_documents=max_documents,
        window=window,
        by_context=context,
        options=settings,
        resamples=resamples,
        worst=0 if json_output else worst,
        seed=seed,
        device=device,
    )
    with reporting(quiet=quiet) as listen:
        report = tasks.load(task).evaluate(request, listen)
        if predictions is not None:
            write_predictions(predictions, report, listen)
    show(report, json_output=json_output, plot=plot)


def _refuse_without_use(task: str, line: typer.Context) -> None:
    """Stop where an option was given that says nothing to the task: its figures would pass for something else."""
    from korformer import tasks

    without_use = tasks.options_without_use(task)
    given = [
        "/".join(name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--"))
        for parameter in line.command.params
        if parameter.name is not None
        and getattr(line.get_parameter_source(parameter.name), "name", None) == "COMMANDLINE"
        and without_use.intersection(parameter.opts)
    ]
    if given:
        raise UsageError(f"does not use {' and '.join(given)}", where=f"--task {task}", hint="Leave that out.")
