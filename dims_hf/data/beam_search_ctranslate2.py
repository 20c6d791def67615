# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Beam search in CTranslate2: Marian models are converted once, and batches run on all threads at the same time.

Its search is that of transformers with `early_stopping=True`: it ends when as many hypotheses as the beam is wide have
ended, and the scores it compares are renormalised over the tokens that may be written.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch

from .beam_search import Hypothesis, Sampling


if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

# Settings of a generation config that are handed on, set by the search, or of no effect in it.
_KNOWN_SETTINGS = frozenset(
    "bos_token_id pad_token_id eos_token_id decoder_start_token_id forced_eos_token_id max_length max_new_tokens "
    "num_beams length_penalty num_return_sequences do_sample use_cache early_stopping renormalize_logits "
    "suppress_tokens bad_words_ids transformers_version _from_model_config".split()
)
_SAMPLING_SETTINGS = frozenset({"top_k", "temperature"})


class CTranslate2BeamSearch:
    """
    A Marian model in CTranslate2, on the device of the model.

    Args:
        model, tokenizer: as [`BeamTranslator`].
        generation_config (`GenerationConfig`): the search.
        precision (`str`, *optional*): `float32`, `int8`, `float16`, … as CTranslate2 calls its compute types; default:
            the model's own.
        vocabulary_mapping (`Path`, *optional*): a lexical shortlist; see [`BeamTranslator`].
        sampling (`Sampling`, *optional*): tokens are drawn, on one thread.

    Raises:
        ValueError: CTranslate2 is not installed, the model is not Marian, a setting of its search or a precision that
            CTranslate2 does not have.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        generation_config: GenerationConfig,
        precision: str | None = None,
        vocabulary_mapping: Path | None = None,
        sampling: Sampling | None = None,
    ):
        _check_settings(generation_config)
        self.generation_config = generation_config
        self.precision = precision or str(model.dtype).removeprefix("torch.")
        check_precision(self.precision, model.device)
        self.sampling = sampling
        self._scratch = TemporaryDirectory()
        folder = Path(self._scratch.name) / "model"
        convert_marian(model, tokenizer, folder, self.precision, vocabulary_mapping=vocabulary_mapping)
        self._open = partial(open_translator, folder, model.device, self.precision)
        # sampling opens the model for every call, from files that stay as long as the search
        self._translator: Any = None
        if sampling is None:
            self._translator = self._open()
            self._scratch.cleanup()
        self._drawn: dict[str, Any] = (
            {} if sampling is None else {"sampling_topk": sampling.top_k, "sampling_temperature": sampling.temperature}
        )
        self._has_mapping = vocabulary_mapping is not None
        self._tokens = vocabulary(model, tokenizer)
        self._ids = {token: index for index, token in enumerate(self._tokens)}
        self._end = self._tokens[model.config.eos_token_id]
        dropped = {model.config.pad_token_id} if _starts_with_pad(model) else set()
        self._never = [
            [self._tokens[token] for token in sequence]
            for sequence in _never_written(generation_config)
            if dropped.isdisjoint(sequence)
        ]

    def __call__(self, batches: Iterable[tuple[list[list[int]], int]]) -> Iterator[list[list[Hypothesis]]]:
        """Hypotheses of batch after batch, as [`BeamSearch`]; all batches are handed over before the first is read."""
        if self.sampling is not None:
            batches = list(batches)
            self._draw_anew(self.sampling.seed_of(row for rows, _ in batches for row in rows))
        running = [(self._start(rows, most_tokens), most_tokens) for rows, most_tokens in batches]
        for results, most_tokens in running:
            yield [self._hypotheses(each.result(), most_tokens) for each in results]

    def _draw_anew(self, seed: int) -> None:
        """
        A generator of random numbers belongs to the thread of a worker, and takes its seed when it is first used. New
        threads take the new one; with more than one, draws would depend on which thread gets which batch.
        """
        _import_ctranslate2().set_random_seed(seed)
        self._translator = self._open(num_workers=1)

    def _start(self, rows: list[list[int]], most_tokens: int) -> list[Any]:
        return self._translator.translate_batch(
            [[self._tokens[token] for token in row] for row in rows],
            asynchronous=True,
            beam_size=self.generation_config.num_beams,
            num_hypotheses=self.generation_config.num_return_sequences,
            length_penalty=self.generation_config.length_penalty,
            suppress_sequences=self._never or None,
            min_decoding_length=0,
            max_decoding_length=most_tokens,
            max_input_length=0,
            return_end_token=True,
            **self._drawn,
            use_vmap=self._has_mapping,
        )

    def _hypotheses(self, result: Any, most_tokens: int) -> list[Hypothesis]:
        return [self._hypothesis([self._ids[token] for token in row], most_tokens) for row in result.hypotheses]

    def _hypothesis(self, written: list[int], most_tokens: int) -> Hypothesis:
        has_ended = bool(written) and written[-1] == self._ids[self._end]
        return Hypothesis(written[:-1] if has_ended else written, has_ended and len(written) < most_tokens)


def convert_marian(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    precision: str,
    *,
    vocabulary_mapping: Path | None = None,
) -> None:
    """
    Writes a Marian model in the format of CTranslate2.

    Args:
        model (`PreTrainedModel`): any [`MarianMTModel`], on any device; not changed.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer.
        folder (`Path`): where to; must not exist.
        precision (`str`): of the weights.
        vocabulary_mapping (`Path`, *optional*): a shortlist, as CTranslate2 reads it.

    Raises:
        ValueError: CTranslate2 is not installed, or cannot convert the model.
    """
    _import_ctranslate2()
    from ctranslate2.converters import transformers as loaders
    from ctranslate2.converters.converter import Converter

    if model.config.model_type != "marian":
        raise ValueError(
            f"The ctranslate2 runtime takes Marian models, and {type(model).__name__} is none. Use runtime: torch."
        )
    model = copy.deepcopy(model).cpu().float()
    # Marian's own loader expects the padding token, which it drops, at the end of the vocabulary and the first step
    loader = loaders.MarianMTLoader() if _starts_with_pad(model) else loaders.BartLoader()
    model.config.normalize_before = model.config.normalize_embedding = False

    class Loaded(Converter):
        def _load(self) -> Any:
            with torch.no_grad():
                return loader(model, tokenizer)

    Loaded().convert(str(folder), vmap=vocabulary_mapping and str(vocabulary_mapping), quantization=precision)


def check_precision(precision: str, device: torch.device) -> None:
    """
    Refuses a precision that CTranslate2 does not have on a device.

    Raises:
        ValueError: naming those that it has.
    """
    supported = _import_ctranslate2().get_supported_compute_types(device.type, device.index or 0)
    if precision not in supported:
        raise ValueError(
            f"CTranslate2 has no {precision} on this {device.type}. Set dtype to one of "
            f"{', '.join(sorted(supported))}."
        )


def open_translator(folder: Path, device: torch.device, precision: str, *, num_workers: int | None = None) -> Any:
    """The translator of a converted model; on a CPU with one worker for each of torch's threads unless told."""
    if num_workers is None:
        num_workers = torch.get_num_threads() if device.type == "cpu" else 1
    return _import_ctranslate2().Translator(
        str(folder),
        device=device.type,
        device_index=device.index or 0,
        compute_type=precision,
        inter_threads=num_workers,
        intra_threads=1,
    )


def vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Names of all tokens, by id: what CTranslate2 takes and gives."""
    return list(tokenizer.convert_ids_to_tokens(list(range(model.config.vocab_size))))


def _starts_with_pad(model: PreTrainedModel) -> bool:
    return model.config.decoder_start_token_id == model.config.pad_token_id


def _import_ctranslate2() -> Any:
    try:
        import ctranslate2
    except ImportError:
        raise ValueError(
            'The ctranslate2 runtime is not installed: pip install "dims-hf[ctranslate2]", or use runtime: torch.'
        ) from None
    return ctranslate2


def _check_settings(config: GenerationConfig) -> None:
    """Refuses what would change translations and is not handed on."""
    chosen = {name for name, value in config.to_diff_dict().items() if value not in (None, False)}
    unknown = sorted(chosen - _KNOWN_SETTINGS - (_SAMPLING_SETTINGS if config.do_sample else set()))
    if unknown:
        raise ValueError(
            f"The teacher's generation config has {', '.join(unknown)}, which the ctranslate2 runtime does not know. "
            "Use runtime: torch."
        )


def _never_written(config: GenerationConfig) -> list[list[int]]:
    return [*([token] for token in config.suppress_tokens or ()), *(config.bad_words_ids or ())]
