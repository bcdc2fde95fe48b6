"""New versions of several files of a folder that has other things in it too, such as the model of a run in progress."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from korformer.storage.atomic import discard, sync_directory, temporary_path
from korformer.storage.directories import sync_tree
from korformer.storage.failures import failure
from korformer.storage.manifest import MANIFEST_NAME, write_manifest


@contextlib.contextmanager
def update_directory(directory: Path, files: Iterable[str]) -> Iterator[Path]:
    """Write new versions of some files of `directory` aside; when the block ends well they take their places together.

    All of the slow work (writing, syncing, hashing) is done before the first of them moves, so that only a kill within
    a few renames leaves old and new mixed, which the manifest then tells; a failure puts the old ones back.

    Args:
        directory: the folder, which must exist.
        files: what its manifest shall list, names without `/`; those not written in the block stay as they are.

    Yields:
        A temporary folder inside `directory` to write into.

    Raises:
        PathError, ResourceError: it cannot be written; the old files are in their places.
        ModelDirectoryError: a file of `files` is neither new nor old.
    """
    staged, kept = temporary_path(directory), temporary_path(directory)
    try:
        try:
            os.mkdir(staged)
            os.mkdir(kept)
        except OSError as error:
            raise failure(error, directory) from error
        yield staged
        write_manifest(staged, files, over=directory)
        try:
            sync_tree(staged)
            _swap(staged, directory, kept)
            sync_directory(directory)
        except OSError as error:
            raise failure(error, directory) from error
    finally:
        for folder in (staged, kept):
            with contextlib.suppress(OSError):
                discard(folder)


def _swap(staged: Path, directory: Path, kept: Path) -> None:
    """Move every file of `staged` into `directory`, the manifest last; on failure undo it by what `kept` holds."""
    names = sorted((path.name for path in staged.iterdir()), key=lambda name: (name == MANIFEST_NAME, name))
    can_undo = all(_keep(directory / name, kept / name) for name in names)
    moved = []
    try:
        for name in names:
            os.replace(staged / name, directory / name)
            moved.append(name)
    except BaseException:
        for name in moved if can_undo else ():
            with contextlib.suppress(OSError):
                if (kept / name).exists():
                    os.replace(kept / name, directory / name)
                else:
                    os.unlink(directory / name)
        raise


def _keep(path: Path, copy: Path) -> bool:
    """Give a file a second name; False where the filesystem has no such thing. One that is not there needs none."""
    try:
        os.link(path, copy, follow_symlinks=False)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        return False
    return True
