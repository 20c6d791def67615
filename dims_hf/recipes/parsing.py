# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Recipes: a YAML file plus command-line overrides becomes dataclass instances, and nothing is parsed and ignored.

Two steps: what names the training method and the model's family is read first; then the settings of that method, and
of no other, are the valid names.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NoReturn, Union

import yaml

from dims_hf._files import read_text
from dims_hf._yaml import parse_yaml, parse_yaml_file
from dims_hf.methods.registry import find_method, methods_with
from dims_hf.recipes import LIBRARY
from dims_hf.recipes.smoke import SMOKE, smoke_values


_WORDS = {"true": True, "yes": True, "false": False, "no": False, "none": None, "null": None}
_SCALARS = (bool, int, float, str)


@dataclasses.dataclass(frozen=True)
class _Field:
    """One settable value: where it belongs and what it may be."""

    name: str
    hint: Any
    owner: type
    required: bool
    default: Any
    help: str
    choices: tuple | None
    method: str | None = None  # the one whose settings stand among the names

    @property
    def is_bool(self) -> bool:
        """Whether true and false are among its values, so that `--name` and `--no_name` mean something."""
        return bool in _members(self.hint)

    @property
    def takes_many(self) -> bool:
        """Whether several words may follow it on the command line."""
        return any(_sequence_type(member) is not None for member in _members(self.hint))


def parse_recipe(
    dataclass_types: type | Sequence[type],
    argv: Sequence[str] | None = None,
    *,
    preset_values: Callable[[str], dict[str, Any]] | None = None,
) -> tuple[Any, ...]:
    """
    Read a recipe and its command-line overrides into dataclass instances.

    The command line is `[RECIPE.yaml] [--name value …] [--flag] [--no_flag] [--list a b c] [--name=value]`; dashes and
    underscores in a name are the same. What the command line says wins over the recipe, which wins over the values of
    a `preset` that one of them names, which win over the defaults. Paths in a recipe are relative to the working
    directory. `RECIPE` may also be the name of a recipe that comes with the package; a file of that name wins.

    `--smoke`, of commands that read a corpus, shrinks the run to a minute; see [`recipes.smoke`].

    A dataclass with `method_in` ([`NATTrainingArguments`]) has the settings of one training method among its names: of
    the one that recipe and command line choose.

    Args:
        dataclass_types (`type` or `Sequence[type]`): dataclasses whose fields are the valid names, each in one of
            them only.
        argv (`Sequence[str]`, *optional*): words of the command line, defaults to `sys.argv[1:]`.
        preset_values (`Callable`, *optional*): what the name `preset` stands for: from its value to values of the
            fields; without it there are no presets.

    Returns:
        `tuple`: one instance for each of `dataclass_types`, in their order.

    Raises:
        ValueError: an unknown name (the closest valid one is named), a value of the wrong type, a name set twice, a
            required name that is missing, a recipe that is no YAML mapping; and what a dataclass itself refuses.
        FileNotFoundError: the recipe does not exist.

    Example:

    ```python
    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Run:
    ...     ema_decay: float = 0.9992
    ...     unsupervised: bool = False
    >>> parse_recipe(Run, ["--ema_decay", "0.999", "--unsupervised"])
    (Run(ema_decay=0.999, unsupervised=True),)

    ```
    """
    owners = (dataclass_types,) if isinstance(dataclass_types, type) else tuple(dataclass_types)
    words = list(sys.argv[1:] if argv is None else argv)
    wants_help = "--help" in words or "-h" in words
    words = [word for word in words if word not in ("--help", "-h")]
    is_smoke = f"--{SMOKE}" in words and any("max_train_examples" in _names(owner) for owner in owners)
    if is_smoke:
        words.remove(f"--{SMOKE}")
    path = find_recipe(words.pop(0)) if words and not words[0].startswith("-") else None
    recipe = {} if path is None else _load_recipe(path)
    options = _split_options(words)
    # method and model type first: which names there are depends on them
    fields = _collect_fields(owners, _peek(recipe, options, preset_values))
    if preset_values is not None:
        fields["preset"] = _PRESET
    if wants_help:
        _show_help(owners, fields)
    values = _read_recipe(recipe, path, fields)
    said = _read_overrides(options, fields)
    values.update(said)
    preset = values.pop("preset", None)
    if preset is not None:
        # what was said in person wins over the preset
        values = {**_check_preset(preset, preset_values(preset), fields), **values}
    if is_smoke:
        # but what the command line says stays, for whoever tries one setting
        values.update(smoke_values(values, said, fields))
    _check_required(values, fields)
    return tuple(_build(owner, values, fields) for owner in owners)


def _names(owner: type) -> set[str]:
    return {field.name for field in dataclasses.fields(owner)}


