# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Import of fairseq checkpoints: names and shapes of the weights, arguments, dictionary.

A new family is one entry in `FAMILIES` and, if its names tell it apart, one in `_OWN_NAMES`.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from dims_hf._files import expand_home, read_lines
from dims_hf.data.tokenizer import add_blank
from dims_hf.models.configuration_nat import NATConfig
from dims_hf.models.modeling_cmlm import CMLMForConditionalGeneration
from dims_hf.models.modeling_cmlm_crf import CMLMCRFForConditionalGeneration
from dims_hf.models.modeling_cmlmc import CMLMCForConditionalGeneration
from dims_hf.models.modeling_dat import DATForConditionalGeneration
from dims_hf.models.modeling_imputer import ImputerForConditionalGeneration
from dims_hf.models.modeling_insertion import InsertionForConditionalGeneration
from dims_hf.models.modeling_levenshtein import LevenshteinForConditionalGeneration
from dims_hf.models.modeling_nat import NATPreTrainedModel


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

StateDict = Mapping[str, torch.Tensor]

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
"""First four rows of every fairseq dictionary; `<unk>` doubles as the mask of these models."""

OVERWRITE_FLAG = "#fairseq:overwrite"

_AGAIN = "The file is damaged: download or copy it again."

# One table under three names; which of the copies a checkpoint stores depends on the release that wrote it.
TIED_NAMES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "decoder.output_projection.weight")
LENGTH_NAME = "decoder.embed_length.weight"

# The names that differ in every family, ours -> fairseq's; all others only lose the prefix "model.".
HEAD_NAMES = {
    "model.shared.weight": TIED_NAMES[0],
    "lm_head.weight": TIED_NAMES[2],
    "length_head.weight": LENGTH_NAME,
}

# What generation with these weights must do to equal the reference implementation; without it (`legacy=False`) the
# mask and the special tokens are merely never predicted.
LEGACY_FIELDS = {"legacy_mask_logit": -1000.0, "suppress_special_tokens": False}
SPECIAL_IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "unk_token_id": 3, "mask_token_id": 3}


@dataclass(frozen=True)
class FairseqFamily:
    """
    How one kind of fairseq model becomes one of ours.

    Args:
        model_class (`type`): translation model to build.
        fields (`Callable`): config fields of this family, from the state dict and `legacy`.
        renamed (`dict[str, str]`): parts of parameter names that differ, ours -> fairseq's.
        legacy_generation (`dict[str, Any]`): what the generation config says with `legacy`.
        adapt (`Callable`, *optional*): what is done with the weights before they are read.
        read_arguments (`Callable`, *optional*): config fields of this family, from fairseq's arguments.
    """

    model_class: type[NATPreTrainedModel]
    fields: Callable[[StateDict, bool], dict[str, Any]]
    renamed: Mapping[str, str] = field(default_factory=dict)
    legacy_generation: Mapping[str, Any] = field(default_factory=dict)
    adapt: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None
    read_arguments: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None


def _cmlm_fields(state_dict: StateDict, legacy: bool) -> dict[str, Any]:
    return {"max_target_length": state_dict[LENGTH_NAME].shape[0], **(LEGACY_FIELDS if legacy else {})}


def _cmlmc_fields(state_dict: StateDict, legacy: bool) -> dict[str, Any]:
    return {**_cmlm_fields(state_dict, legacy), "legacy_unmasked_attn_no_pad_mask": legacy}


def _imputer_fields(state_dict: StateDict, legacy: bool) -> dict[str, Any]:
    return {"blank_token_id": state_dict[TIED_NAMES[0]].shape[0] - 1, **(LEGACY_FIELDS if legacy else {})}


def _size(state_dict: StateDict, name: str, dim: int, *, default: int) -> int:
    """Rows (0) or columns (1) of a table; the default for one that is missing, which is reported elsewhere."""
    _check_table(state_dict, name)
    return state_dict[name].shape[dim] if name in state_dict else default


