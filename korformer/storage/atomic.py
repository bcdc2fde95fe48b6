"""One file, complete or not at all: temporary beside it, fsync, rename, fsync of the folder, in that order.

A temporary's name carries host, process and that process's start, so that a later run can tell a dead writer's
leftovers from a file another process is writing at this moment (`sweep_orphans`).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, cast

from korformer.errors import PathError
from korformer.storage.failures import close_quietly, failure

_PREFIX = ".korformer-tmp-"
_TEMPORARY = re.compile(re.escape(_PREFIX) + r"([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}")
_OLD_SUFFIX = ".korformer-old"
_STRANGER_SECONDS = 24 * 3600
"""A temporary of another host counts as orphaned when nothing in it changed for this long."""
_BUFFER_BYTES = 1 << 20


def write_bytes(path: Path, data: bytes, *, private: bool = False) -> None:
    """Put `data` at `path`, durably; a previous file stays whole until the rename.

    Args:
        path, private: as in `open_durable`.
        data: all of it.

    Raises:
        PathError: it cannot be written. ResourceError: disk, quota or file-size limit is used up.
    """
    with open_durable(path, expected_bytes=len(data), private=private) as file:
        file.write(data)


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Put `text` at `path` as UTF-8, line ends as they are; errors as `write_bytes`."""
    write_bytes(path, text.encode("utf-8"), private=private)


def write_json(path: Path, value: object, *, private: bool = False) -> None:
    """Put `value` at `path` as UTF-8 JSON, indented, keys in the order given; numbers that are not finite become null.

    Errors as `write_bytes`.
    """
    text = json.dumps(finite(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    write_text(path, text, private=private)


def finite(value: object) -> object:
    """`value` with NaN and infinities, which JSON has no words for, replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


@contextlib.contextmanager
def open_durable(path: Path, *, expected_bytes: int | None = None, private: bool = False) -> Iterator[BinaryIO]:
    """Write a file of any size as a stream; it takes its name only when the block ends well.

    A link is followed and stays a link. A file that is replaced keeps its mode (what was private stays private), a new
    one has what the umask allows. A device or pipe (`/dev/null`) is written straight into.

    Args:
        path: where the file shall be; its folder must exist.
        expected_bytes: its size if known, for the message when the disk runs full.
        private: nobody but its owner may read or write it, whatever was there before.

    Raises:
        PathError: it cannot be written. ResourceError: disk, quota or file-size limit is used up.
            Either way nothing of the new file is left and a previous one is intact.
    """
    target = Path(os.path.realpath(path))
    mode: int | None = None
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        pass
    except OSError as error:
        raise failure(error, path) from error
    if mode is not None and stat.S_ISDIR(mode):
        raise PathError("is a folder, not a file", where=str(path))
    if mode is not None and not stat.S_ISREG(mode):
        with _writer(_Raw(target, os.O_WRONLY, path, expected_bytes)) as file:
            yield file
        return

    if private:
        mode = stat.S_IFREG | 0o600
    temporary = temporary_path(target.parent)
    try:
        raw = _Raw(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, path, expected_bytes, mode)
        with _writer(raw, sync=True) as file:
            yield file
        try:
            os.replace(temporary, target)
            sync_directory(target.parent)
        except OSError as error:
            raise failure(error, path, bytes_needed=expected_bytes) from error
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


class _Raw(io.RawIOBase):
    """A file descriptor whose errors are korformer's; once `discard` is set, what is still buffered goes nowhere."""

    def __init__(
        self, opened: Path, flags: int, shown: Path, expected_bytes: int | None, mode: int | None = None
    ) -> None:
        super().__init__()
        self._descriptor = -1
        self._shown = shown
        self._expected_bytes = expected_bytes
        self.discard = False
        try:
            self._descriptor = os.open(opened, flags | os.O_CLOEXEC, 0o666 if mode is None else 0o600)
        except FileNotFoundError as error:
            raise PathError("its folder does not exist", where=str(shown), hint="Make the folder first.") from error
        except OSError as error:
            raise self._failure(error) from error
        if mode is not None:
            with contextlib.suppress(OSError):  # a filesystem without modes has none to keep
                os.fchmod(self._descriptor, stat.S_IMODE(mode))

    def _failure(self, error: OSError) -> Exception:
        return failure(error, self._shown, bytes_needed=self._expected_bytes)

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return stat.S_ISREG(os.fstat(self._descriptor).st_mode)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: object, /) -> int:
        view = memoryview(data)  # type: ignore[arg-type]
        if self.discard:
            return view.nbytes
        try:
            return os.write(self._descriptor, view)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._failure(error) from error

    def sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        super().close()
        if descriptor < 0:
            return
        try:
            os.close(descriptor)
        except OSError as error:
            if not self.discard:
                raise self._failure(error) from error


@contextlib.contextmanager
def _writer(raw: _Raw, *, sync: bool = False) -> Iterator[BinaryIO]:
    file = io.BufferedWriter(raw, _BUFFER_BYTES)
    try:
        yield cast("BinaryIO", file)
        file.flush()
        if sync:
            raw.sync()
        file.close()
    except BaseException:
        raw.discard = True
        file.close()
        raise


def sync_directory(directory: Path) -> None:
    """Sync a folder, so that renames in it survive a power cut. Filesystems that cannot are left in peace."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        close_quietly(descriptor)


def temporary_path(directory: Path) -> Path:
    """A fresh hidden name in `directory` that tells who writes it; short, so that any target name fits beside it."""
    pid = os.getpid()
    return directory / f"{_PREFIX}{_host()}-{pid}-{_started(pid) or 0}-{secrets.token_hex(4)}"


def old_path(target: Path) -> Path:
    """Where a folder that is being replaced waits, on systems that cannot swap two names at once."""
    return target.with_name(f".{target.name}{_OLD_SUFFIX}")


def sweep_orphans(directory: Path) -> int:
    """Remove the temporaries that dead writers left in `directory` (not below it).

    A folder whose replacement was cut off between its two renames gets its name back.

    Returns:
        How many were removed or put back. What cannot be removed is left and not counted.
    """
    swept = 0
    try:
        names = os.listdir(directory)
    except OSError:
        return 0
    for name in names:
        path = directory / name
        match = _TEMPORARY.fullmatch(name)
        try:
            if match and _is_dead(path, match[1], int(match[2]), int(match[3])):
                discard(path)
            elif name.startswith(".") and name.endswith(_OLD_SUFFIX):
                target = path.with_name(name[1 : -len(_OLD_SUFFIX)])
                if target.exists():
                    discard(path)
                else:
                    os.rename(path, target)
            else:
                continue
        except OSError:
            continue
        swept += not path.exists()
    return swept


def discard(path: Path) -> None:
    """Remove a file, link or folder with all in it.

    Raises:
        OSError: it could not be.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        os.unlink(path)


@functools.cache
def _host() -> str:
    return hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]


def _started(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; 0 where there is no /proc; None if it is gone (or a zombie)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    except OSError:
        return None if Path("/proc/self/stat").exists() else 0


def _is_dead(path: Path, host: str, pid: int, started: int) -> bool:
    if host != _host():
        newest = max(entry.lstat().st_mtime for entry in (path, *path.rglob("*")))
        return time.time() - newest > _STRANGER_SECONDS
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False  # somebody else's process lives under that number
    now = _started(pid)
    return now is None or now not in (0, started)
