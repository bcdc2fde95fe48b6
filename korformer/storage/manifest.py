"""`manifest.json`: the SHA-256 and size of every file of a folder, written last: a folder is whole or known not to be.

    {"version": 1, "files": {"config.json": {"sha256": "…", "bytes": 123}, …}}

Files that the manifest does not list are tolerated (editors and sync tools leave some); hidden files are never listed.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from korformer.errors import ModelDirectoryError
from korformer.events import Listener, Progress, ignore
from korformer.storage.atomic import write_json
from korformer.storage.failures import failure
from korformer.storage.untrusted import check_name, open_inside, read_json

MANIFEST_NAME = "manifest.json"
_VERSION = 1
_CHUNK_BYTES = 1 << 20
_PROGRESS_SECONDS = 0.1
_SHA256 = re.compile(r"[0-9a-f]{64}")


def write_manifest(directory: Path, files: Iterable[str] | None = None, *, over: Path | None = None) -> None:
    """Write the manifest of a finished folder.

    Args:
        directory: the folder.
        files: names to list, with `/`; None lists every file in it and below, except hidden ones.
        over: where files are that `directory` lacks, if it is to be laid over another one.

    Raises:
        PathError, ResourceError: a file cannot be read or the manifest not written.
        ModelDirectoryError: a file is missing or not a regular one.
    """
    names = _all_files(directory) if files is None else sorted(files)
    entries = {}
    for name in names:
        inside = over if over is not None and not (directory / name).exists() else directory
        sha256, count = _digest(inside, name)
        entries[name] = {"sha256": sha256, "bytes": count}
    write_json(directory / MANIFEST_NAME, {"version": _VERSION, "files": entries})


def verify_manifest(directory: Path, *, required: Iterable[str] = (), listen: Listener = ignore) -> None:
    """Check every listed file of an untrusted folder against its manifest.

    Args:
        directory: the folder.
        required: names that the manifest must list, so that nothing is read that nobody vouched for.
        listen: gets Progress(stage="verifying") in bytes.

    Raises:
        PathError: the folder does not exist, or something may not be read.
        ModelDirectoryError: no manifest, a malformed one, or a file missing, damaged or not listed; it is named.
    """
    files = read_manifest(directory)
    for name in required:
        if name not in files:
            raise ModelDirectoryError(f"does not list {name}", where=str(directory / MANIFEST_NAME))
    for name, (_, count) in files.items():
        with open_inside(directory, name) as file:
            actual = os.fstat(file.fileno()).st_size
        if actual != count:
            raise ModelDirectoryError(
                f"is damaged: {actual:,} bytes instead of {count:,}", where=str(directory / name), hint=_AGAIN
            )
    reading = _Reading(listen, sum(count for _, count in files.values()))
    for name, (sha256, _) in files.items():
        if _digest(directory, name, reading.advance)[0] != sha256:
            raise ModelDirectoryError(
                "is damaged: its content does not match the manifest", where=str(directory / name), hint=_AGAIN
            )
    reading.finish()


_AGAIN = "Copy or make it again."


def read_manifest(directory: Path) -> dict[str, tuple[str, int]]:
    """The names that a folder's manifest lists, each with its SHA-256 (hex) and size in bytes.

    Errors as `verify_manifest`, without looking at the files.
    """
    where = str(directory / MANIFEST_NAME)
    manifest = read_json(directory, MANIFEST_NAME)
    if manifest.get("version") != _VERSION:
        raise ModelDirectoryError(
            f"has version {manifest.get('version')!r}, this korformer reads {_VERSION}", where=where
        )
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise ModelDirectoryError("has no list of files", where=where)
    return {name: _entry(name, entry, where) for name, entry in files.items()}


def _entry(name: str, entry: object, where: str) -> tuple[str, int]:
    check_name(name, where=where)
    match entry:
        case {"sha256": str(sha256), "bytes": int(count)} if _SHA256.fullmatch(sha256) and type(count) is int:
            return sha256, count
    raise ModelDirectoryError(f"has a malformed entry for {name!r}", where=where)


class _Reading:
    """Tells a listener how many bytes have been read, now and then."""

    def __init__(self, listen: Listener, total: int) -> None:
        self._listen = listen
        self._total = total
        self._done = 0
        self._due = time.monotonic() + _PROGRESS_SECONDS
        self._told = False

    def advance(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now >= self._due:
            self._due, self._told = now + _PROGRESS_SECONDS, True
            self._listen(Progress(stage="verifying", done=self._done, total=self._total, unit="bytes"))

    def finish(self) -> None:
        if self._told:  # what took no time needs no bar
            self._listen(Progress(stage="verifying", done=self._total, total=self._total, unit="bytes"))


def _digest(directory: Path, name: str, advance: Callable[[int], None] = lambda _: None) -> tuple[str, int]:
    digest, total = hashlib.sha256(), 0
    with open_inside(directory, name) as file:
        try:
            while data := file.read(_CHUNK_BYTES):
                digest.update(data)
                total += len(data)
                advance(len(data))
        except OSError as error:
            raise failure(error, directory / name, doing="read") from error
    return digest.hexdigest(), total


def _all_files(directory: Path) -> list[str]:
    names = []
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(folder).relative_to(directory)
        names += [(inside / name).as_posix() for name in files if not name.startswith(".")]
    return sorted(name for name in names if name != MANIFEST_NAME)
