# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Runtimes: each opens a model as something that turns a prepared batch of token ids into token ids."""

from __future__ import annotations

import copy
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from dims_hf.benchmark.weights import Weights
from dims_hf.benchmark.workloads import FIRST_ORDINARY_ID, Batch
from dims_hf.data.beam_search_ctranslate2 import convert_marian
from dims_hf.export.shortlist import FREQUENT, PER_TOKEN, Shortlist
from dims_hf.translation.packing import pack_weights
from dims_hf.translation.sentences import collapse
from dims_hf.translation.torch_runtime import pad_batch


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dims_hf.export import OnnxTranslator
    from dims_hf.native import NativeTranslator

# Output tokens that an autoregressive model may take for a source of S tokens, where nothing forces their number.
_LENGTH_FACTOR, _LENGTH_MARGIN = 3, 20


class UnavailableError(Exception):
    """Why a system cannot run here; the report says so in its row."""


@dataclass(frozen=True)
class Situation:
    """
    Where and how a model is opened.

    Args:
        device (`str`): torch device.
        threads (`int`): CPU threads.
        forced_tokens (`int`, *optional*): content tokens of every translation; `None`: what the model produces.
        num_iterations, length_beam_size (`int`): of ours.
        num_beams (`int`): of autoregressive models.
        folder (`Path`): where exported and converted models are kept.
    """

    device: str
    threads: int
    forced_tokens: int | None
    num_iterations: int
    length_beam_size: int
    num_beams: int
    folder: Path


class Translator(Protocol):
    """What a runtime opens. Only `run` is timed: token ids in the runtime's own form in, and the same out."""

    def prepare(self, batch: Batch) -> Any:
        """The batch in the form the runtime takes, on its device."""

    def run(self, inputs: Any) -> Any:
        """Translates."""

    def rows(self, outputs: Any) -> list[list[int]]:
        """Token ids of each translation without `<s>`, `</s>` and padding, repeats not collapsed."""


def content_of(row: list[int], pad_token_id: int, eos_token_id: int) -> list[int]:
    """
    A sequence without its first token, padding and the last `</s>`; what random weights write between stays, be it
    special or not.
    """
    end = len(row)
    while end > 1 and row[end - 1] == pad_token_id:
        end -= 1
    return row[1 : end - (row[end - 1] == eos_token_id)] if end > 1 else []


class TorchTranslator:
    """`generate` of a torch model; ours and Marian's differ in the options alone."""

    def __init__(self, model: PreTrainedModel, options: Callable[[dict[str, torch.Tensor]], dict[str, Any]]) -> None:
        self.model, self.options = model, options

    def prepare(self, batch: Batch) -> dict[str, Any]:
        """Padded ids and their mask on the device, and what `generate` is told."""
        inputs = pad_batch(batch.rows, self.model.config.pad_token_id, self.model.device)
        return {**inputs, **self.options(inputs)}

    @torch.inference_mode()
    def run(self, inputs: dict[str, Any]) -> torch.Tensor:
        """Calls `generate`."""
        return self.model.generate(**inputs)

    def rows(self, outputs: torch.Tensor) -> list[list[int]]:
        """Ids between the first token and the last `</s>`."""
        config = self.model.config
        return [content_of(row, config.pad_token_id, config.eos_token_id) for row in outputs.tolist()]


def open_ours(weights: Weights, situation: Situation, *, precision: str = "fp32") -> TorchTranslator:
    """Our `generate` in torch; `precision` is a key of [`_CONVERSIONS`]."""
    _check_candidates(weights, situation)
    convert = _CONVERSIONS[precision]

    def make() -> PreTrainedModel:
        return convert(weights.make(situation.forced_tokens).to(situation.device), situation)

    model = weights.share((precision, situation.device, situation.forced_tokens), make)
    settings = {
        "num_iterations": situation.num_iterations,
        "length_beam_size": situation.length_beam_size,
        # ids as the model wrote them: of random ones, which repeat a token, nobody could see the length otherwise
        "collapse_repeats": False,
    }
    try:
        model.decoding_settings(**settings)
    except ValueError as error:
        raise UnavailableError(str(error)) from None
    return TorchTranslator(model, lambda inputs: settings)


