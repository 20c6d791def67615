# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Reading parallel corpora (text files, JSONL, Hub data sets, the embedded corpus) and refusing bad ones.

Nothing is repaired silently: a bad line is an error that names file, line, reason and fix.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dims_hf._files import expand_home, read_lines
from dims_hf.models.source_text import is_blank

from .tokenizer import SPECIAL_TOKENS


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")

EMBEDDED_CORPUS = "phrasebook"

PHRASEBOOK_HELD_OUT = 500
"""Pairs of its validation and test splits unless told otherwise; those after them may be some run's training pairs."""

SIDE_COLUMNS = ("near",)
"""Extra 0/1 columns taken along when a corpus has them (`test.near`, or the same name as a key or column)."""

ALTERNATIVES = "alternatives"
# Row of a file that a pair is from, where one row may have several targets.
_ROW = "row"
"""Column of further translations of a source, which a distilled corpus may have."""

# Names under which other people's files and data sets keep our splits; the first is ours.
_SPLIT_NAMES = {"train": ("train",), "valid": ("valid", "validation", "dev"), "test": ("test",)}

_JSONL_SUFFIXES = (".jsonl", ".json")

_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(:[\w.-]+)?")

_SURROGATE = re.compile("[\ud800-\udfff]")

_SPECIAL = re.compile("|".join(re.escape(token) for token in SPECIAL_TOKENS))

# Frequent words by which a language is told from another; words that two of them share are left out.
_FUNCTION_WORDS = {
    "de": "der das und ist nicht ich wir ein eine zu mit auf dem sie haben auch",
    "en": "the and is not you we of that it to have are this with",
    "es": "el los y es una por para como pero muy",
    "fr": "le les et est pas je une vous dans pour avec",
    "it": "il che non è un per di sono gli della",
    "nl": "het een van ik niet dat zijn voor met je",
}


def load_corpus(
    data: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
    source_lang: str,
    target_lang: str,
    *,
    splits: Sequence[str] = SPLITS,
    required: Sequence[str] | None = None,
    max_examples: Mapping[str, int] | None = None,
    data_config: str | None = None,
    drop_bad_rows: bool = False,
    max_references: int | None = None,
    joins_targets: bool = False,
) -> DatasetDict:
    """
    Reads and checks a parallel corpus.

    Args:
        data (`str`, `Path`, list or dict):
            One of: `"phrasebook"`, the embedded English-German corpus; a folder with `train.en`, `train.de`,
            `valid.*`, `test.*` (one sentence per line, UTF-8); a folder with `train.jsonl`, `valid.jsonl`,
            `test.jsonl`, one `{"translation": {"en": …, "de": …}}` per line, where the target may be a list of several
            (each makes a pair); such files themselves, as a list whose
            names start with the split or a dict from split to file (a single file is the one split asked for, or
            `train`); a `DatasetDict` with the column `translation`, or `source` and `target`; the id of a Hub data
            set with a `translation` column (`"name"` or `"name:config"`).
            `validation` and `dev` are read as `valid`.
        source_lang, target_lang (`str`):
            File suffixes or keys of the two languages, e.g. `"en"` and `"de"`.
        splits (`Sequence[str]`, *optional*, defaults to `("train", "valid", "test")`):
            Splits to read.
        required (`Sequence[str]`, *optional*):
            Those of `splits` that must exist. Default: all of them, but `test` only when `train` is not asked for.
        max_examples (`Mapping[str, int]`, *optional*):
            Pairs to keep per split: the first ones. For `"phrasebook"`, the number to generate
            (at most 500 of `valid` and `test`).
        data_config (`str`, *optional*):
            Configuration of a Hub data set; the same as `"name:config"`.
        drop_bad_rows (`bool`, *optional*, defaults to `False`):
            Leave out rows that are empty, null, damaged or hold a special token (their number is logged) instead of
            refusing them.
            For data sets one cannot edit.
        max_references (`int`, *optional*):
            Training pairs of the same source become one row with so many different targets at most, the first ones;
            `alternatives` of a distilled corpus are among them.
        joins_targets (`bool`, *optional*, defaults to `False`):
            A row whose target is a list stays one, for evaluation: splits with such rows have the column `references`
            (list of str), the first of which is the target.

    Returns:
        `datasets.DatasetDict`: per split the columns `source` and `target` (str, without blanks at either end), and
        `near` (int, 0 or 1) where the corpus has it; of the training split, with `max_references`, `references` (list
        of str), the first of which is the target.

    Raises:
        `ValueError`: naming file, line, reason and fix.
    """
    _check_request(source_lang, target_lang, splits, max_examples or {})
    if max_references is not None and max_references < 1:
        raise ValueError(
            f"max_references is {max_references}. Use 1 or more, or leave it out to keep pairs as they are."
        )
    limits = dict(max_examples or {})
    required = _default_required(splits) if required is None else required
    found: dict[str, _Split] = {}
    for split, rows in _read(data, source_lang, target_lang, splits, limits, data_config).items():
        _check_not_swapped(rows, source_lang, target_lang)
        check, limit = _without_bad_rows if drop_bad_rows else _checked, limits.get(split)
        # a limit counts rows of the file where their targets stay together
        found[split] = check(rows).joined().first(limit) if joins_targets else check(rows.first(limit))
    for split in required:
        if split in splits and split not in found:
            raise ValueError(
                f"{_show(data)} has no split {split!r}; it has {_listed(found)}. Add the missing files, or ask for "
                f"other splits."
            )
    datasets = _as_datasets({split: found[split] for split in splits if split in found})
    if max_references is not None and "train" in datasets:
        datasets["train"] = join_references(datasets["train"], max_references)
    for split, rows in datasets.items():
        datasets[split] = rows.remove_columns([name for name in (ALTERNATIVES, _ROW) if name in rows.column_names])
    return datasets


