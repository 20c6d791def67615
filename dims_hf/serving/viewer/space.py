# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Writes a folder that is a Hugging Face Space: the page with its models, ready to upload."""

from __future__ import annotations

import shutil
from pathlib import Path

from dims_hf import __version__


_README = """---
title: {title}
emoji: 🔤
colorFrom: blue
colorTo: green
sdk: gradio
sdk_version: {gradio}
app_file: app.py
pinned: false
license: apache-2.0
models: []
---

# {title}

Type a sentence and watch it being translated: passes, confidences, length candidates, alternatives.
Made with [dims_hf](https://github.com/dims-hf/dims_hf) {version} by `dims-hf app --write-space`.
"""

_APP = '''"""The page of this Space; the models lie beside it."""

import os
from pathlib import Path

from dims_hf.cli.main import main


HERE = Path(__file__).parent
PORT = os.environ.get("GRADIO_SERVER_PORT", "7860")

if __name__ == "__main__":
    raise SystemExit(main(["app", {models}, "--host", "0.0.0.0", "--port", PORT]))
'''


def write_space(folder: Path, student: Path, teacher: Path | None = None, *, title: str | None = None) -> Path:
    """
    Writes the folder of a Space.

    Args:
        folder (`Path`): to make; must not exist, or be empty.
        student, teacher (`Path`): model folders, which are copied into it.
        title (`str`, *optional*): of the Space.

    Raises:
        ValueError: something is in the folder already.
    """
    from gradio import __version__ as gradio_version

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already. Name a new folder for the Space.")
    words = []
    for option, model in (("--model", student), ("--teacher", teacher)):
        if model is not None:
            shutil.copytree(model, folder / "models" / model.name, dirs_exist_ok=True)
            words += [f'"{option}"', f'str(HERE / "models" / "{model.name}")']
    title = title or f"{student.name} in one pass"
    readme = _README.format(title=title, gradio=gradio_version, version=__version__)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    (folder / "app.py").write_text(_APP.format(models=", ".join(words)), encoding="utf-8")
    (folder / "requirements.txt").write_text(f"dims-hf[app]>={__version__}\n", encoding="utf-8")
    return folder
