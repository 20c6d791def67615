# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Builds the optional native library; all metadata is in setup.cfg.

The library is plain C for ctypes: one wheel of a platform serves all versions of Python (`py3-none-PLATFORM`). Without
a compiler, or with `DIMS_HF_NATIVE=0`, the package is built without it as a wheel for all platforms (`py3-none-any`),
and the native runtime says how to build it later.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext


LIBRARY = "dims_hf.native.libdims_native"


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
        builder, target = _load_builder(), Path(self.get_ext_fullpath(ext.name))
        target.unlink(missing_ok=True)  # one of an earlier build is not what this one says
        try:
            builder.build(target)
        except builder.BuildError as error:
            sys.stderr.write(f"warning: dims-hf is installed without its native runtime. {error}\n")


class NativeWheel(bdist_wheel):
    """A wheel of this platform for every Python 3 where it holds the library, else of all platforms."""

    def run(self) -> None:
        """Builds first: the name says what is inside."""
        self.run_command("build")
        build = self.get_finalized_command("build_ext")
        if self.distribution.ext_modules and not Path(build.get_ext_fullpath(LIBRARY)).is_file():
            self.distribution.ext_modules = []
            self.root_is_pure = True
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        """`py3-none-PLATFORM` or `py3-none-any`."""
        return ("py3", "none", "any" if self.root_is_pure else super().get_tag()[2])


is_wanted = os.environ.get("DIMS_HF_NATIVE", "1") != "0"
setup(
    ext_modules=[Extension(LIBRARY, sources=[], optional=True)] if is_wanted else [],
    cmdclass={"build_ext": BuildNative, "bdist_wheel": NativeWheel},
)
