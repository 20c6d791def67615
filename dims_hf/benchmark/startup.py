# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""How long the first translation takes: a new process that loads a model, translates a sentence and ends."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dims_hf.benchmark.systems import System
from dims_hf.benchmark.translators import UnavailableError


_NUM_STARTS = 5
_MOST_SECONDS = 300

# CTranslate2 as its documentation has it, with the model's own tokenizer.
_CTRANSLATE2 = """
import sys
import ctranslate2, tokenizers
folder, sentence = sys.argv[1:3]
tokenizer = tokenizers.Tokenizer.from_file(folder + "/tokenizer.json")
translator = ctranslate2.Translator(folder, intra_threads=1)
result = translator.translate_batch([tokenizer.encode(sentence).tokens], beam_size=1, max_decoding_length=64)
ids = [tokenizer.token_to_id(token) for token in result[0].hypotheses[0]]
print(tokenizer.decode(ids))
"""


def measure_startup(system: System, models: Path, sentence: str) -> dict[str, Any]:
    """
    Starts a system several times, with one thread.

    Args:
        system ([`System`]): one pass, or greedy.
        models (`Path`): folder for exported models.
        sentence (`str`): what is translated.

    Returns:
        `dict`: `seconds` and `cpu_seconds` (of all its processes), medians over `num_starts` with files cached, or
        `error`.
    """
    try:
        command = find_command(system, models, sentence)
    except UnavailableError as error:
        return {"error": str(error)}
    runs = []
    for _ in range(1 + _NUM_STARTS):
        before, start = _cpu_of_children(), time.perf_counter()
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_MOST_SECONDS, env=_environment()
        )
        if done.returncode:
            return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
        runs.append((time.perf_counter() - start, _cpu_of_children() - before))
    seconds, cpu = zip(*runs[1:])
    return {
        "seconds": statistics.median(seconds), "cpu_seconds": statistics.median(cpu), "num_starts": _NUM_STARTS,
    }  # fmt: skip


def find_command(system: System, models: Path, sentence: str) -> list[str]:
    """
    The command that translates a sentence with a system: `dims-hf translate`, or a program for CTranslate2.

    Raises:
        UnavailableError: a runtime that no command starts.
    """
    folder = system.save(models)
    if system.is_ours:
        options = ["--dtype", "bfloat16"] if system.runtime.precision == "bf16" else []
        program = [sys.executable, "-m", "dims_hf.cli.main", "translate", "--threads", "1", *options]
        return [*program, "--num-iterations", "1", "--model", str(folder), sentence]
    return [sys.executable, "-c", _CTRANSLATE2, str(folder), sentence]


def _environment() -> dict[str, str]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    paths: Sequence[str] = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **one, "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(paths)}


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
