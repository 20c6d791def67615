# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf app`: a page on which a translation can be watched, pass by pass."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dims_hf._files import expand_home
from dims_hf.cli.parsing import CommandParser


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    arguments = _parser().parse_words(argv)
    if not 0 <= arguments.port <= 65535:
        raise ValueError(f"--port must be between 0 and 65535, got {arguments.port}.")
    student = _model_folder(arguments.model)
    teacher = None if arguments.teacher is None else _model_folder(arguments.teacher)
    if arguments.write_space is not None:
        from dims_hf.serving.viewer.space import write_space

        written = write_space(expand_home(arguments.write_space), student, teacher)
        sys.stdout.write(f"{written}\n")
        return
    import uvicorn

    from dims_hf.serving.settings import check_address
    from dims_hf.serving.viewer.page import create_viewer
    from dims_hf.serving.viewer.tracing import TracedModel

    check_address(arguments.host, arguments.port)
    traced = TracedModel(str(student), threads=arguments.threads)
    other = None if teacher is None else TracedModel(str(teacher), threads=arguments.threads)
    app = create_viewer(traced, other, host=arguments.host, port=arguments.port)
    sys.stderr.write(f"Open http://{arguments.host}:{arguments.port} in a browser; Ctrl-C ends it.\n")
    uvicorn.run(app, host=arguments.host, port=arguments.port, log_level="warning", timeout_graceful_shutdown=5)


def _parser() -> CommandParser:
    parser = CommandParser("app", "Show a page on which a translation can be watched, pass by pass.")
    parser.add_argument("--model", required=True, metavar="DIR", help="checkpoint folder of the student, right side")
    parser.add_argument("--teacher", metavar="DIR", help="checkpoint folder of the left side; the same when not given")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on")
    parser.add_argument("--threads", type=int, help="processor threads")
    parser.add_argument("--write-space", metavar="DIR", help="write a folder for a Hugging Face Space, and end")
    return parser


def _model_folder(name: str) -> Path:
    folder = expand_home(name)
    if not folder.is_dir():
        raise ValueError(f"There is no model folder {folder}. Give the folder of a checkpoint.")
    return folder
