# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`export_native`: writes the folder of the native runtime, verified against PyTorch; none where it differs.

Shapes: B batch, S source length, D hidden, V vocabulary.
"""

from __future__ import annotations

import copy
import importlib.metadata
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from dims_hf._output import holding
from dims_hf.models.capabilities import has_pretrained_encoder
from dims_hf.native import NativeTranslator
from dims_hf.native.library import load_library
from dims_hf.native.model_file import BLOCK, pack_matrix, quantize_rows, write_model_file
from dims_hf.native.translator import MODEL_NAME, RUNTIME_NAME

from .folders import (
    MAX_VERIFIED,
    SAMPLE_SENTENCES,
    add_tokenizer,
    blank_penalty,
    check_model,
    check_output_dir,
    fitting,
    making_folder,
    move_folder,
    verified_batches,
    write_description,
)
from .quality import Outputs, described_scores, outputs_of, score_systems


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dims_hf.models.modeling_nat import NATAttention, NATDecoder, NATEncoder

    from .shortlist import Shortlist

logger = logging.getLogger(__name__)

# Bias of what is never predicted: finite, since infinity times 0 is no number.
_EXCLUDED = -1e30

# PyTorch adds in another order: a number between two codes may take the other one, and a near tie may break.
_LEAST_AGREEMENT, _LEAST_LENGTHS = 0.97, 0.8

# Sequences of different lengths whose scores are closer than this are such a tie.
_NEAR_TIE = 0.02

_FAMILIES = ("cmlm", "cmlmc", "imputer")
_ACTIVATIONS = ("relu", "gelu")

# A larger loss of BLEU is said to be one.
_ACCEPTED_LOSS = 0.3

_BATCH_SIZE = 32


def export_native(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    output_dir: str | os.PathLike[str],
    *,
    num_iterations: int | None = None,
    sentences: Sequence[str] = (),
    references: Sequence[str] | None = None,
    shortlist: Shortlist | None = None,
    name: str = "model",
    overwrite: bool = False,
) -> dict[str, Any]:
    """
    Writes a folder that [`NativeTranslator`] translates with, after comparing it with PyTorch token for token.

    What it is compared with is PyTorch's `generate()` of the same 8-bit weights, activations rounded to 8 bits in
    front of every matrix; how far that is from the model itself is measured.

    Args:
        model (`PreTrainedModel`): a CMLM, CMLMC or Imputer on the CPU in fp32.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer, with a `tokenizer.json`.
        output_dir (`str` or `os.PathLike`): folder to write, whole or not at all.
        num_iterations (`int`, *optional*): decoder passes; the model's generation config decides when `None`.
        sentences (`Sequence[str]`, *optional*): sources to verify on, beside random ids and built-in sentences.
        references (`Sequence[str]`, *optional*): their translations; BLEU is then measured on all `sentences`.
        shortlist ([`Shortlist`], *optional*): words are chosen among the ids it lists for a source alone. The file is
            verified on the whole vocabulary, and what the shortlist changes is measured.
        name (`str`): the model's name in `export.json` and the card.
        overwrite (`bool`, *optional*): replace a former export.

    Returns:
        `dict[str, Any]`: what `export.json` holds.

    Raises:
        NativeUnavailableError: the native library is not built.
        ValueError: the folder does not give PyTorch's tokens, the model has no native form, or `output_dir` is taken.
    """
    load_library()
    output_dir = Path(output_dir)
    check_output_dir(output_dir, overwrite=overwrite)
    check_model(model)
    passes = model.generation_config.num_iterations if num_iterations is None else num_iterations
    if passes < 1:
        raise ValueError(f"num_iterations must be >= 1, got {passes}. Use 1 for a single pass.")
    with holding(output_dir, beside=True), making_folder(output_dir) as temporary:
        folder = Path(temporary, "native")
        folder.mkdir()
        description = write_native_folder(model, tokenizer, folder, num_iterations=passes, shortlist=shortlist)
        description = {"name": name, **description}
        translator = NativeTranslator(folder, shortlist=False)
        samples = fitting(translator, [*SAMPLE_SENTENCES, *sentences])
        checked = samples[: len(SAMPLE_SENTENCES) + MAX_VERIFIED]
        description["verification"] = verify(model, translator, checked)
        description["agreement"] = agreement(model, translator, checked)
        systems = {"int8": translator}
        if shortlist is not None:
            systems["int8-shortlist"] = shortened = NativeTranslator(folder)
            description["shortlist"]["mean_listed_ids"] = _mean_listed_ids(shortlist, translator.encode(samples))
            description["shortlist"]["agreement"] = _shortlist_agreement(translator, shortened, samples)
        if references is not None:
            description["quality"] = measure_quality(model, tokenizer, systems, sentences, references, passes)
        (folder / "README.md").write_text(_card(description), encoding="utf-8")
        write_description(folder, description)
        move_folder(folder, output_dir)
    return description


def write_native_folder(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    num_iterations: int,
    shortlist: Shortlist | None = None,
) -> dict[str, Any]:
    """
    Writes model file, tokenizer and description, without any check; the arguments are those of [`export_native`].

    Returns:
        `dict`: settings and versions, as in `export.json`.
    """
    file_settings, tensors = model_tensors(model)
    description = {
        "runtime": RUNTIME_NAME,
        "model_type": model.config.model_type,
        "precision": "int8",
        "settings": _settings(model, num_iterations),
        "versions": {package: importlib.metadata.version(package) for package in ("numpy", "torch")},
    }
    if shortlist is not None:
        tensors["shortlist.by_source"] = shortlist.by_source.astype(np.int32)
        tensors["shortlist.always"] = shortlist.always.astype(np.int32)
        file_settings["shortlist_per_source"] = shortlist.by_source.shape[1]
        file_settings["shortlist_num_always"] = len(shortlist.always)
        description["shortlist"] = {"num_always": len(shortlist.always), **shortlist.settings}
    write_model_file(folder / MODEL_NAME, file_settings, tensors)
    add_tokenizer(folder, tokenizer)
    write_description(folder, description)
    return description


def _settings(model: PreTrainedModel, num_iterations: int) -> dict[str, Any]:
    """What the translator must know of the model."""
    config, generation = model.config, model.generation_config
    settings = {
        "num_iterations": num_iterations,
        "length_beam_size": generation.length_beam_size,
        "collapse_repeats": generation.collapse_repeats,
        "empty_token_id": config.empty_token_id,
        "repeat_penalty": getattr(generation, "repeat_penalty", None) or 0.0,
        "length_score_weight": getattr(generation, "length_score_weight", None) or 0.0,
        **{f"{name}_token_id": getattr(config, f"{name}_token_id") for name in ("bos", "pad", "eos", "mask")},
        "max_position_embeddings": config.max_position_embeddings,
        "vocab_size": config.vocab_size,
    }
    if config.model_type == "imputer":
        settings |= {"upsample_ratio": config.upsample_ratio, "blank_token_id": config.blank_token_id}
        # for the reader: it is in the file's bias of the vocabulary
        settings["blank_penalty"] = blank_penalty(model)
    return settings


def model_tensors(model: PreTrainedModel) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """
    Settings and tensors of the model file.

    Raises:
        ValueError: for a model that has no native form.
    """
    _check_form(model)
    config, stacks = model.config, model.model
    tensors = pack_matrix("table", to_numpy(stacks.shared.weight), _vocabulary_bias(model), missing_bias=_EXCLUDED)
    for side, stack in (("encoder", stacks.encoder), ("decoder", stacks.decoder)):
        tensors |= _stack_tensors(side, stack)
    if config.model_type != "imputer":
        tensors["length_head"] = to_numpy(model.length_head.weight)
    return _file_settings(model), tensors


def _check_form(model: PreTrainedModel) -> None:
    config = model.config
    if has_pretrained_encoder(config):
        raise ValueError(
            f"This model has a pre-trained encoder ({config.pretrained_encoder.get('model_type')}), which has no "
            "native form yet. Export with --to onnx."
        )
    if config.model_type not in _FAMILIES:
        raise ValueError(
            f"Models of type {config.model_type!r} have no native form yet. Known: {', '.join(_FAMILIES)}. "
            "Export with --to onnx."
        )
    if config.activation_function not in _ACTIVATIONS:
        raise ValueError(
            f"activation_function={config.activation_function!r} has no native form. Known: {', '.join(_ACTIVATIONS)}."
        )
    if config.d_model % BLOCK:
        raise ValueError(f"The native runtime needs a d_model that is a multiple of {BLOCK}, got {config.d_model}.")
    if (getattr(model.generation_config, "prefix_beam_size", None) or 1) > 1:
        raise ValueError(
            "The native runtime takes the likeliest alignment, and the generation config asks for a prefix beam. Set "
            "prefix_beam_size to 1 in generation_config.json, or translate with torch."
        )
    if getattr(config, "legacy_unmasked_attn_no_pad_mask", False):
        raise ValueError(
            "This CMLMC attends to padding (legacy_unmasked_attn_no_pad_mask), so its translations depend on the "
            "batch. Import the checkpoint with --no-legacy and export that."
        )


def _file_settings(model: PreTrainedModel) -> dict[str, Any]:
    config = model.config
    names = ["d_model", "vocab_size", "max_position_embeddings", "activation_function", "update_all_positions"]
    names += [f"{side}_{size}" for side in ("encoder", "decoder") for size in ("layers", "attention_heads")]
    names += [f"{name}_token_id" for name in ("bos", "pad", "eos", "mask")]
    is_cmlmc = config.model_type == "cmlmc"
    settings = {name: getattr(config, name) for name in names}
    settings |= {f"{side}_ffn_dim": _padded(getattr(config, f"{side}_ffn_dim")) for side in ("encoder", "decoder")}
    settings |= {"projects_positions": is_cmlmc, "has_unmasked_attention": is_cmlmc}
    settings["embedding_scale"] = float(model.model.shared.scale)
    if config.model_type == "imputer":
        adjacency = model.decoding_settings().legacy_adjacency
        rest = {"upsample_ratio": config.upsample_ratio, "blank_token_id": config.blank_token_id}
        return settings | {"family": "alignment", "legacy_adjacency": adjacency, **rest}
    # as `candidate_lengths` clamps them
    longest = min(config.max_position_embeddings, config.max_target_length - 1)
    bounds = {"shortest_length": 3 if config.suppress_special_tokens else 2, "longest_length": longest}
    return settings | {"family": "mask-predict", "max_target_length": config.max_target_length, **bounds}


def _padded(size: int) -> int:
    return size + -size % BLOCK


def _vocabulary_bias(model: PreTrainedModel) -> np.ndarray:
    """What is added to the logits (V,): what is never predicted is excluded, and the blank's penalty taken off."""
    bias = np.zeros(model.config.vocab_size, np.float32)
    bias[model.suppressed_token_ids()] = _EXCLUDED
    if penalty := blank_penalty(model):
        bias[model.config.blank_token_id] -= penalty
    return bias