def _check_candidates(weights: Weights, situation: Situation) -> None:
    if situation.length_beam_size > 1 and not weights.predicts_length:
        raise UnavailableError(f"{weights.name} predicts no length, so it has no length candidates")


def _compile(model: PreTrainedModel, situation: Situation) -> PreTrainedModel:
    if situation.forced_tokens is None:
        raise UnavailableError("compiled for one shape at a time, and sentences of a corpus have many")
    if torch.device(situation.device).type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        raise UnavailableError("torch.compile needs a C++ compiler, and none was found")
    # every group has shapes of its own, and one step more than the default number of them
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    model.model.encoder = torch.compile(model.model.encoder, dynamic=False)
    model.model.decoder = torch.compile(model.model.decoder, dynamic=False)
    return model


def _quantize(model: PreTrainedModel, situation: Situation) -> PreTrainedModel:
    if torch.device(situation.device).type != "cpu":
        raise UnavailableError("torch's dynamic int8 runs on CPUs alone")
    if not hasattr(torch.ao.quantization, "quantize_dynamic"):
        raise UnavailableError(f"torch {torch.__version__} has no quantize_dynamic")
    with warnings.catch_warnings():
        # it says that it will move to another package
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)


def _pack(model: PreTrainedModel, situation: Situation) -> PreTrainedModel:
    try:
        return pack_weights(model)
    except ValueError as error:
        raise UnavailableError(str(error)) from None


_CONVERSIONS: dict[str, Callable[[PreTrainedModel, Situation], PreTrainedModel]] = {
    "fp32": lambda model, situation: model,
    "bf16": lambda model, situation: model.to(torch.bfloat16),
    "packed": _pack,
    "compiled": _compile,
    "int8": _quantize,
}


