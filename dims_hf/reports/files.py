# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Files that a reader finds whole or not at all: text, JSON and figures; and YAML from people, read with bounds."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any


# More than any file a person writes for this package; a hostile one can ask for billions of nodes in a few lines.
_MAX_YAML_NODES = 10_000


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
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(text: str, path: str | os.PathLike[str]) -> Path:
    """Writes text as UTF-8; a reader never finds a half-written file, see [`replacing`]."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    return Path(path)


def write_json(value: Any, path: str | os.PathLike[str], *, indent: int = 1) -> Path:
    """
    Writes a value as JSON, as [`write_text`] does.

    Raises:
        ValueError: the value holds a number JSON does not know (NaN).
    """
    return write_text(json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n", path)


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """
    Reads a YAML file that a person wrote; `1e-3` is a number, as in YAML 1.2.

    Raises:
        ValueError: invalid YAML, an alias (which can unfold into any size), or more nodes than a person writes.
    """
    import yaml

    text = Path(path).read_text(encoding="utf-8-sig")
    try:
        for number, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"{path} has the alias *{event.anchor}. Write its value out.")
            if number > _MAX_YAML_NODES:
                raise ValueError(f"{path} has more than {_MAX_YAML_NODES} entries. Is it the right file?")
        return yaml.load(text, Loader=_yaml_loader())  # a SafeLoader
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {' '.join(str(error).split())}. Correct that line.") from None


@cache
def _yaml_loader() -> type:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.1 takes a number with an exponent and no point for text."""

    exponent = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", exponent, list("-+.0123456789"))
    return Loader


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
