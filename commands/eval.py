"""`korformer eval`: measure a model on a task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from korformer.errors import UsageError


def command(
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", metavar="FILE...", help="Text to measure on: files, directories, globs or -; compressed or not."
        ),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="FILE", hidden=True)] = None,
    task: Annotated[str, typer.Option("--task", help="What to measure: lm (perplexity, bits per character).")] = "lm",
    model: Annotated[
        Path | None, typer.Option("-m", "--model", help="Model directory; by default the weights that ship.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    hashes: Annotated[
        int | None, typer.Option("--hashes", min=1, help="Rounds of hashing instead of the model's own number.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            help="Read token by token, as generation does, with weights in fp32, bf16 or int8; slow. By default the "
            "text is read in parallel, in fp32.",
        ),
    ] = None,
    max_documents: Annotated[
        int | None, typer.Option("--max-documents", min=1, help="Stop after this many documents.")
    ] = None,
    window: Annotated[
        int | None, typer.Option("--window", min=2, help="Most tokens of context; by default the model's window.")
    ] = None,
    context: Annotated[
        bool, typer.Option("--context/--no-context", help="Also predict late tokens with their context cut short.")
    ] = True,
    document: Annotated[
        str, typer.Option(help="block: a blank line ends a document; file: each file is one, verbatim.")
    ] = "block",
    errors: Annotated[str, typer.Option(help="Bytes that are not text: strict, replace or skip.")] = "strict",
    plot: Annotated[bool, typer.Option("--plot/--no-plot", help="Draw the figures as well.")] = True,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")] = False,
) -> None:
    """Measure a model on text it has not seen: the figures go to stdout, progress to stderr."""
    from korformer import tasks
    from korformer.commands import checkpoint
    from korformer.commands.console import reporting
    from korformer.commands.report import show
    from korformer.evaluation.report import EvalRequest

    tasks.check(task)
    # A shell turns `--data *.txt` into one option value and arguments; all of them are data.
    sources = [*(data or []), *(more or [])]
    if not sources:
        raise UsageError("needed", where="--data", hint="Give files, directories, globs or - for stdin.")
    request = EvalRequest(
        checkpoint=checkpoint.resolve(model),
        data=sources,
        document=document,
        errors=errors,
        hashes=hashes,
        weights=weights,
        max_documents=max_documents,
        window=window,
        by_context=context,
    )
    with reporting(quiet=quiet) as listen:
        report = tasks.load(task).evaluate(request, listen)
    show(report, json_output=json_output, plot=plot)
