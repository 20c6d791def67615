# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The likelihood of graphs (DA-Transformer) beside plain loops in torch: `python training/benchmarks/graph.py`.

Each cell is the ratio loop / dims_hf of the CPU time of interleaved runs, value and gradients (above 1: dims_hf takes
less). The first loop is log-sum-exp of torch; the second is written as the recursion of the released code without its
CUDA kernels (Huang et al. 2022), with maxima and exponentials of its own.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from dims_hf.models.graph import graph_nll
from dims_hf.reports import write_json
from dims_hf.reports.provenance import provenance


# sentences, vertices and tokens
SIZES = ((16, 80, 22), (8, 160, 22), (16, 200, 26), (32, 160, 22))

Likelihood = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def loop_of_logsumexp(
    words: torch.Tensor, links: torch.Tensor, vertex_lengths: torch.Tensor, target_lengths: torch.Tensor
) -> torch.Tensor:
    """NLL (B,) by torch's log-sum-exp over (B, A, A) at each token, for autograd."""
    return loop(words, links, vertex_lengths, target_lengths, torch.logsumexp)


def loop_of_exponentials(
    words: torch.Tensor, links: torch.Tensor, vertex_lengths: torch.Tensor, target_lengths: torch.Tensor
) -> torch.Tensor:
    """The same with a log-sum-exp whose maximum has no gradient."""
    return loop(words, links, vertex_lengths, target_lengths, add_exponentials)


def loop(
    words: torch.Tensor,
    links: torch.Tensor,
    vertex_lengths: torch.Tensor,
    target_lengths: torch.Tensor,
    add: Callable[[torch.Tensor, int], torch.Tensor],
) -> torch.Tensor:
    start = torch.full_like(words[:, 1:, 0], -torch.inf)
    scores = [torch.cat([words[:, :1, 0], start], dim=1)]
    for token in range(1, words.shape[2]):
        scores.append(add(scores[-1].unsqueeze(2) + links, 1) + words[:, :, token])
    row = torch.arange(len(words))
    return -torch.stack(scores, dim=2)[row, vertex_lengths - 1, target_lengths - 1]


def add_exponentials(values: torch.Tensor, dim: int) -> torch.Tensor:
    top = values.detach().amax(dim=dim, keepdim=True)
    is_closed = top == -torch.inf
    sums = (values - top.masked_fill(is_closed, 0.0)).exp_().sum(dim=dim, keepdim=True)
    return (sums.masked_fill(is_closed, 1.0).log() + top).squeeze(dim)


def make_case(batch: int, vertices: int, tokens: int, *, is_ragged: bool) -> list[torch.Tensor]:
    """Random words and transitions, and lengths."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(batch, vertices, tokens, generator=generator) * 3 - 6
    forward = torch.ones(vertices, vertices).triu(1).bool()
    links = (torch.randn(batch, vertices, vertices, generator=generator) * 2).masked_fill(~forward, -1e9)
    sizes = [torch.full((batch,), vertices), torch.full((batch,), tokens)]
    if is_ragged:
        sizes = [torch.randint(size // 2, size + 1, (batch,), generator=generator) for size in (vertices, tokens)]
    return [words, links.log_softmax(-1), *sizes]


def measure(calls: dict[str, Likelihood], case: list[torch.Tensor], repeats: int) -> dict[str, float]:
    """Medians of CPU seconds of value and gradients, run in turn; the first round is not counted."""
    words, links, *lengths = case
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            inputs = words.clone().requires_grad_(), links.clone().requires_grad_()
            start = time.process_time()
            value = call(*inputs, *lengths)
            value[value.isfinite()].sum().backward()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(each[1:]) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="interleaved runs of each call")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--output", type=Path, help="JSON file with the medians")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    calls = {"log-sum-exp": loop_of_logsumexp, "exponentials": loop_of_exponentials, "dims_hf": graph_nll}
    before = os.getloadavg()[0]
    print("| sentences | vertices | tokens | lengths | dims_hf, ms | log-sum-exp / dims_hf | exponentials / dims_hf |")
    print("|--:|--:|--:|---|--:|--:|--:|")
    records = []
    for size in SIZES:
        for is_ragged in (False, True):
            found = measure(calls, make_case(*size, is_ragged=is_ragged), args.repeats)
            records.append({"sizes": size, "lengths_differ": is_ragged, "seconds": dict(found)})
            own = found.pop("dims_hf")
            ratios = " | ".join(f"{seconds / own:.1f}" for seconds in found.values())
            lengths = "half to all" if is_ragged else "all"
            print(f"| {' | '.join(map(str, size))} | {lengths} | {1000 * own:.1f} | {ratios} |", flush=True)
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, load average before {before:.1f}")
    if args.output is not None:
        write_json(
            {"records": records, "threads": args.threads, "provenance": provenance(seed=0)}, args.output, indent=1
        )


if __name__ == "__main__":
    main()