def _stack_tensors(side: str, stack: NATEncoder | NATDecoder) -> dict[str, np.ndarray]:
    # Row 1 of the table is of padding, and no token uses row 0.
    tensors = {f"{side}.positions": to_numpy(stack.embed_positions.weight)[2:]}
    if hasattr(stack, "embed_proj"):
        tensors |= _linear_tensors(f"{side}.projection", stack.embed_proj)
    for index, layer in enumerate(stack.layers):
        name = f"{side}.{index}"
        for part in ("self_attn_unmasked", "self_attn"):
            if hasattr(layer, part):
                tensors |= _self_attention_tensors(f"{name}.{part}", layer, part)
        if hasattr(layer, "encoder_attn"):
            tensors |= _cross_attention_tensors(f"{name}.encoder_attn", layer)
        tensors |= _feed_forward_tensors(name, layer)
    return tensors


def _linear_tensors(name: str, module: nn.Linear) -> dict[str, np.ndarray]:
    return pack_matrix(name, to_numpy(module.weight), to_numpy(module.bias))


def _norm_tensors(name: str, norm: nn.LayerNorm) -> dict[str, np.ndarray]:
    return {f"{name}.norm.gain": to_numpy(norm.weight), f"{name}.norm.bias": to_numpy(norm.bias)}