def join_references(pairs: Dataset, max_references: int) -> Dataset:
    """
    One row for each source, where its first pair is, with its different targets.

    Args:
        pairs (`datasets.Dataset`): columns `source` and `target`, and `alternatives` (lists of str) where there are
            more; other columns keep the value of a source's first pair.
        max_references (`int`): targets of a source that are kept, at most.

    Returns:
        `datasets.Dataset` with one more column, `references` (list of str).
    """
    first: dict[str, int] = {}
    targets: dict[str, list[str]] = {}
    others = pairs[ALTERNATIVES] if ALTERNATIVES in pairs.column_names else [[]] * len(pairs)
    for row, (source, target, more) in enumerate(zip(pairs["source"], pairs["target"], others, strict=True)):
        first.setdefault(source, row)
        found = targets.setdefault(source, [])
        found.extend(text for text in dict.fromkeys((target, *more)) if text not in found)
    targets = {source: found[:max_references] for source, found in targets.items()}
    joined = pairs.select(list(first.values())).add_column("references", [targets[source] for source in first])
    several = sum(len(found) > 1 for found in targets.values())
    logger.info("%d of %d sources have several targets, at most %d each.", several, len(joined), max_references)
    return joined


def load_sentences(path: str | Path, language: str, *, max_examples: int | None = None) -> Dataset:
    """
    Reads and checks sentences of one language, e.g. sources for U-DiMS, which needs no targets.

    Args:
        path (`str` or `Path`): plain UTF-8 text, one sentence per line, or a folder with such a `train.<language>`.
        language (`str`): file suffix of the language in a folder.
        max_examples (`int`, *optional*): sentences to keep: the first ones.

    Returns:
        `datasets.Dataset` with the column `source` (str, without blanks at either end).

    Raises:
        `ValueError`: naming file, line, reason and fix.
    """
    from datasets import Dataset

    path = expand_home(path)
    side = _read_lines(path / f"train.{language}" if path.is_dir() else path)
    side = replace(side, texts=side.texts[:max_examples])
    if not side.texts:
        raise ValueError(f"{side.name} has no sentences. Put at least one into it.")
    _check_sentences(side, "Correct it or remove the line.")
    return Dataset.from_dict({"source": side.texts})


def corpus_fingerprint(dataset: Dataset | Mapping[str, Dataset]) -> str:
    """Twelve hexadecimal digits that change with any sentence of a data set (or of a dict of splits)."""
    digest = hashlib.sha256()
    parts = dataset.items() if isinstance(dataset, Mapping) else [("", dataset)]
    for split, rows in parts:
        digest.update(f"\0{split}\0{len(rows)}\0".encode())
        for column in ("source", "target", "references"):
            if column not in rows.column_names:  # sources alone, or one target each
                continue
            # JSON keeps apart what joining would mix up, such as a line break inside a sentence.
            digest.update(json.dumps(list(rows[column])).encode())
    return digest.hexdigest()[:12]


