# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Traced graphs: structures and names, int8 of a graph, and families whose exports say what `generate()` says."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from dims_hf import MODELS
from dims_hf.export import OnnxTranslator, export_onnx


pytest.importorskip("onnxruntime", reason="needs the onnx extra")
pytest.importorskip("onnxscript", reason="needs the onnx extra")

from dims_hf.export.onnx_export import choose_graph, write_traced  # noqa: E402
from dims_hf.export.onnx_quantization import quantize_models  # noqa: E402
from dims_hf.export.onnx_tracing import Structure, _Tracer, find_leaves, trace_graphs  # noqa: E402
from tests.fixtures.language_models import Bigrams  # noqa: E402


SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 28,
    "max_position_embeddings": 96,
    "vocab_size": 60,
    "initializer_range": 0.4,
}


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


@dataclass(frozen=True)
class Nested:
    first: torch.Tensor
    pairs: list[Pair]
    count: int = 3
    rows: slice = field(default_factory=lambda: slice(None))
    missing: None = None


def test_structure_names_what_it_holds_and_can_be_filled_again():
    a, b = torch.zeros(2), torch.ones(3)
    value = Nested(a, [Pair(a, b)])
    structure = Structure.of(value, None, {id(b): "known"})
    assert list(structure.names.values()) == ["first", "first", "known", "count"]
    tensors = structure.tensors(value)
    assert tensors["known"] is b and tensors["first"] is a and tensors["count"] == 3
    filled = structure.fill({"first": b, "known": a, "count": torch.tensor(5)})
    assert filled.first is b and filled.pairs[0].left is b and filled.pairs[0].right is a
    assert filled.count == 5 and filled.rows == slice(None) and filled.missing is None


def test_places_that_share_a_tensor_only_for_now_have_names_of_their_own():
    a, b = torch.zeros(2), torch.ones(2)
    now, later = Nested(a, [Pair(a, a)]), Nested(a, [Pair(b, a)])
    assert list(Structure.of(now, later).names.values()) == ["first", "left", "first", "count"]
    assert list(find_leaves(now)) == [("first",), ("pairs", "0", "left"), ("pairs", "0", "right"), ("count",)]


def test_what_cannot_be_traced_is_refused_with_the_part_and_the_reason():
    strategy = SimpleNamespace(model=torch.nn.Linear(1, 1), config=SimpleNamespace(model_type="odd"))

    def branch(given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"y": given["x"] + 1 if int(given["x"].sum()) > 3 else given["x"]}

    with pytest.raises(ValueError, match=r"The 'step' part of SimpleNamespace \(odd\) cannot be traced: .*docs/onnx"):
        _Tracer(strategy, "step").trace(branch, [{"x": torch.arange(2)}, {"x": torch.arange(3)}])