def _projections(attention: NATAttention, sides: str) -> tuple[np.ndarray, np.ndarray]:
    """Matrices and biases of some of queries, keys and values, one under the other; queries are scaled already."""
    weights, biases = [], []
    for side in sides:
        module, scale = getattr(attention, f"{side}_proj"), attention.scaling if side == "q" else 1.0
        # before it is rounded to 8 bits: scaling queries then costs nothing
        weights.append(to_numpy(module.weight) * np.float32(scale))
        biases.append(to_numpy(module.bias) * np.float32(scale))
    return np.concatenate(weights), np.concatenate(biases)


def _self_attention_tensors(name: str, layer: nn.Module, part: str) -> dict[str, np.ndarray]:
    attention = getattr(layer, part)
    joint = pack_matrix(f"{name}.qkv", *_projections(attention, "qkv"))
    norm = _norm_tensors(name, getattr(layer, f"{part}_layer_norm"))
    return joint | _linear_tensors(f"{name}.out", attention.out_proj) | norm


def _cross_attention_tensors(name: str, layer: nn.Module) -> dict[str, np.ndarray]:
    attention = layer.encoder_attn
    query = pack_matrix(f"{name}.q", *_projections(attention, "q"))
    pair = pack_matrix(f"{name}.kv", *_projections(attention, "kv"))
    norm = _norm_tensors(name, layer.encoder_attn_layer_norm)
    return query | pair | _linear_tensors(f"{name}.out", attention.out_proj) | norm


