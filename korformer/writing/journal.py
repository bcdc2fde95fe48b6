"""The actions of a session as the lines of a file, and back.

Each line is a JSON object `{"c": CRC-32 of the rest, "n": its number, "op": ...}`, the first one the header. A line is
written at once and never changed, so whatever stops a writer leaves a whole session of a moment before. Because of the
sum and the number every damaged, missing or exchanged line is found.

A token is a list: id, text, logprob, filtered probability, entropy, 1 if it was chosen, candidates as lists of id,
text, probability, filtered probability and 1 if kept.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from korformer.errors import InputError
from korformer.writing.records import Candidate, TokenRecord
from korformer.writing.versions import Action, Versions

FORMAT = "korformer-session"
VERSION = 1

_HEAD = len('{"c": "00000000", ')


class Damaged(InputError):
    """A session whose file is not as it was written.

    Attributes:
        versions: the session as the lines before the damage have it.
        lines: how many those are.
    """

    def __init__(self, what: str, *, where: str, versions: Versions, lines: int) -> None:
        super().__init__(
            what,
            where=where,
            hint=f"The {lines:,} lines before can be recovered; the damaged file is kept beside them then."
            if lines > 1
            else "Open a copy of it, or begin a new session.",
        )
        self.versions = versions
        self.lines = lines


def lines_of(actions: Iterable[Action], *, first: int) -> Iterator[bytes]:
    """A line for each action.

    Args:
        actions: in order; neighbours that are one are made one.
        first: number of the first line.
    """
    for number, action in enumerate(_joined(actions), first):
        yield _line(number, action)


def header() -> bytes:
    """The first line of a file, number 0."""
    return _line(0, {"op": "header", "format": FORMAT, "version": VERSION})


def read(data: bytes, *, where: str) -> tuple[Versions, int]:
    """The session that lines make up, and how many they are. Half a line at the end, of a killed writer, is left out.

    Raises:
        Damaged: a line is not as it was written, or makes no sense. InputError: not a session, or of another version.
    """
    versions = Versions()
    lines = data.split(b"\n")[:-1]
    _check_header(lines[0] if lines else b"", where)
    for number, line in enumerate(lines):
        try:
            action = _action(number, line)
            if number:
                versions.do(action)
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
            raise Damaged(f"is damaged at line {number + 1:,}", where=where, versions=versions, lines=number) from error
    return versions, len(lines)


def _check_header(line: bytes, where: str) -> None:
    kind = version = None
    with contextlib.suppress(ValueError, AttributeError, RecursionError):
        found = json.loads(line)
        kind, version = found.get("format"), found.get("version")
    if kind != FORMAT:
        raise InputError(
            "is not a session of korformer", where=where, hint="A text file is opened by its own name as FILE."
        )
    if version != VERSION:
        raise InputError(
            f"has version {version!r}, this korformer reads {VERSION}",
            where=where,
            hint="Install the korformer that wrote it, or a newer one.",
        )


def _line(number: int, action: Action) -> bytes:
    body = json.dumps({"n": number, **action}, ensure_ascii=False, allow_nan=False, default=_plain).encode()
    return b'{"c": "%08x", ' % zlib.crc32(body) + body[1:] + b"\n"


def _plain(value: object) -> object:
    if isinstance(value, TokenRecord):
        return _token_list(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def _action(number: int, line: bytes) -> dict[str, Any]:
    """The action of a line.

    Raises:
        ValueError, KeyError, TypeError: it is not as it was written.
    """
    action: dict[str, Any] = json.loads(line)
    if action.pop("c") != f"{zlib.crc32(b'{' + line[_HEAD:]):08x}" or action.pop("n") != number:
        raise ValueError("the sum or the number is another")
    if "tokens" in action:
        action["tokens"] = tuple(_token(token) for token in action["tokens"])
    return action


def _joined(actions: Iterable[Action]) -> Iterator[Action]:
    """The actions, typing and generating in one go made one action."""
    held: dict[str, Any] | None = None
    for action in actions:
        if held is not None and action["op"] == "grow" and held["op"] == "grow" and held["id"] == action["id"]:
            held["text"] += action["text"]
            if "tokens" in action:
                held["tokens"] = (*held.get("tokens", ()), *action["tokens"])
            continue
        if held is not None:
            yield held
        held = dict(action)
    if held is not None:
        yield held


def _token_list(token: TokenRecord) -> list[Any]:
    return [
        token.token_id,
        token.text,
        _short(token.logprob),
        _short(token.filtered_probability),
        _short(token.entropy),
        int(token.chosen),
        [
            [c.token_id, c.text, _short(c.probability), _short(c.filtered_probability), int(c.kept)]
            for c in token.candidates
        ],
    ]


def _short(value: float | None) -> float | None:
    """Five figures are enough to look at; JSON has no word for infinity."""
    return None if value is None else max(-1e9, min(1e9, float(f"{value:.5g}")))


def _token(value: Any) -> TokenRecord:
    token_id, text, logprob, filtered, entropy, chosen, candidates = value
    if type(token_id) is not int or not isinstance(text, str):
        raise TypeError("is no token")
    return TokenRecord(
        token_id=token_id,
        text=text,
        logprob=float(logprob),
        filtered_probability=filtered,
        entropy=entropy,
        chosen=bool(chosen),
        candidates=tuple(
            Candidate(token_id=number, text=shown, probability=before, filtered_probability=after, kept=bool(kept))
            for number, shown, before, after, kept in candidates
        ),
    )


def token_facts(token: TokenRecord) -> Mapping[str, Any]:
    """A token as a JSON object with names, for readers that know nothing of this file's lists."""
    return {
        "token_id": token.token_id,
        "text": token.text,
        "logprob": _short(token.logprob),
        "filtered_probability": _short(token.filtered_probability),
        "entropy": _short(token.entropy),
        "chosen": token.chosen,
        "candidates": [
            {
                "token_id": candidate.token_id,
                "text": candidate.text,
                "probability": _short(candidate.probability),
                "filtered_probability": _short(candidate.filtered_probability),
                "kept": candidate.kept,
            }
            for candidate in token.candidates
        ],
    }