def _levenshtein_fields(state_dict: StateDict, legacy: bool) -> dict[str, Any]:
    num_counts = _size(state_dict, _INSERTION_NAME, 0, default=256)
    return {"max_insertions": max(num_counts - 1, 1), "suppress_special_tokens": not legacy}


def _levenshtein_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    exits, num_layers = str(arguments.get("early_exit", "")), arguments.get("decoder_layers")
    numbers = [int(each) for each in exits.split(",") if each.strip().isdigit()]
    if isinstance(num_layers, int) and any(number < num_layers for number in numbers):
        raise ValueError(
            f"The checkpoint was trained with --early-exit {exits}, for some heads fewer than its {num_layers} layers,"
            " which has no counterpart here."
        )
    return {}


def _insertion_fields(state_dict: StateDict, legacy: bool) -> dict[str, Any]:
    return {"suppress_special_tokens": not legacy}


def _crf_fields(state_dict: StateDict, legacy: bool) -> dict[str, Any]:
    return {
        "max_target_length": _size(state_dict, LENGTH_NAME, 0, default=256),
        "crf_rank": _size(state_dict, _CRF_NAME, 1, default=32),
        "crf_dynamic": False,
        "suppress_special_tokens": not legacy,
    }


def _crf_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    beam_size = arguments.get("crf_beam_approx")
    return {"crf_beam_size": beam_size} if isinstance(beam_size, int) else {}


def _dat_fields(state_dict: StateDict, legacy: bool) -> dict[str, Any]:
    return {"link_heads": _size(state_dict, _GATE_NAME, 0, default=1), "suppress_special_tokens": not legacy}


