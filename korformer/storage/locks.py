"""One process at a time in a folder. The kernel holds the lock, so it ends with its holder, however that ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from korformer.errors import UsageError
from korformer.storage.failures import close_quietly, failure

_LOCK_NAME = ".lock"
_LOOK_SECONDS = (0.01, 0.04, 0.1)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)


@contextlib.contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Keep other processes that ask for this lock out of `directory` until the block ends.

    The folder is made if missing (and removed again if it is still empty in the end). On filesystems without locks
    (some network ones) the block runs unlocked: refusing to work there would help nobody.

    Raises:
        UsageError: another process holds it; the message has its number. PathError: the lock cannot be made.
    """
    made = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = _acquire(directory)
    except OSError as error:
        raise failure(error, directory, doing="lock") from error
    try:
        yield
    finally:
        # Unlinked while held: who opened it meanwhile sees that the name is gone and tries again.
        with contextlib.suppress(OSError):
            os.unlink(directory / _LOCK_NAME)
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked child may share the descriptor
        close_quietly(descriptor)
        if made:
            with contextlib.suppress(OSError):
                directory.rmdir()


def is_locked(directory: Path) -> bool:
    """Whether a process holds the lock of `directory`. Looking keeps nobody from it: who wants it waits for a look."""
    try:
        descriptor = os.open(directory / _LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        close_quietly(descriptor)
    return False


def _acquire(directory: Path) -> int:
    path = directory / _LOCK_NAME
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            _lock(descriptor)
            if not _still_named(descriptor, path):
                close_quietly(descriptor)
                continue
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {os.uname().nodename}\n".encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace").split()
            close_quietly(descriptor)
            pid, host = (*holder, "?", "?")[:2]
            raise UsageError(
                f"in use by process {pid} on {host}",
                where=str(directory),
                hint="Wait until it has finished, or choose another folder.",
            ) from None
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return descriptor
            close_quietly(descriptor)
            raise
        return descriptor


def _lock(descriptor: int) -> None:
    """Take the lock or raise BlockingIOError. Who looks (`is_locked`) holds it for a moment, which is waited for."""
    for wait_seconds in _LOOK_SECONDS:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(wait_seconds)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _still_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False