def _feed_forward_tensors(name: str, layer: nn.Module) -> dict[str, np.ndarray]:
    """Inner units are filled up to a multiple of 16 by units that are always 0."""
    pad = (0, -layer.fc1.out_features % BLOCK)
    first = np.pad(to_numpy(layer.fc1.weight), (pad, (0, 0))), np.pad(to_numpy(layer.fc1.bias), pad)
    second = np.pad(to_numpy(layer.fc2.weight), ((0, 0), pad)), to_numpy(layer.fc2.bias)
    tensors = pack_matrix(f"{name}.fc1", *first) | pack_matrix(f"{name}.fc2", *second)
    return tensors | _norm_tensors(name, layer.final_layer_norm)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """A copy in fp32."""
    return tensor.detach().to(torch.float32).numpy().copy()


def round_activations(states: torch.Tensor) -> torch.Tensor:
    """States (…, D) on the 255 steps of each row that the library's 8-bit codes have."""
    largest = states.abs().amax(dim=-1, keepdim=True)
    inverse = torch.where(largest > 0, 127.0 / largest, 0.0)
    # the kernels' own roundings: multiplied by the inverse, not divided
    return torch.round(states * inverse) * (largest / 127.0)


def rounded_model(model: PreTrainedModel) -> PreTrainedModel:
    """The model in PyTorch with the weights and activations of the native runtime."""
    rounded = copy.deepcopy(model).eval()
    for name, module in rounded.named_modules():
        # The length predictor stays exact; the vocabulary projection shares the table of embeddings.
        if isinstance(module, nn.Linear) and name not in ("length_head", "lm_head"):
            module.weight.data = _rounded_weights(module.weight)
            module.register_forward_pre_hook(lambda _, inputs: (round_activations(inputs[0]),))
    rounded.model.shared.weight.data = _rounded_weights(model.model.shared.weight)
    # the projection is the rounded table again
    rounded.tie_weights()
    project = rounded.project_vocabulary
    # not by a hook: the layer is called in parts of its weight
    rounded.project_vocabulary = lambda states: project(round_activations(states))
    return rounded


def _rounded_weights(weights: torch.Tensor) -> torch.Tensor:
    codes, scales = quantize_rows(to_numpy(weights))
    return torch.from_numpy(codes.astype(np.float32) * scales[:, None])


def verify(
    model: PreTrainedModel,
    translator: NativeTranslator,
    sentences: Sequence[str],
    *,
    least_agreement: float = _LEAST_AGREEMENT,
) -> dict[str, Any]:
    """
    Compares ids and scores with those of [`rounded_model`] on sentences and on random ids, alone and in batches.

    Args:
        model (`PreTrainedModel`): what was exported.
        translator ([`NativeTranslator`]): of the export.
        sentences (`Sequence[str]`): sources.
        least_agreement (`float`): least share of equal tokens; random weights have near ties all over.

    Returns:
        `dict`: `num_sequences` and `num_tokens` compared, the share of `tokens` that are the same, the number of
        sequences of `other_lengths` and the same score, and the largest difference of the score of a sequence.

    Raises:
        ValueError: more differs than the order of additions explains.
    """
    from dims_hf.models.modes import evaluation_mode

    # one decision more or less moves what follows: in alignments, and where repeats have a price
    in_order = not translator.predicts_length or bool(translator.settings["repeat_penalty"])
    comparison, exact = _Comparison(in_order), rounded_model(model)
    with evaluation_mode(exact), torch.inference_mode():
        for rows in verified_batches(translator, sentences):
            for beam in (1, 3) if translator.predicts_length else (1,):
                for pair in zip(*_both(exact, translator, rows, beam)):
                    comparison.add(*pair)
    comparison.check(least_agreement)
    return comparison.describe()


