# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""dims_hf: fast non-autoregressive translation on Hugging Face Transformers, with DiMS distillation."""

from dims_hf._registration import register_models, register_translation_pipeline
from dims_hf.models import MODELS, NATTranslationPipeline
from dims_hf.models import *  # noqa: F403
from dims_hf.models import __all__ as _model_names


__version__ = "0.1.0"

register_models(MODELS)
register_translation_pipeline(NATTranslationPipeline)

# Public names of the rooms that need more than torch and transformers, or are not needed to translate: name -> module.
_LAZY_NAMES: dict[str, str] = {}

__all__ = ["__version__", *_model_names]
