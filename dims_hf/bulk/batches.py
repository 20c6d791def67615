# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A translator of batches of columns, as `datasets.map` and Ray Data's `map_batches` call it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from ray.data import Dataset as RayDataset

    from dims_hf.translation import Runtime


class BatchTranslator:
    """
    Adds translations to batches of columns.

    The model is loaded at the first batch, once in every process that gets a copy: with `datasets.map(num_proc=…)`
    each worker has its own, and in Ray each actor. With `with_rank=True`, workers of `datasets.map` take turns on the
    GPUs.

    Args:
        model (`str` or `os.PathLike`): folder of a checkpoint or of an export (ONNX, native), or Hub model id.
        column (`str`, *optional*, defaults to `"text"`): column of the sources.
        output_column (`str`, *optional*, defaults to `"translation"`): column of the translations.
        with_quality (`bool`, *optional*, defaults to `False`): add the columns `confidence` (NaN where the source was
            left out) and `flags` (names joined by blanks).
        device, dtype (`str`, *optional*): as [`load_model`] takes them.
        threads (`int`, *optional*, defaults to 1): processor threads of each process.
        trust_remote_code (`bool`, *optional*, defaults to `False`): run Python code that comes with the model.
        options (`Any`): further arguments of [`translate`]: `on_long`, `num_iterations`, …

    Raises:
        ValueError: when called: no such column, or what [`translate`] refuses.

    Example:

    ```python
    from datasets import load_dataset

    from dims_hf import BatchTranslator

    dataset = load_dataset("parquet", data_files="sentences.parquet", split="train")
    translator = BatchTranslator("student-native", column="text", on_long="split")
    translated = dataset.map(translator, batched=True, batch_size=2000, num_proc=8)
    ```
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        column: str = "text",
        output_column: str = "translation",
        with_quality: bool = False,
        device: str | None = None,
        dtype: str | None = None,
        threads: int | None = 1,
        trust_remote_code: bool = False,
        **options: Any,
    ) -> None:
        self.model, self.column, self.output_column = str(model), column, output_column
        self.with_quality, self.options = with_quality, options
        self.place: dict[str, Any] = {
            "device": device, "dtype": dtype, "threads": threads, "trust_remote_code": trust_remote_code,
        }  # fmt: skip
        self._runtime: Runtime | None = None

    def __call__(self, batch: Mapping[str, Any], rank: int | None = None) -> dict[str, Any]:
        """
        The batch with its translations.

        Args:
            batch (`Mapping[str, Any]`): column -> values (a list or an array).
            rank (`int`, *optional*): number of the process, from `with_rank=True`.
        """
        from dims_hf.translation import quality_flags, translate_texts

        if self.column not in batch:
            raise ValueError(
                f"The batch has no column {self.column!r}; it has {', '.join(batch)}. Name it with column."
            )
        texts = list(batch[self.column])
        translations = translate_texts(self._opened(rank), texts, **self.options)
        result = {**batch, self.output_column: [translation.text for translation in translations]}
        if self.with_quality:
            result["confidence"] = [
                float("nan") if each.left_out is not None else each.confidence for each in translations
            ]
            result["flags"] = [" ".join(quality_flags(*pair)) for pair in zip(texts, translations, strict=True)]
        return result

    def _opened(self, rank: int | None) -> Runtime:
        if self._runtime is None:
            from dims_hf.translation import open_runtime

            place = dict(self.place)
            if rank is not None and place["device"] in (None, "cuda"):
                place["device"] = _device_of(rank, place["device"])
            self._runtime = open_runtime(self.model, **place)
        return self._runtime

    def __getstate__(self) -> dict[str, Any]:
        """Without the opened model: copies in other processes open their own, and equal settings hash alike."""
        return {**self.__dict__, "_runtime": None}


def translate_ray_dataset(
    dataset: RayDataset,
    model: str | os.PathLike[str],
    *,
    concurrency: int = 1,
    num_gpus: float = 0,
    batch_size: int = 2000,
    **options: Any,
) -> RayDataset:
    """
    Translates a data set of Ray Data with [`BatchTranslator`] actors.

    An actor that dies is started again by Ray, and its batches are done again. The result is as lazy as any of Ray
    Data; write it with `write_parquet` or its like.

    Args:
        dataset (`ray.data.Dataset`): rows with a column of sources.
        model (`str` or `os.PathLike`): as for [`BatchTranslator`]; every node must find it at that place.
        concurrency (`int`, *optional*, defaults to 1): actors, each with a model and a core.
        num_gpus (`float`, *optional*, defaults to 0): GPUs of each actor; 0.5 puts two on one.
        batch_size (`int`, *optional*, defaults to 2000): rows of a call, which are sorted by length and batched again.
        options (`Any`): further arguments of [`BatchTranslator`].

    Example:

    ```python
    import ray

    from dims_hf import translate_ray_dataset

    rows = ray.data.read_parquet("s3://bucket/sentences")
    translate_ray_dataset(rows, "student-native", concurrency=64).write_parquet("s3://bucket/translations")
    ```
    """
    if concurrency < 1 or batch_size < 1:
        raise ValueError(f"concurrency={concurrency} and batch_size={batch_size}: both must be >= 1.")
    if num_gpus == 0:
        options.setdefault("device", "cpu")
    return dataset.map_batches(
        BatchTranslator,
        fn_constructor_args=(str(model),),
        fn_constructor_kwargs=options,
        batch_size=batch_size,
        batch_format="numpy",
        concurrency=concurrency,
        num_gpus=num_gpus or None,
    )


def _device_of(rank: int, device: str | None) -> str | None:
    """The GPU of a process, where there are some."""
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{rank % count}" if count else device
