"""A text file that a session belongs to."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from korformer.errors import InputError, PathError
from korformer.storage.failures import failure


@dataclass(frozen=True, kw_only=True, slots=True)
class TextFile:
    """What a text file holds.

    Attributes:
        place: the file, links followed.
        text: its characters, without a byte order mark; none where there is no file yet.
        digest: SHA-256 of its bytes; None where there is no file yet.
    """

    place: Path
    text: str
    digest: str | None


def read_text(path: Path) -> TextFile:
    """Read a text file, which need not exist yet.

    Raises:
        PathError: it cannot be read, or is no file. InputError: it is not UTF-8.
    """
    place = Path(os.path.realpath(path))
    try:
        if place.exists() and not place.is_file():
            raise PathError("is not a file", where=str(path), hint="Give a text file, or the folder of a session.")
        data = place.read_bytes()
    except FileNotFoundError:
        if not place.parent.is_dir():
            raise PathError("its folder does not exist", where=str(path), hint="Make the folder first.") from None
        return TextFile(place=place, text="", digest=None)
    except OSError as error:
        raise failure(error, path, doing="read") from error
    try:
        text = data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(
            f"not UTF-8 at byte {error.start:,}", where=str(path), hint="Convert it first, for example with iconv."
        ) from error
    return TextFile(place=place, text=text, digest=hashlib.sha256(data).hexdigest())


def digest_of(path: Path) -> str | None:
    """SHA-256 of what a file holds now; None where there is none, or it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
