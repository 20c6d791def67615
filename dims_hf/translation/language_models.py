# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""n-gram language models of the target language, which search beside the translation model."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any

from dims_hf._files import expand_home

from .runtimes import Runtime


UNITS = ("tokens", "words")
"""What an n-gram is made of: the target's tokens as the tokenizer spells them, or the words of its text."""

_PER_DECADE = math.log(10)


class NgramLanguageModel:
    """
    An n-gram model in KenLM, as `generate(language_model=...)` takes it.

    A model of tokens is trained on sentences as [`spell_tokens`] writes them, a model of words on text whose words
    stand between spaces as they do in translations.

    Source: Heafield 2011, KenLM: Faster and Smaller Language Model Queries.

    Args:
        path (`str` or `os.PathLike`): ARPA file, or KenLM's binary form of one, of bigrams or longer.
        spell (`Callable[[Sequence[int]], list[str]]`): units of a target's ids, without `<s>` and `</s>`.
        last_may_grow (`bool`, *optional*, defaults to `False`): a further token may change the last unit, as it does
            with words, so that a beginning is scored without it.

    Raises:
        ValueError: KenLM is not installed, or the file is missing or damaged.

    Example:

    ```python
    runtime = open_runtime("runs/phrasebook-ctc")
    language_model = NgramLanguageModel.of_runtime("de.arpa", runtime)
    translate_texts(runtime, ["a cat"], prefix_beam_size=20, language_model=language_model)
    ```
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        spell: Callable[[Sequence[int]], list[str]],
        *,
        last_may_grow: bool = False,
    ) -> None:
        self.spell, self._last_may_grow = spell, last_may_grow
        self._model = _open_kenlm(path)

    @classmethod
    def of_runtime(cls, path: str | os.PathLike[str], runtime: Runtime, *, unit: str = "tokens") -> NgramLanguageModel:
        """
        A language model that reads what a runtime writes.

        Args:
            path (`str` or `os.PathLike`): as for the class.
            runtime ([`Runtime`]): spells its tokens, or decodes them.
            unit (`str`): one of [`UNITS`].

        Raises:
            ValueError: for another unit, and as the class.
        """
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}.")
        if unit == "tokens":
            return cls(path, runtime.spell)
        return cls(path, lambda ids: runtime.decode(ids).split(), last_may_grow=True)

    def __call__(self, token_ids: Sequence[int]) -> float:
        """Natural log-probability of a target without `<s>` and `</s>`, the end of the sentence counted."""
        return self._score(self.spell(token_ids), is_whole=True)

    def score_prefix(self, token_ids: Sequence[int]) -> float:
        """Natural log-probability of what a target begins with, by which it steers a prefix beam search."""
        units = self.spell(token_ids)
        return self._score(units[:-1] if self._last_may_grow else units, is_whole=False)

    def _score(self, units: Sequence[str], *, is_whole: bool) -> float:
        return _PER_DECADE * self._model.score(" ".join(units), bos=True, eos=is_whole)


def spell_tokens(runtime: Runtime, texts: Sequence[str]) -> list[str]:
    """Texts as a language model of tokens is trained on: their tokens between spaces, without `<s>` and `</s>`."""
    return [" ".join(runtime.spell(row[1:-1])) for row in runtime.tokenizer(texts)["input_ids"]]


def _open_kenlm(path: str | os.PathLike[str]) -> Any:
    try:
        import kenlm
    except ImportError:
        raise ValueError('A language model needs KenLM. Install it: pip install "dims-hf[lm]"') from None
    place = expand_home(path)
    if not place.is_file():
        raise ValueError(f"The language model {place} does not exist. Give an ARPA file, or a binary one of KenLM.")
    settings = kenlm.Config()
    settings.show_progress = False
    settings.arpa_complain = kenlm.ARPALoadComplain.NONE
    try:
        return kenlm.Model(str(place), settings)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{place} is no language model that KenLM can read: {reason}") from None


__all__ = ["UNITS", "NgramLanguageModel", "spell_tokens"]