class Presets:
    """Owner of the one name that stands for many values; no dataclass has it."""


_PRESET = _Field("preset", str | None, Presets, False, None, "Published settings to start from.", None)


def _check_preset(name: str, values: dict[str, Any], fields: dict[str, _Field]) -> dict[str, Any]:
    foreign = [field for field in values if field not in fields]
    if foreign:
        raise ValueError(
            f"The preset {name} sets {foreign[0]}, which this command does not have: it is for another one. Teachers "
            "and students have presets of their own."
        )
    return values


def find_recipe(name: str) -> Path:
    """
    The file a recipe's path or name stands for: a file wins over a recipe of that name in the package.

    Raises:
        FileNotFoundError: for neither, with the names that are close.
    """
    # a file first: users may keep a recipe of their own under a name that we ship
    if Path(name).is_file():
        return Path(name)
    shipped = {path.stem: path for path in sorted(LIBRARY.glob("*.yaml"))}
    if name.removesuffix(".yaml") in shipped:
        return shipped[name.removesuffix(".yaml")]
    close = difflib.get_close_matches(Path(name).stem, shipped, n=3)
    advice = f" Did you mean {' or '.join(close)}?" if close else ""
    raise FileNotFoundError(
        f"Recipe {name} does not exist. The first argument is the path of a YAML file, or the name of a recipe that "
        f"comes with the package.{advice}"
    )


def _peek(
    recipe: Mapping[str, Any], options: Sequence[tuple[str, list[str]]], preset_values: Callable | None
) -> dict[str, Any]:
    """Values before they are checked, as far as they choose a method: those of the preset, the recipe, the words."""
    words: dict[str, Any] = {}
    for option, arguments in options:
        name, _, inline = option[2:].partition("=")
        given = [inline] if "=" in option else arguments
        # one value each is enough here; what is wrong with the others is said later
        words[name.replace("-", "_")] = given[0] if given else None
    preset = words.get("preset", recipe.get("preset"))
    start = preset_values(preset) if preset_values is not None and isinstance(preset, str) else {}
    return {**start, **recipe, **words}


def _collect_fields(owners: Sequence[type], peeked: Mapping[str, Any]) -> dict[str, _Field]:
    fields: dict[str, _Field] = {}
    for owner in owners:
        for field, hint in _fields_of(owner, peeked):
            if field.name in fields:
                first = fields[field.name].owner.__name__
                raise ValueError(f"{first} and {owner.__name__} both have a field {field.name!r}. Rename one of them.")
            missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            fields[field.name] = _Field(
                name=field.name,
                hint=hint,
                owner=owner,
                required=missing,
                default=field.default if field.default_factory is dataclasses.MISSING else field.default_factory(),
                help=str(field.metadata.get("help", "")),
                choices=tuple(field.metadata["choices"]) if field.metadata.get("choices") else None,
                method=_method_of(owner, peeked),
            )
        for alias, name in getattr(owner, "aliases", {}).items():
            fields[alias] = fields[name]
    return fields


def _fields_of(owner: type, peeked: Mapping[str, Any]) -> list[tuple[dataclasses.Field, Any]]:
    """The settable fields of a dataclass with their types; settings of a method are those of the one chosen."""
    hints = typing.get_type_hints(owner)
    own = [(field, hints[field.name]) for field in dataclasses.fields(owner) if field.init]
    name = _method_of(owner, peeked)
    if name is None:
        return own
    options = find_method(name).Options
    hints = typing.get_type_hints(options)
    chosen = [(field, hints[field.name]) for field in dataclasses.fields(options)]
    return [(field, hint) for field, hint in own if not field.metadata.get("of_method")] + chosen


def _method_of(owner: type, peeked: Mapping[str, Any]) -> str | None:
    """Name of the method whose settings a dataclass takes, if it takes those of any."""
    if not hasattr(owner, "method_in"):
        return None
    aliased = {getattr(owner, "aliases", {}).get(name, name): value for name, value in peeked.items()}
    return owner.method_in(aliased)


def _build(owner: type, values: dict[str, Any], fields: dict[str, _Field]) -> Any:
    return owner(**{name: value for name, value in values.items() if fields[name].owner is owner})


def _check_required(values: dict[str, Any], fields: dict[str, _Field]) -> None:
    missing = [name for name, field in fields.items() if field.required and name not in values]
    if missing:
        listed = ", ".join(missing)
        raise ValueError(f"No value for {listed}. Set it in the recipe or with --{missing[0]} on the command line.")


def _load_recipe(path: Path) -> dict[str, Any]:
    recipe = parse_yaml_file(read_text(path), path)
    if recipe is None:
        return {}
    if not isinstance(recipe, dict):
        raise ValueError(f"{path} holds a {type(recipe).__name__}. A recipe is a mapping of names to values.")
    return recipe


