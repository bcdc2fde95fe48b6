"""Blue House petitions (청와대 국민청원, lovit/petitions_archive): JSON lines; a document is the title and the content.

    {"category": …, "begin": "2018-05-01", "end": …, "content": …, "num_agree": 12, "petition_idx": "1",
     "status": …, "title": …}

Petitions without content are empty.
"""

from __future__ import annotations

from collections.abc import Iterator

from korformer.text.reading import TextReader
from korformer.text.sources import Likeness, SourceKind, leading_members
from korformer.text.sources.jsonl import objects


def _recognise(head: str) -> Likeness:
    members = leading_members(head)
    # A long content may hide the members after it, so those that stand before it must do.
    special = "petition_idx" in members or {"content", "num_agree"} <= members.keys()
    special = special or {"category", "begin", "content"} <= members.keys()
    return Likeness.SPECIFIC if special else Likeness.NONE


def _read(reader: TextReader) -> Iterator[str]:
    for number, petition in objects(reader):
        title, content = petition.get("title", ""), petition.get("content")
        if isinstance(content, str) and isinstance(title, str):
            yield f"{title.strip()}\n{content.strip()}".strip() if content.strip() else ""
        else:
            reader.reject('not a petition: "title" and "content" must be strings', line=number)


KIND = SourceKind(name="petitions", description="petitions archive, JSON lines", recognise=_recognise, read=_read)