# ---- one split, and its checks ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Side:
    """The sentences of one language, and how to say where one of them stands."""

    texts: list[str | None]
    name: str
    locate: Callable[[int], str]


@dataclass(frozen=True)
class _Split:
    """Source and target of one split, row by row, with extra columns."""

    source: _Side
    target: _Side
    extra: dict[str, list] = field(default_factory=dict)

    def rows(self, keep: Sequence[int]) -> _Split:
        """The split with these rows only. Error locations are those of the full split: check before."""
        source, target = (
            replace(side, texts=[side.texts[row] for row in keep]) for side in (self.source, self.target)
        )
        return _Split(source, target, {name: [values[row] for row in keep] for name, values in self.extra.items()})

    def first(self, limit: int | None) -> _Split:
        """The first `limit` rows (all when `None`)."""
        size = len(self.source.texts)
        return self if limit is None or limit >= size else self.rows(range(limit))

    def joined(self) -> _Split:
        """The first pair of each row of the file, with all its targets, if rows have several."""
        if _ROW not in self.extra:
            return self
        first: dict[int, int] = {}
        targets: dict[int, list[str | None]] = {}
        for place, (row, text) in enumerate(zip(self.extra[_ROW], self.target.texts, strict=True)):
            first.setdefault(row, place)
            targets.setdefault(row, []).append(text)
        kept = self.rows([*first.values()])
        return replace(kept, extra={**kept.extra, "references": [*targets.values()]})


def _default_required(splits: Sequence[str]) -> list[str]:
    return [split for split in splits if split != "test" or "train" not in splits]


def _check_request(source_lang: str, target_lang: str, splits: Sequence[str], max_examples: Mapping[str, int]) -> None:
    for name, language in (("source_lang", source_lang), ("target_lang", target_lang)):
        if not language or not isinstance(language, str):
            raise ValueError(f"{name} is {language!r}. Give the language's file suffix or key, e.g. 'en'.")
    if source_lang == target_lang:
        raise ValueError(
            f"source_lang and target_lang are both {source_lang!r}. Give two languages, e.g. 'en' and 'de'."
        )
    for split in (*splits, *max_examples):
        if split not in SPLITS:
            raise ValueError(f"Unknown split {split!r}. Use {_listed(SPLITS)}.")
    for split, limit in max_examples.items():
        if limit < 1:
            raise ValueError(f"max_examples for {split!r} is {limit}. Use 1 or more, or leave it out for all pairs.")


def _problem(text: str | None) -> str | None:
    """What is wrong with a sentence, or `None`."""
    if text is None:
        return "is None, not a string"
    if is_blank(text):
        return "is empty"
    if "\0" in text:
        return "contains a NUL character"
    if _SURROGATE.search(text):
        return "contains half of a surrogate pair, which is no character"
    special = _SPECIAL.search(text)
    if special:
        return f"contains {special[0]!r}, which the tokenizer would read as a special token"
    return None


def _checked(rows: _Split) -> _Split:
    if not rows.source.texts:
        raise ValueError(f"{rows.source.name} has no sentences. Put at least one pair into every split.")
    for side in (rows.source, rows.target):
        _check_sentences(
            side, "Correct it, remove the pair on both sides, or set drop_bad_rows where there is such an option."
        )
    return rows


def _check_sentences(side: _Side, advice: str) -> None:
    for row, text in enumerate(side.texts):
        problem = _problem(text)
        if problem:
            raise ValueError(f"{side.locate(row)}: the sentence {problem}. {advice}")


def _without_bad_rows(rows: _Split) -> _Split:
    pairs = list(zip(rows.source.texts, rows.target.texts, strict=True))
    keep = [row for row, pair in enumerate(pairs) if not any(map(_problem, pair))]
    if len(keep) < len(pairs):
        logger.warning(
            "Dropped %d of %d pairs of %s: empty, null, damaged or with a special token.",
            len(pairs) - len(keep),
            len(pairs),
            rows.source.name,
        )
    return _checked(rows.rows(keep))


