# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The REST interface of LibreTranslate over models of this package: an ASGI application made from settings.

Source: the API that LibreTranslate documents (`/translate`, `/detect`, `/languages`, `/health`).
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from dims_hf._machine import installed_version
from dims_hf.serving.batching import Batcher, QueueFull
from dims_hf.serving.detection import LanguageDetector
from dims_hf.serving.metrics import ServerMetrics
from dims_hf.serving.settings import ServerSettings
from dims_hf.serving.texts import Sentence, TranslatedText, open_translator, translate_text


SETTINGS_VARIABLE = "DIMS_HF_SERVER"
"""Environment variable by which worker processes get their settings."""

_NAMES = {"en": "English", "de": "German", "ro": "Romanian", "fr": "French", "es": "Spanish", "it": "Italian"}

_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_TRANSLATE_SCHEMA = {
    "type": "object",
    "required": ["q", "source", "target"],
    "properties": {
        "q": _TEXTS,
        "source": {"type": "string", "description": "code of a language, or `auto`"},
        "target": {"type": "string"},
        "format": {"type": "string", "enum": ["text", "html"], "default": "text"},
        "alternatives": {"type": "integer", "minimum": 0, "default": 0},
        "quality": {"type": "boolean", "default": False, "description": "whether to say how sure it is"},
        "api_key": {"type": "string"},
    },
}
_DETECT_SCHEMA = {"type": "object", "required": ["q"], "properties": {"q": {"type": "string"}}}


class Refused(Exception):
    """A request that gets `{"error": message}` and a status of 4xx, or 503 where the server cannot keep up."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def create_app(settings: ServerSettings | None = None) -> FastAPI:
    """
    The application.

    Args:
        settings ([`ServerSettings`], *optional*): default: those in the environment, as worker processes have them.
    """
    server = Server(settings or ServerSettings.from_json(os.environ[SETTINGS_VARIABLE]))
    app = FastAPI(
        title="dims_hf",
        description="Translation in one decoder pass.",
        version=installed_version("dims_hf") or "unknown",
        lifespan=server.lifespan,
    )
    app.state.server = server
    app.exception_handler(Refused)(_answer_refusal)
    app.exception_handler(404)(_answer_status)
    app.exception_handler(405)(_answer_status)
    app.exception_handler(Exception)(_answer_failure)
    app.post("/translate", openapi_extra=_body(_TRANSLATE_SCHEMA), responses=_RESPONSES)(server.translate)
    app.post("/detect", openapi_extra=_body(_DETECT_SCHEMA), responses=_RESPONSES)(server.detect)
    app.get("/languages")(server.languages)
    app.get("/health")(server.health)
    app.get("/metrics", include_in_schema=False)(server.metrics_page)
    return app


class Server:
    """Models, their queues and the handlers; see [`create_app`]."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        limits: dict[str, Any] = {name: getattr(settings, name) for name in ("max_batch", "max_wait", "max_waiting")}
        self.batchers: dict[tuple[str, str], Batcher[Sentence]] = {
            (pair.source, pair.target): Batcher(open_translator(pair.model, settings), **limits)
            for pair in settings.pairs
        }
        self.codes = sorted({code for pair in self.batchers for code in pair})
        self.detector = LanguageDetector(self.codes)
        self.metrics = ServerMetrics()
        self._limiter = _RateLimiter(settings.requests_per_minute)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Queues work from start-up to shutdown."""
        for batcher in self.batchers.values():
            batcher.start()
        yield
        await asyncio.gather(*(batcher.stop() for batcher in self.batchers.values()))

    async def translate(self, request: Request) -> JSONResponse:
        """Translates a text, or a list of texts; with `source: auto`, each from the language it is written in."""
        start = time.perf_counter()
        self._limiter.check(request)
        values = await self._read(request)
        texts, is_list = _texts_of(values)
        source, target = (_word(values, name) for name in ("source", "target"))
        markup = _word(values, "format", "text")
        if markup not in ("text", "html"):
            raise Refused(f"format must be text or html, got {markup}")
        self._check_size(texts)
        detected = [self.detector.detect(text)[0] for text in texts] if source == "auto" else None
        sources = [str(each["language"]) for each in detected] if detected else [source] * len(texts)
        jobs = [self._translate_one(text, code, target, markup) for text, code in zip(texts, sources, strict=True)]
        translated = await self._in_time(asyncio.gather(*jobs))
        written = [each.text for each in translated]
        answer: dict[str, Any] = {"translatedText": written if is_list else written[0]}
        if _is_true(values, "quality"):
            judged = [each.quality() for each in translated]
            answer["quality"] = judged if is_list else judged[0]
        if detected:
            answer["detectedLanguage"] = detected if is_list else detected[0]
        if int(_word(values, "alternatives", "0") or 0):
            answer["alternatives"] = [[] for _ in texts] if is_list else []
        self.metrics.observe(len(texts), sum(map(len, texts)), time.perf_counter() - start)
        return JSONResponse(answer)

    async def _translate_one(self, text: str, source: str, target: str, markup: str) -> TranslatedText:
        if source == target and source in self.codes:
            return TranslatedText(text, [])
        batcher = self.batchers.get((source, target))
        if batcher is None:
            known = source in self.codes
            missing = f"{target} as a target language of {source}" if known else f"{source} as a source language"
            raise Refused(f"{missing} is not supported")
        try:
            return await translate_text(text, markup, batcher.translate)
        except QueueFull:
            raise Refused("The server is busy. Try again later.", 503) from None
        except ValueError as error:
            raise Refused(str(error)) from None

    async def _in_time(self, work: asyncio.Future[list[TranslatedText]]) -> list[TranslatedText]:
        try:
            return await asyncio.wait_for(work, self.settings.timeout)
        except asyncio.TimeoutError:
            raise Refused(f"Not translated within {self.settings.timeout:g} s. Send shorter texts.", 503) from None

    async def detect(self, request: Request) -> JSONResponse:
        """Which of the server's languages a text is written in, with confidences from 0 to 100."""
        self._limiter.check(request)
        text = _word(await self._read(request), "q")
        self._check_size([text])
        return JSONResponse(self.detector.detect(text))

    async def languages(self) -> list[dict[str, Any]]:
        """Languages, and which ones each can be translated into."""
        return [
            {
                "code": code,
                "name": _NAMES.get(code, code),
                "targets": sorted({target for source, target in self.batchers if source == code} | {code}),
            }
            for code in self.codes
        ]

    async def health(self) -> dict[str, str]:
        """Whether the server answers."""
        return {"status": "ok"}

    async def metrics_page(self) -> Response:
        """Counters and times for Prometheus."""
        waiting = sum(batcher.num_waiting for batcher in self.batchers.values())
        return Response(self.metrics.page(waiting), media_type=self.metrics.media_type)

    async def _read(self, request: Request) -> dict[str, Any]:
        """The values of a body in JSON or as a form, or of the query."""
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > self.settings.max_bytes:
                    raise Refused(f"The body exceeds {self.settings.max_bytes} bytes", 413)
        except ClientDisconnect:
            # nobody reads the answer, and the log is for what went wrong here
            raise Refused("The connection was closed before the end of the body") from None
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            if kind == "multipart/form-data":
                raise Refused("Send JSON or a form (application/x-www-form-urlencoded)", 415)
            text = body.decode("utf-8")
            values = json.loads(text) if kind == "application/json" else _form(text)
        except (UnicodeDecodeError, ValueError, RecursionError):
            raise Refused("Invalid request: the body is neither JSON nor a form in UTF-8") from None
        if not isinstance(values, dict):
            raise Refused("Invalid request: the body must be an object")
        return {**{name: words[-1] for name, words in parse_qs(request.url.query).items()}, **values}

    def _check_size(self, texts: list[str]) -> None:
        if len(texts) > self.settings.max_texts:
            raise Refused(f"Invalid request: {len(texts)} texts exceed the limit of {self.settings.max_texts}")
        size = sum(map(len, texts))
        if size > self.settings.max_characters:
            raise Refused(f"Invalid request: request ({size}) exceeds text limit ({self.settings.max_characters})")