def open_marian(weights: Weights, situation: Situation, *, precision: str = "fp32") -> TorchTranslator:
    """transformers' `generate` with its cache; `</s>` is not chosen before the forced length."""

    def make() -> PreTrainedModel:
        model = _CONVERSIONS[precision](weights.make(None).to(situation.device), situation)
        # a second limit beside `max_new_tokens`, of which transformers would warn in every call
        model.generation_config.max_length = None
        return model

    model = weights.share((precision, situation.device), make)
    generation_config = copy.deepcopy(model.generation_config)
    generation_config.update(num_beams=situation.num_beams, do_sample=False, use_cache=True)

    def options(inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
        config = copy.deepcopy(generation_config)
        most = situation.forced_tokens or _most_tokens(model, inputs["input_ids"].shape[1])
        config.update(min_new_tokens=situation.forced_tokens, max_new_tokens=most)
        return {"generation_config": config}

    return TorchTranslator(model, options)


def _most_tokens(model: PreTrainedModel, source_tokens: int) -> int:
    return min(_LENGTH_FACTOR * source_tokens + _LENGTH_MARGIN, model.config.max_position_embeddings - 1)


_COMPUTE_TYPES = {"fp32": "float32", "fp16": "float16", "int8": "int8"}


class CTranslate2Translator:
    """CTranslate2 on a converted Marian model. Its interface is in tokens' names; the look-up is part of the time."""

    def __init__(
        self, translator: Any, tokens: list[str], situation: Situation, suppressed: list[int], has_shortlist: bool
    ) -> None:
        self.translator, self.tokens, self.situation = translator, tokens, situation
        self.ids = {token: index for index, token in enumerate(tokens)}
        self.suppressed = [[tokens[index]] for index in suppressed]
        self.has_shortlist = has_shortlist

    def prepare(self, batch: Batch) -> dict[str, Any]:
        """Names of tokens, and the search."""
        forced = self.situation.forced_tokens
        most = forced or _LENGTH_FACTOR * max(map(len, batch.rows)) + _LENGTH_MARGIN
        return {
            "source": [[self.tokens[index] for index in row] for row in batch.rows],
            "beam_size": self.situation.num_beams,
            "min_decoding_length": forced or 1,
            "max_decoding_length": most,
            "suppress_sequences": self.suppressed or None,
            "use_vmap": self.has_shortlist,
        }

    def run(self, inputs: dict[str, Any]) -> Any:
        """Translates one batch."""
        return self.translator.translate_batch(**inputs)

    def rows(self, outputs: Any) -> list[list[int]]:
        """Ids of the best hypotheses."""
        return [[self.ids[token] for token in result.hypotheses[0]] for result in outputs]


def open_ctranslate2(
    weights: Weights, situation: Situation, *, precision: str = "fp32", has_shortlist: bool = False
) -> CTranslate2Translator:
    """
    CTranslate2 with the same weights, converted by its own converter; its shortlist is the vocabulary mapping, which
    is common to the sentences of a batch.
    """
    if has_shortlist and not weights.is_random:
        raise UnavailableError("its shortlist is random, and says nothing about trained models")
    try:
        import ctranslate2
    except ImportError:
        raise UnavailableError('ctranslate2 is not installed: pip install "dims-hf[benchmark]"') from None
    compute_type = _COMPUTE_TYPES[precision]
    device = torch.device(situation.device)
    if compute_type not in ctranslate2.get_supported_compute_types(device.type, device.index or 0):
        raise UnavailableError(f"CTranslate2 has no {compute_type} on this {device.type}")
    folder = weights.share(
        ("ctranslate2", precision, has_shortlist),
        lambda: _convert(weights, situation.folder, compute_type, has_shortlist),
    )
    translator = ctranslate2.Translator(
        str(folder),
        device=device.type,
        device_index=device.index or 0,
        compute_type=compute_type,
        inter_threads=1,
        intra_threads=situation.threads,
    )
    special = [] if weights.is_random else set(weights.tokenizer.all_special_ids) - {weights.config.eos_token_id}
    return CTranslate2Translator(translator, weights.tokens, situation, sorted(special), has_shortlist)


def _convert(weights: Weights, folder: Path, compute_type: str, has_shortlist: bool) -> Path:
    """Converts unless the process that measures time has."""
    place = folder / f"ctranslate2-{weights.name}-{compute_type}{'-shortlist' if has_shortlist else ''}"
    if place.exists():
        return place
    with TemporaryDirectory(dir=folder) as scratch:
        mapping = Path(scratch) / "vmap.txt" if has_shortlist else None
        if mapping is not None:
            mapping.write_text(vocabulary_mapping(random_shortlist(weights.config.vocab_size), weights.tokens))
        convert_marian(weights.make(None), weights.tokenizer, place, compute_type, vocabulary_mapping=mapping)
    return place


class OnnxAdapter:
    """Our model in ONNX Runtime, as `export_onnx` writes it."""

    def __init__(self, translator: OnnxTranslator | NativeTranslator, situation: Situation) -> None:
        self.translator, self.situation = translator, situation

    def prepare(self, batch: Batch) -> dict[str, Any]:
        """Padded arrays, and the search."""
        input_ids, attention_mask = self.translator.pad(batch.rows)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "num_iterations": self.situation.num_iterations,
            "length_beam_size": self.situation.length_beam_size,
            "with_scores": False,
        }

    def run(self, inputs: dict[str, Any]) -> Any:
        """Translates one batch."""
        return self.translator.generate(**inputs)

    def rows(self, outputs: Any) -> list[list[int]]:
        """Ids between `<s>` and `</s>`."""
        settings = self.translator.settings
        return [content_of(row, settings["pad_token_id"], settings["eos_token_id"]) for row in outputs[0].tolist()]


