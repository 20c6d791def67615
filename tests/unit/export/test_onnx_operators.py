# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Operators of ours in ONNX: loops of a graph that say what those of PyTorch say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dims_hf.models.crf import crf_choose
from dims_hf.models.decoding_dat import graph_choose
from dims_hf.models.graph import find_open_links
from dims_hf.models.links import assign_greedily


pytest.importorskip("onnxscript", reason="needs the onnx extra")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the onnx extra")

from dims_hf.export.onnx_operators import TRANSLATIONS  # noqa: E402


def in_onnx(operator: Any) -> Callable[..., list[np.ndarray]]:
    """The translation of an operator of ours, as a function of tensors."""
    content = TRANSLATIONS[operator].to_model_proto().SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda *tensors: session.run(None, {name: each.numpy() for name, each in zip(names, tensors, strict=True)})


def draw_lengths(batch: int, width: int) -> torch.Tensor:
    lengths = torch.randint(1, width + 1, (batch,), generator=torch.Generator().manual_seed(batch))
    lengths[-1] = width
    return lengths


def test_best_sequences_of_a_field_and_their_log_probabilities_are_those_of_pytorch():
    translated, generator = in_onnx(torch.ops.dims_hf.crf_choose.default), torch.Generator().manual_seed(0)
    for batch, width, count in ((3, 5, 4), (1, 1, 2), (4, 7, 3), (2, 2, 5)):
        emissions = torch.randn(batch, width, count, generator=generator) * 2
        emissions[0, width // 2, 1:] = -torch.inf  # a position that is shown
        transitions = torch.randn(batch, width - 1, count, count, generator=generator) * 2
        lengths = draw_lengths(batch, width)
        places, log_probs = crf_choose(emissions, transitions, lengths)
        found, scores = translated(emissions, transitions, lengths)
        is_real = (torch.arange(width) < lengths.unsqueeze(1)).numpy()
        assert found[is_real].tolist() == places.numpy()[is_real].tolist()
        np.testing.assert_allclose(scores[is_real], log_probs.numpy()[is_real], atol=1e-5)
        assert not found[~is_real].any()


def test_orders_of_copies_are_those_of_pytorch():
    translated, generator = in_onnx(torch.ops.dims_hf.assign_greedily.default), torch.Generator().manual_seed(0)
    for batch, width in ((3, 5), (1, 1), (4, 9)):
        lengths = draw_lengths(batch, width)
        is_copy = torch.arange(width) < lengths.unsqueeze(1)
        scores = torch.randn(batch, width, width, generator=generator)
        scores = scores.masked_fill(~is_copy.unsqueeze(1), torch.finfo(torch.float32).min)
        (found,) = translated(scores, lengths)
        assert found.tolist() == assign_greedily(scores, lengths).tolist()


def test_best_paths_of_graphs_are_those_of_pytorch():
    translated, generator = in_onnx(torch.ops.dims_hf.graph_choose.default), torch.Generator().manual_seed(0)
    for batch, width in ((3, 6), (2, 2), (4, 9)):
        lengths = draw_lengths(batch, width).clamp(min=2)
        scores = torch.randn(batch, width, width, generator=generator) * 2
        links = scores.masked_fill(~find_open_links(lengths, width), -torch.inf).log_softmax(dim=2)
        links = links.nan_to_num(nan=-torch.inf, neginf=-torch.inf)  # rows without any
        words = -torch.rand(batch, width, generator=generator) * 3
        words[:, 2::3] = -torch.inf  # vertices that few paths pass
        words[torch.arange(batch), lengths - 1] = 0.0
        (found,) = translated(links, lengths, words)
        assert found.tolist() == graph_choose(links, lengths, words, 1.0).tolist()
    words[0] = -torch.inf  # no path at all
    assert translated(links, lengths, words)[0][0].tolist() == [-1] * width