def _check_not_swapped(rows: _Split, source_lang: str, target_lang: str) -> None:
    """Refuses a split whose source looks like the target language and whose target looks like the source language."""
    if not {source_lang[:2], target_lang[:2]} <= _FUNCTION_WORDS.keys():
        return
    scores = []
    for side, claimed, other in (
        (rows.source, source_lang, target_lang),
        (rows.target, target_lang, source_lang),
    ):
        words = re.findall(r"\w+", " ".join(filter(None, side.texts[:1000])).lower())
        own, foreign = (_count_words(words, language) for language in (claimed, other))
        scores.append(foreign >= 20 and foreign > 4 * own)
    if all(scores):
        raise ValueError(
            f"{rows.source.name} should be {source_lang!r} but reads like {target_lang!r}, and {rows.target.name} the "
            f"other way round: the languages look swapped. Exchange the file names or keys, or swap source_lang and "
            f"target_lang."
        )


def _count_words(words: list[str], language: str) -> int:
    wanted = set(_FUNCTION_WORDS[language[:2]].split())
    return sum(word in wanted for word in words)


def _as_datasets(found: Mapping[str, _Split]) -> DatasetDict:
    from datasets import Dataset, DatasetDict

    return DatasetDict(
        {
            split: Dataset.from_dict({"source": rows.source.texts, "target": rows.target.texts, **rows.extra})
            for split, rows in found.items()
        }
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(str(name)) for name in names) or "nothing"


def _show(data: Any) -> str:
    return f"The corpus {str(data)!r}"


# ---- finding out what `data` is -----------------------------------------------------------------------------------


def _read(
    data: str | Path | Sequence[str | Path] | Mapping[str, str | Path],
    source_lang: str,
    target_lang: str,
    splits: Sequence[str],
    limits: dict[str, int],
    data_config: str | None,
) -> dict[str, _Split]:
    """Those of `splits` that exist."""
    if hasattr(data, "column_names") and not isinstance(data, Mapping):
        data = {splits[0] if len(splits) == 1 else "train": data}
    if isinstance(data, Mapping) and any(hasattr(rows, "column_names") for rows in data.values()):
        return _read_tables(data, "DatasetDict", source_lang, target_lang, splits, limits)
    if isinstance(data, Mapping):
        return _read_files(data, source_lang, target_lang, splits)
    if isinstance(data, Sequence) and not isinstance(data, str):
        return _read_files(_files_by_split(data), source_lang, target_lang, splits)
    if data == EMBEDDED_CORPUS:
        return _read_phrasebook(source_lang, target_lang, splits, limits)
    path = expand_home(data)
    if path.is_dir():
        return _read_directory(path, source_lang, target_lang, splits)
    if path.is_file():
        return _read_files({splits[0] if len(splits) == 1 else "train": path}, source_lang, target_lang, splits)
    if _may_be_hub_id(str(data)):
        return _read_hub(str(data), data_config, source_lang, target_lang, splits, limits)
    raise ValueError(
        f"There is no file or folder {str(data)!r}{_neighbours(path)}. Correct the path, or use "
        f"{EMBEDDED_CORPUS!r} or a Hub data set id such as 'user/name'."
    )


def _may_be_hub_id(data: str) -> bool:
    """Whether it is worth asking the Hub: not for "a/b/c", "x.jsonl", or "data/x" where a folder "data" is here."""
    folder, _, _ = data.rpartition("/")
    is_path = Path(data).suffix in _JSONL_SUFFIXES or (folder and Path(folder).is_dir())
    return _HUB_ID.fullmatch(data) is not None and not is_path


def _neighbours(path: Path) -> str:
    """What stands beside a missing path, for its error message."""
    if not path.parent.is_dir():
        return f" (nor its folder {str(path.parent)!r})"
    names = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    return f"; {str(path.parent)!r} holds {_listed(names[:20])}"


def _files_by_split(files: Sequence[str | Path]) -> dict[str, str | Path]:
    by_split: dict[str, str | Path] = {}
    for file in files:
        name = Path(file).name
        split = next((ours for ours, names in _SPLIT_NAMES.items() if name.startswith(names)), None)
        if split is None or split in by_split:
            reason = "starts with no split name" if split is None else f"is a second file for split {split!r}"
            raise ValueError(
                f"{str(file)!r} {reason}. Name the files train*.jsonl, valid*.jsonl and test*.jsonl, or pass a dict "
                f"from split to file."
            )
        by_split[split] = file
    return by_split


