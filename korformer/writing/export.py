"""A session for other programs: its text, or all of it as JSON."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from korformer.storage import write_bytes, write_json
from korformer.writing.journal import token_facts
from korformer.writing.session import Session
from korformer.writing.text_file import digest_of
from korformer.writing.tree import Node

FORMAT = "korformer-session-export"
VERSION = 1


def export_text(session: Session, path: Path) -> None:
    """Write the text as UTF-8; a file that is there is replaced.

    Raises:
        PathError, ResourceError: it cannot be written; what was there is intact.
    """
    data = session.text.encode("utf-8")
    write_bytes(path, data)
    if session.file is not None and os.path.realpath(path) == session.file:
        session.file_digest = hashlib.sha256(data).hexdigest()


def changed_outside(session: Session) -> str | None:
    """SHA-256 of what another program put into the text file of a session since it was last read or written.

    None where the session has no file, or that is gone, cannot be read or is as it was.
    """
    found = None if session.file is None else digest_of(Path(session.file))
    return None if found == session.file_digest else found


def export_json(session: Session, path: Path) -> None:
    """Write text, settings and the whole tree as one JSON object; errors as `export_text`."""
    write_json(path, as_json(session))


def as_json(session: Session) -> dict[str, Any]:
    """The session as a JSON object.

    `text` is what it says now, `spans` who wrote it. `nodes` are all versions: each is its parent's text with `removed`
    characters from `start` on replaced by `inserted`; `node` is the one whose text this is.
    """
    tree = session.versions.tree
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": session.title,
        "text": session.text,
        "cursor": session.cursor,
        "model": session.model,
        "settings": session.settings.model_dump(mode="json"),
        "spans": [{"start": span.start, "end": span.end, "origin": span.origin} for span in session.spans()],
        "node": session.node,
        "nodes": [_node(node) for node in tree.nodes.values() if node.parent is not None],
    }


def _node(node: Node) -> dict[str, Any]:
    assert node.parent is not None
    facts: dict[str, Any] = {
        "id": node.number,
        "parent": node.parent.number,
        "kind": node.kind,
        "created": node.created,
        "start": node.start,
        "removed": node.removed_length,
        "inserted": node.text,
        "origin": None if node.source is None else node.source.origin,
    }
    made = None if node.source is None else node.source.generation
    if made is not None:
        first, last = made.first_from(node.begin), made.last_until(node.end)
        facts["generation"] = {
            "model": made.model,
            "settings": made.settings,
            "seed": made.seed,
            "reason": made.reason,
            "tokens": [token_facts(token) for token in made.tokens[first:last]],
        }
    return facts
