"""A name to bytes, once: only regular files, only up to a size, and never a wait for somebody to write."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import BinaryIO

from gendet_cli.types import Failure, Source

__all__ = ["MAX_FILE_BYTES", "NotRegularError", "open_regular", "os_reason", "read"]

MAX_FILE_BYTES = 512 * 1024 * 1024
"""Larger files are refused before they are read."""

NOT_REGULAR = "not a regular file (a device, pipe or socket is never opened); name a picture file"
# A pipe would make open() wait for a writer; Windows knows neither flag and needs O_BINARY.
OPEN_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)

REASONS = {
    errno.ENOENT: "no such file or folder; check the name",
    errno.ENOTDIR: "no such file or folder; check the name",
    errno.EACCES: "permission denied; give yourself read access to it",
    errno.EPERM: "permission denied; give yourself read access to it",
    errno.ELOOP: "a loop of links; repair or remove the link",
    errno.EISDIR: "a folder where a file was expected",
    errno.ENXIO: NOT_REGULAR,
    errno.ENAMETOOLONG: "the name is longer than this system allows; shorten it",
    errno.EIO: "the disk or network drive reports an error; copy the file elsewhere and try again",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
}


class NotRegularError(OSError):
    """The name is a device, pipe, socket or folder."""


def os_reason(error: OSError | ValueError, path: str) -> str:
    """Why ``path`` cannot be used, in words and with a remedy, from what the system said."""
    if isinstance(error, NotRegularError):
        return NOT_REGULAR
    if not isinstance(error, OSError):
        return "not a possible file name on this system; check the name"
    if error.errno == errno.ENOENT and os.path.islink(path):
        return "a link that points to nothing; repair or remove the link"
    return REASONS.get(error.errno or 0, f"cannot be read: {error.strerror or type(error).__name__}")


def open_regular(path: str) -> BinaryIO:
    """Open a regular file for reading, following links.

    Raises:
        NotRegularError: it is a device, pipe, socket or folder; such are not opened.
        OSError: the system refuses.
        ValueError: the name cannot be a file name here.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise NotRegularError
    descriptor = os.open(path, OPEN_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # another file took the name in between
        os.close(descriptor)
        raise NotRegularError
    return os.fdopen(descriptor, "rb")


def read(source: Source) -> tuple[bytes, str] | Failure:
    """The bytes of a file and their sha256 in hexadecimal, or why there are none.

    At most :data:`MAX_FILE_BYTES`; a file that grows or shrinks while it is read is refused, because its digest
    would be that of no file.
    """
    try:
        with open_regular(source.path) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > MAX_FILE_BYTES:
                return Failure(source, f"larger than {MAX_FILE_BYTES >> 20} MiB; make a smaller copy first")
            data = file.read(size_bytes + 1)
    except (OSError, ValueError) as error:
        return Failure(source, os_reason(error, source.path))
    if len(data) != size_bytes:
        return Failure(source, "changed while it was read; try again when it is written")
    return data, hashlib.sha256(data).hexdigest()
