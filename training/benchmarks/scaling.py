# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What an update costs as the task grows: `python training/benchmarks/scaling.py --output scaling`.

Milliseconds per target token against sentence length, vocabulary and teacher iterations; peak memory against batch
tokens; target tokens per second in one and two processes (started by `torchrun`: on CPUs `accelerate launch` starts
one only). Random weights and ids; tables, JSON and a figure. The JSON file is written again after every part.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from training_step import SETTINGS, SIZES, Trainee, make_batches, make_model

from dims_hf.recipes.launching import Processes, launch
from dims_hf.reports.files import write_text
from dims_hf.reports.provenance import provenance


# name of a curve -> values; the others stay at the defaults below
CURVES = {
    "length": (6, 14, 28, 56, 112),
    "vocabulary": (2000, 8000, 16_000, 32_000, 64_000),
    "iterations": (1, 2, 4, 8),
}
AXES = {
    "length": "content tokens per sentence",
    "vocabulary": "tokens of the vocabulary, thousands",
    "iterations": "teacher passes n",
}
LABELS = {"cmlm": "CMLM", "dims": "DiMS"}
DEFAULTS = {"length": 14, "vocabulary": 8000, "iterations": 2}
BATCH_TOKENS = (1024, 2048, 4096, 8192)


def time_point(task: str, size: str, precision: str, tokens: int, repeats: int, **point: int) -> float:
    """Median milliseconds per target token of an update at one point of a curve."""
    point = {**DEFAULTS, **point}
    SETTINGS.teacher_iterations = point["iterations"]
    model = make_model(size, point["vocabulary"])
    batches = make_batches(point["vocabulary"], tokens, count=2, mean_length=point["length"], config=model.config)
    trainee = Trainee(task, "ours", model, precision)
    num_tokens = sum(int(batch["decoder_attention_mask"].sum()) for batch in batches)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for batch in batches:
            trainee.update(batch)
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[1:]) / num_tokens


def measure_curve(name: str, args: argparse.Namespace) -> dict[str, dict[int, float]]:
    """Task -> value -> milliseconds per target token."""
    tasks = ("dims",) if name == "iterations" else ("cmlm", "dims")
    return {
        task: {
            value: time_point(task, args.size, args.precision, args.tokens, args.repeats, **{name: value})
            for value in CURVES[name]
        }
        for task in tasks
    }


def measure_memory(args: argparse.Namespace) -> dict[str, dict[int, float]]:
    """Task and path -> batch tokens -> MiB at the peak of fp32 updates, in processes of their own."""
    script = Path(__file__).with_name("training_step.py")
    memory: dict[str, dict[int, float]] = {}
    for task in ("cmlm", "dims"):
        for path in ("naive", "ours"):
            memory[f"{task} {path}"] = {}
            for tokens in BATCH_TOKENS:
                command = [sys.executable, script, "--peak-of", task, path, "--tokens", str(tokens)]
                done = subprocess.run(
                    [*command, "--size", args.size], capture_output=True, text=True, check=True
                ).stdout
                memory[f"{task} {path}"][tokens] = json.loads(done.splitlines()[-1])["peak"]
    return memory


