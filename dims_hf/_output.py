# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Output on disk: whole files and folders, one writer at a time, no debris of killed ones, and full disks by name."""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from filelock import BaseFileLock

logger = logging.getLogger(__name__)

# The lock of a folder, in it; transformers uploads nothing of an output folder whose name begins like this.
_LOCK = "_lock"

# What our writers call files and folders that are not complete: the names of `tempfile`, which end in eight letters
# and an optional suffix, and those of writers that need one name for all processes.
_TEMPORARY = re.compile(
    r"(?!.*\.lock(\.json)?$)"  # of an export beside
    r"(\.tmp.*|\.(tokenizer|out|export|model|models|build)[.-].*|\.(checkpoint|step|round)-\d+.*"
    r"|\..+\.[a-z0-9_]{8}(\.\w+)?|\..+\.(partial|tmp))"
)

# Why no more can be written -> the system's number for it, and what libraries say of it in exceptions of their own.
_FULL = {
    "no space left": (errno.ENOSPC, re.compile(rf"no space left on device|os error {errno.ENOSPC}\b", re.IGNORECASE)),
    "the quota is used up": (errno.EDQUOT, re.compile(rf"quota exceeded|os error {errno.EDQUOT}\b", re.IGNORECASE)),
    "the limit of a file's size is reached": (
        errno.EFBIG,
        re.compile(rf"file too large|os error {errno.EFBIG}\b", re.IGNORECASE),
    ),
}
# torch's writer says that a file came out shorter than it should, and not why.
_TORCH_WRITER = re.compile(r"PytorchStreamWriter|inline_container")


# ---- whole files ---------------------------------------------------------------------------------------------------


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """
    A temporary file beside `path`, of the same suffix, which takes its place when the block ends without an error.

    The content reaches the disk before the name does, and the name before the block is left: after a power cut there
    is the old file or the new one. A symbolic link at `path` is replaced, not written through.

    Args:
        path (`str` or `os.PathLike`): file to write; its folder is made where it is missing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files only their owner can read
        temporary.chmod(0o666 & ~_umask())
        move(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def filling(folder: Path, prefix: str, *, last: str | None = None) -> Iterator[Path]:
    """
    A temporary folder inside `folder`, whose files move into `folder` when the block ends without an error.

    Each file is old or new at any time, and none moves before all are complete.

    Args:
        folder (`Path`): made where it is missing.
        prefix (`str`): of the temporary folder's name.
        last (`str`, *optional*): the file that moves last, so that whoever finds it finds the others too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=prefix) as partial:
        yield Path(partial)
        files = sorted(Path(partial).iterdir(), key=lambda path: (path.name == last, path.name))
        # all of them before the first rename: a full disk is noticed while everything is old
        for path in files:
            sync(path)
        for path in files:
            os.replace(path, folder / path.name)
    sync(folder)


def move(path: Path, place: Path) -> None:
    """Renames a file or folder over another file, once what is in it is on the disk."""
    sync_tree(path)
    os.replace(path, place)
    sync(place.parent)