def _read_recipe(recipe: Mapping[str, Any], path: Path | None, fields: dict[str, _Field]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in recipe.items():
        if key not in fields and path is not None and path.parent == LIBRARY:
            raise ValueError(f"{path.stem} is a recipe of {_command_of(path.stem)}, and {key} is no setting here.")
        field = fields.get(key) or _refuse_unknown(str(key), fields, f"in {path}")
        if field.name in values:
            raise ValueError(f"{path}: {key} and {field.name} are two names of one setting. Keep {field.name}.")
        values[field.name] = _checked(field, value, f"{path}: {field.name}", from_text=False)
    return values


def _command_of(recipe: str) -> str:
    """The command that a recipe of the library is for."""
    ends = {"_dims": "distill", "_distilled_data": "make-data", "autoregressive": "train-autoregressive", "": "train"}
    return f"dims-hf {next(command for end, command in ends.items() if recipe.endswith(end))}"


def _read_overrides(options: Sequence[tuple[str, list[str]]], fields: dict[str, _Field]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option, arguments in options:
        name, _, inline = option[2:].partition("=")
        if "=" in option:
            arguments = [inline, *arguments]
        name = name.replace("-", "_")
        field, negated = _find_option(name, fields)
        if field.name in values:
            raise ValueError(f"--{field.name} is given twice. Keep one of the two.")
        values[field.name] = _override(field, negated, arguments)
    return values


def _split_options(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    options: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("--") and len(word) > 2:
            options.append((word, []))
        elif not options:
            raise ValueError(f"Unexpected argument {word!r}. One recipe comes first, then options that start with --.")
        else:
            options[-1][1].append(word)
    return options


def _find_option(name: str, fields: dict[str, _Field]) -> tuple[_Field, bool]:
    if name in fields:
        return fields[name], False
    positive = fields.get(name[3:]) if name.startswith("no_") else None
    if positive is not None and positive.is_bool:
        return positive, True
    return _refuse_unknown(name, fields, "on the command line", prefix="--"), False


def _override(field: _Field, negated: bool, arguments: list[str]) -> Any:
    option = f"--no_{field.name}" if negated else f"--{field.name}"
    if negated and arguments:
        raise ValueError(f"{option} takes no value, got {' '.join(arguments)!r}. Say {option} or --{field.name}.")
    # `--flag` alone
    if field.is_bool and not arguments:
        return not negated
    if not arguments:
        raise ValueError(f"{option} has no value. Expected {_describe(field.hint)}.")
    if len(arguments) == 1:
        return _checked(field, arguments[0], option, from_text=True)
    if not field.takes_many:
        raise ValueError(
            f"{option} takes one value, got {len(arguments)}: {' '.join(arguments)!r}. Quote a value with spaces."
        )
    return _checked(field, arguments, option, from_text=True)


def _refuse_unknown(name: str, fields: dict[str, _Field], where: str, prefix: str = "") -> NoReturn:
    method = fields["method"].method if "method" in fields else None
    others = methods_with(name) if method is not None else []
    if others:
        raise ValueError(
            f"Unknown name {prefix}{name} {where}. It is a setting of {', '.join(others)}; the method here is "
            f"{method}."
        )
    close = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
    advice = f"Did you mean {prefix}{close[0]}?" if close else "Call with --help for the valid names."
    raise ValueError(f"Unknown name {prefix}{name} {where}. {advice}")


def _checked(field: _Field, value: Any, where: str, *, from_text: bool) -> Any:
    try:
        result = _coerce(field.hint, value, from_text)
    except (TypeError, ValueError):
        quote = " Put quotes around it to make it text." if str in _members(field.hint) and not from_text else ""
        raise ValueError(f"{where} must be {_describe(field.hint)}, got {value!r}.{quote}") from None
    if field.choices and result not in field.choices:
        listed = ", ".join(map(str, field.choices))
        raise ValueError(f"{where} must be one of {listed}, got {value!r}.")
    return result


def _members(hint: Any) -> tuple:
    if typing.get_origin(hint) in (Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _sequence_type(hint: Any) -> type | None:
    origin = typing.get_origin(hint) or hint
    if origin in (list, tuple):
        return origin
    return list if isinstance(origin, type) and origin is not str and issubclass(origin, Sequence) else None


def _coerce(hint: Any, value: Any, from_text: bool) -> Any:
    """The value as the first member of `hint` that takes it; words of the command line are tried as text last."""
    for member in _in_order_of_trial(_members(hint), value, from_text):
        try:
            return _coerce_one(member, value, from_text)
        except (TypeError, ValueError):
            continue
    raise ValueError(f"{value!r} is not {_describe(hint)}")


def _in_order_of_trial(members: tuple, value: Any, from_text: bool) -> list:
    if not from_text:  # an exact match first: 3 for `float | int` stays an int
        return sorted(members, key=lambda member: type(value) is not member)
    # Every word is text, so text is tried late, but before a list of one; and where text is possible `none` is a word
    # (`--report_to none`), `null` is not.
    if str in members and value == "none":
        members = tuple(member for member in members if member is not type(None))
    one_word = isinstance(value, str) and not value.startswith("[")
    return sorted(members, key=lambda member: 2 * (one_word and _sequence_type(member) is not None) + (member is str))


def _coerce_one(hint: Any, value: Any, from_text: bool) -> Any:
    if hint is Any:
        return value
    if hint in (None, type(None)):
        return _coerce_none(value)
    if typing.get_origin(hint) is Literal:
        return _coerce_literal(hint, value, from_text)
    if _sequence_type(hint) is not None:
        return _coerce_sequence(hint, value, from_text)
    if (typing.get_origin(hint) or hint) is dict:
        return _coerce_mapping(value, from_text)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint(value)
    if hint in _SCALARS:
        return _coerce_scalar(hint, value, from_text)
    if hint is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"{hint} cannot be set from a recipe")


def _coerce_none(value: Any) -> None:
    if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
        return
    raise ValueError(value)


def _coerce_literal(hint: Any, value: Any, from_text: bool) -> Any:
    for choice in typing.get_args(hint):
        if type(choice) is type(value) and choice == value:
            return choice
        if from_text and str(choice).lower() == str(value).lower():
            return choice
    raise ValueError(value)


def _coerce_sequence(hint: Any, value: Any, from_text: bool) -> Any:
    kind, arguments = _sequence_type(hint), typing.get_args(hint)
    if from_text and isinstance(value, str):
        from_text = not value.startswith("[")
        value = [value] if from_text else _yaml_value(value)
    if not isinstance(value, list):
        raise ValueError(value)
    if kind is tuple and arguments and Ellipsis not in arguments:
        if len(arguments) != len(value):
            raise ValueError(value)
        return tuple(_coerce(item, each, from_text) for item, each in zip(arguments, value))
    return kind(_coerce(arguments[0] if arguments else Any, each, from_text) for each in value)


def _coerce_mapping(value: Any, from_text: bool) -> dict:
    if from_text and isinstance(value, str) and value.startswith("{"):
        value = _yaml_value(value)
    if not isinstance(value, dict):
        raise ValueError(value)
    return value


def _coerce_scalar(hint: type, value: Any, from_text: bool) -> Any:
    if from_text and isinstance(value, str) and hint is not str:
        value = _WORDS[value.lower()] if value.lower() in _WORDS else _yaml_value(value)
    if hint in (bool, str):
        if isinstance(value, hint):
            return value
        raise ValueError(value)
    # `true` is 1 to Python, and not meant as a number
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(value)
    if hint is int and not float(value).is_integer():  # 1e5 is a fine number of steps, 1.5 is not
        raise ValueError(value)
    return hint(value)


def _yaml_value(text: str) -> Any:
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def _describe(hint: Any) -> str:
    return " or ".join(_describe_one(member) for member in _members(hint))


def _describe_one(hint: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "none"}
    if hint in names:
        return names[hint]
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(repr, typing.get_args(hint)))
    if _sequence_type(hint) is not None:
        arguments = [each for each in typing.get_args(hint) if each is not Ellipsis]
        return f"a list of {_describe(arguments[0])}" if arguments else "a list"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(str(member.value) for member in hint)
    return "a mapping" if (typing.get_origin(hint) or hint) is dict else str(getattr(hint, "__name__", hint))


def _program() -> str:
    """What was called: a script, or `dims-hf` with the name of the command."""
    name = Path(sys.argv[0]).name
    if name not in ("dims-hf", "main.py"):  # the latter of `python -m dims_hf.cli.main`
        return name
    return " ".join(["dims-hf", *[word for word in sys.argv[1:] if not word.startswith("-")][:1]])


def _show_help(owners: Sequence[type], fields: dict[str, _Field]) -> NoReturn:
    lines = [f"usage: {_program()} [RECIPE.yaml] [--name value ...] [--flag] [--no_flag] [--smoke]", ""]
    for owner in dict.fromkeys((*owners, *(field.owner for field in fields.values()))):
        lines.append(f"{owner.__name__}:")
        for name, field in fields.items():
            if field.owner is owner and field.name == name:
                default = "required" if field.required else f"default {field.default!r}"
                lines.append(f"  --{field.name}: {_describe(field.hint)} ({default}). {' '.join(field.help.split())}")
        lines.append("")
    sys.stdout.write("\n".join(lines))
    raise SystemExit(0)