def measure_processes(args: argparse.Namespace) -> dict[int, float]:
    """Processes -> target tokens per second of a CMLM training on a CPU, the budget of an update being the same."""
    rates = {}
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "rate.json"
            program = [__file__, "--worker", report, "--size", args.size, "--tokens", args.tokens // count]
            program += ["--repeats", args.repeats, "--precision", args.precision]
            status = launch([str(word) for word in program], Processes(count))
            if status:
                raise RuntimeError(f"The launcher of {count} processes ended with status {status}.")
            rates[count] = json.loads(report.read_text())
    return rates


def run_worker(args: argparse.Namespace) -> None:
    """One process of [`measure_processes`]: gradients are averaged, as `accelerate` does it on CPUs."""
    torch.distributed.init_process_group("gloo")
    world_size, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    model = make_model(args.size, DEFAULTS["vocabulary"])
    batches = make_batches(DEFAULTS["vocabulary"], args.tokens, config=model.config)
    trainee = Trainee("cmlm", "ours", model, args.precision)
    num_tokens = sum(int(batch["decoder_attention_mask"].sum()) for batch in batches)
    trainee.model = torch.nn.parallel.DistributedDataParallel(trainee.model)
    trainee.model.config = model.config
    trainee.loss = _unwrapping(trainee.loss)
    seconds = []
    for _ in range(args.repeats + 1):
        torch.distributed.barrier()
        start = time.perf_counter()
        for batch in batches:
            trainee.update(batch)
        torch.distributed.barrier()
        seconds.append(time.perf_counter() - start)
    if rank == 0:
        args.worker.write_text(json.dumps(world_size * num_tokens / statistics.median(seconds[1:])))
    torch.distributed.destroy_process_group()


def _unwrapping(loss: object) -> object:
    """The loss of a wrapped model, whose vocabulary projection is the inner model's."""

    def call(model: torch.nn.Module, batch: dict, precision: object) -> object:
        precision.unwrap_model = lambda wrapped: wrapped.module
        return loss(model, batch, precision)

    return call


def draw(results: dict, path: Path) -> None:
    """All curves in one figure."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [(AXES[name], curve, "ms per target token") for name, curve in results["curves"].items()]
    panels.append(("tokens per batch, thousands", results["memory"], "MiB at the peak"))
    figure, all_axes = pyplot.subplots(1, len(panels), figsize=(4 * len(panels), 3.2), constrained_layout=True)
    for axes, (name, curve, unit) in zip(all_axes, panels, strict=True):
        scale = 1000 if name.endswith("thousands") else 1
        for label, points in curve.items():
            task, _, path_name = label.partition(" ")
            sizes = [int(size) / scale for size in points]
            axes.plot(sizes, list(points.values()), marker="o", label=f"{LABELS[task]} {path_name}".strip())
        axes.set(xlabel=name, ylabel=unit, ylim=(0, None))
        axes.legend()
    figure.savefig(path, dpi=120)


def write_tables(results: dict) -> str:
    """Markdown tables of everything."""
    lines = []
    for name, curve in [*results["curves"].items(), ("batch tokens", results["memory"])]:
        unit = "MiB at the peak" if name == "batch tokens" else "ms per target token"
        values = list(next(iter(curve.values())))
        lines += ["", f"| {name} ({unit}) | {' | '.join(map(str, values))} |", f"|---|{'--:|' * len(values)}"]
        lines += [f"| {label} | {' | '.join(map(_rounded, points.values()))} |" for label, points in curve.items()]
    lines += ["", "| processes | target tokens/s | × |", "|--:|--:|--:|"]
    rates = results["processes"]
    lines += [f"| {count} | {rate:.0f} | {rate / rates[1]:.2f} |" for count, rate in rates.items()]
    return "\n".join(lines)


def _rounded(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="small", help="small: 256d 3+3; base: 512d 6+6")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--tokens", type=int, default=2048, help="token budget of an update")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    parser.add_argument("--output", type=Path, default=Path("scaling"), help="OUTPUT.json and OUTPUT.png")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.worker:
        run_worker(args)
        return
    settings = {name: value for name, value in vars(args).items() if name not in ("worker", "output")}
    results = {"settings": settings, "load": os.getloadavg()[0], "provenance": provenance(seed=0), "curves": {}}
    document = args.output.with_suffix(".json")
    for name in CURVES:
        results["curves"][name] = measure_curve(name, args)
        write_text(json.dumps(results, indent=1), document)
    for name, measure in {"memory": measure_memory, "processes": measure_processes}.items():
        results[name] = measure(args)
        write_text(json.dumps(results, indent=1), document)
    print(write_tables(results))
    draw(results, args.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
