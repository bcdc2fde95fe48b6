"""What the operating system's refusals mean to the person at the keyboard."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

from korformer.errors import KorformerError, PathError, ResourceError

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file would be larger than this system or its limit (ulimit -f) allows",
}


def human_bytes(count: int) -> str:
    """A size for messages: exact below 10,000 bytes, else in kB, MB, GB or TB (powers of ten)."""
    if count < 10_000:
        return f"{count:,} bytes"
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def failure(error: OSError, path: Path, *, doing: str = "write", bytes_needed: int | None = None) -> KorformerError:
    """The error to raise in place of `error`, which came while `doing` something to `path`.

    Args:
        error: what the operating system said.
        path: what it concerns, as the user named it.
        doing: a verb: "write", "read", "make", …
        bytes_needed: size of what was to be written, where known.

    Returns:
        ResourceError with the bytes needed where the disk, quota or file-size limit ran out, otherwise PathError.
    """
    if error.errno in _FULL:
        free = free_bytes(path)
        figures = f"; {human_bytes(bytes_needed)} needed" if bytes_needed is not None else ""
        figures += f", {human_bytes(free)} free" if free is not None else ""
        return ResourceError(
            f"cannot {doing} it: {_FULL[error.errno]}{figures}",
            where=str(path),
            hint="Make room or choose another folder; what was there before is intact.",
        )
    reason = (error.strerror or str(error)).lower()
    return PathError(f"cannot {doing} it ({reason})", where=str(path))


def close_quietly(descriptor: int) -> None:
    """Close what was only read or locked: a failure of that concerns nobody."""
    with contextlib.suppress(OSError):
        os.close(descriptor)


def existing_parent(path: Path) -> Path:
    """`path` itself where it exists, else the nearest folder above it that does."""
    path = Path(os.path.abspath(path))
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def free_bytes(path: Path) -> int | None:
    """Bytes that this user may still write on the filesystem that holds `path`; None where it does not tell."""
    try:
        usage = shutil.disk_usage(existing_parent(path))
    except OSError:
        return None
    return usage.free if usage.total else None
