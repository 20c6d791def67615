# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
The native library with AddressSanitizer and UndefinedBehaviorSanitizer in it: its tests, and damaged model files.

    python training/sanitize.py --cases 2000 --output counts.json

Both stop at the first wrong access or undefined operation. Needs GCC.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.update(
    HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false"
)


def main() -> int:
    from dims_hf.native import build

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="damaged model files")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--tests", nargs="*", default=["tests/unit/native"], help="what pytest runs; nothing: none")
    parser.add_argument("--output", type=Path, help="JSON file of the counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        library = build.build(Path(place, build.LIBRARY_NAME), compiler=["g++"], sanitize=True)
        if arguments.tests:
            command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments.tests]
            subprocess.run(command, cwd=ROOT, env=sanitized(library), check=True)
        good = Path(place, "good")
        write_model_files(good)
        counts = fuzz(library, good, arguments.first, arguments.cases)
    print(counts)
    if arguments.output:
        arguments.output.write_text(json.dumps(counts, indent=1) + "\n")
    return 0


def sanitized(library: Path) -> dict[str, str]:
    """Variables of a process that loads a library with sanitizers, whose runtime has to come before all else."""
    from dims_hf.native.library import LIBRARY_VARIABLE
    from tests.fixtures.native import GIVEN_LIBRARY

    # that of C++ exceptions too, lest the sanitizer miss them
    names = [_find(name) for name in ("libasan.so", "libubsan.so", "libstdc++.so")]
    options = {"ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    places = dict.fromkeys((LIBRARY_VARIABLE, GIVEN_LIBRARY), str(library))
    return {**os.environ, **options, **places, "LD_PRELOAD": " ".join(names), "PYTHONPATH": str(ROOT)}


def _find(name: str) -> str:
    return subprocess.run(
        ["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


def write_model_files(folder: Path) -> None:
    """A model file of each kind, of several passes."""
    from dims_hf.export.native_export import model_tensors
    from dims_hf.native.model_file import write_model_file
    from tests.fuzz.models import make_model

    folder.mkdir()
    for family in ("cmlm", "cmlmc", "imputer"):
        write_model_file(folder / f"{family}.bin", *model_tensors(make_model(family, 40)))


def fuzz(library: Path, good: Path, first: int, count: int) -> dict[str, int]:
    """Counts of what became of damaged copies of the model files in `good`."""
    command = [sys.executable, "-m", "tests.fuzz.native_files", str(good), str(first), str(count)]
    done = subprocess.run(command, cwd=ROOT, env=sanitized(library), capture_output=True, text=True)
    lines = done.stdout.splitlines()
    if done.returncode:
        seed = lines[-1] if lines else "none"
        raise RuntimeError(f"seed {seed}: exit status {done.returncode}\n{done.stderr}")
    return json.loads(lines[-1])


if __name__ == "__main__":
    sys.exit(main())
