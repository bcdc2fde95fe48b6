"""Whether a text ends where a sentence does."""

from __future__ import annotations

import re

TAIL_CHARACTERS = 2000
"""How far back a quotation mark that is still open is looked for."""

_END = re.compile(r"""(?:[!?。！？…‥]|(?<![0-9])\.)[.!?。！？…‥]*["'”’」』》〉)\]]*\s*\Z""")
_PAIRS = ("“”", "「」", "『』", "《》", "〈〉", "()", "[]")


def ends_sentence(text: str) -> bool:
    """Whether a sentence, or the line, ends where `text` does.

    A full stop behind a digit may be that of a number or a list and does not count, nor does a mark inside of a
    quotation or a bracket that is still open: the sentence ends behind what closes it.
    """
    if text.endswith("\n"):
        return True
    line = text[-TAIL_CHARACTERS:].rpartition("\n")[2]
    if _END.search(line) is None or line.count('"') % 2:
        return False
    return all(line.count(pair[0]) <= line.count(pair[1]) for pair in _PAIRS)
