# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a request's text goes through: paragraphs and sentences for the model, markup that stays, how sure it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dims_hf.models.source_text import split_sentences
from dims_hf.serving.settings import ServerSettings
from dims_hf.translation.documents import cut_document


@dataclass(frozen=True)
class Sentence:
    """
    A translated sentence.

    Args:
        source, translation (`str`): the sentence and its translation.
        score (`float`): mean log-probability.
        confidence (`float`, *optional*): geometric mean of the token probabilities; `None` where there were none.
        flags (`list[str]`): what looks wrong, see `quality_flags`.
        is_fallback (`bool`): whether it was made by more passes or another model, the first being unsure.
    """

    source: str
    translation: str
    score: float
    confidence: float | None
    flags: list[str]
    is_fallback: bool = False


@dataclass(frozen=True)
class TranslatedText:
    """
    A translated text of a request, and the sentences in it.

    Args:
        text (`str`): the translation.
        sentences (`list[Sentence]`): each different one once, in order.
    """

    text: str
    sentences: list[Sentence]

    def quality(self) -> dict[str, Any]:
        """`confidence` of the unsurest sentence, all `flags`, and the `sentences`, as JSON has them."""
        sure = [sentence.confidence for sentence in self.sentences if sentence.confidence is not None]
        return {
            "confidence": min(sure) if sure else None,
            "flags": list(dict.fromkeys(flag for sentence in self.sentences for flag in sentence.flags)),
            "sentences": [asdict(sentence) for sentence in self.sentences],
        }


Translate = Callable[[Sequence[str]], Awaitable[list[Sentence]]]


def open_translator(model: str, settings: ServerSettings) -> Callable[[list[str]], list[Sentence]]:
    """
    A function from sentences to their translations, blank ones kept and overlong ones split at ends of sentences.

    Args:
        model (`str`): folder of a checkpoint or of an export.
        settings ([`ServerSettings`]): threads, and what is done where a translation is unsure.

    Raises:
        ValueError: nothing at that place, or a damaged model.
    """
    from dims_hf.translation import (
        Adaptive,
        Translation,
        open_runtime,
        quality_flags,
        translate_adaptively,
        translate_texts,
    )

    runtime = open_runtime(model, threads=settings.threads)
    adaptive = None
    if settings.threshold is not None:
        fallback = settings.fallback_model and open_runtime(settings.fallback_model, threads=settings.threads)
        adaptive = Adaptive(settings.threshold, settings.fallback_iterations, fallback or None)

    def translate(texts: list[str]) -> list[Sentence]:
        if adaptive is None:
            translations = translate_texts(runtime, texts, on_long="split")
        else:
            translations = translate_adaptively(runtime, texts, adaptive, on_long="split")
        return list(map(as_sentence, texts, translations))

    def as_sentence(source: str, translation: Translation) -> Sentence:
        confidence = None if translation.left_out else round(translation.confidence, 4)
        flags = quality_flags(source, translation)
        return Sentence(
            source, translation.text, round(translation.score, 4), confidence, flags, translation.is_fallback
        )

    return translate


async def translate_text(text: str, kind: str, translate: Translate) -> TranslatedText:
    """
    Translates a text of a request: sentence by sentence, with its white space and markup as they were.

    Args:
        text (`str`): what the client sent.
        kind (`str`): `text` or `html`.
        translate (`Callable`): translates sentences.
    """
    if kind == "text" and "\n" not in text and len(split_sentences(text)) <= 1:
        sentences = await translate([text])
        return TranslatedText(sentences[0].translation, sentences)
    name = "paragraphs" if kind == "text" else kind
    # in a thread of its own, since a large page takes a while; nothing waits in there
    document = await asyncio.to_thread(cut_document, text.encode("utf-8"), name, name="q")
    sentences = await translate(document.sentences) if document.sentences else []
    written = document.join([sentence.translation for sentence in sentences])
    return TranslatedText(written.decode("utf-8"), sentences)
