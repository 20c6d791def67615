# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Every command in the README, the contributing guide and the documentation, executed.

Trainings run with `--smoke`, placeholders stand for small things, and launchers give way to the script they launch.
A command that cannot run here is in `NOT_RUN` with the reason; a command that nothing here knows fails.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dims_hf.cli.main import main


ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
STUDENT = "model_cards/tatoeba-en-de-dims"

# pattern -> why it is not run here
NOT_RUN = {
    r"^make \w": "sets up an environment of its own; CI runs `make` itself",
    r"^pip install |^git clone ": "needs the network; CI installs the wheel with `make package`",
    r"^docker ": "needs Docker",
    r"^accelerate env": "a command of accelerate's",
    r"^dims-hf serve ": "does not end; tests/unit/serving starts it",
    r"^dims-hf app .*--port|^dims-hf app --model \S+( --teacher \S+)?$": "does not end; test_viewer.py starts it",
    r"^dims-hf import-fairseq ": "needs a checkpoint of fairseq; tests/unit/export/test_fairseq.py makes one",
    r"--to native|student-native": "needs a compiler; tests/unit/native builds and runs it",
}

# pattern -> the command's options are looked for in the help of the program, since its data are not here
ONLY_OPTIONS = (
    r"training/prepare_\w+\.py|training/mix_corpora\.py|training/equal_time\.py|training/benchmarks/",
    r"--monolingual mono\.en|--data synthetic|phrasebook_(oaxe|bag_of_ngrams|nmla|minimum_risk)_teacher",
    r"--leaderboard|wmt14|\b(en_de|de_en)_((peer_)?autoregressive|distilled_data|\w+_teacher|dims)\b|opus-mt",
    r"dims-hf (tune|average) |evaluate .*--decoding |--language-model |benchmark .*--peers ",
)

# script or subcommand -> the recipe that `RECIPE.yaml` stands for
RECIPES = {
    "train_teacher.py": "phrasebook_teacher",
    "train_dims.py": "phrasebook_dims",
    "train_autoregressive.py": "phrasebook_autoregressive",
    "make_distilled_data.py": "phrasebook_distilled_data",
}
TEACHER, MARIAN = "runs/phrasebook-teacher-smoke", "runs/phrasebook-autoregressive-smoke"