def _adapt_dat(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Without the length predictor, which graphs of the source's size leave untrained; sources have a smaller table of
    positions than graphs: its end is never read, since a source is `upsample_ratio` times shorter."""
    weights = {name: tensor for name, tensor in weights.items() if name != LENGTH_NAME}
    source, graph = (weights.get(f"{side}.embed_positions.weight") for side in ("encoder", "decoder"))
    if source is not None and graph is not None and source.dim() == graph.dim() == 2 and len(source) < len(graph):
        padded = torch.nn.functional.pad(source, (0, 0, 0, len(graph) - len(source)))
        weights["encoder.embed_positions.weight"] = padded
    return weights


def _dat_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    ratio = arguments.get("decode_upsample_scale")
    if ratio is None:
        ratio = arguments.get("upsample_scale")
    try:
        number = float(ratio) if ratio is not None else None
    except ValueError:  # a range, "4~8"
        # refused below: graphs of one size are all that there is
        number = 0.5
    if number is not None and (number < 1 or number != int(number)):
        raise ValueError(
            f"The checkpoint was trained with --upsample-scale {ratio}, and graphs here have a whole number of "
            "vertices per source token. Only such checkpoints can be imported."
        )
    limit, longest = arguments.get("max_transition_length"), arguments.get("max_target_positions")
    limits_links = isinstance(limit, int) and isinstance(longest, int) and 0 < limit < longest
    features = arguments.get("links_feature", "feature:position")
    if limits_links or features != "feature:position" or arguments.get("upsample_base") in ("predict", "fixed"):
        raise ValueError(
            f"The checkpoint was trained with --links-feature {features}, --max-transition-length {limit}, "
            f"--upsample-base {arguments.get('upsample_base')}. Only feature:position, transitions of any length and "
            "graphs of the source's size have a counterpart here."
        )
    return {} if number is None else {"upsample_ratio": int(number)}


_INSERTION_NAME = "decoder.embed_mask_ins.weight"
_CRF_NAME = "crf_layer.E1.weight"
_GATE_NAME = "decoder.gate_linear.weight"

FAMILIES: dict[str, FairseqFamily] = {
    "cmlm": FairseqFamily(CMLMForConditionalGeneration, _cmlm_fields),
    "cmlmc": FairseqFamily(CMLMCForConditionalGeneration, _cmlmc_fields, {"embed_proj": "PEfc"}),
    "imputer": FairseqFamily(
        ImputerForConditionalGeneration, _imputer_fields, legacy_generation={"legacy_adjacency": True}
    ),
    "levenshtein_transformer": FairseqFamily(
        LevenshteinForConditionalGeneration,
        _levenshtein_fields,
        {"deletion_head": "decoder.embed_word_del", "insertion_head": "decoder.embed_mask_ins"},
        read_arguments=_levenshtein_arguments,
    ),
    "insertion_transformer": FairseqFamily(
        InsertionForConditionalGeneration, _insertion_fields, {"gap_projection": "decoder.pool_out"}
    ),
    "nacrf_transformer": FairseqFamily(
        CMLMCRFForConditionalGeneration,
        _crf_fields,
        {"crf_head.previous": "crf_layer.E1", "crf_head.following": "crf_layer.E2"},
        read_arguments=_crf_arguments,
    ),
    "glat_decomposed_link": FairseqFamily(
        DATForConditionalGeneration,
        _dat_fields,
        {
            "links.positions": "decoder.link_positional",
            "links.query": "decoder.query_linear",
            "links.key": "decoder.key_linear",
            "links.gate": "decoder.gate_linear",
        },
        adapt=_adapt_dat,
        read_arguments=_dat_arguments,
    ),
}

# Names that one family alone has; what has none of them is a CMLM or an Imputer.
_OWN_NAMES = {
    "decoder.layers_msk.": "levenshtein-stacks",
    "decoder.layers_del.": "levenshtein-stacks",
    "decoder.embed_seg.": "dat-segments",
    _INSERTION_NAME: "levenshtein_transformer",
    "decoder.pool_out.": "insertion_transformer",
    "crf_layer.": "nacrf_transformer",
    "decoder.query_linear.": "glat_decomposed_link",
}

# family -> what its import lacks
NOT_YET_SUPPORTED: dict[str, str] = {
    "cmlmc-imputer": f"This is an Imputer over the layers of CMLMC (it has self_attn_unmasked and no {LENGTH_NAME}), "
    "which cannot be imported.",
    "mask-predict": "This checkpoint has the layout of the original Mask-Predict code (in_proj_weight, gamma/beta), a "
    "different architecture, which cannot be imported.",
    "levenshtein-stacks": "This is a Levenshtein Transformer with decoder layers of their own for deletions or "
    "placeholders (--no-share-discriminator, --no-share-maskpredictor), which cannot be imported.",
    "dat-segments": "This is a DA-Transformer with segment embeddings (--segment-embedding), which cannot be "
    "imported.",
    "concat-prediction": "This checkpoint was trained with --concat-prediction (it has decoder.reduce_concat layers), "
    "which cannot be imported.",
}


class ImportedCheckpoint(NamedTuple):
    """Result of [`import_fairseq_checkpoint`]: the model in evaluation mode, its tokenizer, fairseq's arguments."""

    model: NATPreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    arguments: dict[str, Any]


def model_from_fairseq_state_dict(
    state_dict: StateDict, *, attention_heads: int | tuple[int, int], legacy: bool = True, **config_fields: Any
) -> NATPreTrainedModel:
    """
    Builds the model that a fairseq state dict belongs to, recognised by its parameter names, and fills it.

    Sizes come from the shapes; half-precision weights become fp32. The mask token is `<unk>` (id 3), as in fairseq.

    Args:
        state_dict (`dict[str, torch.Tensor]`): entry `"model"` of a fairseq checkpoint.
        attention_heads (`int` or `tuple[int, int]`): heads of every layer, or (encoder, decoder); no shape tells.
        legacy (`bool`, *optional*, defaults to `True`): reproduce the reference implementation bit for bit where it is
            odd: the mask's logit is -1000, `<s>`, `<pad>`, `</s>` may be predicted inside a sentence, the extra
            self-attention of CMLMC sees padding, so that a translation depends on its batch, and Imputers decode with
            `legacy_adjacency`.
        config_fields: other config fields the weights cannot tell (`dropout`, `activation_function`,
            `scale_embedding`, `update_all_positions` of an Imputer trained with `--ctc-distill`, …).

    Returns:
        The family's translation model in evaluation mode: [`CMLMForConditionalGeneration`],
        [`CMLMCForConditionalGeneration`], [`LevenshteinForConditionalGeneration`] (`levenshtein_transformer`),
        [`InsertionForConditionalGeneration`] (`insertion_transformer`), [`CMLMCRFForConditionalGeneration`]
        (`nacrf_transformer`), [`DATForConditionalGeneration`] (DA-Transformer's `glat_decomposed_link`) or, without a
        length predictor and heads of any other family, [`ImputerForConditionalGeneration`], whose blank is the last
        row.

    Raises:
        NotImplementedError: for a recognised model that has no counterpart here (yet).
        ValueError: for missing, unexpected or misshapen tensors (all of them in one message), numbers that are not
            finite, copies of the tied embedding that differ, or heads that do not divide the width.
    """
    _check_tensors(state_dict)
    name = _recognise(state_dict)
    if name in NOT_YET_SUPPORTED:
        raise NotImplementedError(f"{NOT_YET_SUPPORTED[name]} Supported: {', '.join(FAMILIES)}.")
    family = FAMILIES[name]
    weights = _with_tied_copies(state_dict)
    weights = family.adapt(weights) if family.adapt else weights
    fields = {**SPECIAL_IDS, **_sizes(weights, attention_heads), **family.fields(weights, legacy), **config_fields}
    model = family.model_class(family.model_class.config_class(**fields))
    _load(model, weights, family)
    for name, value in family.legacy_generation.items() if legacy else ():
        setattr(model.generation_config, name, value)
    return model.eval()


def _check_tensors(state_dict: Mapping[Any, Any]) -> None:
    """Refuses what is no mapping of names to finite numbers that the file really holds."""
    for name, value in state_dict.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ValueError(
                f"The state dict holds {name!r}: {type(value).__name__}, not only tensors by their names. Pass the "
                "entry 'model' of the checkpoint."
            )
        if value.layout != torch.strided or value.is_complex() or value.is_quantized or value.is_meta:
            raise ValueError(f"{name} is no plain tensor of numbers ({value.dtype}, {value.layout}). {_AGAIN}")
        # A tensor of stride 0 can claim any size in a few bytes.
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise ValueError(f"{name} claims the shape {tuple(value.shape)} and has less numbers. {_AGAIN}")
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} holds NaN or infinite numbers. Take another checkpoint, or copy it again.")


