# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Files that a reader finds whole or not at all: text, JSON and figures; and YAML from people, read with bounds."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from dims_hf._output import replacing as replacing


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
        ValueError: invalid YAML, a key that is set twice, or more than a person writes, aliases unfolded.
    """
    from dims_hf._yaml import parse_yaml_file

    return parse_yaml_file(Path(path).read_text(encoding="utf-8-sig"), path)
