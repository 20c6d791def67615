# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The server: what it answers, what it refuses, how it batches, and that clients of LibreTranslate speak to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


pytest.importorskip("fastapi", reason="needs the serve extra")
pytest.importorskip("httpx", reason="needs httpx")
import httpx  # noqa: E402

from dims_hf.serving import (  # noqa: E402
    LanguagePair,
    ServerSettings,
    app as app_module,  # noqa: E402
    parse_pair,
)
from dims_hf.serving.batching import Batcher, QueueFull  # noqa: E402
from dims_hf.serving.texts import Sentence  # noqa: E402


MODEL = Path(__file__).resolve().parents[3] / "model_cards" / "tatoeba-en-de-dims"


def _reverse(texts: list[str]) -> list[str]:
    return [text[::-1] for text in texts]


def _reversed_sentences(texts: list[str]) -> list[Sentence]:
    return [
        Sentence(text, text[::-1], -0.1 * len(text), 1 / (1 + len(text)), ["repeats"] if "!" in text else [])
        for text in texts
    ]


def _ask(monkeypatch: pytest.MonkeyPatch, *requests: tuple, **limits: object) -> list[httpx.Response]:
    """Answers of a server whose model turns texts round."""
    monkeypatch.setattr(app_module, "open_translator", lambda model, settings: _reversed_sentences)
    settings = ServerSettings((LanguagePair("en", "de", "x"),), **limits)

    async def run() -> list[httpx.Response]:
        app = app_module.create_app(settings)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                return [await client.request(method, path, **given) for method, path, given in requests]

    return asyncio.run(run())


def _post(path: str = "/translate", **given: object) -> tuple:
    return ("POST", path, given)


def test_text_list_and_form_are_translated(monkeypatch):
    pair = {"source": "en", "target": "de"}
    answers = _ask(
        monkeypatch,
        _post(json={"q": "abc", **pair}),
        _post(json={"q": ["abc", "", "de"], **pair}),
        _post(data={"q": "a b", **pair}),
        _post(params={"q": "xy", **pair}),
        _post(json={"q": [], **pair}),
    )
    assert [answer.json()["translatedText"] for answer in answers] == ["cba", ["cba", "", "ed"], "b a", "yx", []]


def test_description_of_the_interface_has_the_package_s_version(monkeypatch):
    import dims_hf

    (answer,) = _ask(monkeypatch, ("GET", "/openapi.json", {}))
    assert answer.json()["info"]["version"] == dims_hf.__version__


def test_sentences_and_lines_are_translated_one_by_one_and_white_space_stays(monkeypatch):
    (answer,) = _ask(monkeypatch, _post(json={"q": "Abc.  Def.\n\n Fg\n", "source": "en", "target": "de"}))
    assert answer.json()["translatedText"] == ".cbA  .feD\n\n gF\n"


def test_markup_of_html_stays(monkeypatch):
    text = '<p class="x">Hello <b>you</b></p><!-- no --><br/>'
    (answer,) = _ask(monkeypatch, _post(json={"q": text, "source": "en", "target": "de", "format": "html"}))
    translated = answer.json()["translatedText"]
    assert translated == '<p class="x">olleH <b>uoy</b></p><!-- no --><br/>'


def test_quality_is_told_when_asked_for(monkeypatch):
    pair = {"source": "en", "target": "de"}
    plain, one, form, many, wrong = _ask(
        monkeypatch,
        _post(json={"q": "Ab!", **pair}),
        _post(json={"q": "Ab! Cde.", "quality": True, **pair}),
        _post(data={"q": "Ab!", "quality": "true", **pair}),
        _post(json={"q": ["Ab", ""], "quality": True, **pair}),
        _post(json={"q": "a", "quality": "perhaps", **pair}),
    )
    assert set(plain.json()) == {"translatedText"}
    assert one.json()["translatedText"] == "!bA .edC"
    quality = one.json()["quality"]
    assert (quality["confidence"], quality["flags"]) == (0.2, ["repeats"])
    assert [(each["source"], each["translation"]) for each in quality["sentences"]] == [
        ("Ab!", "!bA"),
        ("Cde.", ".edC"),
    ]
    assert form.json()["quality"]["flags"] == ["repeats"]
    assert len(many.json()["quality"]) == 2
    assert wrong.status_code == 400 and "quality must be true or false" in wrong.json()["error"]


