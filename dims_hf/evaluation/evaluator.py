# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""One model on one set: a record per decoding setting, and how well the model predicts lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, TypedDict, cast

from dims_hf.models.capabilities import is_non_autoregressive, makes_one_pass, predicts_length
from dims_hf.translation.results import Timing, Translation
from dims_hf.translation.sentences import collapses_repeats, translate_texts_timed, translate_timed

from .bleu import References
from .length import (
    Bucket,
    equal_length_buckets,
    length_accuracy,
    length_buckets,
    length_top_k_accuracy,
    predict_lengths,
    reference_lengths,
)
from .metrics import METRICS, SystemOutput
from .validity import Judge


if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
    from typing_extensions import Unpack

    from dims_hf.models.modeling_translation import NATForConditionalGeneration

_LENGTH_KS = (1, 3, 5)
_NUM_WARMUP_SENTENCES = 8
# Decoder passes of a family that refines, where none are asked for.
_ITERATIONS = (1, 2, 4, 10)


class ScoringOptions(TypedDict, total=False):
    """
    How translations are scored.

    Attributes:
        judge (`Callable[[str, str], str]`): says "valid", "mixture" or "wrong" of a source and its translation, on a
            corpus that knows all its targets.
        subsets (`Mapping[str, Sequence[bool]]`): name to one flag per sentence; scored separately too.
        length_edges (`Sequence[int]`): score buckets of reference lengths N too; see `length_buckets`.
        num_length_buckets (`int`): the same for so many buckets of equal size; see `equal_length_buckets`. Excludes
            `length_edges`.
        bleu_tokenizer (`str`): sacreBLEU's tokenizer, one of `BLEU_TOKENIZERS`; chosen by the references' script when
            left out.
    """

    judge: Judge | None
    subsets: Mapping[str, Sequence[bool]] | None
    length_edges: Sequence[int] | None
    num_length_buckets: int | None
    bleu_tokenizer: str | None


def evaluate_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    references: References,
    *,
    iterations: Sequence[int] | None = None,
    length_beams: Sequence[int] = (1,),
    decodings: Mapping[str, Mapping[str, Any]] | None = None,
    oracle_length: bool = False,
    collapse_repeats: bool | None = None,
    max_tokens_per_batch: int = 4096,
    callback: Callable[[dict[str, Any], list[Translation]], None] | None = None,
    **scoring: Unpack[ScoringOptions],
) -> dict[str, Any]:
    """Translates a set at every decoding setting and measures it with every entry of `METRICS`.

    Args:
        model (`PreTrainedModel`): the model.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer.
        sources (`Sequence[str]`): source sentences, none blank.
        references (`Sequence[str]` or `Sequence[Sequence[str]]`): one reference per source, or a list of them, the
            first of which is that of all that is measured in lengths.
        iterations (`Sequence[int]`, *optional*): decoder passes; by default what the family has: 1, 2, 4 and 10, or 1
            where there is one pass by construction, or none of an autoregressive model.
        length_beams (`Sequence[int]`, *optional*, defaults to `(1,)`): length candidates, combined with `iterations`.
        decodings (`Mapping[str, Mapping[str, Any]]`, *optional*): name to keyword arguments of `generate`, such as
            `{"tuned": {"repeat_penalty": 1.0}}`; a record each, after those of `iterations`, which may then be empty.
            What one does not say is as the model's generation config says. All that an autoregressive model has, with
            `num_beams`.
        oracle_length (`bool`, *optional*, defaults to `False`): add, for every number of iterations, a record decoded
            with the reference's length (with the longest the model can write where the reference is longer).
        collapse_repeats (`bool`, *optional*): drop a token equal to its right neighbour before scoring; the model's
            generation config decides when `None`. Repetition and mixtures are measured before that, validity both
            ways.
        max_tokens_per_batch (`int`, *optional*, defaults to 4096): padded tokens per batch, candidates counted.
        callback (`Callable[[dict, list[Translation]], None]`, *optional*): called with every record and its
            translations, for example to write them.
        scoring ([`ScoringOptions`]): `judge`, `subsets`, `length_edges`, `num_length_buckets`, `bleu_tokenizer`.

    Returns:
        `dict[str, Any]`: `num_parameters`, `dtype`, `device`, `length` (accuracies between 0 and 1, `None` without a
        length predictor) and `records`: the setting (of a named decoding also `decoding` and `decoding_settings`;
        `num_iterations` and `length_beam_size` are `None` of an autoregressive model), `num_sentences`, the fields of
        `METRICS` (BLEU and chrF 0 to 100, shares 0 to 1), `milliseconds_per_sentence` (wall time of `generate` over
        sentences, at `sentences_per_batch` sentences per batch on average), `subsets`, and with `length_edges` or
        `num_length_buckets` `length_buckets`: `shortest` and `longest` (`None`: no end) reference length N of
        each, and its measures.

    Raises:
        ValueError: no sentences, counts that differ, a blank source, an empty subset, an impossible setting, or a
            length beam or reference lengths for a model that decodes without fixing a length.
    """
    _check_sizes(sources, references, scoring.get("subsets") or {})
    first = [each if isinstance(each, str) else each[0] or "" for each in references]
    lengths = reference_lengths(tokenizer, first)
    scorer = _Scorer(sources, references, lengths, **scoring)
    named = _named_settings(model, decodings or {}, iterations)
    _check_length_settings(model, length_beams, oracle_length)
    if iterations is None:
        iterations = _default_iterations(model.config)
    settings = [*_settings(iterations, length_beams, oracle_length, is_enough=bool(named)), *named]
    if collapse_repeats is None:
        collapse_repeats = is_non_autoregressive(model.config) and collapses_repeats(model)
    shared = {"collapse_repeats": collapse_repeats, "max_tokens_per_batch": max_tokens_per_batch}
    # the first calls pay for memory and kernels that the others find ready
    _translate(model, tokenizer, sources[:_NUM_WARMUP_SENTENCES], settings[0], lengths, {})
    records = []
    for setting in settings:
        # a named decoding may say otherwise
        common = {name: setting.get("decoding_settings", {}).get(name, value) for name, value in shared.items()}
        translations, timing = _translate(model, tokenizer, sources, setting, lengths, common)
        record = {**setting, **common, **scorer.score(translations)}
        record["milliseconds_per_sentence"] = timing.milliseconds_per_sentence
        record["sentences_per_batch"] = timing.sentences_per_batch
        records.append(record)
        if callback is not None:
            callback(record, translations)
    return {
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "length": measure_length(model, tokenizer, sources, lengths, max_tokens_per_batch=max_tokens_per_batch),
        "records": records,
    }


