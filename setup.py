# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Builds the optional native library; all metadata is in setup.cfg.

The library is plain C for ctypes: one wheel of a platform serves all versions of Python. Without a compiler the
package is installed without it, and the native runtime says how to build it later.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext


def _load_builder() -> object:
    """`dims_hf/native/build.py`, without importing the package, whose requirements may not be there yet."""
    path = Path(__file__).resolve().parent / "dims_hf" / "native" / "build.py"
    spec = importlib.util.spec_from_file_location("_dims_native_build", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class BuildNative(build_ext):
    """Compiles each kernel file for its own instruction set, which an ordinary extension cannot."""

    def get_ext_filename(self, fullname: str) -> str:
        """The library's name, without that of a Python version."""
        return str(Path(*fullname.split(".")).with_suffix(".so"))

    def build_extension(self, ext: Extension) -> None:
        """Builds the library, or says why there is none."""
        builder = _load_builder()
        try:
            builder.build(self.get_ext_fullpath(ext.name))
        except builder.BuildError as error:
            sys.stderr.write(f"warning: dims-hf is installed without its native runtime. {error}\n")

    def copy_extensions_to_source(self) -> None:
        """An editable installation finds the library where it was built, if it was."""
        if all(Path(self.get_ext_fullpath(ext.name)).is_file() for ext in self.extensions):
            super().copy_extensions_to_source()


class PlatformWheel(bdist_wheel):
    """A wheel of this platform for every Python 3."""

    def get_tag(self) -> tuple[str, str, str]:
        """`py3-none-PLATFORM`."""
        return ("py3", "none", super().get_tag()[2])


setup(
    ext_modules=[Extension("dims_hf.native.libdims_native", sources=[], optional=True)],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": PlatformWheel},
)
