"""Files that other programs read: a reader sees the old content or the new one, whole, whatever happens to the writer.

Callers hold a lock of their own: two writers of one file at once would take each other's beginnings for leftovers.
"""

import errno
import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_LOCK_LOOK_S = 0.05
# What a file system says that cannot make a folder durable; the rename is then as durable as it gets there.
_FOLDER_UNSYNCABLE = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EBADF})


def holds(path: Path, content: bytes) -> bool:
    """Whether `path` is a plain file with just this content; one that cannot be read is not."""
    try:
        found = path.stat()
        # Anything but a plain file could hold up who opens it.
        return stat.S_ISREG(found.st_mode) and found.st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


@contextmanager
def file_lock(path: Path, *, wait_s: float) -> Iterator[bool]:
    """Hold the lock of this name against other threads and processes; False where another has it for so long.

    The file stays and is empty. Raises OSError where it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + wait_s
    with path.open("a", encoding="ascii") as lock:
        while not (is_held := _try_lock(lock.fileno())) and time.monotonic() < until:
            time.sleep(_LOCK_LOOK_S)
        yield is_held


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stage_file(path: Path, content: bytes, *, mode: int) -> Path:
    """Write a temporary file beside `path` down to the disk; returns where it is. Makes the folder. Raises OSError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        # What exists is no folder; the words of the error would say the opposite of what is wrong.
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent)) from error
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=_SUFFIX)
    staged = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        discard_file(staged)
        raise
    return staged


def publish_file(staged: Path, path: Path) -> None:
    """Put a staged file in the place of `path`, durably. Raises OSError; the staged file is then gone."""
    try:
        staged.replace(path)
    except BaseException:
        discard_file(staged)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_UNSYNCABLE:
            raise
    finally:
        os.close(descriptor)


def discard_file(staged: Path) -> None:
    """Take a staged file away; what cannot be is a leftover."""
    with suppress(OSError):
        staged.unlink()


def remove_leftovers(path: Path) -> None:
    """Take away what killed writers staged for `path`, as far as this user may."""
    with suppress(OSError), os.scandir(path.parent) as entries:
        names = [entry.path for entry in entries if _is_staged_for(entry.name, path)]
        for name in names:
            discard_file(Path(name))


_SUFFIX = ".tmp"


def _prefix(path: Path) -> str:
    return f".{path.name}."


def _is_staged_for(name: str, path: Path) -> bool:
    return name.startswith(_prefix(path)) and name.endswith(_SUFFIX)
