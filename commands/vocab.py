"""`korformer vocab`: a vocabulary from a corpus, and what it is worth on text it was not learnt from."""

from __future__ import annotations

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from korformer.errors import PathError, UsageError

if TYPE_CHECKING:
    from korformer.text.vocabulary import Vocabulary
    from korformer.text.vocabulary_report import VocabularyReport

_FILES = {"tokenizer.json", "tokenizer_config.json", "vocab.txt", "manifest.json"}
"""What a vocabulary's folder holds; only a folder with nothing else is ever replaced."""
_INDENT = "   "


class Scheme(StrEnum):
    """Kinds of vocabularies."""

    lossless = "lossless"
    bert = "bert"


def command(
    corpus: Annotated[
        list[str],
        typer.Argument(
            metavar="CORPUS",
            help="Files, directories, globs in quotes, or - for standard input; .gz .bz2 .xz .zst are unpacked.",
            show_default=False,
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the vocabulary.")],
    size: Annotated[int, typer.Option(help="Tokens in all, the five special ones among them.")] = 22_000,
    scheme: Annotated[
        Scheme,
        typer.Option(
            help="lossless spells any text exactly. bert is the classic: white space is lost, and words with rare "
            "characters become [UNK]."
        ),
    ] = Scheme.lossless,
    limit_alphabet: Annotated[
        int | None,
        typer.Option(
            help="bert only: how many different characters it knows, the most frequent ones [default: 6000].",
            show_default=False,
        ),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Text for the report at the end; may be given again [default: every hundredth document of the "
            "corpus, not learnt from].",
            show_default=False,
        ),
    ] = None,
    sample_bytes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Learn from at most N bytes of text, documents drawn evenly from the whole corpus and held in "
            "memory [default: learn from everything, as a stream].",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        str, typer.Option("--from", metavar="KIND", help="Kind of the corpus, as in korformer corpus.")
    ] = "auto",
    document: Annotated[
        str, typer.Option(help="block: a blank line ends a document; file: each file is one, verbatim.")
    ] = "block",
    errors: Annotated[str, typer.Option(help="Bytes that are not text: strict, replace or skip.")] = "strict",
    force: Annotated[bool, typer.Option("--force", help="Replace a vocabulary that is in DIR.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings on stderr, and no report.")] = False,
) -> None:
    """Build a WordPiece vocabulary, and report on stderr how it splits text that it has not seen.

    DIR gets tokenizer.json, which the Hugging Face libraries read, and vocab.txt, which people do. The same corpus and
    options give the same files. Memory stays bounded however large the corpus is.
    """
    from korformer.commands.console import reporting
    from korformer.config import build
    from korformer.events import Notice
    from korformer.storage import staged_directory
    from korformer.text.documents import Documents, ReadSettings
    from korformer.text.vocabulary_report import HeldOut, measure_vocabulary
    from korformer.text.wordpiece import VocabularySettings, check_size, train_vocabulary

    given = {"limit_alphabet": limit_alphabet, "sample_bytes": sample_bytes}
    values = {name: value for name, value in given.items() if value is not None}
    settings = build(VocabularySettings, {"size": size, "scheme": scheme.value, **values}, where="vocab")
    check_size(settings)
    read = build(ReadSettings, {"format": kind, "document": document, "errors": errors}, where="vocab")
    if "-" in corpus and "-" in (held_out or []):
        raise UsageError("standard input is the corpus already", where="--held-out", hint="Name a file.")
    _check_output(output, force=force)
    with reporting(quiet=quiet) as listen:
        if "-" in corpus and sys.stdin is not None and sys.stdin.isatty():
            listen(Notice(text="reading what you type; Ctrl-D on an empty line ends it"))
        documents = Documents(corpus, read, listen=listen)
        # Held-out text is read first: what is wrong with it is told before the work, not after it.
        measured = HeldOut(documents, Documents(held_out, read, listen=listen) if held_out else None)
        vocabulary = train_vocabulary(measured.training(), settings, listen=listen)
        with staged_directory(output, replace=force) as staged:
            vocabulary.save_files(staged)
        report = None if quiet else measure_vocabulary(vocabulary, measured.documents())
    if report is not None:
        _show(report, vocabulary, is_held_out=measured.is_held_out)
    typer.echo(output)


def _check_output(output: Path, *, force: bool) -> None:
    """Refuse a folder that could not be made at the end, before the work begins.

    Raises:
        PathError: it is a file, not writable, or has something in it that may not be replaced.
    """
    from korformer.storage import check_writable

    check_writable(output)
    names = {path.name for path in output.iterdir()} if output.is_dir() else set()
    if not names:
        return
    if not force:
        raise PathError(
            "already exists and is not empty", where=str(output), hint="Choose another name, or --force to replace it."
        )
    if names - _FILES:
        other = ", ".join(sorted(names - _FILES)[:3])
        raise PathError(
            f"holds more than a vocabulary ({other}), so it is not replaced",
            where=str(output),
            hint="Choose another name.",
        )


def _show(report: VocabularyReport, vocabulary: Vocabulary, *, is_held_out: bool) -> None:
    """Put the report on stderr."""
    from korformer.commands.console import printable

    source = "text it has not seen" if is_held_out else "the text it was learnt from"
    reason = "" if is_held_out else " (too few to hold any out)"
    rows = [
        ("[UNK] rate", f"{report.unknown_rate:.3%}"),
        *([("parts of characters", f"{report.byte_rate:.3%}")] if vocabulary.scheme == "lossless" else []),
        ("characters per token", f"{report.characters_per_token:.3f}"),
        ("tokens per 어절 (word)", f"{report.tokens_per_word:.3f}"),
    ]
    lines = [
        f"The {vocabulary.scheme} vocabulary of {vocabulary.size:,} tokens on {source},",
        f"{report.documents:,} documents of {report.characters:,} characters{reason}:",
        *(f"  {_padded(name, 24)}{value:>9}" for name, value in rows),
    ]
    for split in report.splits:
        lines += ["", f"  {printable(split.text)}", *_wrapped([printable(token) for token in split.tokens])]
    print("\n".join(lines), file=sys.stderr)


def _padded(text: str, columns: int) -> str:
    """`text` and spaces up to `columns`; Korean characters are two wide."""
    from rich.cells import cell_len

    return text + " " * (columns - cell_len(text))


def _wrapped(words: list[str]) -> list[str]:
    """`words` in lines that fit the screen."""
    from rich.cells import cell_len

    columns = shutil.get_terminal_size((80, 24)).columns - 1
    lines = [_INDENT]
    for word in words:
        if cell_len(lines[-1]) + cell_len(word) + 1 > columns and lines[-1] != _INDENT:
            lines.append(_INDENT)
        lines[-1] += f" {word}"
    return lines
