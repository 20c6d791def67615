# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""CTC of dims_hf beside torch's own: `python training/benchmarks/alignment.py --threads 1 2`.

Each cell is the ratio dims_hf / F.ctc_loss of the medians of interleaved runs (below 1: dims_hf takes less).
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from dims_hf.models.alignment import best_alignment, constrained_ctc_nll


# blank of both; targets are drawn from the rest
BLANK = 0

COLUMNS = (
    "forward",
    "forward CPU",
    "fwd+bwd",
    "fwd+bwd CPU",
    "from logits",
    "logits CPU",
    "forced fwd+bwd",
    "Viterbi",
)


class Case:
    """One random batch with ragged lengths, and the calls to compare on it."""

    def __init__(self, batch: int, frames: int, tokens: int, vocab_size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.logits = torch.randn(batch, frames, vocab_size, generator=generator).requires_grad_()
        self.log_probs = self.logits.detach().log_softmax(-1).requires_grad_()
        self.targets = torch.randint(1, vocab_size, (batch, tokens), generator=generator)
        frame_lengths = torch.randint(3 * frames // 4, frames + 1, (batch,), generator=generator)
        target_lengths = torch.randint(tokens // 2, tokens + 1, (batch,), generator=generator)
        self.lengths = frame_lengths, target_lengths
        states = best_alignment(self.log_probs, self.targets, *self.lengths, blank_token_id=BLANK).states
        self.force_emits = states.masked_fill(torch.rand(states.shape, generator=generator) < 0.5, -1)

    def own(self, log_probs: torch.Tensor, force_emits: torch.Tensor | None = None) -> torch.Tensor:
        """NLL per sentence by dims_hf."""
        return constrained_ctc_nll(
            log_probs, self.targets, *self.lengths, blank_token_id=BLANK, force_emits=force_emits
        )

    def torch(self, log_probs: torch.Tensor) -> torch.Tensor:
        """NLL per sentence by torch."""
        return F.ctc_loss(log_probs.transpose(0, 1), self.targets, *self.lengths, blank=BLANK, reduction="none")

    def calls(self) -> dict[str, Callable[[], object]]:
        """What is timed, by name."""
        detached = self.log_probs.detach()

        def backward(nll: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
            return torch.autograd.grad(nll(self.log_probs).sum(), self.log_probs)[0]

        def backward_to_logits(nll: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
            return torch.autograd.grad(nll(self.logits.log_softmax(-1)).sum(), self.logits)[0]

        return {
            "forward": lambda: self.own(detached),
            "forward torch": lambda: self.torch(detached),
            "fwd+bwd": lambda: backward(self.own),
            "fwd+bwd torch": lambda: backward(self.torch),
            "logits": lambda: backward_to_logits(self.own),
            "logits torch": lambda: backward_to_logits(self.torch),
            "forced": lambda: backward(lambda log_probs: self.own(log_probs, self.force_emits)),
            "Viterbi": lambda: best_alignment(detached, self.targets, *self.lengths, blank_token_id=BLANK),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64, help="sentences")
    parser.add_argument("--frames", type=int, default=40, help="frames of the longest sentence")
    parser.add_argument("--tokens", type=int, default=18, help="tokens of the longest target")
    parser.add_argument("--vocab", type=int, nargs="+", default=[500, 8000], help="vocabulary sizes")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="torch threads")
    parser.add_argument("--repeats", type=int, default=15, help="interleaved runs of each call")
    args = parser.parse_args()
    print_times(args)
    print()
    print_memory(args)


def print_times(args: argparse.Namespace) -> None:
    """Ratios of the medians of wall and CPU time, one line per number of threads and vocabulary."""
    before = os.getloadavg()[0]
    print(f"| threads | V | {' | '.join(COLUMNS)} |\n|--:|--:|{'--:|' * len(COLUMNS)}")
    for threads in args.threads:
        torch.set_num_threads(threads)
        for vocab_size in args.vocab:
            case = Case(args.batch, args.frames, args.tokens, vocab_size)
            wall, cpu = measure(case.calls(), args.repeats)
            ratios = [
                *(
                    clock[name] / clock[f"{name} torch"]
                    for name in ("forward", "fwd+bwd", "logits")
                    for clock in (wall, cpu)
                ),
                wall["forced"] / wall["fwd+bwd torch"],
                wall["Viterbi"] / wall["forward torch"],
            ]
            print(f"| {threads} | {vocab_size} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |", flush=True)
    print(
        f"B={args.batch}, A={args.frames}, T={args.tokens}, torch {torch.__version__}, {os.cpu_count()} cores, load "
        f"average before {before:.1f}. On a busy machine only one thread is a fair comparison: at more, each parallel "
        "operation waits for threads that others keep from running, and CPU time counts the waiting."
    )


def measure(calls: dict[str, Callable[[], object]], repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Medians of wall and of CPU seconds of each call, run in turn; the first round is not counted."""
    wall, cpu = ({name: [] for name in calls} for _ in range(2))
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter(), time.process_time()
            call()
            wall[name].append(time.perf_counter() - start[0])
            cpu[name].append(time.process_time() - start[1])
    return tuple({name: statistics.median(times[1:]) for name, times in clock.items()} for clock in (wall, cpu))


def print_memory(args: argparse.Namespace) -> None:
    """Peak of forward and backward above the inputs, against the number of frames, at a vocabulary of 50."""
    torch.set_num_threads(1)
    print("| frames | dims_hf, MiB | F.ctc_loss, MiB | ratio | dims_hf, KiB per frame |\n|--:|--:|--:|--:|--:|")
    for frames in (args.frames, 2 * args.frames, 4 * args.frames, 8 * args.frames):
        calls = Case(args.batch, frames, args.tokens, 50).calls()
        own, reference = (peak_bytes(calls[name]) for name in ("fwd+bwd", "fwd+bwd torch"))
        print(
            f"| {frames} | {own / 2**20:.2f} | {reference / 2**20:.2f} | {own / reference:.2f} | "
            f"{own / 2**10 / frames:.1f} |"
        )


def peak_bytes(call: Callable[[], object]) -> int:
    """Most bytes that torch held at once during a call, beyond those it held before."""
    call()  # what is set up once is not counted
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        call()
    events = [event for event in run.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


if __name__ == "__main__":
    main()
