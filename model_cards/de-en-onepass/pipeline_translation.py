# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`pipeline("translation")` for non-autoregressive models; this file travels with every checkpoint."""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from transformers import PreTrainedTokenizerBase
from transformers.pipelines.base import ChunkPipeline

from .generation_nat import NATGenerationMixin
from .paragraphs import cut_paragraphs
from .quality_flags import find_flags
from .source_text import PreparedSources, check_policies, is_blank, join_pieces, prepare_sources


# Arguments of `generate()` whose value or result belongs to one batch, while a pipeline makes its batches itself.
BATCH_ARGUMENTS = (
    "return_dict_in_generate",
    "output_scores",
    "output_history",
    "target_lengths",
    "forced_tokens",
    "forced_phrases",
)
_SCORE_DIGITS = 4
# Files, bytes and mappings can be iterated over, but not as texts.
_NO_TEXTS = (bytes, bytearray, dict, os.PathLike)


class NumberedText(NamedTuple):
    """A text and its place among the caller's, which errors name."""

    number: int
    text: Any


@dataclass(frozen=True)
class Layout:
    """
    How a text was taken apart.

    Args:
        parts (`list[tuple[str, bool]]`): its stretches, and whether each is a sentence that is translated.
        prepared ([`PreparedSources`]): what became of these sentences.
    """

    parts: list[tuple[str, bool]]
    prepared: PreparedSources

    @property
    def sentences(self) -> list[str]:
        """The sentences, in order."""
        return [part for part, is_sentence in self.parts if is_sentence]

    def join(self, translations: Iterable[str]) -> str:
        """The text with the translation of each sentence in its place."""
        left = iter(translations)
        return "".join(next(left) if is_sentence else part for part, is_sentence in self.parts)


class Pieces(Iterator):
    """
    Model inputs of the pieces of one text, one after the other; `pieces["input_ids"]` is that of the first, which is
    the only one unless a text was split, as what other translation pipelines prepare is asked.
    """

    def __init__(self, pieces: Iterable[dict[str, Any]]):
        self._pieces = list(pieces)
        self._left = iter(self._pieces)

    def __next__(self) -> dict[str, Any]:
        return next(self._left)

    def __getitem__(self, name: str) -> Any:
        return self._pieces[0][name]


