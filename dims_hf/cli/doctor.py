# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`dims-hf doctor`: what this machine and this installation can do, and what to install for the rest."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dims_hf._machine import installed_version, multiplies_bf16
from dims_hf.cli.parsing import CommandParser


# extra -> what it adds, and the packages it needs beyond the core (distribution: import name)
EXTRAS: dict[str, tuple[str, dict[str, str]]] = {
    "train": (
        "training, distillation, distilled corpora",
        {"accelerate": "accelerate", "datasets": "datasets", "pyyaml": "yaml", "sacrebleu": "sacrebleu"},
    ),
    "eval": (
        "scores, significance, tables in the terminal",
        {
            "datasets": "datasets",
            "evaluate": "evaluate",
            "pandas": "pandas",
            "rich": "rich",
            "sacrebleu": "sacrebleu",
        },
    ),
    "plot": ("figures, curves of training", {"matplotlib": "matplotlib"}),
    "onnx": (
        "export to ONNX, and running it",
        {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
    ),
    "lm": ("n-gram language models in beams", {"kenlm": "kenlm"}),
    "openvino": ("ONNX exports in OpenVINO", {"onnx": "onnx", "openvino": "openvino"}),
    "ray": ("translation of corpora on a Ray cluster", {"ray": "ray"}),
    "documents": ("Markdown documents", {"markdown-it-py": "markdown_it"}),
    "serve": (
        "dims-hf serve",
        {
            "fastapi": "fastapi",
            "limits": "limits",
            "prometheus-client": "prometheus_client",
            "py3langid": "py3langid",
            "uvicorn": "uvicorn",
        },
    ),
    "app": ("dims-hf app", {"fastapi": "fastapi", "gradio": "gradio", "uvicorn": "uvicorn"}),
    "ctranslate2": ("distilling corpora faster", {"ctranslate2": "ctranslate2"}),
    "benchmark": ("CTranslate2 as a peer of the benchmark", {}),
}

# Flags of /proc/cpuinfo that kernels here or below us make use of, by what they are good for.
_FEATURES = {
    "avx2": "int8 and fp32 on x86",
    "avx512f": "wider vectors",
    "avx512_vnni": "fast int8",
    "avx_vnni": "fast int8",
    "avx512_bf16": "bf16",
    "amx_bf16": "bf16 matrices",
    "amx_int8": "int8 matrices",
    "asimd": "vectors on ARM",
    "asimddp": "fast int8 on ARM",
    "i8mm": "int8 matrices on ARM",
    "bf16": "bf16 on ARM",
}
_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    parser = CommandParser("doctor", "Say what this machine and this installation can do.")
    parser.add_argument("--format", choices=("text", "json"), default="text", help="json is for programs")
    arguments = parser.parse_words(argv)
    found = examine()
    if arguments.format == "json":
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return
    sys.stdout.write("\n".join(_lines(found)) + "\n")


def examine() -> dict[str, Any]:
    """
    What there is.

    Returns:
        `dict[str, Any]`: `versions`, `cpu`, `gpus`, `runtimes`, `bf16`, `huge_pages`, `extras` and `advice`, as JSON
        has them.
    """
    import torch

    from dims_hf.reports.provenance import hardware

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    found: dict[str, Any] = {
        "versions": _versions(),
        "cpu": {"name": hardware().split(" + ")[0], "threads": torch.get_num_threads(), "features": cpu_features()},
        "gpus": gpus,
        "runtimes": _runtimes(),
        "bf16": {"cpu": multiplies_bf16(), "gpu": bool(gpus) and torch.cuda.is_bf16_supported()},
        "huge_pages": huge_pages(),
        "extras": {name: _extra(name) for name in EXTRAS},
    }
    return {**found, "advice": _advice(found)}


def cpu_features(path: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Instruction sets of this processor that make a difference here; empty where the system does not say."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines = [line.partition(":")[2] for line in text.splitlines() if line.lower().startswith(("flags", "features"))]
    flags = set(lines[0].split()) if lines else set()
    return [name for name in _FEATURES if name in flags]


def huge_pages(path: Path = _HUGE_PAGES) -> str | None:
    """What Linux does with transparent huge pages: `always`, `madvise` or `never`; `None` elsewhere."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    return text.partition("[")[2].partition("]")[0] or None


def _versions() -> dict[str, str | None]:
    from dims_hf import __version__

    names = ["torch", "transformers", "tokenizers", "safetensors"]
    found: dict[str, str | None] = {"dims_hf": __version__, "python": platform.python_version()}
    return {**found, "system": platform.platform(), **{name: installed_version(name) for name in names}}


def _extra(name: str) -> dict[str, Any]:
    adds, packages = EXTRAS[name]
    missing = [each for each, module in packages.items() if importlib.util.find_spec(module) is None]
    return {"adds": adds, "packages": {each: installed_version(each) for each in packages}, "missing": missing}


def _runtimes() -> dict[str, str]:
    """Name of each runtime to what it can do, or why it cannot."""
    return {"torch": installed_version("torch") or "", "onnx": _onnx(), "native": _native()}


def _onnx() -> str:
    try:
        import onnxruntime
    except ImportError:
        return 'not installed: pip install "dims-hf[onnx]"'
    return f"{onnxruntime.__version__}, {', '.join(onnxruntime.get_available_providers())}"


def _native() -> str:
    from dims_hf.native.build import BuildError, find_compiler
    from dims_hf.native.library import available_kernels, is_available

    if is_available():
        return f"kernels {', '.join(available_kernels())}"
    try:
        find_compiler()
    except BuildError as error:
        return f"not built: {error}"
    return "not built: python -m dims_hf.native.build"


def _advice(found: dict[str, Any]) -> list[str]:
    """What would make a difference on this machine."""
    advice = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if found["cpu"]["threads"] > cores:
        advice.append(f"torch uses {found['cpu']['threads']} threads on {cores} cores: set OMP_NUM_THREADS={cores}.")
    if not found["bf16"]["cpu"] and not found["gpus"]:
        advice.append("No bf16 matrix multiplication here: recipes with bf16: true train in fp32, about half as fast.")
    if found["huge_pages"] == "never":
        advice.append(f"Huge pages are off: `echo madvise > {_HUGE_PAGES}` helps a little.")
    if not found["runtimes"]["native"].startswith("kernels"):
        advice.append(f"The native int8 runtime is {found['runtimes']['native']}")
    for name, extra in found["extras"].items():
        if extra["missing"]:
            missing = ", ".join(extra["missing"])
            advice.append(f'For {extra["adds"]}: pip install "dims-hf[{name}]" ({missing} missing).')
    return advice


def _lines(found: dict[str, Any]) -> list[str]:
    cpu, extras = found["cpu"], found["extras"]
    features = ", ".join(f"{name} ({_FEATURES[name]})" for name in cpu["features"]) or "unknown"
    yes = {True: "yes", False: "no"}
    lines = [f"{name:<14}{version or 'not installed'}" for name, version in found["versions"].items()]
    lines += [
        f"{'processor':<14}{cpu['name']}, {cpu['threads']} threads of torch",
        f"{'features':<14}{features}",
        f"{'GPUs':<14}{', '.join(found['gpus']) or 'none'}",
        f"{'bf16':<14}CPU {yes[found['bf16']['cpu']]}, GPU {yes[found['bf16']['gpu']]}",
        f"{'huge pages':<14}{found['huge_pages'] or 'unknown'}",
        *(f"{'runtime ' + name:<14} {text}" for name, text in found["runtimes"].items()),
        "",
        "extras:",
    ]
    for name, extra in extras.items():
        state = "missing " + ", ".join(extra["missing"]) if extra["missing"] else "complete"
        lines.append(f"  {name:<13}{extra['adds']}: {state}")
    return [*lines, "", *(f"- {text}" for text in found["advice"] or ["Nothing to mend."])]