@dataclass
class _Comparison:
    """
    What sequences of PyTorch and of the native runtime have in common.

    Args:
        in_order (`bool`): count tokens in their order where scores are nearly equal, not place by place. Of two near
            ties in an alignment, one may add a token and the other leave one out: all tokens between have moved. The
            search for the best sequence without repeats shifts tokens alike.
    """

    in_order: bool = False
    num_sequences: int = 0
    num_tokens: int = 0
    num_same: int = 0
    other_lengths: int = 0
    largest: float = 0.0

    def add(self, wanted: list[int], wanted_score: float, found: list[int], found_score: float) -> None:
        """Compares one sequence."""
        difference = abs(float(wanted_score) - float(found_score))
        self.num_sequences += 1
        self.largest = max(self.largest, difference)
        if len(wanted) != len(found) and difference <= _NEAR_TIE:
            self.other_lengths += 1
            return
        self.num_tokens += len(wanted)
        if len(wanted) == len(found):
            is_moved = self.in_order and difference <= _NEAR_TIE
            self.num_same += _count_in_order(wanted, found) if is_moved else sum(a == b for a, b in zip(wanted, found))

    def check(self, least_agreement: float) -> None:
        """Refuses too many differences."""
        same_lengths = self.num_sequences - self.other_lengths
        if self.num_same < least_agreement * self.num_tokens or same_lengths < _LEAST_LENGTHS * self.num_sequences:
            raise ValueError(
                f"The native runtime does not give PyTorch's tokens: {self.num_same} of {self.num_tokens} are the "
                f"same, and {self.other_lengths} of {self.num_sequences} sequences have another length. Nothing was "
                "written; this is a defect of the export, please report it."
            )

    def describe(self) -> dict[str, Any]:
        """As `export.json` has it."""
        return {
            "num_sequences": self.num_sequences,
            "num_tokens": self.num_tokens,
            "tokens": self.num_same / max(1, self.num_tokens),
            "other_lengths": self.other_lengths,
            "largest_score_difference": self.largest,
        }


def _count_in_order(wanted: list[int], found: list[int]) -> int:
    """Tokens that both have in the same order, in blocks."""
    return sum(block.size for block in SequenceMatcher(None, wanted, found, autojunk=False).get_matching_blocks())


def _both(
    model: PreTrainedModel, translator: NativeTranslator, rows: list[list[int]], beam: int
) -> tuple[list[list[int]], np.ndarray, list[list[int]], np.ndarray]:
    """Sequences without padding, and scores, of PyTorch and of the native runtime."""
    input_ids, attention_mask = translator.pad(rows)
    sequences, scores = translator.generate(input_ids, attention_mask, length_beam_size=beam)
    expected = model.generate(
        torch.from_numpy(input_ids),
        attention_mask=torch.from_numpy(attention_mask),
        num_iterations=translator.settings["num_iterations"],
        length_beam_size=beam,
        collapse_repeats=False,
        return_dict_in_generate=True,
    )
    wanted, found = (list(_without_padding(part, translator)) for part in (expected.sequences.numpy(), sequences))
    return wanted, expected.sequences_scores.numpy(), found, scores


def _without_padding(sequences: np.ndarray, translator: NativeTranslator) -> Iterator[list[int]]:
    pad = translator.settings["pad_token_id"]
    for row in sequences.tolist():
        while len(row) > 1 and row[-1] == pad:
            row.pop()
        yield row


