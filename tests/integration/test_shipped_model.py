# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The models in the repository: the README's six lines, sizes, and what is kept of everyday sentences."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, pipeline

import dims_hf.models
from dims_hf.evaluation.everyday import EverydayReport, check_everyday
from dims_hf.export import export_native
from dims_hf.translation.loading import load_model


MODELS = Path(dims_hf.models.__file__).parent


def test_readme_six_lines_print_what_the_readme_shows(repository, monkeypatch):
    readme = (repository / "README.md").read_text(encoding="utf-8")
    code, shown = re.search(r"```python\n(import dims_hf.*?)```\n+```text\n(.*?)```", readme, flags=re.S).groups()
    monkeypatch.chdir(repository)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    assert printed.getvalue() == shown


def test_shipped_student_decodes_in_one_pass_and_fits_the_size_limit(repository):
    folder = repository / "model_cards" / "tatoeba-en-de-dims"
    model = AutoModelForSeq2SeqLM.from_pretrained(folder)
    assert (model.generation_config.num_iterations, model.dtype) == (1, torch.float32)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 14e6


def test_shipped_student_translation_does_not_depend_on_the_batch(repository):
    translator = pipeline("translation", model=str(repository / "model_cards" / "tatoeba-en-de-dims"))
    sources = ["Tom is helping.", "She opened the window because it was too hot in the room.", "Where are you?"]
    alone = [translator(source)[0] for source in sources]
    assert translator(sources, batch_size=3) == alone
    assert translator(sources[::-1], batch_size=2) == alone[::-1]


@pytest.fixture(scope="module", params=["en-de", "de-en"])
def direction(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def everyday_report(direction) -> EverydayReport:
    """What the one-pass model of a direction does to 200 everyday sentences."""
    root = Path(__file__).resolve().parents[2]
    translator = pipeline("translation", model=str(root / "model_cards" / f"{direction}-onepass"))
    sources = (root / "tests" / "data" / f"everyday.{direction[:2]}").read_text(encoding="utf-8").splitlines()
    return check_everyday(sources, [output["translation_text"] for output in translator(sources, batch_size=50)])


def test_onepass_model_keeps_numbers_and_addresses_and_does_not_stammer(repository, direction, everyday_report):
    assert everyday_report.digits_kept >= 0.95 and everyday_report.addresses_kept == 1, everyday_report.faults
    assert everyday_report.num_long == everyday_report.num_stammering == 0, everyday_report.faults
    folder = repository / "model_cards" / f"{direction}-onepass"
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 30e6


def test_onepass_model_leaves_nothing_out(everyday_report):
    assert everyday_report.num_short == 0, everyday_report.faults


@pytest.mark.usefixtures("native_library")
@pytest.mark.parametrize("name", ["tatoeba-en-de-dims", "en-de-onepass", "de-en-onepass"])
def test_onepass_model_has_a_native_form_that_gives_its_tokens(repository, name, tmp_path):
    model, tokenizer = load_model(str(repository / "model_cards" / name), device="cpu")
    description = export_native(model, tokenizer, tmp_path / "native", num_iterations=1)
    assert description["verification"]["tokens"] > 0.97


@pytest.mark.parametrize("name", ["tatoeba-en-de-dims", "tatoeba-en-de-cmlm", "en-de-onepass", "de-en-onepass"])
def test_code_in_a_shipped_folder_is_that_of_the_package(repository, name):
    shipped = sorted((repository / "model_cards" / name).glob("*.py"))
    assert shipped
    differing = [path.name for path in shipped if path.read_text() != (MODELS / path.name).read_text()]
    assert not differing, "publish the folder again with training/publish.py"
