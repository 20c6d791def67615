# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Puts the result files that pages link to into the site: they lie beside `docs/`, where the reports write them."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files


RESULTS = "model_cards/results"
_SHOWN = {".json", ".md", ".png"}


def on_files(files: Files, config: Any) -> Files:
    """Adds every report, figure and table under `model_cards/results`."""
    root = Path(config.config_file_path).parent
    for path in sorted((root / RESULTS).rglob("*")):
        if path.suffix in _SHOWN:
            uri = path.relative_to(root).as_posix()
            files.append(File.generated(config, uri, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave `docs/` on a code host stay inside the site."""
    up = "../" * page.file.src_uri.count("/")
    return markdown.replace("](../model_cards/", f"]({up}model_cards/")