def agreement(model: PreTrainedModel, translator: NativeTranslator, sentences: Sequence[str]) -> dict[str, float]:
    """
    How often the native runtime agrees with the model itself, in fp32.

    Returns:
        `dict`: share of `sentences` with the same ids, of translations of the same number of tokens (`lengths`), and
        of `tokens` that are the same where the lengths are.
    """
    from dims_hf.models.modes import evaluation_mode

    same, lengths, tokens = [], [], []
    with evaluation_mode(model), torch.inference_mode():
        rows = translator.encode(sentences)
        for start in range(0, len(rows), _BATCH_SIZE):
            beam = translator.settings["length_beam_size"]
            wanted, _, found, _ = _both(model, translator, rows[start : start + _BATCH_SIZE], beam)
            same.extend(a == b for a, b in zip(wanted, found))
            lengths.extend(len(a) == len(b) for a, b in zip(wanted, found))
            tokens.extend(x == y for a, b in zip(wanted, found) if len(a) == len(b) for x, y in zip(a, b))
    shares = {"sentences": same, "lengths": lengths, "tokens": tokens}
    means = {name: float(np.mean(values)) if values else 0.0 for name, values in shares.items()}
    return {"num_sentences": len(sentences), **means}


def _mean_listed_ids(shortlist: Shortlist, rows: Sequence[Sequence[int]]) -> float:
    """Target ids that a sentence is projected on, in the mean."""
    listed = [np.union1d(shortlist.by_source[row], shortlist.always) for row in rows]
    return float(np.mean([len(ids) for ids in listed]))


def _shortlist_agreement(
    exact: NativeTranslator, other: NativeTranslator, sentences: Sequence[str]
) -> dict[str, float]:
    """Share of sentences and of tokens (where the lengths agree) that a shortlist leaves as they are."""
    batch = exact.pad(exact.encode(sentences))
    pairs = list(zip(*(_without_padding(system.generate(*batch)[0], exact) for system in (exact, other))))
    tokens = [x == y for a, b in pairs if len(a) == len(b) for x, y in zip(a, b)]
    shares = {"sentences": [a == b for a, b in pairs], "tokens": tokens}
    means = {name: float(np.mean(values)) if values else 0.0 for name, values in shares.items()}
    return {"num_sentences": len(pairs), **means}


def measure_quality(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    systems: Mapping[str, NativeTranslator],
    sources: Sequence[str],
    references: Sequence[str],
    num_iterations: int,
) -> dict[str, Any]:
    """Scores of the model in fp32 and of every system."""
    from dims_hf.translation import translate

    exact = translate(model, tokenizer, sources, num_iterations=num_iterations)
    outputs = {"fp32": Outputs([item.text for item in exact], [item.raw_text for item in exact])}
    outputs |= {name: outputs_of(translator, sources) for name, translator in systems.items()}
    quality = score_systems(outputs, references)
    for name in systems:
        change = quality["bleu"][name] - quality["bleu"]["fp32"]
        quality[f"{name}_bleu_change"] = change
        if change < -_ACCEPTED_LOSS:
            logger.warning("%s costs %.2f BLEU here: not recommended.", name, -change)
    return quality


def _card(description: Mapping[str, Any]) -> str:
    """How to use the folder, and what is known of it."""
    verified, shares = description["verification"], description["agreement"]
    lines = [
        f"# {description['name']} for the native runtime of dims-hf, int8",
        "",
        "```bash",
        "echo 'A sentence.' | dims-hf translate --model .",
        "```",
        "",
        "```python",
        "from dims_hf.native import NativeTranslator",
        'NativeTranslator(".").translate(["A sentence."])',
        "```",
        "",
        f"- Decoder passes: {description['settings']['num_iterations']}.",
        f"- {verified['tokens']:.2%} of {verified['num_tokens']} tokens are those of PyTorch with the same 8-bit "
        "numbers; the others are near ties, which the order of additions decides.",
        f"- int8 against fp32 on {shares['num_sentences']} sentences: {shares['sentences']:.1%} of the sentences, "
        f"{shares['tokens']:.1%} of the tokens the same.",
    ]
    if "shortlist" in description:
        lines.append(
            f"- Words are chosen from a shortlist: {description['shortlist']['agreement']['sentences']:.1%} of the "
            'sentences are as with the whole vocabulary, which `NativeTranslator(".", shortlist=False)` considers.'
        )
    if "quality" in description:
        quality = description["quality"]
        lines.append(f"- BLEU on {quality['num_sentences']} sentences: {described_scores(quality)}.")
    return "\n".join(lines) + "\n"
