# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Makes transformers know our models and the translation task."""

from __future__ import annotations

import re

import transformers.pipelines as transformers_pipelines
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM
from transformers.pipelines import PIPELINE_REGISTRY


def register_models(models: dict[str, tuple[type, type, type]]) -> None:
    """
    Registers each family with `AutoConfig`, `AutoModel` and `AutoModelForSeq2SeqLM`, and marks its files to be copied
    into checkpoints.

    Args:
        models (`dict`): model_type -> (configuration, base model, translation model).
    """
    for model_type, (config_class, base_class, translation_class) in models.items():
        AutoConfig.register(model_type, config_class, exist_ok=True)
        AutoModel.register(config_class, base_class, exist_ok=True)
        AutoModelForSeq2SeqLM.register(config_class, translation_class, exist_ok=True)
        config_class.register_for_auto_class()
        base_class.register_for_auto_class("AutoModel")
        translation_class.register_for_auto_class("AutoModelForSeq2SeqLM")


class TranslationAliases(dict):
    """Task aliases in which every `translation_xx_to_yy` stands for `translation`, as before transformers 5."""

    def __contains__(self, task: object) -> bool:
        return super().__contains__(task) or _names_languages(task)

    def __missing__(self, task: str) -> str:
        if not _names_languages(task):
            raise KeyError(task)
        return "translation"


def _names_languages(task: object) -> bool:
    return isinstance(task, str) and re.fullmatch(r"translation_\w+_to_\w+", task) is not None


def register_translation_pipeline(pipeline_class: type) -> None:
    """
    Brings `pipeline("translation")` back where transformers removed the task; leaves a built-in one alone.

    transformers 5 refuses the task by name before it looks at the registry, so the name is taken off that list. The
    task thereby returns for every seq2seq model of the process, which is harmless and the only way that works for
    model objects. `translation_xx_to_yy` means the same: a model knows its languages.
    """
    if "translation" in PIPELINE_REGISTRY.get_supported_tasks():
        return
    getattr(transformers_pipelines, "REMOVED_TASKS", {}).pop("translation", None)
    PIPELINE_REGISTRY.register_pipeline(
        "translation", pipeline_class=pipeline_class, pt_model=AutoModelForSeq2SeqLM, type="text"
    )
    PIPELINE_REGISTRY.task_aliases = TranslationAliases(PIPELINE_REGISTRY.task_aliases)