def _find_own_family(names: Iterable[Any]) -> str | None:
    """The family that names alone tell."""
    found = {own for name in names for own in _OWN_NAMES if str(name).startswith(own)}
    return next((family for own, family in _OWN_NAMES.items() if own in found), None)


def _recognise(state_dict: StateDict) -> str:
    """Family of a state dict, from its names alone."""
    names = list(state_dict)
    if any(name.endswith((".in_proj_weight", ".gamma", ".beta")) for name in names):
        return "mask-predict"
    if any(name.startswith("decoder.reduce_concat.") for name in names):
        return "concat-prediction"
    own = _find_own_family(state_dict)
    if own is not None:
        return own
    if any(".self_attn_unmasked." in name for name in names):
        return "cmlmc" if LENGTH_NAME in state_dict else "cmlmc-imputer"
    for layer in ("encoder.layers.0", "decoder.layers.0"):
        if not any(name.startswith(f"{layer}.") for name in names):
            raise ValueError(
                f"This is not the state dict of a fairseq translation model: it has no {layer}, but "
                f"{', '.join(map(str, names[:3])) or 'nothing'}. Pass the entry 'model' of the checkpoint."
            )
    return "cmlm" if LENGTH_NAME in state_dict else "imputer"


def _with_tied_copies(state_dict: StateDict) -> dict[str, torch.Tensor]:
    """fp32 weights without version counters, with the embedding under all its names, after checking it is one."""
    # counters of fairseq's modules, and no weights
    weights = {name: tensor.float() for name, tensor in state_dict.items() if not name.endswith(".version")}
    present = [name for name in TIED_NAMES if name in weights]
    if not present:
        raise ValueError(f"The state dict has no token embedding ({TIED_NAMES[0]}). Pass a complete checkpoint.")
    for name in (*present, LENGTH_NAME):
        _check_table(weights, name)
    for name in present[1:]:
        if not torch.equal(weights[name], weights[present[0]]):
            raise ValueError(
                f"{name} differs from {present[0]}, but these models share one embedding (--share-all-embeddings). "
                "A checkpoint with separate tables cannot be imported."
            )
    # the names may be missing in a checkpoint, but not all of them
    return {**weights, **dict.fromkeys(TIED_NAMES, weights[present[0]])}


