# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The server against requests that schemathesis makes up from its OpenAPI document: never a failure, always JSON."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest


schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")
uvicorn = pytest.importorskip("uvicorn", reason="needs the serve extra")
hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

from dims_hf.serving import LanguagePair, ServerSettings, app as app_module  # noqa: E402
from dims_hf.serving.texts import Sentence  # noqa: E402


pytestmark = [
    pytest.mark.slow,
    # schemathesis and the libraries below it have warnings of their own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def _reverse(texts: list[str]) -> list[Sentence]:
    return [Sentence(text, text[::-1], -0.1, 0.9, []) for text in texts]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server of this process whose model turns texts round."""
    patch = pytest.MonkeyPatch()
    patch.setattr(app_module, "open_translator", lambda model, settings: _reverse)
    settings = ServerSettings((LanguagePair("en", "de", "x"),), max_characters=200, max_texts=5, max_bytes=4000)
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app_module.create_app(settings), log_level="critical"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=20)
    patch.undo()


SETTINGS = {"max_examples": 50, "deadline": None, "derandomize": True, "database": None}


@pytest.mark.parametrize("mode", ["POSITIVE", "NEGATIVE"])
def test_no_request_makes_the_server_fail(address: str, mode: str):
    """Valid requests by the document, and ones that break it: wrong types, missing names, other bodies and methods."""
    document = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert {operation.path for operation in operations} == {"/translate", "/detect", "/languages", "/health"}
    statuses: dict[str, set[int]] = {}
    for operation in operations:
        if mode == "NEGATIVE" and not operation.body:
            continue  # nothing in it that could be wrong

        @hypothesis.settings(**SETTINGS, suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(case=operation.as_strategy(generation_mode=schemathesis.GenerationMode[mode]))
        def check(case: Any) -> None:
            response = case.call()
            statuses.setdefault(case.path, set()).add(response.status_code)
            _check(response)

        check()
    assert 400 in statuses["/translate"]
    if mode == "POSITIVE":
        assert statuses["/health"] == statuses["/languages"] == {200} and 200 in statuses["/detect"]


TEXTS = st.text(max_size=30) | st.sampled_from(["Hello. You!", "<p>a & b</p>", "\x00", "𝔘", "a\n\nb", "https://a.b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=8,
)


@hypothesis.settings(**SETTINGS, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(
    body=st.fixed_dictionaries(
        {"q": TEXTS | st.lists(TEXTS, max_size=6), "source": st.sampled_from(["en", "auto"]), "target": st.just("de")},
        optional={"format": st.sampled_from(["text", "html"]), "quality": VALUES, "alternatives": VALUES, "x": VALUES},
    )
)
def test_nearly_right_requests_are_answered(address: str, body: dict):
    """Whatever is in a text comes back translated; whatever else is wrong is a refusal."""
    response = httpx.post(
        f"{address}/translate", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    _check(response)
    is_plain = all(body.get(name, False) in (True, False) for name in ("quality", "alternatives"))
    if is_plain and not body.get("alternatives"):
        size = len("".join(body["q"]))
        assert response.status_code == (
            200 if size <= 200 and (isinstance(body["q"], str) or len(body["q"]) <= 5) else 400
        )


def _check(response: Any) -> None:
    assert response.status_code < 500, response.text
    answer = response.json()
    if response.status_code >= 400:
        assert set(answer) == {"error"} and isinstance(answer["error"], str) and answer["error"]
