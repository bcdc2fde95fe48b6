"""`korformer corpus`: raw sources to documents, in one file."""

from __future__ import annotations

import pkgutil
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from korformer.errors import PathError, UsageError

if TYPE_CHECKING:
    from korformer.text.documents import Counts, Documents


def _kinds() -> list[str]:
    """Names of the kinds of sources, without importing them: help is to be quick."""
    import korformer.text

    return sorted(module.name for module in pkgutil.iter_modules([str(Path(korformer.text.__path__[0], "sources"))]))


class _Layout(StrEnum):
    JSONL = "jsonl"
    BLOCKS = "blocks"


class _Document(StrEnum):
    BLOCK = "block"
    FILE = "file"


class _Errors(StrEnum):
    STRICT = "strict"
    REPLACE = "replace"
    SKIP = "skip"


def command(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Files, directories, globs in quotes, or - for standard input; .gz .bz2 .xz .zst are unpacked.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Where the documents go; - for standard output. A name with .gz, .bz2, .xz or .zst is compressed.",
        ),
    ],
    layout: Annotated[
        _Layout | None,
        typer.Option(
            "--format",
            help='jsonl: {"text": …} a line, nothing lost. blocks: lines, a blank line after each document. '
            "By default jsonl, or blocks for a FILE named .txt.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="KIND",
            help=f"Kind of the sources: {', '.join(_kinds())}; auto looks at each file.",
        ),
    ] = "auto",
    document: Annotated[
        _Document,
        typer.Option(help="In plain text: block ends a document at a blank line, file keeps each file whole."),
    ] = _Document.BLOCK,
    errors: Annotated[
        _Errors,
        typer.Option(help="At bytes that are not UTF-8: strict stops, replace puts U+FFFD, skip drops the document."),
    ] = _Errors.STRICT,
    dedup: Annotated[
        bool, typer.Option("--dedup", help="Drop documents that are exactly like an earlier one.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings on stderr.")] = False,
) -> None:
    """Turn raw text of any kind into documents: NFC, UTF-8, streamed, so that size does not matter."""
    from korformer.commands.console import reporting
    from korformer.events import Notice
    from korformer.text.documents import Documents, ReadSettings
    from korformer.text.writing import write_documents

    settings = ReadSettings(format=kind, document=document.value, errors=errors.value, dedup=dedup)
    with reporting(quiet=quiet) as listen:
        if "-" in sources and sys.stdin is not None and sys.stdin.isatty():
            listen(Notice(text="reading what you type; Ctrl-D on an empty line ends it"))
        documents = Documents(sources, settings, listen=listen)
        _refuse_to_overwrite_sources(documents, output)
        with _destination(output) as stream:
            write_documents(documents, stream, _layout(layout, output), listen=listen)
        listen(Notice(text=_summary(documents.counts)))


def _layout(asked: _Layout | None, output: str) -> str:
    if asked:
        return asked.value
    from korformer.text.compression import SUFFIXES

    name = Path(output)
    plain = name.with_suffix("") if name.suffix in SUFFIXES else name
    return "blocks" if plain.suffix == ".txt" else "jsonl"


@contextmanager
def _destination(output: str) -> Iterator[BinaryIO]:
    """The stream to write documents to; a file appears only when all of them are in it."""
    from korformer.storage import check_writable, open_durable
    from korformer.text.compression import compressed

    if output == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    if path.is_dir():
        raise PathError("is a directory", where=output, hint=f"Name a file, such as {path / 'corpus.jsonl'}.")
    if not path.parent.is_dir():
        raise PathError(
            "its directory does not exist", where=output, hint=f"Make it: mkdir -p {shlex.quote(str(path.parent))}"
        )
    check_writable(path.parent)
    with open_durable(path) as file, compressed(file, output) as stream:
        yield stream


def _refuse_to_overwrite_sources(documents: Documents, output: str) -> None:
    if output == "-" or not Path(output).is_file():
        return
    for file in documents.files:
        if file.path is not None and file.path.is_file() and file.path.samefile(output):
            raise UsageError(
                "would be overwritten, and is a source too", where=output, hint="Write to another file or folder."
            )


def _summary(counts: Counts) -> str:
    parts = [
        f"{counts.documents:,} documents",
        f"{counts.characters:,} characters",
        f"{counts.lines:,} lines",
        f"{counts.duplicates:,} duplicates",
        f"{counts.empty:,} empty",
        f"{counts.undecodable:,} undecodable",
        *([f"{counts.malformed:,} malformed"] if counts.malformed else []),
    ]
    return ", ".join(parts)
