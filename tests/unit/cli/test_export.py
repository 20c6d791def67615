# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf export`: options that would be ignored."""

from __future__ import annotations

import pytest

from dims_hf.cli.main import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "valid"], "--split has no effect without --data"),
        (["--max-examples", "5"], "--max-examples has no effect without --data"),
        (["--shortlist-per-token", "5"], "--shortlist-per-token has no effect without --shortlist"),
        (["--shortlist-frequent", "5"], "--shortlist-frequent has no effect without --shortlist"),
        (["--data", "phrasebook"], "--data needs its languages"),
    ],
)
def test_export_option_without_its_corpus_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture):
    assert main(["export", "model", *words]) == 2
    assert message in capsys.readouterr().err