class NATTranslationPipeline(ChunkPipeline):
    """
    Translation pipeline: text in, `[{"translation_text": …, "score": …}]` out, through the model's own `generate()`.

    Keyword arguments of `generate()` (`num_iterations`, `length_beam_size`, `generation_config`, …) may be given when
    the pipeline is made or when it is called, and so may `on_blank` and `on_long`, which say what becomes of blank and
    overlong texts (see `prepare_sources`); `truncation=True` cuts sources at the tokenizer's `model_max_length`.
    `return_tensors=True` returns `translation_token_ids` instead of text.

    A text with line breaks in it is taken for paragraphs: its sentences are translated one by one, and what is between
    them (white space, blank lines, addresses, `%s`, `{name}`, tags) stays as it is. `paragraphs=True` does this with
    every text, `paragraphs=False` with none.

    `return_confidence=True` adds how sure a translation is and what looks wrong with it, sentence by sentence too.
    """

    # transformers annotates what it leaves to subclasses by its own values, `None`.
    _load_processor = False  # type: ignore[assignment]
    _load_image_processor = False  # type: ignore[assignment]
    _load_video_processor = False  # type: ignore[assignment]
    _load_feature_extractor = False  # type: ignore[assignment]
    _load_tokenizer = True  # type: ignore[assignment]
    # The machinery behind this flag fills in settings of autoregressive decoding, and differs between releases.
    # Without it every keyword reaches our `generate()`, which takes defaults from the model's generation config.
    _pipeline_calls_generate = False
    # Fast tokenizers as well, which its annotation leaves out.
    tokenizer: PreTrainedTokenizerBase  # type: ignore[assignment]

    def _sanitize_parameters(
        self,
        return_tensors: bool | None = None,
        return_text: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        truncation: bool | str | None = None,
        on_blank: str | None = None,
        on_long: str | None = None,
        paragraphs: bool | None = None,
        return_confidence: bool | None = None,
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
        check_policies(on_blank or "keep", on_long or "error")
        given = {"truncation": truncation, "on_blank": on_blank, "on_long": on_long, "paragraphs": paragraphs}
        preprocess = {name: value for name, value in given.items() if value is not None}
        postprocess: dict[str, Any] = {}
        if return_tensors is not None or return_text is not None:
            # Only what is said, lest a call take back what the pipeline was made with.
            postprocess["return_tensors"] = bool(return_tensors) and not return_text
        if clean_up_tokenization_spaces is not None:
            postprocess["clean_up_tokenization_spaces"] = clean_up_tokenization_spaces
        if return_confidence is not None:
            postprocess["return_confidence"] = generate_kwargs["keep_repeats"] = return_confidence
        return preprocess, generate_kwargs, postprocess

    def __call__(self, inputs: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """
        Translates one text, texts (a list, tuple or column of a dataset), or a stream of texts (a generator or torch
        dataset).

        Args:
            inputs (`str`, `Sequence[str]` or `Iterable[str]`): source text(s).
            kwargs: `batch_size`, `return_tensors`, `truncation`, `on_blank`, `on_long`, `paragraphs`,
                `return_confidence`, and keyword arguments of `generate()`.

        Returns:
            `list[dict]`: one `{"translation_text": str, "score": float}` per text, in order. For one text with
            `num_return_sequences=n`, its n candidates, best first; for texts, one such list per text. A stream gives
            an iterator over such lists. A score is the model's mean log-probability (the mean over the pieces of a
            text that was split), to four digits, and `None` for a text that was not translated: a blank one, or one
            that `on_long="skip"` leaves out; its translation is empty. With `return_confidence=True` each has also
            `confidence` (geometric mean of the token probabilities, or `None`), `flags` (what looks wrong, see
            `find_flags`) and `sentences`: `source`, `translation`, `score`, `confidence` and `flags` of each.

        Raises:
            ValueError: for a text that the policies refuse, something that is not text, or an argument that
                `generate()` refuses.
        """
        if isinstance(inputs, str):
            return super().__call__(NumberedText(0, inputs), **kwargs)
        if not isinstance(inputs, Iterable) and not hasattr(inputs, "__getitem__") or isinstance(inputs, _NO_TEXTS):
            raise ValueError(f"The translation pipeline takes text, got {type(inputs).__name__}. Pass str or a list.")
        # A generator, so that the library neither materialises a stream nor counts on one piece for each text.
        stream = super().__call__((NumberedText(*pair) for pair in enumerate(inputs)), **kwargs)
        if not hasattr(inputs, "__len__") or isinstance(inputs, torch.utils.data.Dataset):
            return iter(stream)
        results = [candidates for candidates in stream]  # noqa: C416  (`list` would ask the stream for its length)
        # As the task always did: texts give a flat list, unless several candidates each were asked for.
        if all(len(candidates) == 1 for candidates in results):
            return [candidates[0] for candidates in results]
        return results

    def preprocess(  # type: ignore[override]
        self,
        inputs: NumberedText | str,
        truncation: bool | str = False,
        on_blank: str = "keep",
        on_long: str | None = None,
        paragraphs: bool | None = None,
    ) -> "Pieces":
        """Token ids and mask (1, S) of each piece of one text."""
        number, text = inputs if isinstance(inputs, NumberedText) else (0, inputs)
        if not isinstance(text, str):
            raise ValueError(
                f"The translation pipeline takes text, got {type(text).__name__} as text {number}. Pass str or a list."
            )
        max_length = self.model.config.max_source_length
        parts = _parts(text, paragraphs)
        if truncation:
            on_long, max_length = "truncate", min(max_length, self.tokenizer.model_max_length)
        elif on_long is None:
            on_long = "error" if parts == [(text, True)] else "split"
        sentences = [part for part, is_sentence in parts if is_sentence]
        prepared = prepare_sources(
            sentences, self.tokenizer, max_length, on_blank, on_long, name=lambda _: f"Text {number}"
        )
        # What is left out takes a row of its batch all the same, whose result is dropped.
        pieces = prepared.pieces or self.tokenizer([""])["input_ids"]
        return Pieces(
            {
                "input_ids": torch.tensor([ids]),
                "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
                "layout": Layout(parts, prepared),
                "is_last": index == len(pieces) - 1,
            }
            for index, ids in enumerate(pieces)
        )

    def _forward(self, model_inputs: dict, keep_repeats: bool = False, **generate_kwargs: Any) -> dict:  # type: ignore[override]
        kept = {name: model_inputs.pop(name) for name in ("layout", "is_last")}
        batch_size = model_inputs["input_ids"].shape[0]
        model = cast(NATGenerationMixin, self.model)
        if keep_repeats:
            # Repeats tell of a bad translation; they are collapsed afterwards.
            asked = ("generation_config", "collapse_repeats", "graph_search")
            settings = model.decoding_settings(**{k: v for k, v in generate_kwargs.items() if k in asked})
            collapses = settings.collapse_repeats
            # A beam in which paths meet that read the same has none. Not declared by older code of a checkpoint.
            generate_kwargs["collapse_repeats"] = getattr(settings, "merges_repeats", False)
            # one value per row: batches are taken apart again, and a single text comes without a batch
            kept["collapses"] = collapses if isinstance(kept["is_last"], bool) else [collapses] * batch_size
        output = model.generate(**model_inputs, **generate_kwargs, return_dict_in_generate=True)
        # One row per input, so that batches can be taken apart again whatever num_return_sequences is.
        return {
            "output_ids": output.sequences.reshape(batch_size, -1, output.sequences.shape[-1]),
            "scores": output.sequences_scores.reshape(batch_size, -1),
            **kept,
        }

    def postprocess(  # type: ignore[override]
        self,
        model_outputs: list[dict],
        return_tensors: bool = False,
        return_confidence: bool = False,
        **decode_kwargs: Any,
    ) -> list[dict]:
        """One entry per candidate of one text, whose pieces' candidates of the same rank belong together."""
        layout: Layout = model_outputs[0]["layout"]
        raw = [piece["output_ids"].flatten(0, -2) for piece in model_outputs]
        # n candidates of each piece: those of the same rank make up one translation
        scores = torch.stack([piece["scores"].flatten() for piece in model_outputs])  # (pieces, candidates)
        if not layout.prepared.pieces:
            raw = [self.tokenizer([""], return_tensors="pt")["input_ids"].expand(scores.shape[1], -1)]
        ids = raw
        if return_confidence and model_outputs[0]["collapses"]:
            ids = [self._collapse(rows) for rows in raw]
        entries: list[dict[str, Any]] = [{"score": score} for score in _mean_scores(scores, layout)]
        if return_tensors:
            return [
                {"translation_token_ids": torch.cat(rows)} | entry for *rows, entry in zip(*ids, entries, strict=True)
            ]
        texts = [self.tokenizer.batch_decode(each, skip_special_tokens=True, **decode_kwargs) for each in ids]
        results = []
        for rank, entry in enumerate(entries):
            # without the row that stands for a text without pieces
            own = [candidates[rank] for candidates in texts][: len(layout.prepared.pieces)]
            sentences = join_pieces(layout.prepared, own, len(layout.sentences))
            results.append({"translation_text": layout.join(sentences), **entry})
            if return_confidence:
                candidate = [(piece[rank], float(score)) for piece, score in zip(raw, scores[:, rank], strict=False)]
                results[-1] |= self._confidence(sentences, candidate, layout, entry["score"])
        return results

    def _confidence(
        self, translations: list[str], pieces: list[tuple[torch.Tensor, float]], layout: Layout, score: float | None
    ) -> dict[str, Any]:
        """How sure one candidate of a text is, and what looks wrong with it."""
        owned: list[list[tuple[torch.Tensor, float]]] = [[] for _ in translations]
        for owner, piece in zip(layout.prepared.owners, pieces, strict=False):
            owned[owner].append(piece)
        sentences: list[dict[str, Any]] = []
        for source, translation, group in zip(layout.sentences, translations, owned, strict=True):
            own = round(sum(score for _, score in group) / len(group), _SCORE_DIGITS) if group else None
            raw = [token for ids, _ in group for token in self._content(ids.tolist())]
            flags = find_flags(source, translation, raw) if group else []
            sentences.append(
                {"source": source, "translation": translation, "score": own, "confidence": _as_confidence(own)}
                | {"flags": flags}
            )
        flags = list(dict.fromkeys(flag for sentence in sentences for flag in sentence["flags"]))
        return {"confidence": _as_confidence(score), "flags": flags, "sentences": sentences}

    def _collapse(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows (n, T) without tokens that equal their right neighbour."""
        collapsed = [row.unique_consecutive() for row in rows]
        return torch.nn.utils.rnn.pad_sequence(collapsed, True, self.tokenizer.pad_token_id)

    def _content(self, ids: list[int]) -> list[int]:
        outside = (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, self.tokenizer.pad_token_id)
        return [token for token in ids if token not in outside]


def _parts(text: str, paragraphs: bool | None) -> list[tuple[str, bool]]:
    """Stretches of a text and whether each is translated; one, unless there are paragraphs in it."""
    if paragraphs is None:
        paragraphs = any(sign in text.strip() for sign in "\r\n")
    return cut_paragraphs(text) if paragraphs and not is_blank(text) else [(text, True)]


def _mean_scores(scores: torch.Tensor, layout: Layout) -> list[float | None]:
    """Of the candidates, over the pieces of a text. Beyond these digits, they depend on the batch."""
    means = [round(score, _SCORE_DIGITS) for score in scores.mean(dim=0).tolist()]
    return means if layout.prepared.pieces else [None] * len(means)


def _as_confidence(score: float | None) -> float | None:
    return None if score is None else round(min(1.0, math.exp(score)), _SCORE_DIGITS)


__all__ = ["NATTranslationPipeline"]
