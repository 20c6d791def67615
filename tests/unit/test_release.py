# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A version is one thing: in the package, in what is cited, and at the head of the changelog."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import dims_hf


ROOT = Path(__file__).parents[2]


@pytest.mark.skipif("dev" in dims_hf.__version__, reason="what is cited is the last release")
def test_citation_and_changelog_have_the_version_and_its_day():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    released = re.findall(r"^## \[([\d.]+)\](?: - (\S+))?$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert released[0] == (dims_hf.__version__, str(citation["date-released"]))
    assert citation["version"] == dims_hf.__version__
