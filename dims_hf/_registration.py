# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Makes transformers know our models and the translation task, as soon as it is imported and no sooner.

Importing torch and transformers takes seconds that a help page or an exported model need not wait for. So nothing of
either is imported here: what has to be registered is registered at once where transformers is there already, and else
when it comes.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


_MODELS = "dims_hf.models."
_TRANSFORMERS = "transformers"
_PIPELINES = "transformers.pipelines"


def register_when_imported() -> None:
    """
    Registers our models with transformers' auto classes and the translation task with its pipelines.

    The models are registered at once where transformers has been imported, else right after `import transformers`;
    the task likewise with `transformers.pipelines`. To call it again does nothing.
    """
    if not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        watcher = _Watcher()
        sys.meta_path.insert(0, watcher)
        watcher.settle()


class _Watcher(MetaPathFinder):
    """
    Sees transformers and the files of our models being imported, and registers once nothing of them is half imported.

    Registering imports our models, which import transformers, which may be what is being imported just now, by them
    or by somebody else. Hence it waits for the outermost of these imports to end.
    """

    def __init__(self) -> None:
        self._running = threading.local()
        self._has_models = self._has_pipeline = False

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The spec that the other finders give, with a loader that tells us when it has finished."""
        if name not in (_TRANSFORMERS, _PIPELINES) and not name.startswith(_MODELS):
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _WatchedLoader(spec.loader, self)
                return spec
        return None

    def begin(self) -> None:
        """One more import is under way in this thread."""
        self._running.depth = getattr(self._running, "depth", 0) + 1

    def end(self) -> None:
        """One import less; after the last, what can be registered is."""
        self._running.depth -= 1
        if not self._running.depth:
            self.settle()

    def settle(self) -> None:
        """Registers what has not been yet and whose part of transformers is there."""
        if not self._has_models and _TRANSFORMERS in sys.modules:
            self._has_models = True  # before the imports below, which end here as well
            from dims_hf.models import MODELS, NATConfig, SourceTargetTokenizer

            register_models(MODELS)
            register_tokenizer(NATConfig, SourceTargetTokenizer)
        if not self._has_pipeline and _PIPELINES in sys.modules:
            self._has_pipeline = True
            from dims_hf.models import NATTranslationPipeline

            register_translation_pipeline(NATTranslationPipeline)


class _WatchedLoader(Loader):
    """A loader that lets the watcher know; everything else is the original's."""

    def __init__(self, loader: Loader, watcher: _Watcher) -> None:
        self._loader, self._watcher = loader, watcher

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the original does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Runs the module as if we were not here."""
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._watcher.begin()
        try:
            self._loader.exec_module(module)
        finally:
            self._watcher.end()


def register_models(models: Mapping[str, tuple[type, type, type]]) -> None:
    """
    Registers each family with `AutoConfig`, `AutoModel` and `AutoModelForSeq2SeqLM`, and marks its files to be copied
    into checkpoints.

    Args:
        models (`Mapping`): model_type -> (configuration, base model, translation model).
    """
    from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

    for model_type, (config_class, base_class, translation_class) in models.items():
        AutoConfig.register(model_type, config_class, exist_ok=True)
        AutoModel.register(config_class, base_class, exist_ok=True)
        AutoModelForSeq2SeqLM.register(config_class, translation_class, exist_ok=True)
        config_class.register_for_auto_class()
        base_class.register_for_auto_class("AutoModel")
        translation_class.register_for_auto_class("AutoModelForSeq2SeqLM")


def register_tokenizer(config_class: type, tokenizer_class: type) -> None:
    """
    Registers a tokenizer with `AutoTokenizer`, which then finds it by the name in `tokenizer_config.json`, and marks
    its file to be copied into checkpoints.

    Args:
        config_class (`type`): one that no model has: the tokenizers of all models are found by name.
        tokenizer_class (`type`): the tokenizer.
    """
    from transformers import AutoTokenizer

    AutoTokenizer.register(config_class, tokenizer_class, exist_ok=True)
    tokenizer_class.register_for_auto_class("AutoTokenizer")  # type: ignore[attr-defined]  # a tokenizer's


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
    import transformers.pipelines as transformers_pipelines
    from transformers import AutoModelForSeq2SeqLM
    from transformers.pipelines import PIPELINE_REGISTRY

    if "translation" in PIPELINE_REGISTRY.get_supported_tasks():
        return
    getattr(transformers_pipelines, "REMOVED_TASKS", {}).pop("translation", None)
    PIPELINE_REGISTRY.register_pipeline(
        "translation", pipeline_class=pipeline_class, pt_model=AutoModelForSeq2SeqLM, type="text"
    )
    PIPELINE_REGISTRY.task_aliases = TranslationAliases(PIPELINE_REGISTRY.task_aliases)
