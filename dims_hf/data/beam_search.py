# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Beam search with an autoregressive teacher: sentences in, translations and their token counts out.

`BeamTranslator` owns text, batches and limits; a [`BeamSearch`] of [`RUNTIMES`] turns token ids into token ids.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.nn.utils.rnn import pad_sequence

from .tokenizer import tokenizer_fingerprint


if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

# name -> "module:class", imported when used: a new runtime is one file and one line.
RUNTIMES: dict[str, str] = {
    "torch": "dims_hf.data.beam_search:TorchBeamSearch",
    "ctranslate2": "dims_hf.data.beam_search_ctranslate2:CTranslate2BeamSearch",
}

# Output tokens a source of S tokens may take: 3·S + 20. Whoever wants more repeats itself without end.
_LENGTH_FACTOR, _LENGTH_MARGIN = 3, 20

# What of a generation config does not change with the translations, or is set for each batch.
_NOT_SETTINGS = ("transformers_version", "max_length", "max_new_tokens", "_from_model_config", "use_cache")


@dataclass(frozen=True)
class Sampling:
    """
    Drawing each token instead of searching for the best translation.

    Args:
        top_k (`int`): a token is drawn among the so many likeliest.
        temperature (`float`, *optional*, defaults to 1.0): logits are divided by it; below 1 likely tokens are drawn
            more often.
        seed (`int`, *optional*, defaults to 1): the same sources with the same seed give the same translations.
    """

    top_k: int
    temperature: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.top_k < 1:
            raise ValueError(f"top_k must be >= 1, got {self.top_k}.")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be above 0, got {self.temperature}.")

    def seed_of(self, rows: Iterable[Sequence[int]]) -> int:
        """Seed for one set of sources, 0 to 2^31 - 1: other sources draw other numbers, whatever was drawn before."""
        text = json.dumps([self.seed, *(list(row) for row in rows)])
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


@dataclass(frozen=True)
class Alternative:
    """
    A translation that is not the best one.

    Args:
        text (`str`): the translation.
        target_tokens (`int`): tokens of the teacher's tokenizer, without special ones.
        is_complete (`bool`): whether it ended before the limit on its length.
    """

    text: str
    target_tokens: int
    is_complete: bool


