# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a request's text goes through: paragraphs and sentences for the model, markup that stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from dims_hf.models.source_text import split_sentences
from dims_hf.translation.documents import translate_document


def open_translator(model: str, *, threads: int | None = None) -> Callable[[list[str]], list[str]]:
    """
    A function from texts to their translations, blank ones kept and overlong ones split at ends of sentences.

    Args:
        model (`str`): folder of a checkpoint or of an export.
        threads (`int`, *optional*): processor threads.

    Raises:
        ValueError: nothing at that place, or a damaged model.
    """
    from dims_hf.translation import open_runtime, translate_texts

    runtime = open_runtime(model, threads=threads)

    def translate(texts: list[str]) -> list[str]:
        return [translation.text for translation in translate_texts(runtime, texts, on_long="split")]

    return translate


async def translate_text(text: str, kind: str, translate: Callable[[Sequence[str]], Awaitable[list[str]]]) -> str:
    """
    Translates a text of a request: sentence by sentence, with its white space and markup as they were.

    Args:
        text (`str`): what the client sent.
        kind (`str`): `text` or `html`.
        translate (`Callable`): translates sentences.
    """
    if kind == "text" and "\n" not in text and len(split_sentences(text)) <= 1:
        return (await translate([text]))[0]
    loop = asyncio.get_running_loop()

    def wait(sentences: list[str]) -> list[str]:
        return asyncio.run_coroutine_threadsafe(_gathered(translate, sentences), loop).result()

    name = "paragraphs" if kind == "text" else kind
    document = await asyncio.to_thread(translate_document, text.encode("utf-8"), name, wait, name="q")
    return document.decode("utf-8")


async def _gathered(translate: Callable[[Sequence[str]], Awaitable[list[str]]], texts: list[str]) -> list[str]:
    return await translate(texts)