def measure(output: SystemOutput) -> dict[str, Any]:
    """Every entry of `METRICS` on one system output, after `num_sentences`."""
    fields: dict[str, Any] = {"num_sentences": len(output.sources)}
    for metric in METRICS.values():
        fields.update(metric(output))
    return fields


class _Scorer:
    """Scores translations of one set, whole and in parts; refuses impossible parts before anything is translated."""

    def __init__(
        self,
        sources: Sequence[str],
        references: References,
        lengths: Sequence[int],
        *,
        judge: Judge | None = None,
        subsets: Mapping[str, Sequence[bool]] | None = None,
        length_edges: Sequence[int] | None = None,
        num_length_buckets: int | None = None,
        bleu_tokenizer: str | None = None,
    ) -> None:
        self.sources, self.references, self.subsets = sources, references, subsets or {}
        self.judge, self.bleu_tokenizer = judge, bleu_tokenizer
        self.buckets = _buckets(lengths, length_edges, num_length_buckets)

    def score(self, translations: Sequence[Translation]) -> dict[str, Any]:
        """Fields of `METRICS`, `subsets` and, where there are any, `length_buckets`."""
        output = SystemOutput(self.sources, self.references, translations, self.judge, self.bleu_tokenizer)
        fields = measure(output)
        fields["subsets"] = {name: measure(output.select(flags)) for name, flags in self.subsets.items()}
        if self.buckets:
            fields["length_buckets"] = [
                {"shortest": shortest, "longest": longest, **measure(output.select(flags))}
                for shortest, longest, flags in self.buckets
            ]
        return fields


def measure_length(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    lengths: Sequence[int],
    *,
    max_tokens_per_batch: int = 4096,
) -> dict[str, float] | None:
    """Length accuracies against reference lengths N, or `None` for a model that predicts no length."""
    if not predicts_length(model.config):
        return None
    ranked = predict_lengths(
        model, tokenizer, sources, top_k=max(_LENGTH_KS), max_tokens_per_batch=max_tokens_per_batch
    )
    accuracy = length_accuracy([candidates[0] for candidates in ranked], lengths)
    return {**accuracy, **length_top_k_accuracy(ranked, lengths, ks=_LENGTH_KS)}


def _translate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[str],
    setting: Mapping[str, Any],
    lengths: Sequence[int],
    common: Mapping[str, Any],
) -> tuple[list[Translation], Timing]:
    """The sources as a setting decodes them."""
    if not is_non_autoregressive(model.config):
        from dims_hf.translation.torch_runtime import AutoregressiveRuntime

        runtime = AutoregressiveRuntime(model, tokenizer)
        return translate_texts_timed(runtime, sources, **setting["decoding_settings"], **common)
    options = setting.get("decoding_settings")
    if options is None:
        options = {name: setting[name] for name in ("num_iterations", "length_beam_size")}
    given = _decodable(lengths, model)[: len(sources)] if setting["oracle_length"] else None
    return translate_timed(model, tokenizer, sources, target_lengths=given, **{**options, **common})