def sync_tree(path: Path) -> None:
    """Waits until a file, or a folder with all that is in it, is on the disk."""
    if path.is_dir():
        for each in path.iterdir():
            sync_tree(each)
    sync(path)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    # some systems flush only what was opened for writing; folders cannot be
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_folder(folder: Path) -> None:
    """Removes a folder so that a kill leaves all of it, or what the next start knows as debris."""
    if folder.is_symlink():
        folder.unlink()  # what it points to is somebody else's
        return
    # renamed first: deleting takes a while, and half a folder must not have the name of a whole one
    doomed = folder.with_name(f".{folder.name}.removed.tmp")
    shutil.rmtree(doomed, ignore_errors=True)
    with suppress(FileNotFoundError):
        os.replace(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _umask() -> int:
    # there is no way to read it but to set it
    umask = os.umask(0)
    os.umask(umask)
    return umask


# ---- one writer ----------------------------------------------------------------------------------------------------


@contextmanager
def holding(folder: str | os.PathLike[str], *, beside: bool = False) -> Iterator[None]:
    """
    Keeps an output folder to this process while the block runs, and clears it of what a killed writer left.

    The lock is the operating system's: it ends with its process, however that ends. Where a process holds a folder
    already, holding it again changes nothing. A folder that was made for this and stays empty is removed again.

    Args:
        folder (`str` or `os.PathLike`): made where it is missing.
        beside (`bool`): keep the lock in the parent, because the folder itself is to be replaced.

    Raises:
        ValueError: another process holds it; the message says which, where and since when.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    try:
        place = (folder.absolute().parent if beside else folder).resolve()
        is_loop = place.is_symlink()  # from Python 3.13 on such a link is left as it is
    except RuntimeError:
        is_loop = True
    if is_loop:
        raise ValueError(f"{folder} is a link that leads to itself. Remove it, or name another folder.")
    name = f".{folder.name}.lock" if beside else _LOCK
    # before they are made, to know which to remove again
    made = _missing_folders(place)
    place.mkdir(parents=True, exist_ok=True)
    lock_path, holder_path = place / name, place / f"{name}.json"
    # one object for a path in all threads, which counts how often it is held
    lock = FileLock(lock_path, is_singleton=True, thread_local=False)
    try:
        # at once or never: whoever waits would start when nobody expects it
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(
            f"{folder} is in use by {_describe_holder(holder_path)}. Wait for it to end, or name another folder."
        ) from None
    try:
        # the first to hold it; nested holds must not clear away what the outer one writes
        if lock.lock_counter == 1:
            _take_over(folder, holder_path, place if beside else None)
        yield
    finally:
        _let_go(lock, lock_path, holder_path)
        for each in made:
            with suppress(OSError):  # something is in it
                each.rmdir()


def holder_of(folder: str | os.PathLike[str]) -> dict[str, str | int]:
    """Who wrote last that it holds a folder: `pid`, `host` and `since` (UTC); empty where nobody does."""
    try:
        return json.loads((Path(folder) / f"{_LOCK}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _missing_folders(folder: Path) -> list[Path]:
    """The folder and its parents, as far as they do not exist, innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def _take_over(folder: Path, holder_path: Path, parent: Path | None) -> None:
    """Writes who holds the folder from now on, and removes what the last one left in it, or beside it in `parent`."""
    if holder_path.exists():
        logger.info("%s: its last writer, %s, was killed.", folder, _describe_holder(holder_path))
    if parent is None:
        _remove_from(folder, _TEMPORARY)
    else:
        _remove_from(parent, re.compile(re.escape(f".{folder.name}.") + "[a-z0-9_]{8}"))
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    record = {"pid": os.getpid(), "host": platform.node(), "since": now, "program": Path(sys.argv[0]).name}
    holder_path.write_text(json.dumps(record) + "\n", encoding="utf-8")


def _let_go(lock: BaseFileLock, lock_path: Path, holder_path: Path) -> None:
    if lock.lock_counter == 1:
        for path in (holder_path, lock_path):
            # Windows removes no file that is open; whoever waits on a removed one notices.
            with suppress(OSError):
                path.unlink()
    lock.release()


def _describe_holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} ({holder['program']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def remove_debris(folder: str | os.PathLike[str]) -> list[str]:
    """
    Removes what killed writers left in a folder; only for who holds it.

    Returns:
        `list[str]`: names of what was removed.
    """
    return _remove_from(Path(folder), _TEMPORARY)


def _remove_from(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    found = [path for path in folder.iterdir() if pattern.fullmatch(path.name)]
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    if found:
        logger.info("%s: removed what a killed run left: %s.", folder, ", ".join(sorted(path.name for path in found)))
    return [path.name for path in found]


# ---- full disks ----------------------------------------------------------------------------------------------------


def why_disk_is_full(error: BaseException) -> str | None:
    """Why no more could be written, if that is what an error, or one that it came from, says in whatever words."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and not any(each is current for each in seen):
        seen.append(current)
        for reason, (number, words) in _FULL.items():
            if (isinstance(current, OSError) and current.errno == number) or words.search(str(current)):
                return reason
        current = current.__cause__ or current.__context__
    if any(isinstance(each, RuntimeError) and _TORCH_WRITER.search(str(each)) for each in seen):
        return "a file came out shorter than it should"
    return None
