# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Kernels of processors that this machine is not: cross-compiled, and run by an emulator bit for bit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dims_hf.export.native_export import write_native_folder
from dims_hf.native import build as building
from dims_hf.native.model_file import pack_codes


CROSS_COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64-static"
PROGRAM = Path(__file__).with_name("kernels_program.cpp")

needs_compiler = pytest.mark.skipif(
    shutil.which(CROSS_COMPILER) is None, reason=f"needs {CROSS_COMPILER} (Debian: apt install g++-aarch64-linux-gnu)"
)
needs_emulator = pytest.mark.skipif(
    shutil.which(EMULATOR) is None, reason=f"needs {EMULATOR} (Debian: apt install qemu-user-static)"
)


@needs_compiler
def test_neon_kernels_compile(tmp_path: Path):
    ((name, macro, flags),) = building.kernel_files("aarch64")
    command = [CROSS_COMPILER, *building.COMMON_FLAGS, f"-D{macro}", *flags, "-Werror", "-O1"]
    source, compiled = building.SOURCES / f"{name}.cpp", tmp_path / "kernels.o"
    done = subprocess.run([*command, "-c", str(source), "-o", str(compiled)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    # The file is not empty, as it is without the dot product.
    assert b"neon-dotprod" in compiled.read_bytes()


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Words that run the library's program for ARM here."""
    compiler = [CROSS_COMPILER, "-static"]
    program = building.build(
        tmp_path_factory.mktemp("arm") / "kernels", compiler=compiler, machine="aarch64", program=PROGRAM
    )
    return [EMULATOR, "-cpu", "max", str(program)]


def _run(words: list[str], *more: str | Path) -> str:
    done = subprocess.run([*words, *map(str, more)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_compiler
@needs_emulator
@pytest.mark.slow
def test_neon_kernels_give_the_integer_sums_of_numpy(emulated: list[str], tmp_path: Path):
    assert _run(emulated, "names").split() == ["neon-dotprod", "portable"]
    generator, cases, expected = np.random.default_rng(0), b"", []
    for rows in (1, 2, 3, 4, 5, 7, 8, 9, 17, 23):
        for outputs, inputs in ((16, 16), (32, 64), (50, 48), (112, 256)):
            x = generator.integers(-127, 128, (rows, inputs)).astype(np.int8)
            codes = generator.integers(-127, 128, (outputs, inputs)).astype(np.int8)
            # The largest products that there are, where 16-bit sums would overflow.
            x[0], codes[0], codes[-1] = 127, 127, -127
            packed = pack_codes(codes)
            cases += np.array([rows, inputs, len(packed)], np.int64).tobytes() + x.tobytes() + packed.tobytes()
            missing = ((0, 0), (0, -outputs % 16))
            expected.append(np.pad(x.astype(np.int32) @ codes.astype(np.int32).T, missing).ravel())
    (tmp_path / "cases").write_bytes(cases)
    for name in ("neon-dotprod", "portable"):
        _run(emulated, "sums", name, tmp_path / "cases", tmp_path / "sums")
        found = np.fromfile(tmp_path / "sums", np.int32)
        np.testing.assert_array_equal(found, np.concatenate(expected), err_msg=name)


@needs_compiler
@needs_emulator
@pytest.mark.slow
@pytest.mark.parametrize("family", ["cmlm", "imputer"])
def test_neon_kernels_translate_as_the_portable_ones_bit_for_bit(
    emulated: list[str], make_model, tiny_tokenizer, tmp_path: Path, family: str
):
    write_native_folder(make_model(family), tiny_tokenizer, tmp_path, num_iterations=2)
    generator = np.random.default_rng(0)
    rows = [[0, *generator.integers(6, len(tiny_tokenizer), n).tolist(), 2] for n in (1, 4, 9, 20)]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    content = np.int64(len(rows)).tobytes() + offsets.tobytes() + np.array(sum(rows, []), np.int32).tobytes()
    (tmp_path / "rows").write_bytes(content)
    written = []
    for name in ("neon-dotprod", "portable"):
        _run(emulated, "translate", name, tmp_path / "model.bin", tmp_path / "rows", tmp_path / name)
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1] and len(written[0]) > 8 * 5 + 4 * 4