class _RateLimiter:
    """Refuses a client address that asks too often, by a moving window of a minute."""

    def __init__(self, requests_per_minute: int) -> None:
        self._limit: Any = None
        if requests_per_minute:
            from limits import RateLimitItemPerMinute
            from limits.storage import MemoryStorage
            from limits.strategies import MovingWindowRateLimiter

            self._limit, self._window = (
                RateLimitItemPerMinute(requests_per_minute),
                MovingWindowRateLimiter(MemoryStorage()),
            )

    def check(self, request: Request) -> None:
        """Counts a request."""
        if self._limit is not None and not self._window.hit(
            self._limit, request.client.host if request.client else ""
        ):
            raise Refused(f"Slowdown: {self._limit.amount} requests per minute", 429)


def _form(text: str) -> dict[str, Any]:
    """Values of a form; a name that stands more than once is a list."""
    return {
        name: words if len(words) > 1 else words[0] for name, words in parse_qs(text, strict_parsing=False).items()
    }


def _texts_of(values: dict[str, Any]) -> tuple[list[str], bool]:
    """The texts of a request, and whether they came as a list."""
    if "q" not in values:
        raise Refused("Invalid request: missing q parameter")
    given = values["q"]
    texts = given if isinstance(given, list) else [given]
    for text in texts:
        if not isinstance(text, str):
            raise Refused("Invalid request: q must be a text or a list of texts")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise Refused("Invalid request: q holds half of a surrogate pair, which is no character")
    return texts, isinstance(given, list)


def _word(values: dict[str, Any], name: str, default: str | None = None) -> str:
    value = values.get(name, default)
    if value is None:
        raise Refused(f"Invalid request: missing {name} parameter")
    if name == "alternatives" and isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise Refused(f"Invalid request: {name} must be a text")
    if name == "alternatives" and not (value.isascii() and value.isdigit() and len(value) < 5):
        raise Refused("Invalid request: alternatives must be a number from 0 on")
    return value


def _is_true(values: dict[str, Any], name: str) -> bool:
    """A yes or no of JSON or of a form."""
    value = values.get(name, False)
    if isinstance(value, str) and value.lower() in ("true", "false", "1", "0", ""):
        return value.lower() in ("true", "1")
    if not isinstance(value, bool):
        raise Refused(f"Invalid request: {name} must be true or false")
    return value


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = ("application/json", "application/x-www-form-urlencoded")
    return {"requestBody": {"required": True, "content": {kind: {"schema": schema} for kind in kinds}}}


_ERROR = {"content": {"application/json": {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}}}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": text, **_ERROR}
    for status, text in (
        (400, "an impossible request"),
        (413, "too many bytes"),
        (415, "a kind of body that is not read"),
        (429, "too many requests"),
        (503, "busy, or not in time"),
    )
}


async def _answer_refusal(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": str(error)}, status_code=getattr(error, "status", 400))


async def _answer_failure(_: Request, error: Exception) -> JSONResponse:
    """Whatever was not foreseen: an answer in the form of the others, and the trace in the server's log."""
    return JSONResponse({"error": f"The server failed: {type(error).__name__}"}, status_code=500)


async def _answer_status(_: Request, error: Any) -> JSONResponse:
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)