def test_int8_product_of_a_row_depends_on_nothing_but_the_row():
    import onnx
    import onnx.parser
    import onnx_ir
    import onnxruntime

    generator = np.random.default_rng(0)
    weight, bias = generator.normal(size=(16, 12)).astype(np.float32), generator.normal(size=12).astype(np.float32)
    table = generator.normal(size=(20, 12)).astype(np.float32)
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18]>
        g (int64[M] ids, float[M, 16] x) => (float[M, 20] y, float[M, 12] rows)
        { p = MatMul(x, w) h = Add(p, b) e = Gather(t, ids) s = Add(h, e) y0 = Gemm<transB = 1>(s, t) y = Identity(y0)
          rows = Identity(e) }"""
    )
    weights = {"w": weight, "b": bias, "t": table}
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    graph = onnx_ir.from_proto(proto)
    quantize_models([graph])
    assert {"w", "t"}.isdisjoint(graph.graph.initializers)
    # columns in sixteens: others, ONNX Runtime below 1.25 multiplies wrongly by CPUs with AMX
    shapes = [value.shape.numpy() for value in graph.graph.initializers.values() if value.dtype.name == "INT8"]
    assert sorted(shapes) == [(16, 16), (32, 12)]
    content = onnx_ir.to_proto(graph).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    # a neighbour a thousand times as large, which a scale of the whole batch would drown the first row in
    x = generator.normal(size=(3, 16)).astype(np.float32) * np.array([[1], [1000], [0]], np.float32)
    ids = np.array([4, 0, 19])
    together, rows = session.run(None, {"x": x, "ids": ids})
    alone, _ = session.run(None, {"x": x[:1], "ids": ids[:1]})
    assert together[0].tolist() == alone[0].tolist()
    exact = (x[:1] @ weight + bias + table[4]) @ table.T
    assert 0 < np.abs(alone - exact).max() < 1
    assert 0 < np.abs(rows - table[ids]).max() < 0.05


def _make_model(family: str, **fields: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[family][2](MODELS[family][0](**SIZES, **fields)).eval()
    with torch.no_grad():
        model.get_decoder().embed_positions.weight.mul_(2)
    return model


def _make_batch() -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([4, 9, 6, 11, 3])
    is_token = torch.arange(11) < lengths.unsqueeze(1)
    ids = torch.randint(6, 60, is_token.shape, generator=torch.Generator().manual_seed(5))
    return ids.masked_fill(~is_token, 1), is_token.long()


_FORCED = [[-100, -100, 9, -100], [-100, 11, 11, 12], *[[-100] * 4] * 3]
_PHRASES = [[[9, 9]], [], [[11], [12, 13]], [], []]
_CASES = {
    "cmlmc": (
        {"max_target_length": 32, "update_all_positions": True, "activation_function": "gelu"},
        [
            {},
            {"num_iterations": 1},
            {"num_iterations": 4, "length_beam_size": 3, "num_return_sequences": 2, "length_score_weight": 0.5},
            {"target_lengths": torch.tensor([1, 2, 20, 7, 9])},
            {"num_iterations": 2, "repeat_penalty": math.inf},
            {"num_iterations": 3, "forced_tokens": torch.tensor(_FORCED)},
            {"num_iterations": 3, "forced_phrases": _PHRASES, "repeat_penalty": 0.5, "length_beam_size": 2},
        ],
    ),
    "imputer": (
        {},
        [*({"num_iterations": passes} for passes in (1, 2, 4, 7, 30)), {"num_iterations": 3, "prefix_beam_size": 6}],
    ),
    "dat": ({"link_heads": 2, "upsample_ratio": 4}, [{}]),
    "alignart": ({}, [{}]),
    "cmlm": (
        {"max_target_length": 32},
        [{}, {"num_iterations": 4, "length_beam_size": 2, "num_return_sequences": 2, "repeat_penalty": 1.0}],
    ),
    "cmlm_crf": (
        {"max_target_length": 32, "crf_beam_size": 5, "crf_rank": 4},
        [{}, {"num_iterations": 3, "length_beam_size": 2}, {"target_lengths": torch.tensor([1, 2, 20, 7, 9])}],
    ),
    "disco": (
        {"max_target_length": 32},
        [*({"num_iterations": passes} for passes in (1, 2, 5)), {"num_iterations": 3, "forced_phrases": _PHRASES}],
    ),
    "insertion": ({}, [{"num_iterations": rounds} for rounds in (1, 2, 6)]),
    "levenshtein": ({"max_insertions": 6}, [{"num_iterations": rounds} for rounds in (1, 2, 5)]),
    "refine": ({"max_target_length": 32}, [{"num_iterations": 1}, {"num_iterations": 4, "length_beam_size": 3}]),
}


def test_every_family_has_cases():
    assert set(_CASES) == set(MODELS)


@pytest.mark.slow
@pytest.mark.parametrize("family", _CASES)
def test_traced_graphs_of_a_family_say_what_generate_says(family: str, tmp_path: Path):
    fields, cases = _CASES[family]
    model, batch = _make_model(family, **fields), _make_batch()
    traced = trace_graphs(model)
    passes = model.generation_config.num_iterations
    write_traced(model, tmp_path / "fp32", traced, num_iterations=passes)
    write_traced(model, tmp_path / "int8", traced, num_iterations=passes, int8=True)
    exact, small = (OnnxTranslator(tmp_path / name, threads=1) for name in ("fp32", "int8"))
    arrays = [part.numpy() for part in batch]
    for options in cases:
        expected = model.generate(*batch, collapse_repeats=False, return_dict_in_generate=True, **options)
        sequences, scores = exact.generate(*arrays, **options)
        assert sequences.tolist() == expected.sequences.tolist(), options
        np.testing.assert_allclose(scores, expected.sequences_scores.numpy(), atol=1e-4)
    assert len({str(row) for row in sequences.tolist()}) > 3
    sizes = [(tmp_path / name / "weights.bin").stat().st_size for name in ("fp32", "int8")]
    assert sizes[1] < 0.6 * sizes[0]
    for translator in (exact, small):
        together = translator.generate(*arrays)[0].tolist()
        for ids, mask, row in zip(*arrays, together):
            alone = translator.generate(ids[None, : mask.sum()], mask[None, : mask.sum()])[0][0].tolist()
            assert alone == [token for token in row if token != 1]


@pytest.mark.slow
def test_beam_of_a_graph_is_searched_beside_the_graphs_with_a_language_model(tmp_path: Path):
    model, batch = _make_model("dat", link_heads=2, upsample_ratio=4), _make_batch()
    settings = {"graph_search": "beam", "beam_size": 4, "path_length_penalty": 2.5, "language_model_weight": 0.8}
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    description = write_traced(model, tmp_path / "beam", num_iterations=1)
    assert sorted(description["graphs"]) == ["encoder", "start", "step"]
    translator, arrays = OnnxTranslator(tmp_path / "beam", threads=1), [part.numpy() for part in batch]
    found = {}
    for name, options in {
        "plain": {},
        "repeats": {"collapse_repeats": False},
        "n-best": {"num_return_sequences": 3},
        "steered": {"language_model": Bigrams(1), "num_return_sequences": 2},
        "more": {"language_model": Bigrams(1), "language_model_weight": 2.0},
    }.items():
        options = {"collapse_repeats": True, **options}
        expected = model.generate(*batch, return_dict_in_generate=True, **options)
        found[name], scores = translator.generate(*arrays, **options)
        assert found[name].tolist() == expected.sequences.tolist(), name
        np.testing.assert_allclose(scores, expected.sequences_scores.numpy(), atol=1e-4)
    assert found["plain"].tolist() != found["more"].tolist()
    alone = [
        translator.generate(ids[None, : mask.sum()], mask[None, : mask.sum()])[0][0] for ids, mask in zip(*arrays)
    ]
    together = translator.generate(*arrays)[0]
    assert [row.tolist() for row in alone] == [row[row != 1].tolist() for row in together]
    with pytest.raises(ValueError, match="num_return_sequences=5 exceeds beam_size=4 of this export"):
        translator.generate(*arrays, num_return_sequences=5)
    with pytest.raises(ValueError, match="without length_beam_size"):
        translator.generate(*arrays, length_beam_size=2)


@pytest.mark.slow
def test_a_rule_that_a_family_refuses_is_refused_by_its_export(tmp_path: Path):
    model, batch = _make_model("cmlm_crf", **_CASES["cmlm_crf"][0]), _make_batch()
    description = write_traced(model, tmp_path, num_iterations=1)
    assert "length_score_weight" in description["settings"] and "repeat_penalty" not in description["settings"]
    with pytest.raises(ValueError, match="This model is decoded without repeat_penalty, got repeat_penalty=1.0"):
        OnnxTranslator(tmp_path, threads=1).generate(*(part.numpy() for part in batch), repeat_penalty=1.0)


@pytest.mark.slow
def test_blank_penalty_is_in_the_graph(tmp_path: Path):
    model, batch = _make_model("imputer"), _make_batch()
    with torch.no_grad():
        # a blank a little likelier than what is predicted most, or there would be none
        likeliest = model.generate(*batch, num_iterations=1)[:, 1:-1].flatten().tolist()
        likeliest = max(set(likeliest) - {1, 2}, key=likeliest.count)
        model.model.shared.weight[model.config.blank_token_id] = 1.01 * model.model.shared.weight[likeliest]
    plain = model.generate(*batch, num_iterations=1).tolist()
    model.generation_config.blank_penalty = 2.0
    description = write_traced(model, tmp_path / "longer", num_iterations=1)
    assert description["settings"]["blank_penalty"] == 2.0
    translator = OnnxTranslator(tmp_path / "longer", threads=1)
    expected = model.generate(*batch, num_iterations=1, return_dict_in_generate=True)
    sequences, scores = translator.generate(*(part.numpy() for part in batch))
    assert sequences.tolist() == expected.sequences.tolist() != plain
    np.testing.assert_allclose(scores, expected.sequences_scores.numpy(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("search", ["viterbi", "joint_viterbi"])
def test_best_paths_of_a_graph_are_searched_in_it(search: str, tmp_path: Path):
    model, batch = _make_model("dat", link_heads=2, upsample_ratio=4), _make_batch()
    model.generation_config.graph_search, model.generation_config.path_length_penalty = search, 2.5
    write_traced(model, tmp_path / "best", num_iterations=1)
    translator, arrays = OnnxTranslator(tmp_path / "best", threads=1), [part.numpy() for part in batch]
    expected = model.generate(*batch, collapse_repeats=False, return_dict_in_generate=True)
    sequences, scores = translator.generate(*arrays)
    assert sequences.tolist() == expected.sequences.tolist()
    np.testing.assert_allclose(scores, expected.sequences_scores.numpy(), atol=1e-4)
    for ids, mask, row in zip(*arrays, sequences):
        alone = translator.generate(ids[None, : mask.sum()], mask[None, : mask.sum()])[0][0]
        assert alone.tolist() == row[row != 1].tolist()


@pytest.mark.slow
def test_export_that_cannot_be_traced_is_refused_and_leaves_nothing(
    tiny_tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = _make_model("dat", link_heads=2)
    step = model.strategy_class.step

    def branch(strategy: Any, state: Any) -> Any:
        return step(strategy, state if int(state.is_vertex.sum()) > 3 else state)

    monkeypatch.setattr(model.strategy_class, "step", branch)
    with pytest.raises(ValueError, match=r"The 'step' part of GraphDecoding \(dat\) cannot be traced"):
        export_onnx(model, tiny_tokenizer, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("family", "graph", "has_shortlist", "message"),
    [
        ("cmlm", "drawn", False, "graph must be one of auto, traced, built, got 'drawn'"),
        ("dat", "built", False, "Graphs of 'dat' are not built by hand, only those of cmlm"),
        ("dat", "auto", True, "Leave out the shortlist for 'dat'"),
        ("cmlm", "traced", True, "Leave out the shortlist and graph=traced"),
    ],
)
def test_graph_that_there_is_not_is_refused(family: str, graph: str, has_shortlist: bool, message: str):
    model = SimpleNamespace(config=SimpleNamespace(model_type=family), generation_config=SimpleNamespace())
    with pytest.raises(ValueError, match=message):
        choose_graph(model, graph, has_shortlist=has_shortlist)
    assert choose_graph(model, "auto") == ("traced" if family == "dat" else "built")
