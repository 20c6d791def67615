# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Many clients at once against a server of this machine: latencies, nothing lost or mixed up, memory.

    python training/benchmarks/server_load.py MODEL --clients 200 --requests 20 --output load.json

Starts `dims-hf serve` itself, on 127.0.0.1, and ends it again. Every answer is compared with the translation that the
library gives; the exit status says whether the bounds were kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import starmap
from pathlib import Path
from typing import Any

import httpx

from dims_hf.reports.provenance import provenance


HERE = Path(__file__).resolve().parents[2]
SENTENCES = HERE / "tests" / "data" / "everyday.en"
# Fractions of a second that the slowest percent may take per waiting client, and growth of memory once warm.
SECONDS_PER_CLIENT, MOST_GROWTH = 0.05, 0.10


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("model", type=Path, help="model folder, of a checkpoint or an export")
    parser.add_argument("--clients", type=int, default=200, help="clients at once, each with one request at a time")
    parser.add_argument("--requests", type=int, default=20, help="requests of each client")
    parser.add_argument("--workers", type=int, default=1, help="processes of the server")
    parser.add_argument("--pair", default="en-de", help="languages of the model")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args(argv)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dims_hf.cli.main", "serve", "--model", f"{args.pair}={args.model}"]
    command += ["--port", str(port), "--workers", str(args.workers), "--threads", "1", "--timeout", "120"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    server = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        report = asyncio.run(measure(args, f"http://127.0.0.1:{port}", server))
    finally:
        server.terminate()
        ended = time.perf_counter()
        server.wait(timeout=30)
    report["seconds_to_end"] = round(time.perf_counter() - ended, 2)
    report["provenance"] = provenance()
    text = json.dumps(report, indent=1)
    sys.stdout.write(text + "\n")
    if args.output is not None:
        args.output.write_text(text + "\n", encoding="utf-8")
    return 0 if report["kept_bounds"] else 1


async def measure(args: argparse.Namespace, address: str, server: subprocess.Popen) -> dict[str, Any]:
    """The whole run against a server that is starting."""
    sentences = SENTENCES.read_text(encoding="utf-8").splitlines()
    source, target = args.pair.split("-")

    async def ask(client: httpx.AsyncClient, text: str) -> str:
        answer = await client.post("/translate", json={"q": text, "source": source, "target": target})
        answer.raise_for_status()
        return answer.json()["translatedText"]

    # A connection for each: a pool that many share makes them wait for it, not for the server. `verify` would read the
    # machine's certificates as often, and nothing is encrypted here.
    async with AsyncExitStack() as stack:
        made = [httpx.AsyncClient(base_url=address, timeout=180, verify=False) for _ in range(args.clients)]
        clients = [await stack.enter_async_context(client) for client in made]
        await wait_until_up(clients[0], server)
        # one by one, for warming up and as what the answers under load must be
        expected = {sentence: await ask(clients[0], sentence) for sentence in dict.fromkeys(sentences)}
        warm = await load(clients, 2, sentences, ask, expected)
        before, worked = usage_of(server.pid)
        start, ours = time.perf_counter(), time.process_time()
        result = await load(clients, args.requests, sentences, ask, expected)
        seconds = time.perf_counter() - start
        after, worked_then = usage_of(server.pid)
        ours = time.process_time() - ours
    times = sorted(result["seconds"])
    p99 = percentile(times, 0.99)
    growth = after / before - 1 if before else 0.0
    lost = result["lost"] + warm["lost"]
    return {
        "clients": args.clients,
        "requests": args.clients * args.requests,
        "workers": args.workers,
        "answers_per_second": round(len(times) / seconds, 1),
        "milliseconds": {
            name: round(1000 * percentile(times, share), 1)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
        },
        "processor_milliseconds_per_request": {
            "server": round(1000 * (worked_then - worked) / len(times), 2),
            "clients": round(1000 * ours / len(times), 2),
        },
        "lost": lost,
        "wrong": result["wrong"] + warm["wrong"],
        "memory_mib": {"warm": round(before / 2**20, 1), "end": round(after / 2**20, 1)},
        "bounds": {"p99_seconds": SECONDS_PER_CLIENT * args.clients, "lost": 0, "wrong": 0, "growth": MOST_GROWTH},
        "kept_bounds": not lost
        and not result["wrong"]
        and p99 <= SECONDS_PER_CLIENT * args.clients
        and growth <= MOST_GROWTH,
    }


async def load(
    clients: list[httpx.AsyncClient], requests: int, sentences: list[str], ask: Any, expected: dict[str, str]
) -> dict[str, Any]:
    """Clients at once, each asking for one sentence after the other."""
    result: dict[str, Any] = {"seconds": [], "lost": 0, "wrong": 0}

    async def one(number: int, client: httpx.AsyncClient) -> None:
        draw = random.Random(number)
        for _ in range(requests):
            sentence, start = draw.choice(sentences), time.perf_counter()
            try:
                answer = await ask(client, sentence)
            except httpx.HTTPError:
                result["lost"] += 1
                continue
            result["seconds"].append(time.perf_counter() - start)
            result["wrong"] += answer != expected[sentence]

    await asyncio.gather(*starmap(one, enumerate(clients)))
    return result


async def wait_until_up(client: httpx.AsyncClient, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and server.poll() is None:
        try:
            (await client.get("/health")).raise_for_status()
            return
        except httpx.HTTPError:
            await asyncio.sleep(0.3)
    sys.exit("error: the server did not start.")


def percentile(ordered: list[float], share: float) -> float:
    """Smallest value that at least this share of the values do not exceed."""
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)] if ordered else float("nan")


def usage_of(process: int) -> tuple[int, float]:
    """Resident bytes and processor seconds of a process and its children; zeros where there is no `/proc`."""
    resident, ticks = 0, 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if process in (int(folder.name), int(fields[1])):
            ticks += int(fields[11]) + int(fields[12])
            resident += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return resident, ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
