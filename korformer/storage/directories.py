"""Whole folders: made under a temporary name and renamed into place, replaced, removed; room and rights checked."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from korformer.errors import PathError, ResourceError
from korformer.storage.atomic import discard, old_path, sync_directory, temporary_path
from korformer.storage.failures import close_quietly, existing_parent, failure, free_bytes, human_bytes
from korformer.storage.manifest import write_manifest

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def staged_directory(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Fill a folder under a temporary name beside `target`; when the block ends well it gets its manifest, is synced
    and takes the name. If the block fails, nothing is left, not even the parents made for it.

    Args:
        target: where the folder shall be. Missing parents are made.
        replace: swap with a folder that is already there, which stays whole until the swap. Otherwise `target` must
            not exist, or be an empty folder.

    Raises:
        PathError: `target` exists, or cannot be made. ResourceError: disk, quota or file-size limit is used up.
    """
    place = Path(os.path.realpath(target))
    if place.exists() and not place.is_dir():
        raise PathError("is a file, not a folder", where=str(target))
    if not replace:
        _refuse_filled(place, target)
    made = _make_parents(place.parent, target)
    staged = temporary_path(place.parent)
    try:
        try:
            os.mkdir(staged)
        except OSError as error:
            raise failure(error, target, doing="make") from error
        yield staged
        write_manifest(staged)
        try:
            sync_tree(staged)
            _put(staged, place, replace=replace)
            for parent in (place.parent, *(folder.parent for folder in made)):
                sync_directory(parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                _refuse_filled(place, target)
            raise failure(error, target, doing="make") from error
    except BaseException:
        with contextlib.suppress(OSError):
            discard(staged)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def make_directory(directory: Path, *, private: bool = False) -> None:
    """Make a folder, and those above it, where they are missing.

    Args:
        directory: the folder.
        private: nobody but its owner may look into it or change it, also if it was there before.

    Raises:
        PathError: it cannot be made. ResourceError: the disk is full.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700 if private else 0o777, exist_ok=True)
        if private:
            os.chmod(directory, 0o700)
    except OSError as error:
        raise failure(error, directory, doing="make") from error


def remove_directory(directory: Path) -> None:
    """Remove a folder so that nobody ever sees half of it: it loses its name first.

    Raises:
        PathError: it cannot be removed.
    """
    doomed = temporary_path(directory.parent)
    try:
        os.rename(directory, doomed)
        sync_directory(directory.parent)
        discard(doomed)
    except OSError as error:
        raise failure(error, directory, doing="remove") from error


def check_writable(directory: Path) -> None:
    """Make sure that files can be made in `directory`, or in the nearest parent that exists. Makes nothing itself.

    Raises:
        PathError: they cannot.
    """
    nearest = existing_parent(directory)
    if not nearest.is_dir():
        raise PathError(f"cannot be a folder: {nearest} is a file", where=str(directory))
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PathError(
            f"no files can be made in {nearest}", where=str(directory), hint="Choose a folder that you may write to."
        )


def require_free(directory: Path, bytes_needed: int) -> None:
    """Make sure that `bytes_needed` fit on the disk that holds `directory` (which need not exist yet).

    Raises:
        ResourceError: they do not; the message has both figures.
    """
    free = free_bytes(directory)
    if free is not None and free < bytes_needed:
        raise ResourceError(
            f"needs {human_bytes(bytes_needed)} on disk, {human_bytes(free)} free",
            where=str(directory),
            hint="Make room or choose another folder.",
        )


def _refuse_filled(place: Path, shown: Path) -> None:
    try:
        filled = place.exists() and any(place.iterdir())
    except OSError as error:
        raise failure(error, shown, doing="read") from error
    if filled:
        raise PathError("already exists and is not empty", where=str(shown), hint="Choose another name or remove it.")


def _make_parents(parent: Path, shown: Path) -> list[Path]:
    """Make the missing folders down to `parent`; returns those made, deepest first."""
    missing = []
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    made: list[Path] = []
    try:
        for folder in reversed(missing):
            os.mkdir(folder)
            made.insert(0, folder)
    except OSError as error:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise failure(error, shown, doing="make") from error
    return made


def sync_tree(directory: Path) -> None:
    """Sync every file and folder below `directory`, and itself."""
    for folder, _, names in os.walk(directory, topdown=False):
        for name in names:
            descriptor = os.open(Path(folder) / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                close_quietly(descriptor)
        sync_directory(Path(folder))


def _put(staged: Path, place: Path, *, replace: bool) -> None:
    if not replace or not place.exists():
        os.rename(staged, place)
        return
    if _exchange(staged, place):
        old = staged
    else:
        # Two renames; a crash between them is mended by sweep_orphans, which gives the old folder its name back.
        old = old_path(place)
        if old.exists():
            discard(old)
        os.rename(place, old)
        try:
            os.rename(staged, place)
        except OSError:
            os.rename(old, place)
            raise
    sync_directory(place.parent)
    with contextlib.suppress(OSError):  # the new folder stands; what is left of the old one is swept later
        discard(old)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (renameat2 with RENAME_EXCHANGE, Linux); False where that cannot be done."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    result = renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
    return int(result) == 0
