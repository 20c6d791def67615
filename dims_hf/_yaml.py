# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""YAML that people write, recipes and reports alike, read with bounds: a hostile file ends before memory does."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml


# More than any file a person writes for this package; a hostile one asks for billions of entries in a few lines.
_MOST_NODES, _MOST_CHARACTERS, _MOST_LEVELS = 10_000, 1_000_000, 50


class _Loader(yaml.SafeLoader):
    """YAML as people write it: `1e-3` is a number, and a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = []
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # `<<: *defaults` may stand more than once
                continue
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise ValueError(f"{key!r} is set twice (again in line {line}). Keep one of the two.")
            seen.append(key)
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML reads, wants a dot and a signed exponent in a float: it takes 1e-3 for text.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str) -> Any:
    """
    The value of a text.

    Raises:
        ValueError: what would fill the memory or never end, before it can; a key that is set twice.
        yaml.YAMLError: invalid YAML.
    """
    if len(text) > _MOST_CHARACTERS:
        raise ValueError(f"It has more than {_MOST_CHARACTERS:,} characters. Is it the right file?")
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if number > _MOST_NODES:
            raise ValueError(f"It has more than {_MOST_NODES:,} entries. Is it the right file?")
        if depth > _MOST_LEVELS:
            raise ValueError("It nests more deeply than any setting does. Is it the right file?")
    if _unfolded_size(yaml.compose(text, Loader=_Loader), {}) > _MOST_NODES:
        raise ValueError(f"Its aliases unfold to more than {_MOST_NODES:,} entries. Write the values out.")
    return yaml.load(text, Loader=_Loader)  # a SafeLoader


def _unfolded_size(node: yaml.Node | None, sizes: dict[int, float]) -> float:
    """Nodes below one, aliases followed; infinite for one that is inside itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in sizes:
        sizes[id(node)] = math.inf
        pairs = node.value if isinstance(node, yaml.MappingNode) else [node.value]
        sizes[id(node)] = 1 + sum(_unfolded_size(child, sizes) for children in pairs for child in children)
    return sizes[id(node)]


def parse_yaml_file(text: str, name: object) -> Any:
    """
    [`parse_yaml`] of a file's text.

    Args:
        text (`str`): what the file holds.
        name: what errors call the file.

    Raises:
        ValueError: as [`parse_yaml`], and for invalid YAML; naming the file.
    """
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{name} is not valid YAML: {' '.join(str(error).split())}. Correct that line.") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
