# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`pipeline("translation")` for non-autoregressive models; this file travels with every checkpoint."""

from typing import Any

from transformers.pipelines.base import Pipeline


# Arguments of `generate()` whose value or result belongs to one batch, while a pipeline makes its batches itself.
BATCH_ARGUMENTS = ("return_dict_in_generate", "output_scores", "output_history", "target_lengths")


class NATTranslationPipeline(Pipeline):
    """
    Translation pipeline: text in, `[{"translation_text": …}]` out, through the model's own `generate()`.

    Keyword arguments of `generate()` (`num_iterations`, `length_beam_size`, `generation_config`, …) may be given when
    the pipeline is made or when it is called. `return_tensors=True` returns `translation_token_ids` instead of text;
    `truncation=True` cuts sources at the tokenizer's `model_max_length`.
    """

    _load_processor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True
    # The machinery behind this flag fills in settings of autoregressive decoding, and differs between releases.
    # Without it every keyword reaches our `generate()`, which takes defaults from the model's generation config.
    _pipeline_calls_generate = False

    def _sanitize_parameters(
        self,
        return_tensors: bool = False,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        truncation: bool | str | None = None,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
        **generate_kwargs: Any,
    ) -> tuple[dict, dict, dict]:
        if src_lang is not None or tgt_lang is not None:
            raise ValueError("This model translates one language pair. Leave out src_lang and tgt_lang.")
        refused = [name for name in BATCH_ARGUMENTS if generate_kwargs.get(name) is not None]
        if refused:
            raise ValueError(
                f"The translation pipeline does not take {', '.join(refused)}. Call model.generate() on a tokenized "
                "batch for that."
            )
        preprocess = {} if truncation is None else {"truncation": truncation}
        postprocess: dict[str, Any] = {"return_tensors": return_tensors and not return_text}
        if clean_up_tokenization_spaces is not None:
            postprocess["clean_up_tokenization_spaces"] = clean_up_tokenization_spaces
        return preprocess, generate_kwargs, postprocess

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:
        """
        Translates one text, a list of texts, or a stream of texts (a dataset or generator).

        Args:
            inputs (`str` or `list[str]`): source text(s).
            kwargs: `batch_size`, `return_tensors`, `truncation`, and keyword arguments of `generate()`.

        Returns:
            `list[dict]`: one `{"translation_text": str}` per text, in order. For one text with
            `num_return_sequences=n`, its n candidates, best first; for a list of texts, one such list per text. A
            stream gives an iterator over such lists.

        Raises:
            ValueError: for an empty text, something that is not text, or an argument that `generate()` refuses.
        """
        if isinstance(inputs, list) and not inputs:
            return []
        results = super().__call__(inputs, **kwargs)
        # As the task always did: a list of texts gives a flat list, unless several candidates each were asked for.
        if isinstance(inputs, list) and all(len(candidates) == 1 for candidates in results):
            return [candidates[0] for candidates in results]
        return results

    def preprocess(self, inputs: str, truncation: bool | str = False) -> dict:
        """Token ids and mask (1, S) of one text."""
        if not isinstance(inputs, str):
            raise ValueError(f"The translation pipeline takes text, got {type(inputs).__name__}. Pass str or a list.")
        if not inputs.strip():
            raise ValueError("The translation pipeline got an empty text. Remove empty lines before translating.")
        encoded = self.tokenizer(inputs, return_tensors="pt", truncation=truncation)
        # Whatever else a tokenizer returns (token_type_ids) means nothing to these models.
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}

    def _forward(self, model_inputs: dict, **generate_kwargs: Any) -> dict:
        batch_size = model_inputs["input_ids"].shape[0]
        output_ids = self.model.generate(**model_inputs, **generate_kwargs, return_dict_in_generate=False)
        # One row per input, so that batches can be taken apart again whatever num_return_sequences is.
        return {"output_ids": output_ids.reshape(batch_size, -1, output_ids.shape[-1])}

    def postprocess(self, model_outputs: dict, return_tensors: bool = False, **decode_kwargs: Any) -> list[dict]:
        """One entry per candidate of one text."""
        candidates = model_outputs["output_ids"].flatten(0, -2)
        if return_tensors:
            return [{"translation_token_ids": ids} for ids in candidates]
        texts = self.tokenizer.batch_decode(candidates, skip_special_tokens=True, **decode_kwargs)
        return [{"translation_text": text} for text in texts]


__all__ = ["NATTranslationPipeline"]
