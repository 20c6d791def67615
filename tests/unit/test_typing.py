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


def test_readme_snippet_is_checked():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    snippet = re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1]
    consumer = (ROOT / "tests" / "types" / "consumer.py").read_text(encoding="utf-8")
    checked = {re.sub(r"  # (type|noqa).*", "", line).strip() for line in consumer.splitlines()}
    lines = {line.strip() for line in snippet.splitlines() if line and not line.startswith("import dims_hf")}
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