@dataclass(frozen=True)
class TranslatedRow:
    """
    What the teacher made of one source.

    Args:
        text (`str`, *optional*): the translation; `None` for a source longer than the teacher takes.
        source_tokens, target_tokens (`int`): tokens of the teacher's tokenizer, without special ones.
        is_complete (`bool`): whether the translation ended before the limit on its length.
        alternatives (`tuple[Alternative, ...]`, *optional*): the next best translations, where several are kept.
    """

    text: str | None
    source_tokens: int
    target_tokens: int
    is_complete: bool
    alternatives: tuple[Alternative, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As shards keep it; `alternatives` only where there are some."""
        fields = {name: getattr(self, name) for name in ("text", "source_tokens", "target_tokens", "is_complete")}
        return {
            **fields,
            **({"alternatives": [vars(each) for each in self.alternatives]} if self.alternatives else {}),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> TranslatedRow:
        """What [`to_json`] gave."""
        alternatives = tuple(Alternative(**each) for each in fields.get("alternatives", ()))
        return cls(**{**fields, "alternatives": alternatives})


@dataclass(frozen=True)
class Hypothesis:
    """
    Token ids of one translation, from the first that the decoder wrote to the last before the end token.

    Args:
        token_ids (`list[int]`): ids.
        is_complete (`bool`): whether it ended before the limit.
    """

    token_ids: list[int]
    is_complete: bool


class BeamSearch(Protocol):
    """Token ids in, token ids out."""

    precision: str
    """What it computes in: `float32`, `int8`, …"""

    def __call__(self, batches: Iterable[tuple[list[list[int]], int]]) -> Iterator[list[list[Hypothesis]]]:
        """
        The best hypotheses of each row, best first, for batch after batch.

        Args:
            batches: rows of token ids, and the most tokens (the end token counts) that their translations may have.
        """


class BeamTranslator:
    """
    Beam search with an autoregressive model: sources in, one [`TranslatedRow`] each out, in their order.

    Batches are made of sources of similar length, longest first, under a budget of tokens; the same sources give the
    same batches.

    Args:
        model (`PreTrainedModel`): encoder-decoder model with `generate`; put into evaluation mode.
        tokenizer (`PreTrainedTokenizerBase`): its tokenizer.
        num_beams (`int`, *optional*, defaults to 5): width of the beam; 1 is greedy.
        length_penalty (`float`, *optional*, defaults to 1.0): exponent of the length that scores are divided by.
        num_hypotheses (`int`, *optional*, defaults to 1): translations of each source; all but the best become
            `alternatives`. At most `num_beams`.
        max_tokens_per_batch (`int`, *optional*, defaults to 16384): padded source tokens of a batch, every beam
            counted. A longer source is a batch of its own.
        source_code, target_code (`str`, *optional*): names of the languages in a tokenizer of many languages
            (`eng_Latn`, `deu_Latn` for NLLB, `en_XX`, `de_DE` for mBART, `en`, `de` for M2M-100).
        source_prefix (`str`, *optional*, defaults to `""`): put before every source (`">>deu<< "` for Marian models
            into several languages, `"translate English to German: "` for T5).
        sampling (`Sampling`, *optional*): tokens are drawn instead, which gives varied sources for back-translation
            (Edunov et al. 2018). Needs `num_beams=1`.
        runtime (`str`, *optional*, defaults to `"torch"`): `"ctranslate2"` is several times as fast on a CPU, takes
            Marian models, and breaks ties and stops its search by rules of its own.
        runtime_options (`Any`): of CTranslate2 alone. `precision` (`str`) is what it computes in (`float32`, `int8`,
            `float16`, …), its weights converted; default: the model's own, as in torch. `vocabulary_mapping` (`Path`)
            is a lexical shortlist as CTranslate2 reads it: words are chosen among those that the file lists for the
            source's tokens.

    Raises:
        ValueError: a model that cannot generate, a tokenizer without end or padding token, an unknown language, a
            runtime that is not there or does not take the model or the mapping.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        num_beams: int = 5,
        length_penalty: float = 1.0,
        num_hypotheses: int = 1,
        max_tokens_per_batch: int = 16384,
        source_code: str | None = None,
        target_code: str | None = None,
        source_prefix: str = "",
        sampling: Sampling | None = None,
        runtime: str = "torch",
        **runtime_options: Any,
    ):
        check_teacher(model, tokenizer)
        _check_numbers(num_beams, num_hypotheses, max_tokens_per_batch)
        if sampling is not None and num_beams > 1:
            raise ValueError(
                f"Sampling with top_k={sampling.top_k} has no beam, got num_beams={num_beams}. Set it to 1."
            )
        self.model, self.tokenizer, self.source_prefix = model.eval(), tokenizer, source_prefix
        self.max_tokens_per_batch, self.runtime = max_tokens_per_batch, runtime
        self.languages = set_languages(tokenizer, source_code, target_code)
        self.sampling = sampling
        self.generation_config = self._beam_search(num_beams, length_penalty, num_hypotheses)
        self.max_source_tokens = _max_positions(model, tokenizer)
        self._special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        self.vocabulary_mapping: Path | None = runtime_options.get("vocabulary_mapping")
        self._search: BeamSearch = _runtime_class(runtime)(
            model, tokenizer, self.generation_config, sampling=sampling, **runtime_options
        )

    def _beam_search(self, num_beams: int, length_penalty: float, num_hypotheses: int) -> GenerationConfig:
        """The teacher's own settings (tokens it must not write, say) with our search in place of its search."""
        # a copy: the model may be in other hands too
        config = copy.deepcopy(self.model.generation_config)
        drawn: dict[str, float] = {}
        if self.sampling is not None:
            drawn = {"top_k": self.sampling.top_k, "temperature": self.sampling.temperature}
        config.update(
            num_beams=num_beams,
            length_penalty=length_penalty if num_beams > 1 else 1.0,
            num_return_sequences=num_hypotheses,
            use_cache=True,
            do_sample=self.sampling is not None,
            **drawn,
            **_first_token(self.tokenizer, self.model, self.languages),
        )
        return config

    def settings(self) -> dict[str, Any]:
        """Everything here that translations depend on, as JSON has it; the weights by a fingerprint."""
        own = {key: value for key, value in self.generation_config.to_diff_dict().items() if key not in _NOT_SETTINGS}
        own.update(
            {key: getattr(self.generation_config, key) for key in ("num_beams", "length_penalty")},
            source_prefix=self.source_prefix,
            source_code=self.languages and self.languages[0],
            target_code=self.languages and self.languages[1],
            max_tokens_per_batch=self.max_tokens_per_batch,
            runtime=self.runtime,
            dtype=self._search.precision,
            model_fingerprint=model_fingerprint(self.model),
            tokenizer_fingerprint=tokenizer_fingerprint(self.tokenizer),
        )
        if self.sampling is not None:
            own.update(vars(self.sampling))
        if self.vocabulary_mapping is not None:
            own["vocabulary_mapping"] = hashlib.sha256(self.vocabulary_mapping.read_bytes()).hexdigest()
        return json.loads(json.dumps(own, default=str))

    def __call__(self, sources: Sequence[str], on_batch: Callable[[int], object] | None = None) -> list[TranslatedRow]:
        """
        Translates sources.

        Args:
            sources (`Sequence[str]`): sentences.
            on_batch (`Callable[[int], object]`, *optional*): called with the number of sentences of each batch done.
        """
        encoded = self._encode(sources)
        rows = [TranslatedRow(None, self._num_content(ids), 0, False) for ids in encoded]
        # the others have no translation, and say so
        fitting = [row for row, ids in enumerate(encoded) if len(ids) <= self.max_source_tokens]
        if on_batch is not None and len(fitting) < len(rows):
            on_batch(len(rows) - len(fitting))
        batches = list(self._batches({row: len(encoded[row]) for row in fitting}))
        # the first row of a batch is its longest
        prepared = (([encoded[row] for row in batch], self._most_tokens(len(encoded[batch[0]]))) for batch in batches)
        for batch, found in zip(batches, self._search(prepared), strict=True):
            for row, hypotheses in zip(batch, found, strict=True):
                rows[row] = self._translated(rows[row].source_tokens, hypotheses)
            if on_batch is not None:
                on_batch(len(batch))
        return rows

    def first_too_long(self, sources: Sequence[str]) -> int | None:
        """Row of the first source with more tokens than the teacher takes, or `None`."""
        return first_longer(self._encode(sources), self.max_source_tokens)

    def _encode(self, sources: Sequence[str]) -> list[list[int]]:
        texts = [self.source_prefix + source for source in sources]
        return self.tokenizer(texts, truncation=False, verbose=False)["input_ids"] if texts else []

    def _batches(self, sizes: Mapping[int, int]) -> Iterator[list[int]]:
        """Rows by length, longest first: a batch that does not fit into memory then fails at once."""
        order, start = sorted(sizes, key=lambda row: (-sizes[row], row)), 0
        while start < len(order):
            count = max(1, self.max_tokens_per_batch // (sizes[order[start]] * self.generation_config.num_beams))
            yield order[start : start + count]
            start += count

    def _most_tokens(self, source_tokens: int) -> int:
        return min(_LENGTH_FACTOR * source_tokens + _LENGTH_MARGIN, _max_positions(self.model) - 1)

    def _translated(self, source_tokens: int, hypotheses: Sequence[Hypothesis]) -> TranslatedRow:
        texts = map(
            one_line, self.tokenizer.batch_decode([each.token_ids for each in hypotheses], skip_special_tokens=True)
        )
        best, *others = (
            Alternative(text, self._num_content(each.token_ids), each.is_complete)
            for text, each in zip(texts, hypotheses, strict=True)
        )
        return TranslatedRow(best.text, source_tokens, best.target_tokens, best.is_complete, tuple(others))

    def _num_content(self, ids: Sequence[int]) -> int:
        # `<unk>` is content: it stands for a word
        return sum(token not in self._special for token in ids)


class TorchBeamSearch:
    """
    `generate` of a transformers model.

    Args:
        model, tokenizer: as [`BeamTranslator`].
        generation_config (`GenerationConfig`): the search; the limit on the length is set for each batch.
        precision (`str`, *optional*): the model's own, or `None`.
        vocabulary_mapping (`Path`, *optional*): none; of CTranslate2 alone.
        sampling (`Sampling`, *optional*): the seed, where tokens are drawn.
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
        if vocabulary_mapping is not None:
            raise ValueError(
                "The torch runtime has no vocabulary mapping. Leave it out, or use the ctranslate2 runtime."
            )
        # transformers types `generate` as a tensor, which torch's modules return for what they do not know
        self.model: Any = model
        self.sampling = sampling
        self.pad_token_id, self.generation_config = tokenizer.pad_token_id, generation_config
        self.precision = str(model.dtype).removeprefix("torch.")
        if precision not in (None, self.precision):
            raise ValueError(
                f"The torch runtime computes in the precision of the model, {self.precision}. Load it with "
                f"dtype={precision}, or use the ctranslate2 runtime."
            )

    def __call__(self, batches: Iterable[tuple[list[list[int]], int]]) -> Iterator[list[list[Hypothesis]]]:
        """Hypotheses of batch after batch, as [`BeamSearch`]."""
        for rows, most_tokens in batches:
            yield self._generate(rows, most_tokens)

    @torch.inference_mode()
    def _generate(self, rows: list[list[int]], most_tokens: int) -> list[list[Hypothesis]]:
        config, device = self.generation_config, self.model.device
        ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=self.pad_token_id)
        mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)  # both (B,S)
        # Of the two ways to say so, the one of the checkpoint: it would be taken from there otherwise, with a warning.
        if self.model.generation_config.max_new_tokens is None:
            config.max_length = most_tokens + 1
        else:
            config.max_new_tokens = most_tokens
        # the caller's random numbers stay as they are
        with torch.random.fork_rng(enabled=self.sampling is not None):
            if self.sampling is not None:
                torch.manual_seed(self.sampling.seed_of(rows))
            output = self.model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=config,
            )
        found = [self._hypothesis(sequence, most_tokens) for sequence in output.tolist()]
        count = config.num_return_sequences
        return [found[start : start + count] for start in range(0, len(found), count)]

    def _hypothesis(self, sequence: list[int], most_tokens: int) -> Hypothesis:
        """The first token is the one decoding starts with, which may be the end token itself."""
        written = sequence[1:]
        eos = self.generation_config.eos_token_id
        ends = {eos} if isinstance(eos, int) else set(eos)
        end = next((index for index, token in enumerate(written) if token in ends), len(written))
        return Hypothesis(written[:end], end + 1 < most_tokens)


def _runtime_class(name: str) -> Callable[..., BeamSearch]:
    if name not in RUNTIMES:
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {name!r}.")
    module, _, class_name = RUNTIMES[name].partition(":")
    return getattr(import_module(module), class_name)


def _check_numbers(num_beams: int, num_hypotheses: int, max_tokens_per_batch: int) -> None:
    values = {"num_beams": num_beams, "num_hypotheses": num_hypotheses, "max_tokens_per_batch": max_tokens_per_batch}
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be >= 1, got {value}.")
    if num_hypotheses > num_beams:
        raise ValueError(f"num_hypotheses={num_hypotheses} needs a beam at least as wide, got num_beams={num_beams}.")


def check_teacher(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """
    Refuses what cannot translate by beam search.

    Raises:
        ValueError: naming what is missing.
    """
    name = type(model).__name__
    if not getattr(model.config, "is_encoder_decoder", False) or not callable(getattr(model, "generate", None)):
        raise ValueError(
            f"{name} cannot generate translations. Use an autoregressive encoder-decoder model (Marian, NLLB, mBART, "
            "…) as the teacher."
        )
    if hasattr(model, "decoding_settings"):
        raise ValueError(
            f"{name} is not autoregressive, and has no beam search. Use a Marian, NLLB or mBART model as the teacher, "
            "or train one with training/train_autoregressive.py."
        )
    for token in ("eos", "pad"):
        if getattr(tokenizer, f"{token}_token_id") is None:
            raise ValueError(
                f"The teacher's tokenizer has no {token}_token, so no batch of sentences can be decoded. Set it in "
                f"tokenizer_config.json, or use another teacher."
            )
    if model.generation_config.eos_token_id is None:
        raise ValueError(
            f"The generation config of {name} has no eos_token_id, so no translation would ever end. Set it in "
            f"generation_config.json; the tokenizer's is {tokenizer.eos_token_id}."
        )


def set_languages(
    tokenizer: PreTrainedTokenizerBase, source_code: str | None, target_code: str | None
) -> tuple[str, str] | None:
    """
    Tells a tokenizer of many languages which two are meant.

    Returns:
        `tuple[str, str]` or `None`: the codes; `None` for a tokenizer of one pair.

    Raises:
        ValueError: codes for a tokenizer that knows none, no codes for one that needs them, or an unknown code.
    """
    if not hasattr(tokenizer, "src_lang"):
        if source_code or target_code:
            raise ValueError(
                f"{type(tokenizer).__name__} has no language codes, got {source_code or target_code!r}. Leave out "
                "teacher_source_lang and teacher_target_lang; a prefix such as '>>deu<< ' goes into source_prefix."
            )
        return None
    codes = {"teacher_source_lang": source_code or "", "teacher_target_lang": target_code or ""}
    for name, code in codes.items():
        if not code:
            raise ValueError(
                f"The teacher translates between many languages. Set {name} to the code its tokenizer uses: eng_Latn, "
                "deu_Latn (NLLB), en_XX, de_DE (mBART), en, de (M2M-100)."
            )
        _language_id(tokenizer, code, name)
    tokenizer.src_lang, tokenizer.tgt_lang = source, target = tuple(codes.values())
    return source, target


def _language_id(tokenizer: Any, code: str, name: str) -> int:
    try:
        # M2M-100 writes its codes as __en__; the others have a token of the code's own name.
        index = tokenizer.get_lang_id(code) if hasattr(tokenizer, "get_lang_id") else None
    except KeyError:
        index = tokenizer.unk_token_id
    index = tokenizer.convert_tokens_to_ids(code) if index is None else index
    if index is None or index == tokenizer.unk_token_id:
        raise ValueError(f"{name}={code!r} is no language of the teacher's tokenizer. Its model card lists the codes.")
    return index


def _first_token(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, languages: tuple[str, str] | None
) -> dict[str, int]:
    """The setting by which a translation starts with its language, where that does not start the decoder anyway."""
    if languages is None:
        return {}
    target = _language_id(tokenizer, languages[1], "teacher_target_lang")
    start = model.generation_config.decoder_start_token_id
    return {} if start == target else {"forced_bos_token_id": target}


def _max_positions(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> int:
    """Most tokens a sequence may have; a very large number for models without a position table."""
    positions = getattr(model.config, "max_position_embeddings", None) or 10**9
    return positions if tokenizer is None else min(positions, tokenizer.model_max_length)


def model_fingerprint(model: torch.nn.Module) -> str:
    """Twelve hexadecimal digits that change with any weight, its precision or its name."""
    digest = hashlib.sha256()
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        value = value.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name}\0{value.dtype}\0{value.numel()}\0".encode())
        # as bytes: numpy has no bf16
        digest.update(value.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]


def first_longer(rows: Sequence[Sequence[int]], most: int) -> int | None:
    """Number of the first row with more than so many ids, or `None`."""
    return next((number for number, row in enumerate(rows) if len(row) > most), None)


def one_line(text: str) -> str:
    """The text without blanks at its ends, and with blanks for its line breaks, which would end its row in a file."""
    return " ".join(part for part in text.replace("\r", "\n").split("\n") if part).strip()
