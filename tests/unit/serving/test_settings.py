# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Addresses that nobody can listen on are refused before a model is loaded."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from dims_hf.cli.main import main
from dims_hf.serving.settings import check_address


def test_port_that_is_taken_is_one_line(repository: Path, capsys: pytest.CaptureFixture):
    pytest.importorskip("uvicorn")
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        with pytest.raises(ValueError, match=f"Cannot listen on 127.0.0.1:{port}: .*Choose another --port"):
            check_address("127.0.0.1", port)
        folder = str(repository / "model_cards/tatoeba-en-de-dims")
        assert main(["serve", "--model", f"en-de={folder}", "--port", str(port)]) == 2
        assert f"error: Cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
    check_address("127.0.0.1", port)
    check_address("127.0.0.1", 0)


def test_address_of_another_machine_is_refused():
    with pytest.raises(ValueError, match="Cannot listen on 192.0.2.1:5000"):
        check_address("192.0.2.1", 5000)
