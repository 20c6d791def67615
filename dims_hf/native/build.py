# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Compiles the native library: `python -m dims_hf.native.build`. Needs nothing but Python and a C++17 compiler.

Every set of kernels is a file compiled for its own instruction set; which one runs is decided when a model is opened,
so that one library serves all processors of an architecture, and all versions of Python.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory


SOURCES = Path(__file__).with_name("csrc")
LIBRARY_NAME = "libdims_native.so"

# Fused multiply-add would make the kernels differ in the last bit.
COMMON_FLAGS = ("-std=c++17", "-fPIC", "-fvisibility=hidden", "-pthread", "-Wall", "-Wextra", "-Wno-psabi")
COMMON_FLAGS += ("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
_FAST, _SANITIZED = ("-O3",), ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_COMMON = ("api", "cpu", "decoding", "json", "kernels_portable", "model", "network")

# machine -> files of its instruction sets, what says that they are there, and how they are compiled
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni")
_AMX = (*_AVX512, "-mamx-tile", "-mamx-int8")
_X86 = (("kernels_avx2", "DIMS_AVX2", ("-mavx2",)), ("kernels_avxvnni", "DIMS_AVXVNNI", ("-mavx2", "-mavxvnni")))
_X86 += (("kernels_avx512", "DIMS_AVX512", _AVX512),)
# its registers must be asked for, which is written for Linux
_X86 += (("kernels_amx", "DIMS_AMX", _AMX),) if sys.platform == "linux" else ()
_ARM = (("kernels_neon", "DIMS_NEON", ("-march=armv8.2-a+dotprod",)),)
_KERNELS = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}


class BuildError(RuntimeError):
    """Why there is no library, in one line."""


def find_compiler() -> list[str]:
    """
    Words of the C++ compiler: `$CXX`, or the first of `c++`, `g++` and `clang++` that there is.

    Raises:
        BuildError: there is none, or the system is not one that the library is written for.
    """
    if os.name != "posix":
        raise BuildError("The native runtime is built on Linux and macOS alone. Use an ONNX export here.")
    if os.environ.get("CXX"):
        return shlex.split(os.environ["CXX"])
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    raise BuildError("No C++ compiler was found. Install one (Debian: apt install g++), or set CXX.")


def kernel_files(machine: str | None = None) -> tuple[tuple[str, str, tuple[str, ...]], ...]:
    """File of each instruction set of a machine (this one when `None`), the macro that announces it, and its flags."""
    return _KERNELS.get((machine or platform.machine()).lower(), ())


def build(
    target: str | os.PathLike[str] | None = None,
    *,
    compiler: Sequence[str] | None = None,
    machine: str | None = None,
    program: str | os.PathLike[str] | None = None,
    sanitize: bool = False,
) -> Path:
    """
    Compiles the library, or a program with it inside.

    Args:
        target (`str` or `os.PathLike`, *optional*): file to write, whole or not at all; default beside this file.
        compiler (`Sequence[str]`, *optional*): words of the compiler; [`find_compiler`] when `None`.
        machine (`str`, *optional*): architecture to compile for, as `platform.machine()` calls it.
        program (`str` or `os.PathLike`, *optional*): a C++ file with a `main`; the target is then a program.
        sanitize (`bool`, *optional*): stop at wrong accesses and undefined behaviour.

    Returns:
        `Path`: the target.

    Raises:
        BuildError: no compiler, or it fails.
    """
    target = Path(target or Path(__file__).with_name(LIBRARY_NAME)).absolute()
    compiler = list(compiler or find_compiler())
    # what an older compiler does not know is left out
    kernels = [kernel for kernel in kernel_files(machine) if _accepts(compiler, kernel[2])]
    shared = [*COMMON_FLAGS, *(_SANITIZED if sanitize else _FAST), f"-I{SOURCES}"]
    shared += [f"-D{name}" for _, name, _ in kernels]
    files = [(SOURCES / f"{name}.cpp", ()) for name in _COMMON]
    # each with its own flags: one file's instructions must not leak into code that runs everywhere
    files += [(SOURCES / f"{name}.cpp", flags) for name, _, flags in kernels]
    files += [(Path(program), ())] if program is not None else []
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=target.parent, prefix=".build.") as folder:
        objects = [Path(folder, f"{source.stem}.o") for source, _ in files]
        _run_all(
            [*compiler, *shared, *flags, "-c", str(source), "-o", str(to)]
            for (source, flags), to in zip(files, objects)
        )
        linked = Path(folder, target.name)
        kind = [] if program is not None else ["-shared"]
        _run_all([[*compiler, *shared, *kind, *map(str, objects), "-o", str(linked)]])
        # a process that has the old library open keeps it
        os.replace(linked, target)
    return target


def _accepts(compiler: Sequence[str], flags: Sequence[str]) -> bool:
    """Whether a compiler knows an instruction set. One that cannot be run does: the build then says why it fails."""
    command = [*compiler, *flags, "-Werror", "-x", "c++", "-fsyntax-only", os.devnull]
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return True


def _run_all(commands: Sequence[Sequence[str]] | object) -> None:
    """Runs commands, two at a time."""
    waiting = list(commands)
    running: list[subprocess.Popen] = []
    try:
        while waiting or running:
            while waiting and len(running) < 2:
                running.append(subprocess.Popen(waiting.pop(0), stderr=subprocess.PIPE, text=True))
            _finish(running.pop(0))
    except OSError as error:
        raise BuildError(f"The C++ compiler cannot be run: {error}. Set CXX to another one.") from None
    finally:
        for process in running:
            process.communicate()


def _finish(process: subprocess.Popen) -> None:
    _, errors = process.communicate()
    if process.returncode != 0:
        lines = [line for line in errors.splitlines() if "error" in line] or errors.splitlines() or ["no message"]
        raise BuildError(f"The C++ compiler failed: {lines[0].strip()}. A compiler of C++17 is needed.")


def main(argv: Sequence[str] | None = None) -> int:
    """Builds the library in its place, or where `--output` says."""
    parser = argparse.ArgumentParser(prog="python -m dims_hf.native.build", description="Build the native library.")
    parser.add_argument("--output", help="file to write; in the package by default")
    parser.add_argument("--sanitize", action="store_true", help="stop at wrong accesses and undefined behaviour")
    arguments = parser.parse_args(argv)
    try:
        target = build(arguments.output, sanitize=arguments.sanitize)
    except BuildError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"wrote {target}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
