# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Damaged model files of the native library, read without torch, so that a sanitizer sees the library and little else:

    python -m tests.fuzz.native_files FOLDER FIRST COUNT

reads `COUNT` damaged copies of the model files in `FOLDER`, from seed `FIRST` on, and translates with what is not
refused. It says each seed before it tries it, and the counts at the end. `training/sanitize.py` runs it.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path
from random import Random

from tests.fuzz.mutations import damage_bytes, damage_json


def damage_model_file(rng: Random, path: Path) -> str:
    """Damages header or weights of a model file, and rewrites both checksums in it."""
    data = path.read_bytes()
    size = int.from_bytes(data[16:20], "little")
    header, start = json.loads(data[24 : 24 + size]), -(-(24 + size) // 64) * 64
    weights = data[start:]
    if rng.random() < 0.6:
        what, header = damage_json(rng, header)
    else:
        what, weights = damage_bytes(rng, weights)
    if isinstance(header, dict):
        header.update(data_bytes=len(weights), data_crc32=zlib.crc32(weights))
    text = json.dumps(header).encode()
    prefix = data[:12] + zlib.crc32(text).to_bytes(4, "little") + len(text).to_bytes(4, "little") + bytes(4)
    whole = prefix + text
    path.write_bytes(whole.ljust(-(-len(whole) // 64) * 64, b"\0") + weights)
    return what


def try_damaged(good: Path, rng: Random, place: Path) -> str:
    """
    Reads a damaged copy of a model file, and translates with it where it is not refused.

    Returns:
        `str`: what was damaged ("file": anything in it; "content": checksums fit again) and what became of it.

    Raises:
        AssertionError: a file with wrong checksums was read, or it was refused in more than one line.
    """
    from dims_hf.native.library import Decoding, NativeModel

    data = good.read_bytes()
    place.write_bytes(data)
    kind = "file" if rng.random() < 0.5 else "content"
    what = ""
    while kind == "file" and place.read_bytes() == data:  # nothing may have been cut
        what, damaged = damage_bytes(rng, data)
        place.write_bytes(damaged)
    if kind == "content":
        what = damage_model_file(rng, place)
    passes, beam = rng.randint(1, 3), rng.choice([1, 3]) if good.stem.startswith("cmlm") else 1
    rows = [[0, *(rng.randrange(5, 30) for _ in range(rng.randint(1, 9))), 2] for _ in range(rng.randint(1, 3))]
    try:
        NativeModel(place).translate(rows, Decoding(num_iterations=passes, length_beam_size=beam, repeat_penalty=1.0))
    except ValueError as error:
        assert str(error) and "\n" not in str(error), what
        return f"{kind} refused"
    assert kind == "content", f"a file with another {what} was read"
    return f"{kind} read"


def main(folder: Path, first: int, count: int) -> None:
    """Tries the seeds, one line before each and the counts as JSON in the last."""
    counts: Counter[str] = Counter()
    files = sorted(folder.glob("*.bin"))
    with tempfile.TemporaryDirectory() as place:
        for seed in range(first, first + count):
            sys.stdout.write(f"{seed}\n")
            sys.stdout.flush()
            rng = Random(f"native files {seed}")
            counts[try_damaged(rng.choice(files), rng, Path(place, "model.bin"))] += 1
    sys.stdout.write(json.dumps(counts) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