def open_onnx(
    weights: Weights, situation: Situation, *, precision: str = "fp32", has_shortlist: bool = False
) -> OnnxAdapter:
    """Our model exported by this package, which verifies the graphs; one pass is one graph, more passes are two."""
    if has_shortlist and not weights.is_random:
        raise UnavailableError(
            "its shortlist is random: export the model with --shortlist CORPUS, and the export says what that changes"
        )
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UnavailableError(f'{error.name} is not installed: pip install "dims-hf[onnx]"') from None
    from dims_hf.export import OnnxTranslator

    _check_candidates(weights, situation)
    is_one_pass = situation.num_iterations == 1
    key = (precision, has_shortlist, is_one_pass, situation.forced_tokens)
    folder = weights.share(("onnx", *key), lambda: _export(weights, situation, precision, is_one_pass, has_shortlist))
    translator = weights.share(
        ("session", *key, situation.threads), lambda: OnnxTranslator(folder, threads=situation.threads)
    )
    return OnnxAdapter(translator, situation)


def _export(weights: Weights, situation: Situation, precision: str, is_one_pass: bool, has_shortlist: bool) -> Path:
    """Exports unless the process that measures time has."""
    from dims_hf.export import export_onnx

    kind = "one-pass" if is_one_pass else "iterative"
    listed = "-shortlist" if has_shortlist else ""
    name = f"onnx-{weights.name or 'ours'}-{precision}{listed}-{kind}-{situation.forced_tokens}"
    place = situation.folder / name
    if not place.exists():
        passes = 1 if is_one_pass else situation.num_iterations
        model = weights.make(situation.forced_tokens)
        try:
            export_onnx(
                model,
                weights.tokenizer,
                place,
                int8=precision == "int8",
                num_iterations=passes,
                shortlist=random_shortlist(model.config.vocab_size) if has_shortlist else None,
                name=name,
            )
        except ValueError as error:
            raise UnavailableError(str(error)) from error
    return place


class NativeAdapter(OnnxAdapter):
    """Our model in the native runtime, as `export_native` writes it; its interface is that of ONNX's translator."""


def open_native(weights: Weights, situation: Situation, *, has_shortlist: bool = False) -> NativeAdapter:
    """Our model exported by this package, which verifies the file; one file for any number of passes."""
    if has_shortlist and not weights.is_random:
        raise UnavailableError(
            "its shortlist is random: export the model with --shortlist CORPUS, and the export says what that changes"
        )
    from dims_hf.native import NativeTranslator, is_available

    if not is_available():
        raise UnavailableError("the native runtime is not built: python -m dims_hf.native.build")
    _check_candidates(weights, situation)
    key = (has_shortlist, situation.forced_tokens)
    folder = weights.share(("native", *key), lambda: _export_native(weights, situation, has_shortlist))
    return NativeAdapter(NativeTranslator(folder, threads=situation.threads), situation)


def _export_native(weights: Weights, situation: Situation, has_shortlist: bool) -> Path:
    """Exports unless the process that measures time has."""
    from dims_hf.export import export_native

    listed = "-shortlist" if has_shortlist else ""
    name = f"native-{weights.name or 'ours'}{listed}-{situation.forced_tokens}"
    place = situation.folder / name
    if not place.exists():
        model = weights.make(situation.forced_tokens)
        shortlist = random_shortlist(model.config.vocab_size) if has_shortlist else None
        try:
            if weights.is_random:
                _export_random_native(model, weights.tokenizer, place, shortlist)
            else:
                export_native(model, weights.tokenizer, place, shortlist=shortlist, name=name)
        except ValueError as error:
            raise UnavailableError(str(error)) from error
    return place


