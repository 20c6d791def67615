# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""One tokenizer for models whose source and target have vocabularies of their own; it travels with checkpoints."""

from typing import Any

from transformers import PreTrainedTokenizerFast
from transformers.tokenization_utils_base import BatchEncoding


SOURCE_TOKENIZER_NAME = "source_tokenizer.json"


class SourceTargetTokenizer(PreTrainedTokenizerFast):
    """
    Encodes sources with one tokenizer and targets with another: `tokenizer(text)`, `encode` and `tokenize` read a
    source, `tokenizer(text_target=…)` a target, and all the rest (`decode`, ids of tokens, `len`) is about targets,
    which are what a model writes. `<s> <pad> </s> <unk> <mask>` have the same ids on both sides, whatever the source
    tokenizer calls them.

    Two files: `tokenizer.json` is the target's, `source_tokenizer.json` the source's (`source_tokenizer` here).

    Args:
        source_tokenizer_file (`str`, *optional*): file of the source's tokenizer.
        source_tokenizer_object (`tokenizers.Tokenizer`, *optional*): or the tokenizer itself.
        kwargs: as of any fast tokenizer, for the target.

    Raises:
        ValueError: there is no source tokenizer.
    """

    vocab_files_names = {"tokenizer_file": "tokenizer.json", "source_tokenizer_file": SOURCE_TOKENIZER_NAME}

    def __init__(
        self,
        *args,
        source_tokenizer_file: str | None = None,
        source_tokenizer_object: Any = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        if source_tokenizer_file is None and source_tokenizer_object is None:
            raise ValueError(f"{SOURCE_TOKENIZER_NAME} is missing: sources have a tokenizer of their own here.")
        source = (
            {"tokenizer_object": source_tokenizer_object}
            if source_tokenizer_object is not None
            else {"tokenizer_file": source_tokenizer_file}
        )
        self.source_tokenizer = PreTrainedTokenizerFast(
            **source,
            model_input_names=self.model_input_names,
            model_max_length=self.model_max_length,
            clean_up_tokenization_spaces=False,
            split_special_tokens=self.split_special_tokens,
        )
        for name in ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"):
            token_id = getattr(self, f"{name}_id")
            setattr(self.source_tokenizer, name, self.source_tokenizer.convert_ids_to_tokens(token_id))

    @classmethod
    def convert_to_native_format(cls, trust_remote_code: bool = False, **kwargs) -> dict[str, Any]:
        """Arguments of the constructor as they are: the two files say everything, and nothing is to be converted."""
        return kwargs

    def __call__(
        self, text: Any = None, text_pair: Any = None, text_target: Any = None, text_pair_target: Any = None, **options
    ) -> BatchEncoding:
        """As any tokenizer of transformers: `text` is a source, `text_target` a target."""
        if text is None:
            return super().__call__(text_target=text_target, text_pair_target=text_pair_target, **options)
        for_source = {"padding_side": self.padding_side, **options}
        for_source.pop("max_target_length", None)
        encoded = self.source_tokenizer(text, text_pair, **for_source)
        if text_target is not None:
            targets = super().__call__(text_target=text_target, text_pair_target=text_pair_target, **options)
            encoded["labels"] = targets["input_ids"]
        return encoded

    def encode(self, text: Any, *args, **kwargs) -> list[int]:
        """Ids of a source."""
        return self.source_tokenizer.encode(text, *args, **kwargs)

    def tokenize(self, text: str, *args, **kwargs) -> list[str]:
        """Tokens of a source."""
        return self.source_tokenizer.tokenize(text, *args, **kwargs)

    def _save_pretrained(
        self,
        save_directory: Any,
        file_names: tuple[str, ...],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
    ) -> tuple[str, ...]:
        file_names = super()._save_pretrained(save_directory, file_names, legacy_format, filename_prefix)
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        path = f"{save_directory}/{prefix}{SOURCE_TOKENIZER_NAME}"
        self.source_tokenizer.backend_tokenizer.save(path)
        return (*file_names, path)


__all__ = ["SOURCE_TOKENIZER_NAME", "SourceTargetTokenizer"]
