# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Damage: to bytes, to text, to JSON values. Pure functions of a random generator."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any


# Beginnings of files of other kinds.
MAGICS = (
    b"\x1f\x8b\x08",
    b"BZh9",
    b"PK\x03\x04",
    b"\xff\xfe",
    b"\xfe\xff",
    b"PAR1",
    b"%PDF-1.4",
    b"\x7fELF",
    b"\x80\x02",
)

# Characters that are text to some programs and nothing, an end of line or an accident to others.
ODD_CHARACTERS = (
    "\0", "\x01", "\x0b", "\x0c", "\x1c", "\x1f", "\x7f", "\x85", "\u00a0", "\u00ad", "\u034f", "\u061c", "\u115f",
    "\u200b", "\u200d", "\u200e", "\u2028", "\u2029", "\u202e", "\u2060", "\u2581", "\u2800", "\u3000", "\ufe0f",
    "\ufeff", "\ufffd", "\ufffe", "\U0001f600", "\U000e0001", "\U0010ffff", "\r", "\n", "\r\n", "\t", " ", "\\", "'",
    '"', "<s>", "</s>", "<pad>", "<mask>", "<unk>", "<blank>", "<0x0A>", "@@", "é", "e\u0301", "ß", "猫", "ﷺ", "½",
)  # fmt: skip

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "shift-jis")

# What a program may find where it expects something else; made anew each time, since some are lists.
ODD_VALUES: tuple[Callable[[], Any], ...] = (
    lambda: None, lambda: True, lambda: False, lambda: 0, lambda: -1, lambda: 1, lambda: 7, lambda: 2**31,
    lambda: 2**63, lambda: 10**30, lambda: 0.5, lambda: -0.0, lambda: 1e308, lambda: float("nan"),
    lambda: float("inf"), lambda: "", lambda: " ", lambda: "none", lambda: "0", lambda: "a" * 2000, lambda: "ünïcode",
    lambda: "\ud800", lambda: "../../etc", lambda: [], lambda: [[]], lambda: [None], lambda: ["a", 1], lambda: {},
    lambda: {"": None}, lambda: {"a": {"b": ["c"]}}, lambda: nested(60),
)  # fmt: skip


def nested(depth: int) -> list:
    """A list in a list in a list …"""
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def damage_bytes(rng: Random, data: bytes) -> tuple[str, bytes]:
    """One kind of damage, by name, and the damaged bytes."""
    kinds: dict[str, Callable[[], bytes]] = {
        "empty": lambda: b"",
        "cut": lambda: data[: rng.randrange(len(data) + 1)],
        "cut a little": lambda: data[: -rng.randint(1, 16)],
        "flip": lambda: _flip(rng, data, 1),
        "flip many": lambda: _flip(rng, data, rng.randint(2, 40)),
        "zeros": lambda: _replace(rng, data, bytes(rng.randint(1, 64))),
        "noise": lambda: _replace(rng, data, rng.randbytes(rng.randint(1, 64))),
        "insert": lambda: _insert(rng, data, rng.randbytes(rng.randint(1, 32))),
        "delete": lambda: _insert(rng, data, b"", rng.randint(1, 64)),
        "repeat": lambda: data + data[: rng.randrange(len(data) + 1)],
        "magic": lambda: rng.choice(MAGICS) + data,
        "other file": lambda: rng.randbytes(rng.randint(1, 300)),
        "text": lambda: b"not what you think\n" * rng.randint(1, 20),
        "front": lambda: _flip(rng, data[:64], rng.randint(1, 4)) + data[64:],
    }
    name = rng.choice(list(kinds))
    return name, kinds[name]()


def _flip(rng: Random, data: bytes, count: int) -> bytes:
    changed = bytearray(data)
    for _ in range(count if changed else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _replace(rng: Random, data: bytes, piece: bytes) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + piece + data[start + len(piece) :]


def _insert(rng: Random, data: bytes, piece: bytes, dropped: int = 0) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + piece + data[start + dropped :]


def odd_text(rng: Random, words: list[str]) -> str:
    """A line of words and odd characters; sometimes nothing, sometimes very much."""
    count = rng.choice((0, 1, 1, 2, 3, 5, 8, 8, 300))
    parts = [rng.choice(words) if rng.random() < 0.6 else rng.choice(ODD_CHARACTERS) for _ in range(count)]
    return rng.choice(("", " ", "  ")).join(parts)


def damage_json(rng: Random, value: Any, count: int = 1) -> tuple[str, Any]:
    """A value with something in it replaced, removed or added; and what, in words."""
    changed, notes = copy.deepcopy(value), []
    for _ in range(count):
        container, key = _place(rng, changed)
        if container is None:
            return "all", rng.choice(ODD_VALUES)()
        kind = rng.choice(("replace", "replace", "replace", "delete", "add", "swap"))
        notes.append(f"{kind} {str(key)[:40]!r}")
        if kind == "delete":
            del container[key]
        elif kind == "add" and isinstance(container, dict):
            container[f"{key}_too"] = rng.choice(ODD_VALUES)()
        elif kind == "add":
            container.insert(key, rng.choice(ODD_VALUES)())
        elif kind == "swap":
            container[key] = copy.deepcopy(
                rng.choice(list(container.values() if isinstance(container, dict) else container))
            )
        else:
            container[key] = rng.choice(ODD_VALUES)()
    return ", ".join(notes), changed


def _place(rng: Random, value: Any) -> tuple[Any, Any]:
    """A container inside a value, and a key of it."""
    container = key = None
    while isinstance(value, (dict, list)) and value:
        container, key = value, rng.choice(list(value) if isinstance(value, dict) else range(len(value)))
        value = container[key]
        if rng.random() < 0.35:
            break
    return container, key


def damage_json_text(rng: Random, text: str) -> tuple[str, bytes]:
    """The text of a JSON file, damaged as a value or as bytes."""
    kind = rng.randrange(10)
    if kind == 0:
        depth = rng.choice((100, 5000, 200000))
        return f"{depth} brackets", b"[" * depth
    if kind == 1:
        return "a long number", b'{"a": ' + b"9" * 6000 + b"}"
    if kind < 4:
        return damage_bytes(rng, text.encode())
    if kind == 4:
        name, value = damage_json(rng, json.loads(text))
        return f"{name}, {(encoding := rng.choice(ENCODINGS))}", json.dumps(value).encode(encoding)
    name, value = damage_json(rng, json.loads(text), rng.randint(1, 3))
    return name, json.dumps(value).encode()
