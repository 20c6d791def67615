# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Graphs of any family, traced: what its model encodes, and how its strategy starts, goes one step and finishes.

Shapes: B batch, S source length, R rows (one candidate each), T positions, M predicted positions, V vocabulary.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from dims_hf.models.decoding_grid import GridStrategy
from dims_hf.models.decoding_strategy import DecodingRequest
from dims_hf.models.modes import evaluation_mode

from .onnx_quantization import quantize_models


if TYPE_CHECKING:
    from pathlib import Path

    from onnx_ir import Model

    from dims_hf.models.decoding_strategy import DecodingSettings, DecodingStrategy
    from dims_hf.models.modeling_translation import NATForConditionalGeneration

    from .onnx_builder import WeightStore

# Sources (B, S) that are decoded to see which sizes depend on the batch. Neither is 0 or 1, which tracing takes for
# constants, and no size of the one is that of the other.
_SAMPLE_SIZES = ((2, 4), (3, 5))
_SAMPLE_PASSES = 10

# What the translator does itself, whatever the model's own setting; graphs are traced without it.
_LEFT_TO_TRANSLATOR = {
    "num_return_sequences": 1,
    "length_beam_size": 1,
    "collapse_repeats": False,
    "length_score_weight": 0.0,
    "repeat_penalty": 0.0,
    "prefix_beam_size": 1,
}

Path = tuple[str, ...]
Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class TracedGraph:
    """
    A graph of the exporter, its inputs and outputs named as the translator knows them.

    Args:
        model (`onnx_ir.Model`): the graph.
        by_row (`list[str]`): inputs and outputs whose first dimension is that of the batch.
    """

    model: Model
    by_row: list[str]


def trace_graphs(model: NATForConditionalGeneration) -> dict[str, TracedGraph]:
    """
    The graphs `encoder`, `start`, `step` and `finish` of a model, whatever its family.

        encoder: input_ids, attention_mask (B, S) -> sources, and length_logits where lengths are predicted
        start:   sources, and target_lengths (R,) where lengths are predicted -> state; none where that is its sources
        step:    state -> next_ state, finished (R,) or (), and logits (M, V) of strategies on a grid
        finish:  state -> final_sequences (R, T), final_scores (R,); not of strategies that leave a search to be made

    What a state holds, the strategy says; its tensors have the names of its fields. A candidate is a row of its own:
    the translator repeats what belongs to its source.

    Raises:
        ValueError: something of the family cannot be traced, or what traces is not installed.
    """
    if find_spec("onnxscript") is None:
        raise ValueError('Graphs are traced with onnxscript, which is not installed: pip install "dims-hf[onnx]"')
    strategy = model.strategy_class(model, _traced_settings(model))
    with evaluation_mode(model), torch.no_grad(), _eager_attention(model):
        samples = [_Sample.decode(strategy, *size) for size in _SAMPLE_SIZES]
        return dict(_trace_parts(strategy, samples))


def _traced_settings(model: NATForConditionalGeneration) -> DecodingSettings:
    known = model.strategy_class.settings_class.names()
    return model.decoding_settings(**{name: value for name, value in _LEFT_TO_TRANSLATOR.items() if name in known})


