# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Sequence-level distilled corpora: beam search over training sources in shards, filters with counts, JSONL files.

What a shard holds depends on its sources, the teacher and the settings alone, whichever process writes it, and when.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers.utils import logging

from dims_hf._output import remove_debris, replacing

from .corpora import SIDE_COLUMNS
from .tokenizer import SPECIAL_TOKENS, tokenizer_fingerprint


if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

SHARD_SETTINGS = "settings.json"

DROP_REASONS = ("too_long", "empty", "special_token", "length_ratio", "copy")
"""Why a pair is left out, in the order they are asked; a pair counts under the first one that holds."""

# Output tokens a source of S tokens may take: 3·S + 20. Whoever wants more repeats itself without end.
_LENGTH_FACTOR, _LENGTH_MARGIN = 3, 20

# Up to this many tokens on the longer side a ratio of lengths says little: "No." may well be "Auf keinen Fall!".
_RATIO_FROM = 10

# What of a generation config does not change with the translations, or is set for each batch.
_NOT_SETTINGS = ("transformers_version", "max_length", "max_new_tokens", "_from_model_config", "use_cache")

# A training set that shares more than this with a held-out set (of the smaller of the two) holds that set.
_MOST_SHARED = 0.5


# ---- one teacher --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TranslatedRow:
    """
    What the teacher made of one source.

    Args:
        text (`str`, *optional*): the translation; `None` for a source longer than the teacher takes.
        source_tokens, target_tokens (`int`): tokens of the teacher's tokenizer, without special ones.
        is_complete (`bool`): whether the translation ended before the limit on its length.
    """

    text: str | None
    source_tokens: int
    target_tokens: int
    is_complete: bool


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
        max_tokens_per_batch (`int`, *optional*, defaults to 16384): padded source tokens of a batch, every beam
            counted. A longer source is a batch of its own.
        source_code, target_code (`str`, *optional*): names of the languages in a tokenizer of many languages
            (`eng_Latn`, `deu_Latn` for NLLB, `en_XX`, `de_DE` for mBART, `en`, `de` for M2M-100).
        source_prefix (`str`, *optional*, defaults to `""`): put before every source (`">>deu<< "` for Marian models
            into several languages, `"translate English to German: "` for T5).

    Raises:
        ValueError: a model that cannot generate, a tokenizer without end or padding token, an unknown language.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        num_beams: int = 5,
        length_penalty: float = 1.0,
        max_tokens_per_batch: int = 16384,
        source_code: str | None = None,
        target_code: str | None = None,
        source_prefix: str = "",
    ):
        check_teacher(model, tokenizer)
        for name, value in (("num_beams", num_beams), ("max_tokens_per_batch", max_tokens_per_batch)):
            if value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}.")
        self.model, self.tokenizer, self.source_prefix = model.eval(), tokenizer, source_prefix
        self.max_tokens_per_batch = max_tokens_per_batch
        self.languages = set_languages(tokenizer, source_code, target_code)
        self.generation_config = self._beam_search(num_beams, length_penalty)
        self.max_source_tokens = _max_positions(model, tokenizer)
        self._special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}

    def _beam_search(self, num_beams: int, length_penalty: float) -> GenerationConfig:
        """The teacher's own settings (tokens it must not write, say) with our search in place of its search."""
        config = copy.deepcopy(self.model.generation_config)
        config.update(
            num_beams=num_beams,
            length_penalty=length_penalty if num_beams > 1 else 1.0,
            num_return_sequences=1,
            do_sample=False,
            use_cache=True,
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
            dtype=str(self.model.dtype).removeprefix("torch."),
            model_fingerprint=model_fingerprint(self.model),
            tokenizer_fingerprint=tokenizer_fingerprint(self.tokenizer),
        )
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
        fitting = [row for row, ids in enumerate(encoded) if len(ids) <= self.max_source_tokens]
        if on_batch is not None and len(fitting) < len(rows):
            on_batch(len(rows) - len(fitting))
        sizes = {row: len(encoded[row]) for row in fitting}
        for batch in self._batches(sizes):
            for row, (text, count, is_complete) in zip(batch, self._generate([encoded[row] for row in batch])):
                rows[row] = TranslatedRow(text, rows[row].source_tokens, count, is_complete)
            if on_batch is not None:
                on_batch(len(batch))
        return rows

    def first_too_long(self, sources: Sequence[str]) -> int | None:
        """Row of the first source with more tokens than the teacher takes, or `None`."""
        lengths = map(len, self._encode(sources))
        return next((row for row, length in enumerate(lengths) if length > self.max_source_tokens), None)

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

    @torch.inference_mode()
    def _generate(self, encoded: list[list[int]]) -> list[tuple[str, int, bool]]:
        """Text, number of content tokens and completeness for each row of a batch."""
        device, pad = self.model.device, self.tokenizer.pad_token_id
        ids = pad_sequence([torch.tensor(row) for row in encoded], batch_first=True, padding_value=pad)  # (B,S)
        mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in encoded], batch_first=True)  # (B,S)
        limit = min(_LENGTH_FACTOR * ids.shape[1] + _LENGTH_MARGIN, _max_positions(self.model) - 1)
        # Of the two ways to say so, the one of the checkpoint: it would be taken from there otherwise, with a warning.
        if self.model.generation_config.max_new_tokens is None:
            self.generation_config.max_length = limit + 1
        else:
            self.generation_config.max_new_tokens = limit
        output = self.model.generate(
            input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=self.generation_config
        ).tolist()
        texts = self.tokenizer.batch_decode(output, skip_special_tokens=True)
        # The first token is the one decoding starts with, which may be the end token itself.
        ends = [self._end_of(row[1:]) for row in output]
        return [
            (one_line(text), self._num_content(row[1 : end + 1]), end + 1 < limit)
            for text, row, end in zip(texts, output, ends)
        ]

    def _end_of(self, written: list[int]) -> int:
        """Index of the end token; where there is none, that of what would follow."""
        eos = self.generation_config.eos_token_id
        ends = {eos} if isinstance(eos, int) else set(eos)
        return next((index for index, token in enumerate(written) if token in ends), len(written))

    def _num_content(self, ids: Sequence[int]) -> int:
        return sum(token not in self._special for token in ids)


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
    for name, code in (("teacher_source_lang", source_code), ("teacher_target_lang", target_code)):
        if not code:
            raise ValueError(
                f"The teacher translates between many languages. Set {name} to the code its tokenizer uses: eng_Latn, "
                "deu_Latn (NLLB), en_XX, de_DE (mBART), en, de (M2M-100)."
            )
        _language_id(tokenizer, code, name)
    tokenizer.src_lang, tokenizer.tgt_lang = source_code, target_code
    return source_code, target_code


