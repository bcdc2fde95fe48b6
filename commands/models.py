"""`korformer models`: the model directories there are, what one is, whether it is whole, a copy of it for others."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from korformer.commands import checkpoint
from korformer.errors import InputError

if TYPE_CHECKING:
    from korformer.model.catalogue import ModelFacts
    from korformer.model.found import FoundModel


class Weights(StrEnum):
    """How the weights of a copy are stored."""

    fp32 = "fp32"
    bf16 = "bf16"


def list_models(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[DIR]...", help="Folders that hold models [default: checkpoints, and what ships]."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a model and line.")] = False,
) -> None:
    """List model directories, newest first."""
    from korformer.errors import KorformerError, PathError
    from korformer.model.catalogue import facts_of
    from korformer.model.found import find_models, usual_places

    for folder in folders or []:
        if not folder.exists():
            raise PathError("no such folder", where=str(folder))
    found = find_models(folders or usual_places())
    if not found:
        print("no models; `korformer pretrain` makes one", file=sys.stderr)
        return
    rows = []
    for model in found:
        try:
            facts = facts_of(model.path)
        except KorformerError as error:
            rows.append([str(model.path), "damaged: " + str(error), "", "", ""])
            continue
        if as_json:
            print(json.dumps(_line(model, facts), ensure_ascii=False))
        rows.append(_row(facts))
    if not as_json:
        _print_table(["model", "learnt", "parameters", "window", "weights"], rows)


def info(
    model: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A model directory [default: the weights that ship].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    card: Annotated[bool, typer.Option("--card", help="Print the model card.")] = False,
) -> None:
    """Show what a model is: its shape, its vocabulary, what it was trained for."""
    from korformer.commands.console import printable
    from korformer.model.catalogue import facts_of

    facts = facts_of(checkpoint.resolve(model))
    if card:
        sys.stdout.write(printable(facts.card, keep="\n"))
        return
    if as_json:
        print(json.dumps(_details(facts), ensure_ascii=False, indent=2))
        return
    lines = {
        "directory": str(facts.path),
        "objective": facts.objective + (f", fine-tuned for {facts.task}" if facts.task else ""),
        "parameters": f"{facts.parameters:,}",
        "weights on disk": f"{facts.stored}, {facts.weights_bytes / 1e6:.1f} MB",
        "vocabulary": f"{facts.vocabulary.get('size', '?'):,} tokens, {facts.vocabulary.get('scheme', '?')}",
        **{f"model.{name}": _short(value) for name, value in facts.model.items() if value not in (None, False, [], {})},
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:{width}}  {printable(value)}")


def verify(
    models: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Model directories.")],
) -> None:
    """Check model directories: every file against the manifest, and that the parts fit together."""
    from korformer.errors import KorformerError
    from korformer.model.catalogue import verify as check

    failed: KorformerError | None = None
    for model in models:
        path = checkpoint.resolve(model)
        try:
            check(path)
        except KorformerError as error:
            if len(models) == 1:
                raise
            failed = failed or error
            print(f"{path}: {error}")
        else:
            print(f"{path}: whole")
    if failed is not None:
        raise failed


def pack(
    model: Annotated[Path, typer.Argument(metavar="DIR", help="A model directory, such as a run's.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A new folder for the copy.")],
    weights: Annotated[Weights, typer.Option(help="How its weights are stored.")] = Weights.bf16,
    card: Annotated[Path | None, typer.Option(metavar="FILE", help="Model card to give it [default: its own].")] = None,
) -> None:
    """Copy a model for others to use: without steps, metrics and optimizer, and at half the size."""
    from korformer.model.catalogue import pack as copy

    text = _text_of(card) if card is not None else None
    if text is not None and not text.strip():
        raise InputError("is empty", where=str(card), hint="Leave --card away to keep the model's own.")
    print(copy(checkpoint.resolve(model), output, weights=weights.value, card=text))


COMMANDS = {"list": list_models, "info": info, "verify": verify, "pack": pack}


def _text_of(file: Path) -> str:
    from korformer.text.files import expand, open_input

    parts = []
    for found in expand([str(file)]):
        with open_input(found) as stream:
            parts.append(stream.read())
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start:,}", where=str(file)) from error


def _row(facts: ModelFacts) -> list[str]:
    shape = f"{facts.parameters / 1e6:.1f}M"
    window = facts.model.get("max_seq_len")
    return [
        str(facts.path),
        facts.task or facts.objective,
        shape,
        f"{window:,}" if isinstance(window, int) else "?",
        f"{facts.stored} {facts.weights_bytes / 1e6:.1f} MB",
    ]


def _line(model: FoundModel, facts: ModelFacts) -> dict[str, object]:
    return {**_details(facts), "modified": model.modified}


def _details(facts: ModelFacts) -> dict[str, object]:
    return {
        "path": str(facts.path),
        "objective": facts.objective,
        "task": facts.task,
        "parameters": facts.parameters,
        "stored": facts.stored,
        "weights_bytes": facts.weights_bytes,
        "model": dict(facts.model),
        "vocabulary": dict(facts.vocabulary),
    }


def _short(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else json.dumps(value)


def _print_table(head: list[str], rows: list[list[str]]) -> None:
    from rich.cells import cell_len

    from korformer.commands.console import printable

    grid = [head, *[[printable(cell) for cell in row] for row in rows]]
    widths = [max(cell_len(row[column]) for row in grid) for column in range(len(head))]
    for row in grid:
        cells = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
