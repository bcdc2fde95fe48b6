"""Reading from folders that somebody else made: no way out of the folder, no surprises in the JSON."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import Counter
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from korformer.errors import KorformerError, ModelDirectoryError, PathError
from korformer.storage.failures import close_quietly, failure, human_bytes

_READ_ONLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""O_NONBLOCK: opening a FIFO must not hang."""
_LIMIT_BYTES = 16 << 20
_JSON_LIMIT_BYTES = 1 << 20
"""Parsed JSON takes up to some twenty times its bytes."""


def check_name(name: str, *, where: str) -> PurePosixPath:
    """A file name out of somebody else's file, proved to stay inside its folder.

    Raises:
        ModelDirectoryError: it is absolute, empty, has `..` or a control character, or is not a plain relative path.
    """
    path = PurePosixPath(name)
    plain = name == str(path) and name not in ("", ".") and "\\" not in name and name.isprintable()
    if not plain or path.is_absolute() or ".." in path.parts:
        raise ModelDirectoryError(f"names a file outside or by a crooked path: {name!r}", where=where)
    return path


def open_inside(directory: Path, name: str) -> BufferedReader:
    """Open a regular file of an untrusted `directory` for reading; no component below the folder may be a link.

    Args:
        directory: the folder (may itself be reached through links).
        name: the file's path in it, with `/`.

    Raises:
        PathError: the folder does not exist, or folder or file may not be read.
        ModelDirectoryError: the name leads outside, or the file is missing, a link, a device, a pipe or a folder.
    """
    parts = check_name(name, where=str(directory)).parts
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise PathError("no such folder", where=str(directory)) from error
    except NotADirectoryError as error:
        raise ModelDirectoryError("is a file, not a folder", where=str(directory)) from error
    except OSError as error:
        raise failure(error, directory, doing="read") from error
    try:
        for part in parts[:-1]:
            outer, folder = folder, os.open(part, _READ_ONLY | os.O_DIRECTORY, dir_fd=folder)
            close_quietly(outer)
        return _regular(os.open(parts[-1], _READ_ONLY, dir_fd=folder), directory / name)
    except OSError as error:
        raise _refusal(error, directory, name) from error
    finally:
        close_quietly(folder)


def open_regular(path: Path) -> BufferedReader:
    """Open one untrusted file for reading; the same rules as `open_inside` for its last component."""
    try:
        return _regular(os.open(path, _READ_ONLY), path)
    except OSError as error:
        raise _refusal(error, path.parent, path.name) from error


def _regular(descriptor: int, path: Path) -> BufferedReader:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return open(descriptor, "rb")
    close_quietly(descriptor)
    raise ModelDirectoryError("is not a regular file", where=str(path))


def _refusal(error: OSError, directory: Path, name: str) -> KorformerError:
    if error.errno == errno.ENOENT:
        return ModelDirectoryError(f"has no {name}", where=str(directory), hint="Is it a finished model directory?")
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return ModelDirectoryError("is a link, or lies behind one; links are not followed", where=str(directory / name))
    if error.errno == errno.ENXIO:
        return ModelDirectoryError("is not a regular file", where=str(directory / name))
    return failure(error, directory / name, doing="read")


def read_inside(directory: Path, name: str, *, limit_bytes: int = _LIMIT_BYTES) -> bytes:
    """All of a file of an untrusted `directory`; errors as `open_inside`, and ModelDirectoryError above the limit."""
    with open_inside(directory, name) as file:
        try:
            data = file.read(limit_bytes + 1)
        except OSError as error:
            raise failure(error, directory / name, doing="read") from error
    if len(data) > limit_bytes:
        raise ModelDirectoryError(f"is larger than {human_bytes(limit_bytes)}", where=str(directory / name))
    return data


def read_json(directory: Path, name: str, *, limit_bytes: int = _JSON_LIMIT_BYTES) -> dict[str, Any]:
    """The JSON object in a file of an untrusted `directory`; errors as `read_inside` and `parse_json`."""
    return parse_json(read_inside(directory, name, limit_bytes=limit_bytes), where=str(directory / name))


def parse_json(data: bytes, *, where: str) -> dict[str, Any]:
    """Read untrusted bytes as a JSON object.

    Raises:
        ModelDirectoryError: not UTF-8, not JSON, not an object, a key given twice, NaN or infinity, or nested too deep.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) != len(pairs):
            ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise ModelDirectoryError(f"has the key {twice[:80]!r} twice", where=where)
        return values

    def refuse(constant: str) -> NoReturn:
        raise ModelDirectoryError(f"has {constant}, which is not JSON", where=where)

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except UnicodeDecodeError as error:
        raise ModelDirectoryError(f"is not UTF-8 (byte {error.start})", where=where) from error
    except RecursionError as error:
        raise ModelDirectoryError("is nested too deep", where=where) from error
    except ValueError as error:  # JSONDecodeError, and numbers of thousands of digits
        raise ModelDirectoryError(f"is not valid JSON ({error})", where=where) from error
    if not isinstance(value, dict):
        raise ModelDirectoryError("does not hold a JSON object", where=where)
    return value