def _export_random_native(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, place: Path, shortlist: Shortlist | None
) -> None:
    """As `export_native`, but that near ties, of which random weights have many, may break in other ways."""
    from dims_hf.export.folders import making_folder, move_folder
    from dims_hf.export.native_export import verify, write_native_folder
    from dims_hf.native import NativeTranslator

    passes = model.generation_config.num_iterations
    with making_folder(place) as temporary:
        folder = Path(temporary, "native")
        folder.mkdir()
        write_native_folder(model, tokenizer, folder, num_iterations=passes, shortlist=shortlist)
        verify(model, NativeTranslator(folder, shortlist=False), (), least_agreement=0.5)
        move_folder(folder, place)


def save_model(runtime: str, weights: Weights, folder: Path) -> Path:
    """
    A model in a folder that a command takes, for one pass or greedy search with one thread.

    Args:
        runtime (`str`): name of the system's runtime.
        weights ([`Weights`]): the model.
        folder (`Path`): where exported models are kept.

    Raises:
        UnavailableError: for a runtime that no command starts.
    """
    situation = Situation("cpu", 1, None, 1, 1, 1, folder)
    if runtime in ("torch-fp32", "torch-bf16"):
        return _save_torch(weights, folder)
    if runtime in ("onnx-fp32", "onnx-int8"):
        open_onnx(weights, situation, precision=runtime.removeprefix("onnx-"))
        return _export(weights, situation, runtime.removeprefix("onnx-"), True, False)
    if runtime == "native-int8":
        open_native(weights, situation)
        return _export_native(weights, situation, False)
    if runtime.startswith("ctranslate2-") and not runtime.endswith("-shortlist"):
        precision = runtime.removeprefix("ctranslate2-")
        open_ctranslate2(weights, situation, precision=precision)
        place = _convert(weights, folder, _COMPUTE_TYPES[precision], False)
        weights.tokenizer.backend_tokenizer.save(str(place / "tokenizer.json"))
        return place
    raise UnavailableError("no command starts it")


def _save_torch(weights: Weights, folder: Path) -> Path:
    place = folder / f"torch-{weights.name or 'ours'}"
    if not place.exists():
        weights.make(None).save_pretrained(place)
        weights.tokenizer.save_pretrained(place)
    return place


def random_shortlist(vocab_size: int) -> Shortlist:
    """Target ids drawn for every source id, as many as a real shortlist has: there is no lexicon of random ids."""
    generator = np.random.default_rng(0)
    by_source = np.repeat(np.arange(vocab_size, dtype=np.int32)[:, None], PER_TOKEN + 1, axis=1)
    by_source[FIRST_ORDINARY_ID:, :PER_TOKEN] = generator.integers(
        FIRST_ORDINARY_ID, vocab_size, (vocab_size - FIRST_ORDINARY_ID, PER_TOKEN)
    )
    size = min(FREQUENT, vocab_size)
    always = np.sort(generator.choice(vocab_size, size, replace=False)).astype(np.int32)
    return Shortlist(by_source, always, {"per_token": PER_TOKEN, "frequent": FREQUENT, "corpus": None})


def vocabulary_mapping(shortlist: Shortlist, tokens: Sequence[str]) -> str:
    """A shortlist in the form that CTranslate2 reads: a source token, a tab, its target tokens; those of all first."""
    rows = {"": shortlist.always, **dict(zip(tokens, shortlist.by_source, strict=True))}
    return "".join(f"{source}\t{' '.join(tokens[index] for index in ids)}\n" for source, ids in rows.items())


def expected_listed_ids(vocab_size: int, source_tokens: float) -> int:
    """Different target ids of a sentence in the mean, with [`random_shortlist`]."""
    named = source_tokens * PER_TOKEN + min(FREQUENT, vocab_size)
    return round(vocab_size * (1 - (1 - 1 / vocab_size) ** named))


def decoded_text(weights: Weights, row: list[int], *, raw: bool = False) -> str:
    """The text of a translation; unless `raw`, repeats are collapsed where the model is ours and says so."""
    row = list(collapse(row)) if weights.collapses_repeats and not raw else row
    return weights.tokenizer.decode(row, skip_special_tokens=True).strip()
