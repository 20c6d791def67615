# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What `make types` reads: the README's own lines are among it, and the list of files left out may only shrink."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]
# Rooms that are clean: no file of theirs may be left out of the check again.
CLEAN = ("models", "objectives", "distillation", "methods")


def _settings() -> dict:
    if sys.version_info < (3, 11):
        pytest.skip("tomllib came with Python 3.11")
    import tomllib

    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]


@pytest.mark.parametrize("page", ["README.md", "docs/quickstart.md", "docs/translate.md"])
def test_python_of_the_first_pages_is_checked_as_it_stands(page: str):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    consumer = (ROOT / "tests" / "types" / "consumer.py").read_text(encoding="utf-8")
    assert "type: ignore" not in consumer, "what mypy is told to ignore is an error in an editor"
    checked = {line.partition("  # ")[0].strip() for line in consumer.splitlines()}
    lines = {line.partition("  # ")[0].strip() for block in blocks for line in block.splitlines() if line}
    assert len(lines) >= 4
    assert lines <= checked


def test_ignored_files_exist_and_are_in_no_clean_room():
    (override,) = _settings()["overrides"]
    for name in override["module"]:
        assert (ROOT / name.replace(".", "/")).with_suffix(".py").is_file() or (
            ROOT / name.replace(".", "/") / "__init__.py"
        ).is_file(), name
        assert name.split(".")[1] not in CLEAN, name


def test_what_users_write_is_checked():
    assert _settings()["files"] == ["dims_hf", "tests/types"]
