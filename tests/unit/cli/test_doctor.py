# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf doctor`: what it reads, what it says is missing, and that it knows all extras."""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import transformers

from dims_hf.cli import doctor
from dims_hf.cli.main import main


def test_doctor_tells_versions_runtimes_and_extras(capsys):
    assert main(["doctor", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["torch"] == version("torch")
    assert found["versions"]["transformers"] == transformers.__version__
    assert set(found) == {"versions", "cpu", "gpus", "runtimes", "bf16", "huge_pages", "extras", "advice"}
    assert set(found["runtimes"]) == {"torch", "onnx", "native"}
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name}" in text for name in doctor.EXTRAS) and "huge pages" in text and "bf16" in text


def test_doctor_says_what_is_missing(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "gradio" else find(name))
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert 'pip install "dims-hf[app]" (gradio missing)' in text
    assert re.search(r"^  app +dims-hf app: missing gradio$", text, re.M)


def test_doctor_knows_the_extras_of_the_package(repository):
    setup = configparser.ConfigParser()
    setup.read(repository / "setup.cfg")
    extras = setup["options.extras_require"]
    told = {name for name in extras if name not in ("all", "test", "docs", "dev")}
    assert set(doctor.EXTRAS) == told
    for name, (_, packages) in doctor.EXTRAS.items():
        required = set(re.findall(r"^([\w.-]+?)(?:\[.*\])?>=", extras[name], re.M))
        assert set(packages) == required, name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "model name\t: X\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_bf16 sse\n",
            ["avx2", "avx512f", "avx512_vnni", "amx_bf16"],
        ),
        ("Features\t: fp asimd asimddp i8mm\n", ["asimd", "asimddp", "i8mm"]),
        ("nothing\n", []),
    ],
)
def test_features_of_processors(tmp_path: Path, text: str, expected: list[str]):
    (tmp_path / "cpuinfo").write_text(text)
    assert doctor.cpu_features(tmp_path / "cpuinfo") == expected
    assert doctor.cpu_features(tmp_path / "absent") == []


def test_huge_pages_are_what_stands_in_brackets(tmp_path: Path):
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    assert doctor.huge_pages(tmp_path / "enabled") == "madvise"
    assert doctor.huge_pages(tmp_path / "absent") is None