def test_failure_of_a_model_is_an_error_in_the_usual_form(monkeypatch):
    def fail(texts: list[str]) -> list[Sentence]:
        raise RuntimeError("out of memory, at /secret/path")

    monkeypatch.setattr(f"{__name__}._reversed_sentences", fail)
    (answer,) = _ask(monkeypatch, _post(json={"q": "a", "source": "en", "target": "de"}))
    assert answer.status_code == 500 and answer.json() == {"error": "The server failed: RuntimeError"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.5}, "needs --threshold and one of"),
        ({"fallback_iterations": 4}, "needs --threshold and one of"),
        ({"threshold": 1.5, "fallback_iterations": 4}, "between 0 and 1"),
        ({"threshold": 0.5, "fallback_iterations": 0}, "fallback_iterations must be >= 1"),
        ({"timeout": float("nan")}, "timeout must be >="),
        ({"threads": 0}, "threads must be >= 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ServerSettings((LanguagePair("en", "de", "a"),), **settings)


@pytest.mark.slow
def test_unsure_sentences_are_translated_again():
    from dims_hf.serving.texts import open_translator

    texts = ["Thank you.", "Where did you buy that book?"]
    pair = (LanguagePair("en", "de", str(MODEL)),)
    once = open_translator(str(MODEL), ServerSettings(pair))(texts)
    again = open_translator(str(MODEL), ServerSettings(pair, threshold=0.9, fallback_iterations=4))(texts)
    assert [each.is_fallback for each in once] == [False, False]
    assert [each.is_fallback for each in again] == [True, False]
    assert again[1] == once[1] and again[0].translation != once[0].translation


def test_language_is_detected(monkeypatch):
    german = "Das ist ein ganz gewöhnlicher deutscher Satz."
    answers = _ask(
        monkeypatch,
        _post(json={"q": "This is an ordinary English sentence.", "source": "auto", "target": "de"}),
        _post(json={"q": german, "source": "auto", "target": "de"}),
        _post("/detect", data={"q": german}),
        ("GET", "/languages", {}),
        ("GET", "/health", {}),
        ("GET", "/metrics", {}),
    )
    assert answers[0].json()["detectedLanguage"]["language"] == "en"
    assert answers[1].json()["translatedText"] == german
    best = answers[2].json()[0]
    assert best["language"] == "de" and 50 < best["confidence"] <= 100
    assert answers[3].json() == [
        {"code": "de", "name": "German", "targets": ["de"]},
        {"code": "en", "name": "English", "targets": ["de", "en"]},
    ]
    assert answers[4].json() == {"status": "ok"}
    assert "dims_hf_texts_total 2.0" in answers[5].text


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        (_post(json={"source": "en", "target": "de"}), 400, "missing q"),
        (_post(json={"q": "a", "target": "de"}), 400, "missing source"),
        (_post(json={"q": "a", "source": "en"}), 400, "missing target"),
        (_post(json={"q": "a", "source": "fr", "target": "de"}), 400, "fr as a source language is not supported"),
        (_post(json={"q": "a", "source": "en", "target": "fr"}), 400, "fr as a target language of en"),
        (_post(json={"q": 5, "source": "en", "target": "de"}), 400, "q must be a text"),
        (_post(json={"q": [None], "source": "en", "target": "de"}), 400, "q must be a text"),
        (_post(json={"q": "a", "source": ["en"], "target": "de"}), 400, "source must be a text"),
        (_post(json={"q": "a", "source": "en", "target": "de", "format": "pdf"}), 400, "format must be"),
        (_post(json={"q": "a", "source": "en", "target": "de", "alternatives": "²"}), 400, "alternatives must be"),
        (_post(json=[1]), 400, "must be an object"),
        (_post(content=b"{", headers={"content-type": "application/json"}), 400, "neither JSON nor a form"),
        (_post(content=b"[" * 99_999, headers={"content-type": "application/json"}), 400, "neither JSON nor a form"),
        (_post(content=b"q=%ff\xff", headers={"content-type": "application/x-www-form-urlencoded"}), 400, "neither"),
        (_post(content=b'{"q": "\\ud800", "source": "en", "target": "de"}',
               headers={"content-type": "application/json"}), 400, "surrogate"),
        (_post(files={"q": b"x"}), 415, "Send JSON or a form"),
        (_post(json={"q": "a" * 51, "source": "en", "target": "de"}), 400, "exceeds text limit"),
        (_post(json={"q": ["a"] * 6, "source": "en", "target": "de"}), 400, "exceed the limit of 5"),
        (_post(content=b"x" * 300), 413, "exceeds 200 bytes"),
        (("GET", "/translate", {}), 405, "Method Not Allowed"),
        (("GET", "/nothing", {}), 404, "Not Found"),
    ],
)  # fmt: skip
def test_bad_requests_get_an_error_and_never_a_failure(monkeypatch, request_, status, message):
    # a body that is nested deeper than the limit of bytes allows is looked at only where the limit is higher
    most = 200_000 if b"[" * 9 in request_[2].get("content", b"") else 200
    (answer,) = _ask(monkeypatch, request_, max_characters=50, max_texts=5, max_bytes=most)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_rate_limit_turns_clients_away(monkeypatch):
    given = _post(json={"q": "a", "source": "en", "target": "de"})
    answers = _ask(monkeypatch, given, given, given, requests_per_minute=2)
    assert [answer.status_code for answer in answers] == [200, 200, 429]


