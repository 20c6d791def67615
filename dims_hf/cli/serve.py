# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf serve`: translation over HTTP for clients of LibreTranslate."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence

from dims_hf.cli.parsing import CommandParser
from dims_hf.serving.settings import ServerSettings, check_address, parse_pair
from dims_hf.translation.runtimes import MOST_THREADS


# Seconds that requests at hand have when the server is told to end.
_GRACE = 8
# Seconds that an idle connection stays open. Where a client's next request meets the closing of it, one is lost.
_KEEP_ALIVE = 75
# Seconds without a sign of life after which a worker is taken for dead.
_HEALTH = 30


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    args = vars(_parser().parse_words(argv))
    host, port, workers = (args.pop(name) for name in ("host", "port", "workers"))
    for name, value, least, most in (("workers", workers, 1, MOST_THREADS), ("port", port, 0, 65535)):
        if not least <= value <= most:
            raise ValueError(f"--{name} must be between {least} and {most}, got {value}.")
    pairs = tuple(parse_pair(text) for text in args.pop("model"))
    settings = ServerSettings(pairs, **{name: value for name, value in args.items() if value is not None})
    try:
        import fastapi  # noqa: F401
        import uvicorn
        from uvicorn.supervisors import Multiprocess
    except ModuleNotFoundError as error:
        raise ValueError(f'The server needs {error.name}. Install it: pip install "dims-hf[serve]"') from None
    check_address(host, port)
    os.environ["DIMS_HF_SERVER"] = settings.to_json()
    with tempfile.TemporaryDirectory(prefix="dims_hf_metrics.") as folder:
        if workers > 1:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        config = uvicorn.Config(
            "dims_hf.serving.app:create_app",
            factory=True,
            host=host,
            port=port,
            workers=workers,
            timeout_graceful_shutdown=_GRACE,
            timeout_keep_alive=_KEEP_ALIVE,
            access_log=False,
        )
        # A worker that loads a model on a busy machine is slow to answer, not dead.
        config.timeout_worker_healthcheck = _HEALTH
        listening = config.bind_socket()
        # Here and not only in the workers: clients that come while one is started again wait, and are not turned away.
        listening.listen(config.backlog)
        # Supervised, also where there is one: a worker that dies is started again.
        Multiprocess(config, [listening]).run()


def _parser() -> CommandParser:
    parser = CommandParser("serve", "Translate over HTTP, for clients of LibreTranslate.")
    parser.add_argument(
        "--model",
        action="append",
        required=True,
        metavar="[SRC-TGT=]FOLDER",
        help="model folder, of a checkpoint or an export; once per pair of languages",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=5000, help="port to listen on")
    parser.add_argument("--workers", type=int, default=1, help="processes; one that dies is started again")
    parser.add_argument("--threads", type=int, help="processor threads of each model")
    parser.add_argument("--max-characters", type=int, help="characters of a request")
    parser.add_argument("--max-texts", type=int, help="texts of a request")
    parser.add_argument("--max-bytes", type=int, help="bytes of a request's body")
    parser.add_argument("--requests-per-minute", type=int, help="of one address and worker process; 0 = no limit")
    parser.add_argument("--timeout", type=float, help="seconds until a request is given up")
    parser.add_argument("--max-batch", type=int, help="sentences translated together")
    parser.add_argument("--max-wait", type=float, help="seconds that a sentence waits for others")
    parser.add_argument("--max-waiting", type=int, help="sentences that may wait")
    parser.add_argument("--threshold", type=float, help="confidence, 0 to 1, below which a sentence is done again")
    parser.add_argument("--fallback-iterations", type=int, help="decoder passes of the second try")
    parser.add_argument("--fallback-model", metavar="FOLDER", help="another model for the second try")
    return parser