# ---- text files ---------------------------------------------------------------------------------------------------


def _read_directory(folder: Path, source_lang: str, target_lang: str, splits: Sequence[str]) -> dict[str, _Split]:
    found: dict[str, _Split] = {}
    for split in splits:
        stem = _find_stem(folder, split, source_lang, target_lang)
        jsonl = _find_jsonl(folder, split)
        if stem is not None and jsonl is not None:
            raise ValueError(
                f"The folder {str(folder)!r} has its {split!r} pairs twice: '{stem}.{source_lang}' with "
                f"'{stem}.{target_lang}', and {jsonl.name!r}. Move those that are not meant elsewhere, or pass a dict "
                "of the files."
            )
        if stem is not None:
            found[split] = _read_text_pair(folder, stem, source_lang, target_lang)
        elif jsonl is not None:
            found[split] = _read_jsonl(jsonl, source_lang, target_lang)
    if not found:
        raise ValueError(
            f"The folder {str(folder)!r} has no {_listed(splits)} in {source_lang!r} and {target_lang!r}: looked for "
            f"'{splits[0]}.{source_lang}' with '{splits[0]}.{target_lang}', and for '{splits[0]}.jsonl'. It holds "
            f"{_listed(sorted(entry.name for entry in folder.iterdir())[:20])}. Rename the files, or correct the path."
        )
    return found


def _find_stem(folder: Path, split: str, source_lang: str, target_lang: str) -> str | None:
    """The name under which a split's text files are kept; refuses a split with one or both languages missing."""
    for stem in _SPLIT_NAMES[split]:
        suffixes = sorted(path.name[len(stem) + 1 :] for path in folder.glob(f"{stem}.*"))
        languages = [suffix for suffix in suffixes if suffix not in (*SIDE_COLUMNS, "jsonl", "json")]
        missing = [language for language in (source_lang, target_lang) if language not in languages]
        if not missing:
            return stem
        if languages and _find_jsonl(folder, split) is None:
            raise ValueError(
                f"{folder / f'{stem}.{missing[0]}'}: no such file. The folder has {stem} in {_listed(languages)}, but "
                f"source_lang={source_lang!r} and target_lang={target_lang!r} were asked for. Add the file, or ask "
                f"for languages that are there."
            )
    return None


def _read_text_pair(folder: Path, stem: str, source_lang: str, target_lang: str) -> _Split:
    source, target = (_read_lines(folder / f"{stem}.{language}") for language in (source_lang, target_lang))
    if len(source.texts) != len(target.texts):
        raise ValueError(
            f"{source.name} has {len(source.texts)} lines but {target.name} has {len(target.texts)}. Line n of one "
            f"must translate line n of the other: find the first pair that does not match (often a line that is "
            f"missing or was broken in two) and make the counts equal."
        )
    extra = {}
    for column in SIDE_COLUMNS:
        path = folder / f"{stem}.{column}"
        if path.is_file():
            extra[column] = _read_side_column(path, len(source.texts), source.name)
    return _Split(source, target, extra)


def _read_lines(path: Path) -> _Side:
    """The stripped lines of a text file."""
    return _Side([line.strip() for line in _lines(path)], str(path), lambda row: f"{path}:{row + 1}")


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"There is no file {str(path)!r}{_neighbours(path)}. Add it, or correct the path.")
    return read_lines(path)


def _read_side_column(path: Path, num_rows: int, beside: str) -> list[int]:
    side = _read_lines(path)
    if len(side.texts) != num_rows:
        raise ValueError(
            f"{path} has {len(side.texts)} lines but {beside} has {num_rows}. Give it one 0 or 1 per pair, or remove "
            f"it."
        )
    for row, text in enumerate(side.texts):
        if text not in ("0", "1"):
            raise ValueError(f"{side.locate(row)}: {text!r} is neither 0 nor 1. Correct the line, or remove the file.")
    return [int(text) for text in side.texts]


# ---- JSONL --------------------------------------------------------------------------------------------------------


