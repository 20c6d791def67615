# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf app` in a real browser: typed, clicked, at two widths, by keyboard alone, without another host."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


pytest.importorskip("gradio", reason="needs the app extra")

ROOT = Path(__file__).resolve().parents[2]
STUDENT, TEACHER = (ROOT / "model_cards" / f"tatoeba-en-de-{name}" for name in ("dims", "cmlm"))
SENTENCE = "Where did you buy that book?"


@contextmanager
def _running(command: list[object], port: int, **where: Any) -> Iterator[subprocess.Popen]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **where.pop("env", {})}
    process = subprocess.Popen([str(word) for word in command], env=environment, stderr=subprocess.DEVNULL, **where)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, "the page did not come up"
                time.sleep(0.3)
        yield process
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A running page over the shipped student and its teacher."""
    port = _free_port()
    command = [sys.executable, "-m", "dims_hf.cli.main", "app", "--model", STUDENT, "--teacher", TEACHER]
    with _running([*command, "--port", port], port) as process:
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) in (0, 128 + signal.SIGTERM, -signal.SIGTERM)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium of the system, or the one that Playwright installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (the app-test extra)")
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("needs a Chromium (apt-get install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def _page(browser: Any, address: str, width: int) -> Iterator[Any]:
    """The page at one width; whatever it asked for must have been on its own host, without an error of a script."""
    asked, errors = [], []
    page = browser.new_page(viewport={"width": width, "height": 900}, has_touch=width < 500)
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.get_by_label("Sentence", exact=True).wait_for(timeout=60_000)
    yield page
    assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
    assert errors == []
    page.close()


def _type(page: Any, sentence: str) -> None:
    box = page.get_by_label("Sentence", exact=True)
    box.fill(sentence)
    box.press("Enter")


def _result(page: Any, system: str) -> Any:
    return page.locator(f"#{system} .result")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1200, 390])
def test_sentence_is_translated_and_its_passes_are_seen(browser, address, width, tmp_path):
    with _page(browser, address, width) as page:
        _type(page, SENTENCE)
        _result(page, "student").wait_for(timeout=60_000)
        assert _result(page, "student").inner_text() == "Wo hast du dieses Buch gekauft?"
        assert page.locator("#student .step").count() == 1 and page.locator("#teacher .step").count() == 4
        assert page.locator("#teacher .step").first.locator(".tok.re-masked").count() >= 3
        assert page.locator("#teacher .step").last.locator(".tok.re-masked").count() == 0
        assert page.locator("#teacher .step").last.locator(".tok.kept").count() >= 3
        assert re.search(r"pass 1 · \d+\.\d ms, encoder included", page.locator("#student").inner_text())
        assert page.locator("#student .lengths li").count() == 3
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        left, right = (page.locator(f"#{name}").bounding_box() for name in ("teacher", "student"))
        assert (left["y"] == right["y"]) is (width > 500)  # side by side, or one above the other
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        assert (tmp_path / "page.png").stat().st_size > 20_000


@pytest.mark.slow
def test_word_is_clicked_and_another_is_forced_into_its_place(browser, address):
    with _page(browser, address, 1200) as page:
        _type(page, SENTENCE)
        token = page.locator('#student [data-token="student:3"]')
        token.wait_for(timeout=60_000)
        token.click()
        choice = page.locator("#alternatives [data-force]")
        choice.first.wait_for(timeout=30_000)
        words = choice.all_inner_texts()
        assert words[0].startswith("dieses") and words[1].startswith("das")
        choice.nth(1).click()
        page.locator("#student .tok.forced").wait_for(timeout=30_000)
        assert _result(page, "student").inner_text() == "Wo hast du das Buch gekauft?"
        assert "das" in page.locator("#forced").inner_text()
        page.get_by_role("button", name="Clear forced words").click()
        page.locator("#student .tok.forced").wait_for(state="detached", timeout=30_000)
        assert _result(page, "student").inner_text() == "Wo hast du dieses Buch gekauft?"


@pytest.mark.slow
def test_page_works_by_keyboard_alone_and_shows_texts_as_texts(browser, address):
    with _page(browser, address, 1200) as page:
        page.get_by_label("Sentence", exact=True).focus()
        page.keyboard.type("<img src=x onerror=\"document.title='taken'\"> is a picture.")
        page.keyboard.press("Enter")
        page.locator('[data-token="student:0"]').wait_for(timeout=60_000)
        assert page.title() == "Translation in one pass" and page.locator("#student img").count() == 0
        page.locator('[data-token="student:0"]').focus()
        page.keyboard.press("Enter")
        page.locator("#alternatives [data-force]").first.wait_for(timeout=30_000)
        page.locator("#alternatives [data-force]").nth(1).focus()
        page.keyboard.press("Space")
        page.locator("#student .tok.forced").wait_for(timeout=30_000)


@pytest.mark.slow
def test_examples_words_and_refusals(browser, address):
    with _page(browser, address, 390) as page:
        page.get_by_text("Mixture: Thank you.").click()
        _result(page, "student").wait_for(timeout=60_000)
        assert page.get_by_label("Sentence", exact=True).input_value() == "Thank you."
        page.get_by_label("Words it must have, separated by commas").fill("heute")
        _type(page, "I am at home.")
        page.wait_for_function("document.querySelector('#student .result')?.innerText.includes('heute')")
        assert "heute" in _result(page, "teacher").inner_text()
        _type(page, "   ")
        page.get_by_role("alert").wait_for(timeout=30_000)
        assert "nothing to translate" in page.get_by_role("alert").first.inner_text()


@pytest.mark.slow
def test_page_names_no_other_host_and_has_the_cards(address):
    with urllib.request.urlopen(f"{address}/") as answer:
        page, policy = answer.read().decode(), answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    tags = re.findall(r"<(?:script|link|img|meta|iframe|style)\b[^>]*>", page)
    assert tags and not [tag for tag in tags if re.search(r"""=\s*["'](?:https?:)?//""", tag)]
    assert not re.findall(r"url\(\s*['\"]?(?:https?:)?//", page)
    for system in ("student", "teacher"):
        card = urllib.request.urlopen(f"{address}/card/{system}").read().decode()
        figure = re.search(r'<img src="([^"]+)"', card)[1]
        assert urllib.request.urlopen(f"{address}/card/{figure}").headers["content-type"] == "image/png"
    for path in ("card/student/config.json", "card/student/..%2F..%2FREADME.md", "card/other"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}/{path}")


@pytest.mark.slow
def test_folder_of_a_space_is_written_and_runs(tmp_path, capsys):
    from dims_hf.cli.main import main

    folder = tmp_path / "space"
    words = ["app", "--model", str(STUDENT), "--teacher", str(TEACHER), "--write-space", str(folder)]
    assert main(words) == 0
    assert main(words) == 2 and "is there already" in capsys.readouterr().err
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("---\n") and "sdk: gradio\n" in readme and "app_file: app.py\n" in readme
    assert (folder / "requirements.txt").read_text().startswith("dims-hf[app]")
    port = _free_port()
    with _running([sys.executable, "app.py"], port, cwd=folder, env={"GRADIO_SERVER_PORT": str(port)}):
        config = urllib.request.urlopen(f"http://127.0.0.1:{port}/config").read().decode()
    assert "Translation in one pass" in config
