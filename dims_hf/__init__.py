# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""dims_hf: fast non-autoregressive translation on Hugging Face Transformers, with DiMS distillation."""

from importlib import import_module

from dims_hf._registration import register_models, register_translation_pipeline
from dims_hf.models import *  # noqa: F403
from dims_hf.models import MODELS, NATTranslationPipeline
from dims_hf.models import __all__ as _model_names


__version__ = "0.1.0"

register_models(MODELS)
register_translation_pipeline(NATTranslationPipeline)

# Rooms that translating does not need: `import dims_hf` stays quick, and works with torch and transformers alone.
_ROOMS = (
    "objectives",
    "distillation",
    "methods",
    "data",
    "translation",
    "evaluation",
    "reports",
    "trainers",
    "export",
)

__all__ = ["__version__", *_model_names]


def __getattr__(name: str) -> object:
    """Public names of the other rooms, imported when they are first used."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for room in _ROOMS:
        module = import_module(f"dims_hf.{room}")
        if name in module.__all__:
            globals()[name] = getattr(module, name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