def test_requests_that_arrive_together_share_a_batch():
    sizes = []

    def translate(texts: list[str]) -> list[str]:
        sizes.append(len(texts))
        time.sleep(0.01)
        return _reverse(texts)

    async def run() -> list[list[str]]:
        batcher = Batcher(translate, max_batch=8, max_wait=0.02, max_waiting=100)
        batcher.start()
        done = await asyncio.gather(*(batcher.translate([f"{index}x", "y"]) for index in range(20)))
        await batcher.stop()
        return done

    assert asyncio.run(run()) == [[f"x{str(index)[::-1]}", "y"] for index in range(20)]
    assert sum(sizes) == 40 and max(sizes) == 8 and len(sizes) == 5


def test_an_error_of_a_batch_reaches_its_requests_and_the_next_batch_works():
    def translate(texts: list[str]) -> list[str]:
        if "bad" in texts:
            raise ValueError("no")
        return texts

    async def run() -> list:
        batcher = Batcher(translate, max_batch=4, max_wait=0.001, max_waiting=100)
        batcher.start()
        first = await asyncio.gather(batcher.translate(["bad"]), return_exceptions=True)
        second = await batcher.translate(["good"])
        await batcher.stop()
        return [*first, second]

    error, good = asyncio.run(run())
    assert isinstance(error, ValueError) and good == ["good"]


def test_a_full_queue_and_a_late_answer_are_refused(monkeypatch):
    async def run() -> None:
        batcher = Batcher(_reverse, max_batch=4, max_wait=0.001, max_waiting=1)
        waiting = asyncio.ensure_future(batcher.translate(["a"]))
        await asyncio.sleep(0)
        with pytest.raises(QueueFull):
            await batcher.translate(["b"])
        batcher.start()
        assert await waiting == ["a"]
        await batcher.stop()

    asyncio.run(run())


def test_models_are_named_by_folder_and_languages(tmp_path):
    assert parse_pair(str(MODEL)) == LanguagePair("en", "de", str(MODEL))
    assert parse_pair(f"de-en={tmp_path}") == LanguagePair("de", "en", str(tmp_path))
    with pytest.raises(ValueError, match="does not say which two languages"):
        parse_pair(str(tmp_path))
    with pytest.raises(ValueError, match="no model folder"):
        parse_pair("en-de=absent")
    with pytest.raises(ValueError, match="two models for en-de"):
        ServerSettings((LanguagePair("en", "de", "a"), LanguagePair("en", "de", "b")))
    with pytest.raises(ValueError, match="needs a model"):
        ServerSettings(())
    settings = ServerSettings((LanguagePair("en", "de", "a"),), timeout=2.5)
    assert ServerSettings.from_json(settings.to_json()) == settings


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def _serving(*words: object) -> Iterator[tuple[str, subprocess.Popen]]:
    """A real server over the shipped student, on a free port of this machine."""
    port = _free_port()
    command = [sys.executable, "-m", "dims_hf.cli.main", "serve", "--model", MODEL, "--port", port, *words]
    environment = {**os.environ, "PYTHONPATH": str(MODEL.parents[1])}
    process = subprocess.Popen([str(word) for word in command], env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait_for_answer(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_answer(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, "the server did not answer"
            time.sleep(0.2)


def _children(process: int) -> set[int]:
    """Live child processes that serve, not Python's tracker of resources."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            command = (path.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(parent) == process and state != "Z" and b"resource_tracker" not in command:
            found.add(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_worker_comes_back(workers):
    with _serving("--workers", workers) as (address, process):
        first = _children(process.pid)
        assert len(first) == workers
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + 120
        while victim in _children(process.pid) or len(_children(process.pid)) < workers:
            assert time.monotonic() < deadline, "no worker came back"
            time.sleep(0.2)
        _wait_for_answer(address, process)
        body = json.dumps({"q": "Where did you buy that book?", "source": "en", "target": "de"}).encode()
        request = urllib.request.Request(f"{address}/translate", body, {"content-type": "application/json"})
        answer = json.load(urllib.request.urlopen(request, timeout=60))
        assert answer["translatedText"] == "Wo hast du dieses Buch gekauft?"
        children = _children(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) in (0, -signal.SIGTERM)
        assert not [child for child in children if Path(f"/proc/{child}").exists()]


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[str, subprocess.Popen]]:
    """A running server."""
    with _serving() as running:
        yield running


@pytest.mark.slow
def test_other_client_from_the_package_index(served):
    translators = pytest.importorskip("deep_translator", reason="needs deep-translator")
    client = translators.LibreTranslator("en", "de", api_key="any", custom_url=f"{served[0]}/")
    assert client.translate("Where did you buy that book?") == "Wo hast du dieses Buch gekauft?"
    assert client.translate_batch(["Where are you?", "I am here."]) == ["Wo bist du?", "Ich bin hier."]


@pytest.mark.slow
def test_client_of_libretranslate_and_sigterm(served):
    libretranslatepy = pytest.importorskip("libretranslatepy", reason="needs libretranslatepy")
    address, process = served
    client = libretranslatepy.LibreTranslateAPI(address)
    assert client.translate("Where did you buy that book?", "en", "de") == "Wo hast du dieses Buch gekauft?"
    assert client.detect("Where did you buy that book?")[0]["language"] == "en"
    assert {entry["code"] for entry in client.languages()} == {"de", "en"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) in (0, -signal.SIGTERM)
