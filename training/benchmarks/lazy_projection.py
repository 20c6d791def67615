# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""DA-Transformer that projects only the vertices it needs, beside one that projects all: CPU time of `generate`.

    python training/benchmarks/lazy_projection.py --model FOLDER

Each cell is the ratio full / lazy of the CPU time of interleaved runs (above 1: lazy takes less). Without `--model`,
weights are random, and transitions prefer a step of so many vertices as a source token has, as strongly as those of a
sure model. The gain depends on how many vertices are projected, which is shown.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

import torch

from dims_hf import DATConfig, DATForConditionalGeneration
from dims_hf.models.strategy_dat import GraphDecoding, Graphs


SEARCHES = ("greedy", "lookahead", "joint_viterbi")
SIZES = {"d_model": 256, "encoder_layers": 3, "decoder_layers": 3, "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024}
HEADS = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "link_heads": 4}
# Nats that a transition loses for each vertex that it is off the usual step.
SOURCE_TOKENS, SURENESS = 20, 6.0


class Counting(GraphDecoding):
    """Counts the vertices that are projected, and projects all of them if it is told to."""

    project_all = False
    share: list[float]

    def _rank_words(
        self, graphs: Graphs, is_needed: torch.Tensor, num_words: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if self.project_all:
            is_needed = torch.ones_like(is_needed)
        Counting.share.append(is_needed.float().mean().item())
        return super()._rank_words(graphs, is_needed, num_words)


def make_model(vocab_size: int, upsample_ratio: int) -> DATForConditionalGeneration:
    """Random weights whose transitions prefer one step."""
    torch.manual_seed(0)
    config = DATConfig(vocab_size=vocab_size, upsample_ratio=upsample_ratio, **SIZES, **HEADS)
    model = DATForConditionalGeneration(config).eval()

    def prefer(_module: torch.nn.Module, _inputs: object, links: torch.Tensor) -> torch.Tensor:
        vertex = torch.arange(links.shape[1], device=links.device)
        off = (vertex - vertex.unsqueeze(1) - upsample_ratio).abs()
        # rows without any transition are NaN then
        return (links - SURENESS * off).log_softmax(dim=-1).nan_to_num(nan=-torch.inf, neginf=-torch.inf)

    model.links.register_forward_hook(prefer)
    return model


def measure(
    model: DATForConditionalGeneration, sources: torch.Tensor, search: str, repeats: int
) -> tuple[float, float]:
    """Median of full / lazy, and the share of vertices that lazy projects; the first round is not counted."""
    ratios, lazy_share = [], 0.0
    for number in range(repeats + 1):
        seconds = {}
        for project_all in (True, False):
            Counting.project_all, Counting.share = project_all, []
            start = time.process_time()
            model.generate(sources, graph_search=search)
            seconds[project_all] = time.process_time() - start
        lazy_share = statistics.fmean(Counting.share)
        if number:
            ratios.append(seconds[True] / seconds[False])
    return statistics.median(ratios), lazy_share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a trained DA-Transformer instead of random weights")
    parser.add_argument("--vocab_size", type=int, default=8000, help="of random weights")
    parser.add_argument("--upsample_ratios", type=int, nargs="+", default=[4, 8], help="of random weights")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32], help="sentences at once")
    parser.add_argument("--repeats", type=int, default=5, help="interleaved runs")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.model:
        models = [DATForConditionalGeneration.from_pretrained(args.model).eval()]
    else:
        models = [make_model(args.vocab_size, ratio) for ratio in args.upsample_ratios]
    print("| vertices per token | batch | search | full / lazy | vertices projected |\n|--:|--:|---|--:|--:|")
    for model in models:
        # whoever makes a model of this class decodes so: the script is alone in its process
        type(model).strategy_class = Counting  # type: ignore[assignment, misc]
        for batch in args.batches:
            sources = torch.randint(5, model.config.source_vocab_size, (batch, SOURCE_TOKENS))
            for search in SEARCHES:
                ratio, share = measure(model, sources, search, args.repeats)
                print(f"| {model.config.upsample_ratio} | {batch} | {search} | {ratio:.2f} | {100 * share:.0f} % |")
    print(f"torch {torch.__version__}, one thread, load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
