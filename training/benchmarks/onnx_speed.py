# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""One pass in torch and in ONNX Runtime: `python training/benchmarks/onnx_speed.py --threads 1 --batches 1 32`.

Random weights and forced lengths, interleaved runs in one process: ratios of speed only. `--profile` adds where the
graphs spend their time. (Not named onnx.py: a script's folder is searched first when the package of that name is
imported.)
"""

import argparse
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from dims_hf import CMLMConfig, CMLMForConditionalGeneration
from dims_hf.export import OnnxTranslator, write_graphs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="sentences per batch")
    parser.add_argument("--tokens", type=int, default=20, help="tokens of source and target, <s> and </s> counted")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and of ONNX Runtime")
    parser.add_argument("--repeats", type=int, default=9, help="interleaved runs of each system")
    parser.add_argument("--d-model", type=int, default=512, help="width; the feed-forward layers are 4 times as wide")
    parser.add_argument("--layers", type=int, default=6, help="layers of each side")
    parser.add_argument("--vocab-size", type=int, default=32000, help="tokens of the vocabulary")
    parser.add_argument("--profile", action="store_true", help="list the most expensive operators of each graph")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = make_model(args)
    with TemporaryDirectory() as folder:
        translators = {}
        for precision in ("fp32", "int8"):
            place = Path(folder, precision)
            write_graphs(model, place, num_iterations=1, int8=precision == "int8")
            size = (place / "weights.bin").stat().st_size
            print(f"ONNX {precision}: {size / 1e6:.0f} MB")
            translators[f"ONNX {precision}"] = OnnxTranslator(place, args.threads)
        print(
            "\n| batch | system | median, ms | torch takes … times as long | tokens as torch |\n|--:|:--|--:|--:|--:|"
        )
        for batch_size in args.batches:
            print_batch(model, translators, batch_size, args)
        if args.profile:
            for name, translator in translators.items():
                print_profile(name, translator, args)
    print(
        f"\ntorch {torch.__version__}, {args.threads} threads, load average {os.getloadavg()[0]:.1f}, random weights"
    )


def make_model(args: argparse.Namespace) -> CMLMForConditionalGeneration:
    """A random CMLM in evaluation mode."""
    torch.manual_seed(0)
    widths = {f"{side}_ffn_dim": 4 * args.d_model for side in ("encoder", "decoder")}
    layers = {f"{side}_layers": args.layers for side in ("encoder", "decoder")}
    config = CMLMConfig(vocab_size=args.vocab_size, d_model=args.d_model, **widths, **layers)
    return CMLMForConditionalGeneration(config).eval()


def make_batch(batch_size: int, args: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Random sources (B, S) without padding, and content tokens of their targets (B,)."""
    input_ids = np.random.default_rng(0).integers(5, args.vocab_size, (batch_size, args.tokens))
    input_ids[:, 0], input_ids[:, -1] = 0, 2
    return input_ids, np.full(batch_size, args.tokens - 2)


def print_batch(
    model: CMLMForConditionalGeneration,
    translators: dict[str, OnnxTranslator],
    batch_size: int,
    args: argparse.Namespace,
) -> None:
    """One row per system."""
    input_ids, lengths = make_batch(batch_size, args)
    attention_mask = np.ones_like(input_ids)
    as_torch = [torch.from_numpy(array) for array in (input_ids, attention_mask, lengths)]

    def run_torch() -> np.ndarray:
        return model.generate(
            *as_torch[:2], target_lengths=as_torch[2], num_iterations=1, collapse_repeats=False
        ).numpy()

    def run_onnx(translator: OnnxTranslator) -> np.ndarray:
        return translator.generate(input_ids, attention_mask, target_lengths=lengths, with_scores=False)[0]

    systems: dict[str, Callable[[], np.ndarray]] = {"torch fp32": run_torch}
    for name, translator in translators.items():
        systems[name] = lambda translator=translator: run_onnx(translator)
    medians, outputs = measure(systems, args.repeats)
    for name, milliseconds in medians.items():
        ratio, agreement = medians["torch fp32"] / milliseconds, (outputs[name] == outputs["torch fp32"]).mean()
        print(f"| {batch_size} | {name} | {milliseconds:.1f} | {ratio:.2f} | {agreement:.1%} |", flush=True)


def measure(
    systems: dict[str, Callable[[], np.ndarray]], repeats: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Median wall milliseconds of each system, run in turn, the first round not counted; and its output."""
    times, outputs = {name: [] for name in systems}, {}
    for _ in range(repeats + 1):
        for name, run in systems.items():
            start = time.perf_counter()
            outputs[name] = run()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values[1:]) for name, values in times.items()}, outputs


def print_profile(name: str, translator: OnnxTranslator, args: argparse.Namespace) -> None:
    """Share of each kind of operator, for the largest batch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = args.threads, 3
    options.enable_profiling, options.profile_file_prefix = True, str(translator.folder / "profile")
    session = onnxruntime.InferenceSession(
        str(translator.folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    input_ids, lengths = make_batch(max(args.batches), args)
    inputs = {"input_ids": input_ids, "attention_mask": np.ones_like(input_ids), "target_lengths": lengths}
    for _ in range(3):
        session.run(["sequences"], {**inputs, "with_scores": np.array(False)})
    spent: Counter[str] = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    shares = [f"{kind} {duration / spent.total():.1%}" for kind, duration in spent.most_common(8)]
    print(f"\n{name}, batch {max(args.batches)}: {', '.join(shares)}")


if __name__ == "__main__":
    main()
