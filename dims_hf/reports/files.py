# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Files that a reader finds whole or not at all: text, JSON and figures; and YAML from people, read with bounds."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

from dims_hf._output import replacing as replacing


# More than any file a person writes for this package; a hostile one can ask for billions of nodes in a few lines.
_MAX_YAML_NODES = 10_000


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
