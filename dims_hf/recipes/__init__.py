# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Recipes: parsing, run folders, resume, launching; the YAML recipes themselves are in `library/`."""

from pathlib import Path


LIBRARY = Path(__file__).parent / "library"
"""Folder of the recipes that come with the package."""

__all__ = ["LIBRARY"]
