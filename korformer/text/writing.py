"""Documents written out again: JSON lines, which hold any document, or blocks of lines, which any program reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from korformer.errors import UsageError
from korformer.events import Listener, Notice, ignore


def write_documents(
    documents: Iterable[str], stream: BinaryIO, layout: str = "jsonl", *, listen: Listener = ignore
) -> None:
    """Write documents as UTF-8, in order, one at a time.

    Args:
        documents: texts, none of them blank.
        stream: where to.
        layout: "jsonl" writes `{"text": …}` a line, from which the same documents are read again. "blocks" writes each
            document's lines and a blank line after them; blank lines inside a document are lost, and a Notice says so.
        listen: gets that Notice.

    Raises:
        UsageError: there is no such layout.
    """
    layouts: dict[str, Callable[[Iterable[str], Listener], Iterator[str]]] = {"jsonl": _jsonl, "blocks": _blocks}
    if layout not in layouts:
        raise UsageError(f"unknown layout {layout!r} (known: {', '.join(layouts)})", where="--format")
    for record in layouts[layout](documents, listen):
        stream.write(record.encode("utf-8"))


def _jsonl(documents: Iterable[str], _: Listener) -> Iterator[str]:
    encode = json.JSONEncoder(ensure_ascii=False).encode
    return (f"{encode({'text': text})}\n" for text in documents)


def _blocks(documents: Iterable[str], listen: Listener) -> Iterator[str]:
    changed = 0
    for text in documents:
        lines = text.split("\n")
        kept = [line for line in lines if line and not line.isspace()]
        changed += len(kept) < len(lines)
        yield "\n".join(kept) + "\n\n"
    if changed:
        lost = f"{changed:,} documents had blank lines, which blocks cannot hold: they were written without them."
        listen(Notice(text=f"{lost} JSON lines (--format jsonl) keep them.", level="warning"))
