# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Wheels: with the library for one platform and every Python, without it for all platforms."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest


pytestmark = pytest.mark.skipif(os.name != "posix", reason="the native runtime is built on Linux and macOS alone")

LIBRARY = "dims_hf/native/libdims_native.so"

# In place of a compiler, to be quick: the last word of a command is the file that it writes.
COMPILER = '#!/bin/sh\nfor last; do :; done\nprintf compiled > "$last"\n'


@pytest.fixture
def checkout(repository: Path, tmp_path: Path) -> Path:
    """A copy of what a wheel is made of, with a library that somebody built in its place."""
    folder = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(repository / "dims_hf", folder / "dims_hf", ignore=ignored)
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, folder / name)
    (folder / LIBRARY).write_text("built in place")
    (folder / "compile").write_text(COMPILER)
    (folder / "compile").chmod(0o755)
    return folder


def _build(checkout: Path, **variables: str) -> tuple[Path, str]:
    """The wheel, and what building it said."""
    out = checkout / "dist"
    shutil.rmtree(out, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", str(out)],
        cwd=checkout, capture_output=True, text=True, timeout=300, env={**os.environ, **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = out.iterdir()
    return wheel, done.stderr


def _content(wheel: Path) -> tuple[set[str], str]:
    with ZipFile(wheel) as files:
        (about,) = (name for name in files.namelist() if name.endswith(".dist-info/WHEEL"))
        return set(files.namelist()), files.read(about).decode()


@pytest.mark.slow
def test_wheel_is_named_by_what_is_in_it(checkout: Path):
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    wheel, _ = _build(checkout, CXX=str(checkout / "compile"))
    names, about = _content(wheel)
    assert wheel.name.endswith(f"-py3-none-{platform}.whl") and LIBRARY in names
    assert f"Tag: py3-none-{platform}" in about and "Root-Is-Purelib: false" in about
    assert {"dims_hf/native/csrc/api.cpp", "dims_hf/native/csrc/kernels.h", "dims_hf/py.typed"} <= names
    with ZipFile(wheel) as files:
        assert files.read(LIBRARY) == b"compiled"
    # without a compiler, in the same place
    wheel, said = _build(checkout, CXX="/nonexistent-compiler")
    _check_pure(wheel, with_library=names)
    assert "warning: dims-hf is installed without its native runtime. The C++ compiler cannot be run" in said
    # nobody asked for it
    wheel, said = _build(checkout, CXX=str(checkout / "compile"), DIMS_HF_NATIVE="0")
    _check_pure(wheel, with_library=names)
    assert "without its native runtime" not in said


def _check_pure(wheel: Path, *, with_library: set[str]) -> None:
    names, about = _content(wheel)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "Tag: py3-none-any" in about and "Root-Is-Purelib: true" in about
    assert names == with_library - {LIBRARY}
