"""Files that must not replace anything: `--predictions OUT`."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from korformer.errors import PathError
from korformer.storage.atomic import open_durable, sync_directory, temporary_path
from korformer.storage.failures import failure

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def check_new(path: Path) -> None:
    """Tell before the work begins that a file could not be written: it is there already, or its folder is not.

    Raises:
        PathError: either. A device or pipe is no file that could be replaced, and is all right.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        folder = os.path.dirname(path) or "."
        if not os.path.isdir(folder):
            raise PathError("its folder does not exist", where=str(path), hint="Make the folder first.") from None
        if not os.access(folder, os.W_OK):
            raise PathError("its folder may not be written to", where=str(path)) from None
        return
    except OSError as error:
        raise failure(error, path) from error
    if not _is_special(mode):
        raise _exists(path)


def _is_special(mode: int) -> bool:
    """Whether it is a device, pipe or socket, which is written to and not replaced."""
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


def write_new(path: Path, data: bytes) -> None:
    """Put `data` at `path`, durably, unless something is there.

    Raises:
        PathError: there is, or it cannot be written. ResourceError: disk, quota or file-size limit is used up.
    """
    path = Path(path)
    check_new(path)
    with contextlib.suppress(FileNotFoundError):
        if _is_special(os.lstat(path).st_mode):  # not merely there: another may have made the file since
            with open_durable(path) as file:
                file.write(data)
            return
    temporary = temporary_path(path.parent)
    try:
        with open_durable(temporary, expected_bytes=len(data)) as file:
            file.write(data)
        try:
            os.link(temporary, path)  # unlike a rename it fails where there is something
            sync_directory(path.parent)
        except FileExistsError as error:
            raise _exists(path) from error
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise failure(error, path, bytes_needed=len(data)) from error
            check_new(path)
            os.rename(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def _exists(path: Path) -> PathError:
    return PathError("is there already, and is never overwritten", where=str(path), hint="Choose another name.")
