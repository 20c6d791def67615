# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Settings with their help, range and choices declared where they are declared, checked in one place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    most: float | None = None,
    choices: Sequence[Any] | None = None,
    advice: str = "",
) -> Any:
    """
    A field of a settings dataclass that says what it may be; [`check_ranges`] holds a value against it.

    Args:
        default: value where none is given; a list is copied for each instance.
        help (`str`): what the setting does, for `--help`.
        ge, gt, le (`float`, *optional*): bounds; `None` and text are not compared with them.
        most (`float`, *optional*): what is possible and would take days; more is a slip.
        choices (`Sequence`, *optional*): all values that are possible.
        advice (`str`): what to do instead, at the end of the error.
    """
    metadata = {"help": help, "ge": ge, "gt": gt, "le": le, "most": most, "choices": choices, "advice": advice}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def check_ranges(settings: Any) -> None:
    """
    Refuses the first value of a dataclass that its field does not allow.

    Raises:
        ValueError: with the name, the value, what is possible, and what to do.
    """
    for each in dataclasses.fields(settings):
        check_value(each, getattr(settings, each.name))


def check_value(declared: dataclasses.Field, value: Any) -> None:
    """
    Refuses a value that a field made by [`option`] does not allow.

    Raises:
        ValueError: as [`check_ranges`].
    """
    limits, name, advice = declared.metadata, declared.name, declared.metadata.get("advice", "")
    advice = f" {advice}" if advice else ""
    choices = limits.get("choices")
    if choices is not None and value not in choices and value is not None:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}.{advice}")
    # `bool` is an `int` to Python
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if math.isinf(value):
        raise ValueError(f"{name} must be finite, got {value}.{advice}")
    most = limits.get("most")
    if most is not None and value > most:
        raise ValueError(f"{name} must be <= {most:g}, got {value}.{advice}")
    low, above, high = (limits.get(key) for key in ("ge", "gt", "le"))
    is_in_range = (low is None or value >= low) and (above is None or value > above)
    # NaN passes a field without bounds unless it is looked for
    if is_in_range and (high is None or value <= high) and not math.isnan(value):
        return
    if low is not None and high is not None:
        wanted = f"lie in [{low:g}, {high:g}]"
    elif high is not None:
        wanted = f"be <= {high:g}"
    else:
        wanted = f"be > {above:g}" if above is not None else f"be >= {low:g}" if low is not None else "be a number"
    raise ValueError(f"{name} must {wanted}, got {value}.{advice}")


class _Unstated:
    """Marks a value that nobody gave: it equals what it stands for, and survives copies, `replace` and `asdict`."""


class _UnstatedFloat(_Unstated, float):
    pass


class _UnstatedInt(_Unstated, int):
    pass


class _UnstatedText(_Unstated, str):
    pass


_UNSTATED = {float: _UnstatedFloat, int: _UnstatedInt, str: _UnstatedText}


def unstated(value: Any) -> Any:
    """The value, marked as a default that others may take the place of; true, false and none cannot be marked."""
    kind = _UNSTATED.get(type(value))
    return value if kind is None else kind(value)


def is_default(value: Any) -> bool:
    """Whether the value is marked by [`unstated`]."""
    return isinstance(value, _Unstated)


def plain(value: Any) -> Any:
    """The value without the mark of [`unstated`]."""
    for kind, marked in _UNSTATED.items():
        if isinstance(value, marked):
            return kind(value)
    return value
