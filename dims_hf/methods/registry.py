# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Which methods there are, which one a family is trained with by default, and what the settings of a run choose."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from dims_hf.methods.base import Distillation, Method, MethodOptions
from dims_hf.methods.options import check_value


# name -> module:class; imported when it is first used.
METHODS: dict[str, str] = {
    "cmlm": "dims_hf.methods.cmlm:CMLM",
    "cmlmc": "dims_hf.methods.cmlmc:CMLMC",
    "imputer": "dims_hf.methods.imputer:Imputer",
    "ctc": "dims_hf.methods.ctc:CTC",
    "ctc_glancing": "dims_hf.methods.ctc_glancing:GlancingCTC",
    "ctc_ngrams": "dims_hf.methods.ctc_ngrams:CTCNgrams",
    "minimum_risk": "dims_hf.methods.minimum_risk:MinimumRisk",
    "multi_reference": "dims_hf.methods.multi_reference:MultiReference",
    "glat": "dims_hf.methods.glat:GLAT",
    "smart": "dims_hf.methods.smart:SMART",
    "axe": "dims_hf.methods.axe:AXE",
    "oaxe": "dims_hf.methods.oaxe:OAXE",
    "bag_of_ngrams": "dims_hf.methods.bag_of_ngrams:BagOfNgrams",
    "similarity": "dims_hf.methods.similarity:Similarity",
    "hints": "dims_hf.methods.hints:Hints",
    "engine": "dims_hf.methods.engine:ENGINE",
    "disco": "dims_hf.methods.disco:DisCo",
    "crf": "dims_hf.methods.crf:CRF",
    "dat": "dims_hf.methods.dat:DAT",
    "fadat": "dims_hf.methods.fadat:FADAT",
    "refine": "dims_hf.methods.refine:Refinement",
    "alignart": "dims_hf.methods.alignart:AligNART",
    "levenshtein": "dims_hf.methods.levenshtein:Levenshtein",
    "insertion": "dims_hf.methods.insertion:Insertion",
    "dims": "dims_hf.methods.dims:DiMS",
    "dims_imputer": "dims_hf.methods.dims_imputer:DiMSImputer",
    "dims_crf": "dims_hf.methods.dims_crf:DiMSCRF",
    "dims_dat": "dims_hf.methods.dims_dat:DiMSDAT",
}

# model_type -> method of its teachers, and of its students (`None`: not distilled); one line per new family.
DEFAULT_METHODS: dict[str, tuple[str, str | None]] = {
    "cmlm": ("cmlm", "dims"),
    "cmlm_crf": ("crf", "dims_crf"),
    "disco": ("disco", "dims"),
    "cmlmc": ("cmlmc", "dims"),
    "imputer": ("imputer", "dims_imputer"),
    "dat": ("dat", "dims_dat"),
    "refine": ("refine", "dims"),
    "alignart": ("alignart", None),
    "levenshtein": ("levenshtein", None),
    "insertion": ("insertion", None),
}


class Choice(NamedTuple):
    """A method's name, its class, and all of its settings."""

    name: str
    method: type[Method]
    options: MethodOptions


def find_method(name: str) -> type[Method]:
    """
    Class of a method.

    Raises:
        ValueError: for a name that is none.
    """
    if name not in METHODS:
        close = difflib.get_close_matches(str(name), METHODS, n=1)
        advice = f"Did you mean {close[0]}?" if close else "Choose one of them."
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {name!r}. {advice}")
    module, _, attribute = METHODS[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def all_methods() -> Iterator[tuple[str, type[Method]]]:
    """Every name and class, in the order of `METHODS`."""
    return ((name, find_method(name)) for name in METHODS)


def default_method(model_type: str, *, distils: bool) -> str:
    """
    Name of the method that trains a family's teachers, or its students, where none is named.

    Raises:
        ValueError: for a family that has none.
    """
    if model_type not in DEFAULT_METHODS:
        raise ValueError(f"No method trains a model of type {model_type}. Use one of {', '.join(DEFAULT_METHODS)}.")
    name = DEFAULT_METHODS[model_type][distils]
    if name is None:
        raise ValueError(f"Models of type {model_type} are trained without a teacher. Use train_teacher.")
    return name


def trains(name: str, model_type: str) -> bool:
    """Whether a method trains a family: it says so, or is the family's default."""
    return model_type in find_method(name).families or name in DEFAULT_METHODS.get(model_type, ())


def choose_method(name: str | None, settings: Mapping[str, Any], model_type: str, *, distils: bool) -> Choice:
    """
    The method of a run with all of its settings; nothing that was passed changes.

    Args:
        name (`str`, *optional*): key of `METHODS`; default: the family's.
        settings (`Mapping[str, Any]`): settings that were given, by name.
        model_type (`str`): family in training.
        distils (`bool`): whether there is a teacher.

    Raises:
        ValueError: for a method that is unknown, trains another family or the other role, for a setting that it does
            not have, and for a value that it does not allow.
    """
    name = default_method(model_type, distils=distils) if name is None else name
    method = find_method(name)
    if issubclass(method, Distillation) is not distils:
        here, other = ("students", "teachers") if distils else ("teachers", "students")
        fitting = [each for each, kind in all_methods() if issubclass(kind, Distillation) is distils]
        raise ValueError(f"method={name} trains {other}. For {here}, use one of {', '.join(fitting)}.")
    if not trains(name, model_type):
        fitting = [
            each
            for each, kind in all_methods()
            if issubclass(kind, Distillation) is distils and trains(each, model_type)
        ]
        raise ValueError(
            f"method={name} does not train models of type {model_type}. Use one of {', '.join(fitting)} there."
        )
    known = {each.name for each in fields(method.Options)}
    for setting, value in settings.items():
        if setting not in known:
            raise ValueError(
                f"{setting}={value!r} has no effect here: {_owner_of(setting, name, model_type)} Leave it out."
            )
    return Choice(name, method, method.Options(**settings))


def check_known(setting: str, value: Any) -> None:
    """
    Refuses a setting that no method has, and a value that none of those that have it allows.

    Raises:
        TypeError: for an unknown name, with the closest known one.
        ValueError: for an impossible value.
    """
    declared = [each for _, method in all_methods() for each in fields(method.Options)]
    named = [each for each in declared if each.name == setting]
    if not named:
        close = difflib.get_close_matches(setting, {each.name for each in declared}, n=1)
        advice = f" Did you mean {close[0]}?" if close else ""
        raise TypeError(f"{setting} is no setting of the trainer or of any method.{advice}")
    errors = []
    for each in named:
        try:
            check_value(each, value)
        except ValueError as error:
            errors.append(error)
    if len(errors) == len(named):
        raise errors[0]


def methods_with(setting: str) -> list[str]:
    """Names of the methods that have a setting."""
    return [
        name for name, method in all_methods() if any(declared.name == setting for declared in fields(method.Options))
    ]


def _owner_of(setting: str, name: str, model_type: str) -> str:
    """Whose setting it is, in a sentence; a method that trains the same family is named rather than others."""
    owners = sorted(methods_with(setting), key=lambda owner: not trains(owner, model_type))
    if not owners:
        return f"method={name} has no such setting."
    role = "students" if issubclass(find_method(owners[0]), Distillation) else "teachers"
    return f"it belongs to the training of {' or '.join(owners)} {role}."
