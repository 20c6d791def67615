# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Install the wheel of a folder in a fresh environment and use it as a newcomer would: `make package`.

The environment borrows this one's torch and transformers, so that only the package itself is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path


MODEL = Path(__file__).resolve().parents[1] / "model_cards" / "tatoeba-en-de-dims"

SNIPPET = f"""
import dims_hf
from transformers import pipeline

translator = pipeline("translation", model={str(MODEL)!r})
print(translator(["Where did you buy that book?"])[0]["translation_text"])
from dims_hf.recipes import LIBRARY
assert "site-packages" in dims_hf.__file__ and (LIBRARY / "phrasebook_dims.yaml").is_file()
"""


def main(folder: Path) -> None:
    (wheel,) = folder.glob("*.whl")
    with tempfile.TemporaryDirectory() as place:
        venv.create(place, with_pip=True)
        python = Path(place, "bin", "python")
        run(python, "-m", "pip", "install", "-q", "--no-deps", wheel.resolve())
        ours = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        # A path file of an editable install would bring this checkout along; the plain folder does not.
        Path(ours, "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        print(run(python, "-c", SNIPPET, cwd=place).strip())
        print(run(Path(place, "bin", "dims-hf"), "translate", "--model", MODEL, "Thank you.", cwd=place).strip())


def run(*command: object, cwd: str | None = None) -> str:
    # a PYTHONPATH would bring this checkout along, and pip would find the package there already
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