def _language_id(tokenizer: PreTrainedTokenizerBase, code: str, name: str) -> int:
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
        digest.update(value.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]


# ---- shards -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TranslationShards:
    """
    The translations of one split as files of `shard_size` rows, each written whole or not at all.

    Args:
        folder (`Path`): where the files are.
        split (`str`): first part of their names.
        num_rows (`int`): sources of the split.
        shard_size (`int`): rows of a file; the last may have fewer.

    Raises:
        ValueError: no rows, or `shard_size` < 1.
    """

    folder: Path
    split: str
    num_rows: int
    shard_size: int

    def __post_init__(self) -> None:
        if self.shard_size < 1 or self.num_rows < 1:
            raise ValueError(f"shard_size={self.shard_size} and {self.num_rows} rows: both must be >= 1.")

    def __len__(self) -> int:
        return math.ceil(self.num_rows / self.shard_size)

    def path(self, shard: int) -> Path:
        """File of a shard."""
        return self.folder / f"{self.split}-{shard:05d}-of-{len(self):05d}.jsonl"

    def rows(self, shard: int) -> range:
        """Rows of the split that a shard holds."""
        return range(shard * self.shard_size, min((shard + 1) * self.shard_size, self.num_rows))

    def missing(self) -> list[int]:
        """Shards that are not there yet."""
        return [shard for shard in range(len(self)) if not self.path(shard).is_file()]

    def translate(
        self, sources: Sequence[str], translator: BeamTranslator, shards: Iterable[int], *, progress: bool = False
    ) -> None:
        """
        Writes some of the shards.

        Args:
            sources (`Sequence[str]`): the split's sources.
            translator ([`BeamTranslator`]): the teacher.
            shards (`Iterable[int]`): which; with several processes, each has its own.
            progress (`bool`, *optional*, defaults to `False`): show a bar on standard error.
        """
        shards = list(shards)
        total = sum(len(self.rows(shard)) for shard in shards)
        with logging.tqdm(total=total, desc=f"translate {self.split}", unit=" sentences", disable=not progress) as bar:
            for shard in shards:
                rows = translator([sources[row] for row in self.rows(shard)], bar.update)
                lines = (json.dumps(asdict(row), ensure_ascii=False) for row in rows)
                write_lines(self.path(shard), lines)

    def read(self) -> list[TranslatedRow]:
        """
        All rows, in the order of the split.

        Raises:
            ValueError: a shard that is missing, or has other rows than it should.
        """
        found: list[TranslatedRow] = []
        for shard in range(len(self)):
            path = self.path(shard)
            if not path.is_file():
                raise ValueError(f"There is no {path}. Run the same command again to translate what is missing.")
            lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
            if len(lines) != len(self.rows(shard)):
                raise ValueError(
                    f"{path} has {len(lines)} rows and should have {len(self.rows(shard))}. Delete it, and run the "
                    "same command again."
                )
            try:
                found.extend(TranslatedRow(**json.loads(line)) for line in lines)
            except (ValueError, TypeError):
                raise ValueError(f"{path} is damaged. Delete it, and run the same command again.") from None
        return found