def _find_jsonl(folder: Path, split: str) -> Path | None:
    candidates = (folder / f"{stem}{suffix}" for stem in _SPLIT_NAMES[split] for suffix in _JSONL_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def _read_files(
    files: Mapping[str, str | Path], source_lang: str, target_lang: str, splits: Sequence[str]
) -> dict[str, _Split]:
    for split in files:
        if split not in SPLITS:
            raise ValueError(f"Unknown split {split!r} in data. Use {_listed(SPLITS)}.")
    return {
        split: _read_jsonl(expand_home(files[split]), source_lang, target_lang) for split in splits if split in files
    }


def _read_jsonl(path: Path, source_lang: str, target_lang: str) -> _Split:
    records = [_parse_record(line, f"{path}:{number}") for number, line in enumerate(_lines(path), start=1)]
    return _split_from_records(records, source_lang, target_lang, str(path), lambda row: f"{path}:{row + 1}")


def _parse_record(line: str, where: str) -> dict[str, Any]:
    shape = 'one {"translation": {"en": "…", "de": "…"}} per line'
    try:
        record = json.loads(line)
    # also numbers of thousands of digits, and brackets nested as deep
    except (ValueError, RecursionError) as error:
        what = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
        reason = "empty line" if not line.strip() else f"not valid JSON ({what})"
        raise ValueError(f"{where}: {reason}. The file must hold {shape}.") from None
    if not isinstance(record, dict) or not isinstance(record.get("translation"), dict):
        found = f"the keys {_listed(record)}" if isinstance(record, dict) else f"a {type(record).__name__}"
        raise ValueError(f"{where}: no object under the key 'translation', only {found}. The file must hold {shape}.")
    return record


def _split_from_records(
    records: Sequence[Mapping[str, Any]],
    source_lang: str,
    target_lang: str,
    name: str,
    locate: Callable[[int], str],
) -> _Split:
    """A split from rows with a `translation` dict, as JSONL files and Hub data sets have them; a pair per target."""
    targets = [_targets(record, target_lang, locate(row)) for row, record in enumerate(records)]
    owners = [row for row, several in enumerate(targets) for _ in several]
    records = [records[row] for row in owners]
    sources = [_translation(record, source_lang, locate(row)) for row, record in zip(owners, records, strict=True)]
    sides = [
        _Side(texts, f"{name} ({language!r})", lambda row, key=language: f"{locate(owners[row])} ({key!r})")
        for language, texts in (
            (source_lang, sources),
            (target_lang, [text for several in targets for text in several]),
        )
    ]
    extra: dict[str, list] = {} if len(owners) == len(targets) else {_ROW: owners}
    for column in SIDE_COLUMNS:
        # Data sets fill up a column that only some of their splits have.
        if any(record.get(column) is not None for record in records):
            extra[column] = [_flag(record, column, locate(row)) for row, record in zip(owners, records, strict=True)]
    if any(record.get(ALTERNATIVES) for record in records):
        extra[ALTERNATIVES] = [_alternatives(record, locate(row)) for row, record in zip(owners, records, strict=True)]
    return _Split(sides[0], sides[1], extra)


def _alternatives(record: Mapping[str, Any], where: str) -> list[str]:
    """Further targets of a row; those that no corpus may have are left out."""
    texts = record.get(ALTERNATIVES) or []
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{where}: {ALTERNATIVES!r} is {texts!r}, no list of sentences. Correct it, or remove it.")
    return [text.strip() for text in texts if _problem(text) is None]


def _targets(record: Mapping[str, Any], language: str, where: str) -> list[str | None]:
    """The sentence of a row, or its several ones."""
    several = record["translation"].get(language)
    if not isinstance(several, list):
        return [_translation(record, language, where)]
    if not several:
        raise ValueError(f"{where}: the list of {language!r} sentences is empty. Remove the row, or add one.")
    return [_translation({"translation": {language: text}}, language, where) for text in several]


def _translation(record: Mapping[str, Any], language: str, where: str) -> str | None:
    translation = record["translation"]
    if language not in translation:
        raise ValueError(
            f"{where}: no language {language!r} in this row, only {_listed(translation)}. Add it, or ask for "
            f"languages that are there."
        )
    text = translation[language]
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError(f"{where}: the {language!r} sentence is {text!r}, not a string. Put it in quotes.")
    return text.strip()


def _flag(record: Mapping[str, Any], column: str, where: str) -> int:
    value = record.get(column)
    if value not in (0, 1):
        raise ValueError(f"{where}: {column!r} is {value!r}, neither 0 nor 1. Give every row a 0 or 1, or no row any.")
    return int(value)


# ---- the Hub and the embedded corpus ------------------------------------------------------------------------------


def _read_hub(
    data: str,
    data_config: str | None,
    source_lang: str,
    target_lang: str,
    splits: Sequence[str],
    limits: Mapping[str, int],
) -> dict[str, _Split]:
    name, _, config = data.partition(":")
    return _read_tables(
        _download(name, data_config or config or None),
        name,
        source_lang,
        target_lang,
        splits,
        limits,
    )


def _read_tables(
    loaded: Mapping[str, Dataset],
    name: str,
    source_lang: str,
    target_lang: str,
    splits: Sequence[str],
    limits: Mapping[str, int],
) -> dict[str, _Split]:
    """Splits of a `datasets.DatasetDict`, each with a `translation` column, or with `source` and `target`."""
    found: dict[str, _Split] = {}
    for split in splits:
        theirs = next((theirs for theirs in _SPLIT_NAMES[split] if theirs in loaded), None)
        if theirs is None:
            continue
        rows, label = loaded[theirs], f"{name} [{theirs}]"
        if {"source", "target"} <= set(rows.column_names):  # as load_corpus itself gives them
            rows = rows.map(
                lambda row: {
                    "translation": {source_lang: row["source"], target_lang: row.get("references") or row["target"]}
                },
                remove_columns=[name for name in ("source", "target", "references") if name in rows.column_names],
            )
        if "translation" not in rows.column_names:
            raise ValueError(
                f"The data set {label} has no column 'translation', only {_listed(rows.column_names)}. Use a data "
                f"set of pairs, or convert it to JSONL."
            )
        rows = rows.select(range(min(limits.get(split, len(rows)), len(rows))))
        wanted = ("translation", *SIDE_COLUMNS, ALTERNATIVES)
        rows = rows.select_columns([column for column in rows.column_names if column in wanted])
        found[split] = _split_from_records(
            list(rows), source_lang, target_lang, label, lambda row, label=label: f"{label} row {row}"
        )
    if not found:
        raise ValueError(f"The data set {name!r} has no split {_listed(splits)}; it has {_listed(loaded)}.")
    return found


def _download(name: str, config: str | None) -> Mapping[str, Dataset]:
    import datasets

    try:
        return datasets.load_dataset(name, config)
    # The library reports a missing id, a wrong config, no network and a broken script each by exceptions of its own.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"There is no file or folder {name!r}, and as a Hub data set it could not be loaded"
            f"{f' (config {config!r})' if config else ''}: {type(error).__name__}: {reason}. Correct the path or the "
            f"id ('user/name' or 'user/name:config'); the first use of a Hub data set needs the network."
        ) from error