def _check_table(weights: StateDict, name: str, rows: int = 1) -> None:
    """Refuses a table that is not one, or has too few rows; one that is missing is reported elsewhere."""
    if name in weights and (weights[name].dim() != 2 or weights[name].shape[0] < rows or not weights[name].shape[1]):
        raise ValueError(f"{name} has the shape {tuple(weights[name].shape)}, which no table has. {_AGAIN}")


def _sizes(weights: StateDict, attention_heads: int | tuple[int, int]) -> dict[str, Any]:
    """Config fields that the shapes tell, with the heads."""
    vocab_size, d_model = weights[TIED_NAMES[0]].shape
    fields: dict[str, Any] = {"vocab_size": vocab_size, "d_model": d_model}
    num_rows = {}
    for side, side_heads in zip(("encoder", "decoder"), _pair_of_heads(attention_heads), strict=True):
        positions = weights.get(f"{side}.embed_positions.weight")
        if positions is None:
            raise ValueError(
                f"The state dict has no {side}.embed_positions.weight. Only learned positions are supported "
                f"(--{side}-learned-pos)."
            )
        _check_table(weights, f"{side}.embed_positions.weight", rows=3)
        _check_table(weights, f"{side}.layers.0.fc1.weight")
        num_rows[side] = positions.shape[0]
        inner = weights.get(f"{side}.layers.0.fc1.weight")
        fields[f"{side}_layers"] = _count_layers(weights, side)
        fields[f"{side}_attention_heads"] = side_heads
        fields[f"{side}_ffn_dim"] = 1 if inner is None else inner.shape[0]
    if num_rows["encoder"] != num_rows["decoder"]:
        raise ValueError(
            f"The position tables have {num_rows['encoder']} rows (encoder) and {num_rows['decoder']} (decoder). "
            "Only equal --max-source-positions and --max-target-positions are supported."
        )
    # two rows before the first token: fairseq's offset
    return {**fields, "max_position_embeddings": num_rows["encoder"] - 2}


def _pair_of_heads(attention_heads: Any) -> tuple[int, int]:
    """Heads of encoder and decoder."""
    heads = (attention_heads,) * 2 if isinstance(attention_heads, int) else attention_heads
    is_pair = isinstance(heads, (tuple, list)) and len(heads) == 2
    if not is_pair or any(isinstance(each, bool) or not isinstance(each, int) or each < 1 for each in heads):
        raise ValueError(
            f"attention_heads must be a number >= 1, or two for encoder and decoder, got {attention_heads!r}."
        )
    return heads[0], heads[1]


def _count_layers(weights: StateDict, side: str) -> int:
    """Layers of one side: those from 0 on without a gap; a name of a later one is unexpected."""
    found = {match[1] for name in weights if (match := re.match(rf"{side}\.layers\.(\d+)\.", name))}
    count = 0
    # a gap ends the count: what comes after it is reported as unexpected
    while str(count) in found:
        count += 1
    return count