def check_shard_settings(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """
    Refuses a folder with translations made otherwise.

    Raises:
        ValueError: naming what differs.
    """
    path = Path(folder) / SHARD_SETTINGS
    if not path.is_file():
        return
    theirs = json.loads(path.read_text(encoding="utf-8"))
    # A setting that only one of them knows came with another release.
    differing = [name for name in settings if name in theirs and theirs[name] != settings[name]]
    if differing:
        had, says = (", ".join(f"{name}={each[name]}" for name in differing) for each in (theirs, settings))
        raise ValueError(
            f"{folder} holds translations with {had}, this recipe says {says}. Choose another output_dir, or delete "
            "it."
        )


def save_shard_settings(folder: str | Path, settings: Mapping[str, Any]) -> None:
    """Writes the settings beside the shards, and removes what a killed process left half-written."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_debris(folder)
    write_lines(folder / SHARD_SETTINGS, [json.dumps(settings, indent=1)])


# ---- from shards to a corpus --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairFilter:
    """
    Which translations are good enough to learn from. Too long, empty and unreadable ones never are.

    Args:
        max_length_ratio (`float`, *optional*, defaults to 3.0): most tokens of the longer side per token of the
            shorter, where the longer has more than ten; `None` for no limit.
        drop_copies (`bool`, *optional*, defaults to `True`): leave out translations equal to their source but for
            case.

    Raises:
        ValueError: a ratio below 1.
    """

    max_length_ratio: float | None = 3.0
    drop_copies: bool = True

    def __post_init__(self) -> None:
        if self.max_length_ratio is not None and self.max_length_ratio < 1:
            raise ValueError(f"max_length_ratio must be >= 1, got {self.max_length_ratio}. The default is 3.")

    def reason(self, source: str, row: TranslatedRow) -> str | None:
        """Why the pair is left out, one of `DROP_REASONS`, or `None`."""
        if row.text is None:
            return "too_long"
        checks = {
            "empty": not row.text,
            "too_long": not row.is_complete,
            "special_token": any(token in row.text for token in SPECIAL_TOKENS),
            "length_ratio": self._is_lopsided(row),
            "copy": self.drop_copies and _folded(source) == _folded(row.text),
        }
        return next((reason for reason in DROP_REASONS if checks[reason]), None)

    def _is_lopsided(self, row: TranslatedRow) -> bool:
        shorter, longer = sorted((row.source_tokens, row.target_tokens))
        too_many = self.max_length_ratio is not None and longer > self.max_length_ratio * shorter
        return too_many and longer > _RATIO_FROM


def filter_rows(
    sources: Sequence[str], rows: Sequence[TranslatedRow], pair_filter: PairFilter
) -> tuple[list[int], dict[str, int]]:
    """
    Rows that stay, and how many were left out for each of `DROP_REASONS`.

    Raises:
        ValueError: nothing stays.
    """
    dropped, kept = dict.fromkeys(DROP_REASONS, 0), []
    for index, (source, row) in enumerate(zip(sources, rows, strict=True)):
        reason = pair_filter.reason(source, row)
        if reason is None:
            kept.append(index)
        else:
            dropped[reason] += 1
    if not kept:
        counts = ", ".join(f"{reason} {count}" for reason, count in dropped.items() if count)
        raise ValueError(
            f"All {len(rows)} translations were left out ({counts}). Look at the shards: the teacher may be "
            "untrained, or set to other languages."
        )
    return kept, dropped


def check_split(split: str) -> None:
    """
    Refuses to distil what models are judged by.

    Raises:
        ValueError: another split than `train`.
    """
    if split != "train":
        raise ValueError(
            f"The {split} split is not distilled: against a teacher's translations a score measures agreement with "
            "the teacher. Leave out split; valid and test are copied as they are."
        )


def check_held_out(corpus: Mapping[str, Dataset]) -> dict[str, int]:
    """
    Refuses a training split that is a held-out one under another name.

    Args:
        corpus (`Mapping[str, Dataset]`): all splits.

    Returns:
        `dict[str, int]`: held-out split to the number of its rows whose source is a training source, too.

    Raises:
        ValueError: more than half of the smaller of the two sets is in the other.
    """
    training = set(corpus["train"]["source"])
    shared = {}
    for name in (name for name in corpus if name != "train"):
        held_out = set(corpus[name]["source"])
        shared[name] = sum(source in training for source in corpus[name]["source"])
        if len(held_out & training) > _MOST_SHARED * min(len(held_out), len(training)):
            raise ValueError(
                f"{len(held_out & training)} of the {len(held_out)} sources of the {name} split are training sources: "
                "the training split looks like a held-out set, which is not distilled. Correct the paths, or take "
                "those pairs out of it."
            )
    return shared


def write_split(folder: str | Path, split: str, columns: Mapping[str, Sequence[Any]]) -> None:
    """Writes `split.jsonl` as `load_corpus` and `datasets.load_dataset` read it: an object for every row."""
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    write_lines(Path(folder) / f"{split}.jsonl", (json.dumps(row, ensure_ascii=False) for row in rows))


def columns_of(rows: Dataset, targets: Sequence[str], source_lang: str, target_lang: str) -> dict[str, list]:
    """The columns of a split, with other targets, under the names that translation data sets have on the Hub."""
    pairs = zip(rows["source"], targets, strict=True)
    columns = {"translation": [{source_lang: source, target_lang: target} for source, target in pairs]}
    return {**columns, **{name: list(rows[name]) for name in SIDE_COLUMNS if name in rows.column_names}}


def sources_fingerprint(sources: Iterable[str]) -> str:
    """Twelve hexadecimal digits that change with any source or their order."""
    return hashlib.sha256(json.dumps(list(sources)).encode()).hexdigest()[:12]


def one_line(text: str) -> str:
    """The text without blanks at its ends, and with blanks for its line breaks, which would end its row in a file."""
    return " ".join(part for part in text.replace("\r", "\n").split("\n") if part).strip()


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes a text file under another name and moves it into place, so that it is whole or not there."""
    with replacing(path) as unfinished, unfinished.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(line + "\n" for line in lines)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