def _read_phrasebook(
    source_lang: str, target_lang: str, splits: Sequence[str], sizes: Mapping[str, int]
) -> dict[str, _Split]:
    from dims_hf.phrasebook import PHRASEBOOK_LANGUAGES, phrasebook_corpus

    if (source_lang, target_lang) != tuple(PHRASEBOOK_LANGUAGES):
        expected = " to ".join(map(repr, PHRASEBOOK_LANGUAGES))
        raise ValueError(
            f"The embedded corpus {EMBEDDED_CORPUS!r} translates {expected}, not {source_lang!r} to {target_lang!r}. "
            f"Set source_lang and target_lang accordingly, or bring your own files."
        )
    for split in ("valid", "test"):
        if sizes.get(split, 0) > PHRASEBOOK_HELD_OUT:
            raise ValueError(
                f"max_examples for {split!r} is {sizes[split]}, but training sets of {EMBEDDED_CORPUS!r} leave out "
                f"only {PHRASEBOOK_HELD_OUT} sentences. Ask for at most these, or write a corpus of your own sizes "
                "with `dims-hf phrasebook --out DIR` and use that folder for training and testing."
            )
    found = {}
    for split, pairs in phrasebook_corpus(**sizes).items():
        if split in splits:
            source, target = (
                _Side([pair[side] for pair in pairs], f"{EMBEDDED_CORPUS} [{split}]", "row {}".format)
                for side in (0, 1)
            )
            found[split] = _Split(source, target)
    return found
