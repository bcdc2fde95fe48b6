"""`korformer vocab`: a vocabulary from a corpus, and what it is worth on text it was not learnt from."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from korformer.errors import PathError, UsageError

if TYPE_CHECKING:
    from korformer.events import Listener
    from korformer.text.documents import ReadSettings
    from korformer.text.vocabulary import Vocabulary
    from korformer.text.vocabulary_report import VocabularyReport
    from korformer.text.wordpiece import VocabularySettings

_FILES = {"tokenizer.json", "tokenizer_config.json", "vocab.txt", "manifest.json"}
"""What a vocabulary's folder holds; only a folder with nothing else is ever replaced."""


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
    from korformer.storage import staged_directory
    from korformer.text.documents import Documents, ReadSettings
    from korformer.text.vocabulary_report import HeldOut
    from korformer.text.wordpiece import VocabularySettings, check_size, train_vocabulary

    given = {"limit_alphabet": limit_alphabet, "sample_bytes": sample_bytes}
    values = {"size": size, "scheme": scheme.value, **{name: value for name, value in given.items() if value is not None}}
    settings = build(VocabularySettings, values, where="vocab")
    check_size(settings)
    read = build(ReadSettings, {"format": kind, "document": document, "errors": errors}, where="vocab")
    _check_output(output, force)
    with reporting(quiet=quiet) as listen:
        reserved = Documents(held_out, read, listen=listen) if held_out else None
        documents = HeldOut(Documents(corpus, read, listen=listen))
        ...