@contextmanager
def _eager_attention(model: NATForConditionalGeneration) -> Iterator[None]:
    """Attention in plain operators, which every runtime has."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def save_graphs(graphs: Mapping[str, TracedGraph], store: WeightStore, folder: Path, *, int8: bool) -> None:
    """
    Writes the weights of all graphs, each once, and one `{name}.onnx` per graph beside them.

    Args:
        graphs (`dict[str, TracedGraph]`): of [`trace_graphs`]; changed, and of no use afterwards but to be quantised.
        store ([`WeightStore`]): receives the weights.
        folder (`Path`): where to write.
        int8 (`bool`): quantise them first.
    """
    import onnx_ir

    models = {name: graph.model for name, graph in graphs.items()}
    names: dict[tuple, str] = {}
    for model in models.values():
        _share_weights(model, names)
    if int8:
        quantize_models(models.values())
    for model in models.values():
        for name, value in model.graph.initializers.items():
            if not value.is_graph_output():
                store.add(name, value.const_value.numpy())
    store.write(folder)
    for name, model in models.items():
        proto = onnx_ir.to_proto(model)
        own = [each for each in proto.graph.initializer if each.name not in store.arrays]
        shared = [store.initializer(each.name) for each in proto.graph.initializer if each.name in store.arrays]
        # what is in the shared file goes out of the graph, small constants stay in it
        del proto.graph.initializer[:]
        proto.graph.initializer.extend([*own, *shared])
        (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())


def _share_weights(model: Model, names: dict[tuple, str]) -> None:
    """Gives equal weights one name, in all graphs that share `names`: digest of a weight -> its name."""
    initializers = model.graph.initializers
    for value in list(initializers.values()):
        # an output must keep its name, even where it is a constant
        if value.is_graph_output():
            continue
        array = value.const_value.numpy()
        digest = (array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).digest())
        name = names.setdefault(digest, f"{value.name}.{len(names)}")
        if name in initializers:
            for use in list(value.uses()):
                use.node.replace_input_with(use.idx, initializers[name])
            del initializers[value.name]
        else:
            value.name = name


# ---- structures and their tensors --------------------------------------------------------------------------------


def visit_leaves(value: Any, visit: Callable[[Path, Any], Any], path: Path = ()) -> Any:
    """
    `value` with every tensor and number replaced by what `visit` makes of it and of its place. Dataclasses, tuples and
    lists are looked into; all else (`None`, slices, …) stays.
    """
    if isinstance(value, (torch.Tensor, bool, int, float)):
        return visit(path, value)
    if isinstance(value, (tuple, list)):
        names = getattr(value, "_fields", None) or map(str, range(len(value)))
        parts = [visit_leaves(each, visit, (*path, name)) for name, each in zip(names, value, strict=True)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: visit_leaves(getattr(value, f.name), visit, (*path, f.name)) for f in fields(value)}
        return replace(value, **parts)
    return value


def find_leaves(value: Any) -> dict[Path, Any]:
    """Tensors and numbers of a structure by their places."""
    found: dict[Path, Any] = {}
    visit_leaves(value, lambda path, leaf: found.setdefault(path, leaf))
    return found


@dataclass(frozen=True)
class Structure:
    """
    A structure whose tensors and numbers have names; what stands in several places for good has one.

    Args:
        value (`Any`): an example.
        names (`dict`): name of each place.
    """

    value: Any
    names: dict[Path, str]

    @classmethod
    def of(cls, value: Any, later: Any = None, known: Mapping[int, str] | None = None) -> Structure:
        """
        Names for `value`: those of its fields, or those that tensors `known` by their identity have already. Places
        that share a tensor now and in `later`, the same structure at another time, share a name.
        """
        now, then = find_leaves(value), find_leaves(value if later is None else later)
        names: dict[Path, str] = {}
        groups: dict[tuple[int, int], str] = {}
        taken = set((known or {}).values())
        for path, leaf in now.items():
            # Equal numbers are one object.
            key = (id(leaf), id(then[path])) if isinstance(leaf, torch.Tensor) else (0, len(names))
            if key not in groups:
                name = (known or {}).get(id(leaf)) if id(leaf) == id(then[path]) else None
                groups[key] = name or _unused_name(path, taken)
                taken.add(groups[key])
            names[path] = groups[key]
        return cls(value, names)

    def tensors(self, value: Any) -> Tensors:
        """The tensors of such a structure by name."""
        # reversed: of places that share a name, the first decides
        return {self.names[path]: torch.as_tensor(leaf) for path, leaf in reversed(find_leaves(value).items())}

    def fill(self, tensors: Mapping[str, torch.Tensor]) -> Any:
        """The structure with other tensors."""
        return visit_leaves(self.value, lambda path, _: tensors[self.names[path]])


def _unused_name(path: Path, taken: set[str]) -> str:
    """The last part of a path that is a name, with what is before it where that is taken."""
    for size in range(1, len(path) + 1):
        name = "_".join(path[-size:])
        if not name[0].isdigit() and name not in taken:
            return name
    return f"{path[-1]}_of_{'_'.join(path[:-1]) or 'sources'}"


# ---- one decoding, to see what there is --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sample:
    """Inputs, sources, lengths where they are predicted, and the state before and after the first step."""

    inputs: Tensors
    sources: Any
    lengths: Tensors
    before: Any
    after: Any

    @classmethod
    def decode(cls, strategy: DecodingStrategy, num_sentences: int, length: int) -> _Sample:
        """Random sources, of which the last has padding."""
        generator = torch.Generator().manual_seed(0)
        config = strategy.config
        # no special tokens, which are ids 0 to 4
        ids = torch.randint(5, config.source_vocab_size, (num_sentences, length), generator=generator)
        mask = torch.ones_like(ids)
        # some padding, lest a mask of all ones be taken for a constant
        mask[-1, -1] = 0
        sources = strategy.model.prepare_sources(ids, mask.ne(0))
        request = strategy.sample_request(num_sentences, length)
        lengths = {} if request.target_lengths is None else {"target_lengths": torch.as_tensor(request.target_lengths)}
        before = strategy.init(sources, request)
        if hasattr(before, "num_iterations"):
            # Else the first step is the last one, which leaves undone what is for the next.
            before = replace(before, num_iterations=_SAMPLE_PASSES)
        return cls({"input_ids": ids, "attention_mask": mask}, sources, lengths, before, strategy.step(before))


def _trace_parts(strategy: DecodingStrategy, samples: list[_Sample]) -> Iterator[tuple[str, TracedGraph]]:
    """Name and graph of each part; `samples` tell which sizes depend on the batch."""
    # the one that is traced; the other tells which of its sizes are free
    first = samples[-1]
    sources = Structure.of(first.sources, None, {id(tensor): name for name, tensor in first.inputs.items()})
    known = {id(tensor): sources.names[path] for path, tensor in find_leaves(first.sources).items()}
    # a step whose output is its input again; a strategy of one pass has other fields afterwards
    is_loop = find_leaves(first.before).keys() == find_leaves(first.after).keys()
    before = Structure.of(first.before, first.after if is_loop else None, known)
    after = before if is_loop else Structure.of(first.after, None, known)

    def trace(name: str, function: Callable[[Tensors], Tensors], inputs: list[Tensors]) -> tuple[str, TracedGraph]:
        return name, _Tracer(strategy, name).trace(function, inputs)

    def encode(given: Tensors) -> Tensors:
        encoded = strategy.model.prepare_sources(given["input_ids"], given["attention_mask"].ne(0))
        found = _new_tensors(sources.tensors(encoded), given)
        if strategy.config.predicts_length:
            found["length_logits"] = strategy.model.predict_length(encoded.hidden, encoded.attention_mask)
        return found

    def start(given: Tensors) -> Tensors:
        request = DecodingRequest(target_lengths=given.get("target_lengths"))
        return _new_tensors(before.tensors(strategy.init(sources.fill(given), request)), given)

    def step(given: Tensors) -> Tensors:
        with _kept_logits(strategy) as logits:
            state = strategy.step(before.fill(given))
        found = {f"next_{name}": tensor for name, tensor in _new_tensors(after.tensors(state), given).items()}
        return {**found, "finished": torch.as_tensor(state.is_finished), **logits}

    def finish(given: Tensors) -> Tensors:
        output = strategy.finish(after.fill(given), [])
        return {"final_sequences": output.sequences, "final_scores": output.sequences_scores}

    yield trace("encoder", encode, [sample.inputs for sample in samples])
    starts = [{**sources.tensors(sample.sources), **sample.lengths} for sample in samples]
    if _new_tensors(before.tensors(first.before), starts[-1]):
        yield trace("start", start, starts)
    yield trace("step", step, [before.tensors(sample.before) for sample in samples])
    # not declared by strategies whose older code came with a checkpoint
    if not getattr(strategy, "leaves_search", False):
        yield trace("finish", finish, [after.tensors(sample.after) for sample in samples])


def _new_tensors(found: Tensors, given: Tensors) -> Tensors:
    """What is not simply handed on."""
    return {name: tensor for name, tensor in found.items() if tensor is not given.get(name)}


@contextmanager
def _kept_logits(strategy: DecodingStrategy) -> Iterator[Tensors]:
    """Receives the logits that a step on a grid computes, which the rules of the translator are made of."""
    kept: Tensors = {}
    if not isinstance(strategy, GridStrategy):
        yield kept
        return
    compute = strategy.compute_logits

    def compute_and_keep(state: Any) -> torch.FloatTensor:
        kept["logits"] = compute(state)
        return kept["logits"]

    strategy.compute_logits = compute_and_keep  # type: ignore[method-assign]
    try:
        yield kept
    finally:
        del strategy.compute_logits


# ---- tracing -----------------------------------------------------------------------------------------------------


class _AtLeastOne(TorchFunctionMode):
    """Promises the tracer that a selection by a mask selects something; nothing asks what becomes of nothing then."""

    def __torch_function__(
        self, function: Callable, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if function is torch.Tensor.__getitem__ and getattr(args[1], "dtype", None) is torch.bool:
            # else tracing guards against an empty selection with a branch, which no graph has
            torch._check(result.shape[0] > 0)
        return result


class _Module(nn.Module):
    """A function of named tensors as a module."""

    def __init__(self, model: nn.Module, inputs: Sequence[str], function: Callable[[Tensors], Tensors]) -> None:
        super().__init__()
        self.model, self.inputs, self.function = model, list(inputs), function

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with _AtLeastOne():
            return tuple(self.function(dict(zip(self.inputs, tensors, strict=True))).values())


class _Tracer:
    """Traces the parts of one strategy."""

    def __init__(self, strategy: DecodingStrategy, name: str) -> None:
        self.strategy, self.name = strategy, name

    def trace(self, function: Callable[[Tensors], Tensors], inputs: list[Tensors]) -> TracedGraph:
        """The graph of a function; inputs of two sizes tell which dimensions are free."""
        small, large = inputs
        outputs: list[str] = []

        def noted(given: Tensors) -> Tensors:
            found = function(given)
            # names in the order in which the function gives them: known only once it has run
            outputs[:] = found
            return found

        module = _Module(self.strategy.model, list(large), noted)
        sizes = {name: list(zip(small[name].shape, large[name].shape, strict=True)) for name in large}
        dim = torch.export.Dim
        shapes = tuple(tuple(dim.DYNAMIC if a != b else dim.STATIC for a, b in pairs) for pairs in sizes.values())
        batches = tuple(size for size, _ in _SAMPLE_SIZES)
        by_row = [name for name, pairs in sizes.items() if pairs and pairs[0] == batches]
        try:
            # Copies, since a tensor that is given twice is one input to the tracer.
            model = self._convert(module, tuple(tensor.clone() for tensor in large.values()), shapes, outputs)
        except Exception as error:
            family, strategy = self.strategy.config.model_type, type(self.strategy).__name__
            reason = str(error).strip().partition("\n")[0]
            raise ValueError(
                f"The {self.name!r} part of {strategy} ({family}) cannot be traced: {reason}. A strategy is exported "
                "where it neither branches on values of tensors nor loops over their sizes; see docs/onnx.md."
            ) from error
        return TracedGraph(model, by_row)

    @staticmethod
    def _convert(module: _Module, inputs: tuple[torch.Tensor, ...], shapes: tuple, outputs: list[str]) -> Model:
        from .onnx_operators import TRANSLATIONS

        with _quiet():
            # not strict: dataclasses and context managers of strategies are plain Python to it
            program = torch.export.export(module, inputs, dynamic_shapes=(shapes,), strict=False)
            converted = torch.onnx.export(
                program,
                input_names=module.inputs,
                output_names=outputs,
                dynamo=True,
                verbose=False,
                custom_translation_table=TRANSLATIONS,
            )
        model = converted.model
        used = {value for node in model.graph.all_nodes() for value in node.inputs}
        # a part need not read all of a state; the translator gives what a graph asks for
        unused = [value for value in model.graph.inputs if value not in used and not value.is_graph_output()]
        for value in unused:
            model.graph.inputs.remove(value)
        return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter has to say to its own developers."""
    names = ("torch.onnx._internal.exporter._registration", "torch.fx.experimental.symbolic_shapes")
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    for logger in levels:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
