# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The pipeline of transformers for the translation task, under a signature that editors and type checkers know."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast


if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from dims_hf.models.pipeline_translation import NATTranslationPipeline


def pipeline(
    task: str = "translation",
    model: str | os.PathLike[str] | PreTrainedModel | None = None,
    **options: Any,
) -> NATTranslationPipeline:
    """
    A translation pipeline: `transformers.pipeline`, whose own annotations know only the tasks that it was released
    with.

    Args:
        task (`str`, *optional*, defaults to `"translation"`): or `translation_xx_to_yy`, which means the same.
        model (`str`, `os.PathLike` or `PreTrainedModel`): folder, Hub id, or a model with a `tokenizer` among the
            options.
        options (`Any`): what `transformers.pipeline` takes (`tokenizer`, `device`, `batch_size`,
            `trust_remote_code`, …) and what [`NATTranslationPipeline`] takes when it is called.

    Returns:
        [`NATTranslationPipeline`].

    Raises:
        ValueError: another task, no model, or a model that cannot be loaded.

    Example:

    ```python
    translator = pipeline("translation", model="model_cards/tatoeba-en-de-dims")
    translator(["Where did you buy that book?"], batch_size=32)[0]["translation_text"]
    ```
    """
    if task.partition("_")[0] != "translation":
        raise ValueError(f"This pipeline translates, got task={task!r}. Use transformers.pipeline for other tasks.")
    if model is None:
        raise ValueError("There is no model to translate with. Give a folder, a Hub id or a model as model=…")
    # here, since it takes seconds, and by way of `Any`: no overload of it has our task
    from transformers import pipeline as make_pipeline

    named = os.fspath(model) if isinstance(model, os.PathLike) else model
    return cast("NATTranslationPipeline", cast(Any, make_pipeline)(task, model=named, **options))


__all__ = ["pipeline"]