def _commands() -> list[str]:
    """All different commands, those that others need first."""
    found: dict[str, None] = {}
    for page in PAGES:
        for block in re.findall(r"^ *```bash\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.S | re.M):
            lines = re.sub(r"\\\n\s*", " ", block).splitlines()
            bare = (re.sub(r"\s+# .*", "", line.strip()) for line in lines)
            found.update(dict.fromkeys(line for line in bare if line and line[0] != "#"))
    first = ("training/train_teacher.py RECIPE", "training/train_autoregressive.py RECIPE", "dims-hf export")
    return sorted(found, key=lambda command: not any(each in command for each in first))


def _reason(command: str) -> str | None:
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, command)), None)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Iterator[Path]:
    """A folder that looks like a clone, with the files that the documentation speaks of."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("model_cards", "training", "dims_hf", "tests"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "README.md").write_text("# A title\n\nWhere are you?\n", encoding="utf-8")
    (folder / "sentences.en").write_text("Where did you buy that book?\n\nI am here.\n", encoding="utf-8")
    (folder / "page.html").write_text("<p>Where are <b>you</b>?</p>\n", encoding="utf-8")
    with contextlib.chdir(folder) if hasattr(contextlib, "chdir") else _chdir(folder):
        yield folder


@contextlib.contextmanager
def _chdir(folder: Path) -> Iterator[None]:
    import os

    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _words(command: str) -> tuple[list[str], str | None, str | None]:
    """Program and arguments without launcher, comment and environment; files of standard input and output."""
    command = re.sub(r"^cat (\S+) \| (.*)$", r"\2 < \1", command)
    command = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", command)
    words = shlex.split(command, comments=True)
    source, target = (words[words.index(sign) + 1] if sign in words else None for sign in "<>")
    words = [
        word for place, word in enumerate(words) if word not in "<>" and (not place or words[place - 1] not in "<>")
    ]
    if words[0] in ("accelerate", "torchrun"):
        start = next(place for place, word in enumerate(words) if word.endswith(".py"))
        configs = [words[place + 1] for place, word in enumerate(words[:start]) if word == "--config_file"]
        assert all((ROOT / config).is_file() for config in configs)
        words = ["python", *words[start:]]
    return words, source, target


def _small(words: list[str]) -> list[str]:
    """The same command with small things in the place of placeholders."""
    name = Path(words[1]).name
    teacher = {"train_dims.py": TEACHER, "make_distilled_data.py": MARIAN}.get(name, STUDENT)
    stand_for = {
        "RECIPE.yaml": RECIPES.get(name, ""),
        "TEACHER_DIR": teacher,
        "MODEL": teacher,
        "STUDENT_DIR": STUDENT,
    }
    stand_for |= {"path/to/corpus": "phrasebook", "runs/tatoeba-en-de-teacher": teacher}
    stand_for |= {"runs/tatoeba-en-de-dims": STUDENT, "data/tatoeba-de-en": "phrasebook"}
    words = [stand_for.get(word, word) for word in words]
    if name in RECIPES:
        words += [word for word in ("--smoke", "--use_cpu") if word not in words]
    if words[:2] == ["dims-hf", "reproduce"] and "--list" not in words:
        words = [word for place, word in enumerate(words) if word != "--steps" and words[place - 1] != "--steps"]
        words += [] if "--dry_run" in words else ["--dry_run"]
    if name == "evaluate.py" and "--help" not in words:
        words += ["--max_examples", "20", "--iterations", "1"]
    return words


def _run(words: list[str], source: str | None = None) -> str:
    """Standard output of a program of ours, run in this process."""
    output = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n", write_through=True)
    raw = Path(source).read_bytes() if source else b""
    patch = pytest.MonkeyPatch()
    patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))
    patch.setattr(sys, "stdout", output)
    patch.setattr(sys, "argv", words[1:])
    try:
        if words[0] == "dims-hf":
            status = main(words[1:])
        else:
            runpy.run_path(words[1], run_name="__main__")
            status = 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        patch.undo()
    assert status == 0 or _is_untrained(words, status), f"{shlex.join(words)} ended with {status}"
    return output.buffer.getvalue().decode("utf-8")


def _is_untrained(words: list[str], status: object) -> bool:
    """After a few updates, a teacher may write nothing; the command then says so, having passed through all stages."""
    if Path(words[1]).name != "make_distilled_data.py" or status != 2:
        return False
    folder = Path("runs/phrasebook-distilled-smoke")
    return any(folder.rglob("shards/*"))


def test_every_command_is_of_a_program_that_is_known():
    unknown = [
        command
        for command in _commands()
        if _reason(command) is None and _words(command)[0][0] not in ("dims-hf", "python", "curl")
    ]
    assert unknown == []


@pytest.mark.slow
@pytest.mark.parametrize("command", [each for each in _commands() if not each.startswith("curl")])
def test_command_of_the_documentation(command: str, workspace: Path):
    if _reason(command):
        pytest.skip(_reason(command))
    pytest.importorskip("markdown_it")
    words, source, target = _words(command)
    if any(re.search(pattern, command) for pattern in ONLY_OPTIONS):
        # a method's own options are in the help of a recipe or a `--method`
        method = words[words.index("--method") :][:2] if "--method" in words else []
        program = [*words[:2], *method]
        told = _run([*program, "--help"])
        options = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert not [option for option in options if option not in told and option.replace("-", "_") not in told]
        return
    if "onnx" in command:
        pytest.importorskip("onnxruntime")
    output = _run(_small(words), source)
    if target:
        assert output.strip()
    for name in (words[words.index("--output") + 1],) if "--output" in words else ():
        assert Path(name).read_text(encoding="utf-8").strip()


@pytest.mark.slow
def test_requests_of_the_documentation(monkeypatch):
    """What `curl` sends, sent to the application."""
    import asyncio

    httpx = pytest.importorskip("httpx")
    pytest.importorskip("fastapi")
    from dims_hf.serving import LanguagePair, ServerSettings
    from dims_hf.serving.app import create_app

    async def ask() -> list:
        app = create_app(ServerSettings((LanguagePair("en", "de", str(ROOT / STUDENT)),)))
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport) as client:
                return [await client.post(**_request(words)) for words in requests]

    requests = [shlex.split(command) for command in _commands() if command.startswith("curl ")]
    answers = asyncio.run(ask())
    assert [answer.status_code for answer in answers] == [200] * len(requests) and requests
    assert answers[0].json()["translatedText"] == "Wo hast du dieses Buch gekauft?"


def _request(words: list[str]) -> dict:
    data = [words[place + 1] for place, word in enumerate(words) if word == "-d"]
    headers = dict(words[place + 1].split(": ", 1) for place, word in enumerate(words) if word == "-H")
    if "Content-Type" in headers:
        return {"url": words[1], "json": json.loads(data[0])}
    return {"url": words[1], "data": dict(each.split("=", 1) for each in data)}


@pytest.mark.slow
@pytest.mark.parametrize("page", ["docs/quickstart.md", "docs/translate.md"])
def test_python_of_a_page_runs_from_top_to_bottom(page: str, workspace: Path):
    names: dict = {}
    for block in re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.S | re.M):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block, page, "exec"), names)
    assert printed.getvalue() is not None and "translator" in names
    assert "\n\n" in names["translator"]("Good morning.\n\nSee you!")[0]["translation_text"]