def _load(model: NATPreTrainedModel, weights: Mapping[str, torch.Tensor], family: FairseqFamily) -> None:
    """Copies the weights by name; everything that does not fit is reported at once."""
    ours = {name: _fairseq_name(name, family.renamed) for name in model.state_dict()}
    missing = sorted({name for name in ours.values() if name not in weights})
    unexpected = sorted(set(weights) - set(ours.values()))
    shapes = {ours[name]: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    misshapen = [
        f"{name} {tuple(weights[name].shape)} instead of {shape}"
        for name, shape in sorted(shapes.items())
        if name in weights and tuple(weights[name].shape) != shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    listed = "; ".join(f"{what}: {', '.join(names)}" for what, names in problems.items() if names)
    if listed:
        raise ValueError(
            f"The state dict does not fit {type(model).__name__}. {listed}. Only the plain architecture of a family "
            "can be imported (post-norm, learned positions, shared embeddings)."
        )
    model.load_state_dict({name: weights[theirs] for name, theirs in ours.items()})


def _fairseq_name(name: str, renamed: Mapping[str, str]) -> str:
    """fairseq's name of one of our parameters."""
    if name in HEAD_NAMES:
        return HEAD_NAMES[name]
    for mine, theirs in renamed.items():
        name = name.replace(mine, theirs)
    return name.removeprefix("model.")


def import_fairseq_checkpoint(
    path: str | os.PathLike[str],
    dict_path: str | os.PathLike[str],
    *,
    attention_heads: int | tuple[int, int] | None = None,
    legacy: bool = True,
) -> ImportedCheckpoint:
    """
    Reads a fairseq checkpoint and its dictionary, without ever running code from the file.

    Args:
        path (`str` or `os.PathLike`): `checkpoint*.pt` as fairseq saved it.
        dict_path (`str` or `os.PathLike`): `dict.xx.txt` of the joint vocabulary, from the data-bin folder.
        attention_heads (`int` or `tuple[int, int]`, *optional*): heads of every layer or (encoder, decoder), for
            checkpoints without arguments; taken from the arguments by default.
        legacy (`bool`, *optional*, defaults to `True`): see [`model_from_fairseq_state_dict`].

    Returns:
        [`ImportedCheckpoint`]: `(model, tokenizer, arguments)`; `arguments` are fairseq's, as a flat `dict`.

    Raises:
        FileNotFoundError: for a missing file.
        ValueError: for a checkpoint that holds more than data, lacks weights or arguments, or was trained with options
            that have no counterpart here; for a dictionary that does not match the embedding table.
        NotImplementedError: for a model family without counterpart.
    """
    path, dict_path = (expand_home(name) for name in (path, dict_path))
    for wanted in (path, dict_path):
        if not wanted.is_file():
            raise FileNotFoundError(f"{wanted} does not exist. Give the checkpoint and the dict.txt of its data-bin.")
    checkpoint = _read_checkpoint(path)
    arguments = _arguments(checkpoint)
    if attention_heads is None:
        attention_heads = _attention_heads(arguments, path)
    model = model_from_fairseq_state_dict(
        checkpoint["model"],
        attention_heads=attention_heads,
        legacy=legacy,
        **_fields_from_arguments(arguments, checkpoint["model"]),
    )
    tokenizer = tokenizer_from_fairseq_dictionary(dict_path, max_length=model.config.max_source_length)
    if isinstance(model, ImputerForConditionalGeneration):
        add_blank(tokenizer)  # the reference appends it to the dictionary when it loads it
    _check_vocabulary(dict_path, len(tokenizer), model.config)
    return ImportedCheckpoint(model, tokenizer, arguments)


def _read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The checkpoint as data. `argparse.Namespace` is allowed: it only holds values."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            # never the whole pickle, which may run anything
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise ValueError(_refusal(Path(path), error)) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model"), dict):
        raise ValueError(
            f"{path} has no entry 'model' with a state dict, so it is not a fairseq checkpoint. For a bare state dict "
            "call model_from_fairseq_state_dict."
        )
    return checkpoint


def _refusal(path: Path, error: Exception) -> str:
    """Why a file cannot be read as plain data: what it is instead, or what it needs, by name, and the way out."""
    found = _foreign_objects(path, str(error))
    if found:
        return (
            f"{path} holds more than tensors and plain values ({', '.join(found)}), and reading such objects would run"
            " code from the file. If you trust it, convert it once where fairseq is installed: `c = torch.load(path, "
            "weights_only=False); a = c.get('args') or c['cfg']['model']; torch.save({'model': c['model'], "
            "'args': vars(a)}, new_path)`, then import new_path."
        )
    head = path.read_bytes()[:4096]
    if not head:
        return f"{path} is empty. Download or copy it again."
    if b"\0" not in head and not head.startswith((b"PK", b"\x80")):
        return f"{path} is text, not a torch checkpoint. Give the checkpoint (*.pt) first, then its dictionary."
    reason = " ".join(str(error).split("\n")[0].split())[:200]
    return f"{path} is not a readable torch checkpoint ({type(error).__name__}: {reason}). Download or copy it again."


def _foreign_objects(path: Path, reason: str) -> list[str]:
    """Names of the classes and functions that a checkpoint would need."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # written by an old torch, or damaged; the reason names what it met first
        found = []
    names = sorted(found) or sorted(set(re.findall(r"GLOBAL ([\w.]+)", reason)))
    # of a damaged file, letters that happen to stand there
    return [name for name in names if re.fullmatch(r"\w+(\.\w+)+", name, re.ASCII)]


def _arguments(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """fairseq's flat arguments; newer releases keep them under cfg.model."""
    cfg = checkpoint.get("cfg")
    candidates = (checkpoint.get("args"), cfg.get("model") if isinstance(cfg, Mapping) else cfg)
    for candidate in candidates:
        if isinstance(candidate, argparse.Namespace):
            return dict(vars(candidate))
        if isinstance(candidate, Mapping):
            return dict(candidate)
    return {}


def _attention_heads(arguments: Mapping[str, Any], path: str | os.PathLike[str]) -> tuple[int, int]:
    names = ("encoder_attention_heads", "decoder_attention_heads")
    if not all(isinstance(arguments.get(name), int) for name in names):
        raise ValueError(
            f"{path} holds no arguments with {' and '.join(names)}, and no shape tells them. Pass attention_heads."
        )
    return arguments[names[0]], arguments[names[1]]


def _fields_from_arguments(arguments: Mapping[str, Any], state_dict: Mapping[Any, Any]) -> dict[str, Any]:
    """Config fields that only the arguments tell; options that would change the computation are refused."""
    refused = (
        "encoder_normalize_before",
        "decoder_normalize_before",
        "layernorm_embedding",
        "pred_length_offset",
        "src_embedding_copy",
    )
    used = [name for name in refused if arguments.get(name)]
    activation = arguments.get("activation_fn", "relu")
    if activation not in ("relu", "gelu"):
        used.append(f"activation_fn={activation}")
    if used:
        options = ", ".join("--" + name.replace("_", "-") for name in used)
        raise ValueError(f"The checkpoint was trained with {options}, which has no counterpart here.")
    fields: dict[str, Any] = {"activation_function": activation}
    if "no_scale_embedding" in arguments:
        fields["scale_embedding"] = not arguments["no_scale_embedding"]
    for name in ("dropout", "attention_dropout", "activation_dropout"):
        if isinstance(arguments.get(name), (int, float)):
            fields[name] = float(arguments[name])
    if arguments.get("ctc_distill"):
        # Imputers trained so predict all frames in every pass, as the reference decodes them
        fields["update_all_positions"] = True
    family = FAMILIES.get(_find_own_family(state_dict) or "")
    return {**fields, **(family.read_arguments(arguments) if family and family.read_arguments else {})}


def _check_vocabulary(dict_path: str | os.PathLike[str], num_tokens: int, config: NATConfig) -> None:
    if num_tokens != config.vocab_size:
        raise ValueError(
            f"{dict_path} gives {num_tokens} tokens (with the {len(SPECIAL_TOKENS)} special ones), but the embedding "
            f"has {config.vocab_size} rows. Use the dict.txt of the data-bin folder the checkpoint was trained on, "
            "with its madeupword lines."
        )


def tokenizer_from_fairseq_dictionary(
    dict_path: str | os.PathLike[str], *, max_length: int = 1024
) -> PreTrainedTokenizerFast:
    """
    Tokenizer over text that is already split into BPE pieces ("hel@@ lo world"), as fairseq reads it.

    Words are what lies between blanks; unknown ones become `<unk>`. Encoding adds `<s> … </s>`; decoding joins the
    pieces that end in `@@` to what follows.

    Args:
        dict_path (`str` or `os.PathLike`): `dict.xx.txt`, one "token count" per line; ids follow the four special
            tokens in file order.
        max_length (`int`): longest source of the model, `<s>` and `</s>` included.

    Returns:
        `PreTrainedTokenizerFast`, which `AutoTokenizer` loads with no code of ours.

    Raises:
        ValueError: for a line that is not "token count", or a repeated token without the overwrite flag.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel(read_fairseq_dictionary(dict_path), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    # A blank never begins a word, so the first decoder puts one before every token but the first.
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix=" ", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex("@@( |$)"), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        mask_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )


def read_fairseq_dictionary(dict_path: str | os.PathLike[str]) -> dict[str, int]:
    """
    Token -> id of a fairseq `dict.txt`, special tokens first.

    A line flagged `#fairseq:overwrite` takes over its token; the earlier row stays in the table under a name that no
    text contains. The special tokens themselves always keep their ids.

    A byte order mark, which no fairseq writes and some editors do, is dropped.

    Raises:
        ValueError: naming file, line number and reason.
    """
    ids = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
    for number, (token, overwrites) in enumerate(_dictionary_lines(_read_dictionary(dict_path), dict_path), start=1):
        index = len(ids)
        if token not in ids:
            ids[token] = index
        elif not overwrites:
            raise ValueError(
                f"{dict_path}, line {number}: {token!r} is there twice (id {ids[token]} already). Remove the "
                f"line, or end it in {OVERWRITE_FLAG} if the model was trained with both rows."
            )
        # fairseq's own rows keep the name; the line's row is unreachable, but counts
        elif token in SPECIAL_TOKENS:
            ids[f"{token} {index}"] = index
        else:
            # with a blank in it, by which no text can name it
            ids[f"{token} {ids[token]}"] = ids[token]
            ids[token] = index
    return ids


def _read_dictionary(dict_path: str | os.PathLike[str]) -> list[str]:
    try:
        return read_lines(Path(dict_path))
    except ValueError as error:
        raise ValueError(f"{error} Give the dict.txt that fairseq wrote, after the checkpoint.") from None


def _dictionary_lines(lines: Iterable[str], dict_path: str | os.PathLike[str]) -> Iterable[tuple[str, bool]]:
    """(token, whether it overwrites) of each line."""
    for number, line in enumerate(lines, start=1):
        text = line.rstrip()
        overwrites = text.endswith(" " + OVERWRITE_FLAG)
        # from the right: a token may hold blanks
        token, _, count = text.removesuffix(" " + OVERWRITE_FLAG).rpartition(" ")
        if not token or not re.fullmatch(r"-?\d+", count):
            raise ValueError(
                f"{dict_path}, line {number}: {text[:60]!r} is not 'token count'. Use the dict.txt that fairseq wrote."
            )
        yield token, overwrites