def _named_settings(
    model: PreTrainedModel, decodings: Mapping[str, Mapping[str, Any]], iterations: Sequence[int] | None
) -> list[dict[str, Any]]:
    """
    A setting per named decoding, with the passes and candidates that it comes to.

    Raises:
        ValueError: what the model does not know, or cannot do; or an autoregressive model without decodings, or with
            passes.
    """
    resolved: dict[str, tuple[int | None, int | None]]
    if not is_non_autoregressive(model.config):
        if iterations or not decodings:
            raise ValueError(
                f"{type(model).__name__} is autoregressive, and has no passes to vary. Name how it is decoded, for "
                'example decodings={"beam": {"num_beams": 5}} (--decoding beam:num_beams=5), and leave out iterations.'
            )
        resolved = dict.fromkeys(decodings, (None, None))
    else:
        owner = cast("NATForConditionalGeneration", model)
        chosen = {name: owner.decoding_settings(**options) for name, options in decodings.items()}
        resolved = {name: (each.num_iterations, each.length_beam_size) for name, each in chosen.items()}
    return [
        {
            "num_iterations": resolved[name][0],
            "length_beam_size": resolved[name][1],
            "oracle_length": False,
            "decoding": name,
            "decoding_settings": dict(options),
        }
        for name, options in decodings.items()
    ]


def _default_iterations(config: PreTrainedConfig) -> tuple[int, ...]:
    """Passes that show what a family can do."""
    if not is_non_autoregressive(config):
        return ()
    return (1,) if makes_one_pass(config) else _ITERATIONS


def _settings(
    iterations: Sequence[int], length_beams: Sequence[int], oracle_length: bool, *, is_enough: bool = False
) -> list[dict[str, Any]]:
    """Passes by candidates; none is allowed where named decodings are enough."""
    if is_enough and not iterations:
        if oracle_length or any(beam != 1 for beam in length_beams):
            raise ValueError(
                f"length_beams={list(length_beams)} and oracle_length go together with iterations, and there are "
                "none. Leave them out, or say length_beam_size in a named decoding."
            )
        return []
    for name, values in (("iterations", iterations), ("length_beams", length_beams)):
        if len(set(values)) < len(values):
            raise ValueError(f"{name}={list(values)} has a value twice. Ask for each once.")
    if not iterations or not length_beams:
        raise ValueError("iterations or length_beams is empty. Ask for at least one of each, for example (1,).")
    pairs = [(count, beam, False) for beam, count in product(length_beams, iterations)]
    # a given length leaves one candidate
    pairs += [(count, 1, True) for count in iterations if oracle_length]
    return [
        {"num_iterations": count, "length_beam_size": beam, "oracle_length": oracle} for count, beam, oracle in pairs
    ]


def _buckets(lengths: Sequence[int], edges: Sequence[int] | None, count: int | None) -> list[Bucket]:
    if edges is not None and count is not None:
        raise ValueError("length_edges and num_length_buckets both cut the set by length. Give one of them.")
    if count is not None:
        return equal_length_buckets(lengths, count)
    return length_buckets(lengths, edges) if edges is not None else []


def _check_length_settings(model: PreTrainedModel, length_beams: Sequence[int], oracle_length: bool) -> None:
    if predicts_length(model.config):
        return
    asked = [f"length_beams={list(length_beams)}"] if any(beam != 1 for beam in length_beams) else []
    asked += ["oracle_length"] if oracle_length else []
    if asked:
        raise ValueError(
            f"{type(model).__name__} does not fix the length of a translation before decoding it, so there is no "
            f"{' and no '.join(asked)}. Evaluate it with length_beams=(1,) and without oracle_length."
        )


def _decodable(lengths: Sequence[int], model: PreTrainedModel) -> list[int]:
    """Lengths N moved into what the model can write: at least one token, at most its length classes and positions."""
    longest = min(model.config.max_position_embeddings, model.config.max_target_length - 1) - 2
    return [min(max(1, length), longest) for length in lengths]


def _check_sizes(sources: Sequence[str], references: References, subsets: Mapping[str, Sequence[bool]]) -> None:
    """Before an hour of decoding, not after it."""
    if not len(sources) or len(sources) != len(references):
        raise ValueError(f"{len(sources)} sources for {len(references)} references. Give one of each, at least one.")
    for name, flags in subsets.items():
        if len(flags) != len(sources) or not any(flags):
            raise ValueError(
                f"Subset {name!r} has {len(flags)} flags, {sum(map(bool, flags))} of them true, for {len(sources)} "
                "sources. Give one flag per source, at least one of them true."
            )
