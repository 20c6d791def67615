# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`translate_corpus`: millions of sentences into shards, over processes, resumed exactly after a kill."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from dims_hf._commands import follow_launcher, saying_how_to_go_on
from dims_hf._files import expand_home
from dims_hf._output import holding
from dims_hf.models.source_text import check_policies

from .models import find_model
from .reading import Columns, Corpus, open_corpus
from .report import FLAGS, CorpusReport, sum_counts
from .shards import Content, Job, Record, Shards, check_settings, complete_manifest, save_settings, write_json
from .workers import Place, Pool, Translate, places


if TYPE_CHECKING:
    from accelerate import PartialState

logger = logging.getLogger(__name__)

REPORT = "report.json"
SHARD_NAME = "shard"

# What a row of the output has of its own (a pair has no `source`).
OWN_COLUMNS = frozenset({"source", "translation", "score", "confidence", "flags", "pieces", "left_out"})

LONGEST_WAIT = timedelta(days=7)
"""Processes wait for the slowest at the end; those that are done early must not give up."""

# Fields that say how the work is done, not what comes out of it.
_NOT_SETTINGS = frozenset(
    ("processes", "split", "config", "streaming", "input_format", "trust_remote_code", "max_rows")
)

_DECODING = (
    "num_iterations", "length_beam_size", "length_score_weight", "repeat_penalty", "collapse_repeats",
    "max_tokens_per_batch", "on_blank", "on_long",
)  # fmt: skip


@dataclass(frozen=True)
class CorpusSettings:
    """
    How a corpus is read, translated and written.

    Args:
        input_format (`str`, *optional*): `text`, `jsonl`, `parquet` or `dataset`; the suffix of a file decides when
            `None`, and what is no file is a data set.
        column (`str`, *optional*): column of the sources; `source`, `text` or `sentence` when `None`.
        keep_columns (`tuple[str, ...]`): columns that are copied into the output.
        split, config (`str`, *optional*): of a data set.
        streaming (`bool`): read a Hub data set as it comes, without keeping it.
        max_rows (`int`, *optional*): translate the first so many rows.
        source_lang, target_lang (`str`, *optional*): write pairs `{"translation": {source_lang: …, target_lang: …}}`,
            as training reads them; of a parallel corpus, `source_lang` is also the side that is translated.
        output_format (`str`): `jsonl`, `text` (translations alone, a line each) or `parquet`.
        shard_size (`int`): rows of a shard: what a kill may cost each process.
        processes (`int`, *optional*): one for each GPU, else for each core, when `None`.
        threads (`int`, *optional*): processor threads of each process; 1 when `None`.
        device, dtype (`str`, *optional*): as [`load_model`] takes them.
        trust_remote_code (`bool`): run Python code that comes with the model.
        on_blank, on_long (`str`): policies for odd sources, as of [`translate`].
        num_iterations, length_beam_size, length_score_weight, repeat_penalty, collapse_repeats,
            max_tokens_per_batch (*optional*): decoding, as of [`translate`]; the model's own settings when `None`.

    Raises:
        ValueError: an unknown policy, one language without the other, a kept column that the output has of its own, or
            a count below 1.
    """

    input_format: str | None = None
    column: str | None = None
    keep_columns: tuple[str, ...] = ()
    split: str | None = None
    config: str | None = None
    streaming: bool = False
    max_rows: int | None = None
    source_lang: str | None = None
    target_lang: str | None = None
    output_format: str = "jsonl"
    shard_size: int = 5000
    processes: int | None = None
    threads: int | None = None
    device: str | None = None
    dtype: str | None = None
    trust_remote_code: bool = False
    on_blank: str = "keep"
    on_long: str = "error"
    num_iterations: int | None = None
    length_beam_size: int | None = None
    length_score_weight: float | None = None
    repeat_penalty: float | None = None
    collapse_repeats: bool | None = None
    max_tokens_per_batch: int | None = None

    def __post_init__(self) -> None:
        check_policies(self.on_blank, self.on_long)
        if (self.source_lang is None) != (self.target_lang is None):
            raise ValueError("Pairs need source_lang and target_lang. Give both, or neither.")
        if self.source_lang is not None and self.source_lang == self.target_lang:
            raise ValueError(f"source_lang and target_lang are both {self.source_lang!r}. Give two languages.")
        if self.output_format == "text" and (self.keep_columns or self.source_lang):
            raise ValueError("Text has one translation on a line and nothing else. Write jsonl or parquet.")
        own = OWN_COLUMNS - ({"source"} if self.source_lang else set())
        taken = sorted(own & set(self.keep_columns))
        if taken:
            raise ValueError(
                f"keep_columns names {', '.join(taken)}, which the output has itself. Rename it in the input."
            )
        if self.max_rows is not None and self.max_rows < 1:
            raise ValueError(f"max_rows must be >= 1, got {self.max_rows}. Leave it out for all rows.")
        object.__setattr__(self, "keep_columns", tuple(self.keep_columns))

    @property
    def columns(self) -> Columns:
        """What of a row is read."""
        return Columns(self.column, self.keep_columns, self.source_lang, as_json=self.output_format == "jsonl")

    @property
    def decoding(self) -> dict[str, Any]:
        """Options of [`translate_texts`]."""
        return {name: getattr(self, name) for name in _DECODING}


def translate_corpus(
    model: str | os.PathLike[str],
    data: Any,
    output_dir: str | os.PathLike[str],
    settings: CorpusSettings | None = None,
    *,
    progress: bool = False,
    **changes: Any,
) -> CorpusReport:
    """
    Translates a corpus of any size into shards.

    The sources are read as a stream. Each shard is a file of `shard_size` rows, in the order of the sources, and is
    whole or absent at any time; after a kill, the same call goes on with the shards that are missing, and the folder
    is the same, byte for byte, as that of an undisturbed run, however many processes did the work. A process that
    dies is replaced, and its shard is done again. `manifest.json` holds the settings that the shards depend on, with
    a fingerprint of the model; a folder with others is refused, and so are sources that have changed since.

    Under `accelerate launch` or `torchrun`, every process translates its own share of the shards.

    With several processes, call it under `if __name__ == "__main__":`, as all that starts processes.

    Args:
        model (`str` or `os.PathLike`): folder of a checkpoint or of an export (ONNX, native), or Hub model id.
        data (`Any`): path of a text, JSONL or Parquet file, a list of them, `-` for standard input, a folder with a
            data set, a Hub data set id, a `Dataset` or `IterableDataset`, or another iterable of texts or rows.
        output_dir (`str` or `os.PathLike`): folder of the shards; it may hold some that were made before.
        settings ([`CorpusSettings`], *optional*): how the corpus is read, translated and written.
        progress (`bool`, *optional*, defaults to `False`): show rows, rate and time left on standard error.
        changes (`Any`): fields of [`CorpusSettings`], in place of those of `settings`.

    Returns:
        [`CorpusReport`]: also written as `report.json`.

    Raises:
        ValueError: settings that contradict each other, sources or a model that are not there, a source that the
            policies refuse (named by file and line), a folder with other shards or in use.

    Example:

    ```python
    from dims_hf import translate_corpus

    if __name__ == "__main__":
        report = translate_corpus("student-native", "sentences.en", "out", processes=8, on_long="split")
        print(report.table())
    ```
    """
    settings = _with_changes(settings or CorpusSettings(), changes)
    shards = Shards(expand_home(output_dir), SHARD_NAME, settings.shard_size, form=settings.output_format)
    share = _Share.find(settings)
    corpus = open_corpus(
        data,
        kind=settings.input_format,
        split=settings.split,
        config=settings.config,
        streaming=settings.streaming,
    )
    with saying_how_to_go_on(lambda: f"what is done is in {output_dir}: the same command goes on with the rest."):
        # The folder is the main process's; the others wait for it, or are ended by their launcher.
        with holding(shards.folder) if share.is_main else nullcontext():
            return _translate(str(model), corpus, shards, settings, share, progress)


def _with_changes(settings: CorpusSettings, changes: Mapping[str, Any]) -> CorpusSettings:
    known = [each.name for each in fields(CorpusSettings)]
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise ValueError(f"There is no setting {unknown[0]!r}. A corpus is translated with {', '.join(known)}.")
    return replace(settings, **changes)


def _translate(
    name: str, corpus: Corpus, shards: Shards, settings: CorpusSettings, share: _Share, progress: bool
) -> CorpusReport:
    start = time.perf_counter()
    found = find_model(name)
    kept = {key: value for key, value in asdict(settings).items() if key not in _NOT_SETTINGS}
    # threads are among them: sums in another order may break ties otherwise
    own = {**found.settings(), **kept, "threads": settings.threads or 1, "keep_columns": [*settings.keep_columns]}
    check_settings(shards.folder, own)
    # before anybody writes: what this run makes itself is not found
    there = shards.recorded()
    share.wait()
    # one writes what there is once; the others wait for it
    if share.is_main:
        save_settings(shards.folder, own)
    share.wait()
    where = share.places(settings, is_exported=found.is_exported)
    with _Bar(corpus, settings, is_shown=progress and share.is_main) as bar:
        pool = Pool(shards, partial(open_translator, found.place, settings), where, bar.add)
        jobs = corpus.jobs(settings.shard_size, settings.columns, settings.max_rows)
        ledger = _Ledger(shards, jobs, share, there, bar.skip)
        for record in pool.run(ledger.missing()):
            logger.debug("%s is done.", shards.path(record.shard).name)
    share.wait()
    records = ledger.records()
    report = CorpusReport(
        output_dir=shards.folder,
        model=found.name,
        runtime=found.runtime,
        corpus=corpus.name,
        **sum_counts(records),
        shards_found=ledger.num_found,
        rows_translated=sum(each.rows for each in records) - ledger.rows_found,
        seconds=time.perf_counter() - start,
        processes=share.count * len(where),
        processes_replaced=pool.replaced,
        settings=own,
        provenance=_provenance(),
    )
    if share.is_main:
        complete_manifest(shards, own, records)
        write_json(shards.folder / REPORT, report.to_dict())
    share.wait()
    return report


def open_translator(model: str, settings: CorpusSettings, place: Place) -> Translate:
    """
    A function that translates jobs, its model loaded now.

    Args:
        model (`str`): folder of a checkpoint or export.
        settings ([`CorpusSettings`]): decoding, policies and form of the rows.
        place ([`Place`]): device and threads.
    """
    from dims_hf.translation import open_runtime, translate_texts

    runtime = open_runtime(
        model,
        device=place.device,
        dtype=settings.dtype,
        threads=place.threads,
        trust_remote_code=settings.trust_remote_code,
    )

    def translate(job: Job, on_batch: Callable[[int], object]) -> Content:
        translations = translate_texts(runtime, job.texts, name=job.locate, on_batch=on_batch, **settings.decoding)
        return _content(job, translations, settings)

    return translate


def _content(job: Job, translations: list[Any], settings: CorpusSettings) -> Content:
    """Rows of a shard, and its counts."""
    from dims_hf.translation import translation_record

    counts = dict.fromkeys(("blank", "long", "split", "confidence", *FLAGS), 0.0)
    rows = []
    for text, translation, kept in zip(job.texts, translations, job.kept or [{}] * len(job.texts), strict=True):
        record = translation_record(text, translation)
        # there is no second try in bulk
        del record["is_fallback"]
        if translation.left_out is not None:
            counts[translation.left_out] += 1
        counts["split"] += translation.num_pieces > 1
        counts["confidence"] += record["confidence"] or 0.0
        for flag in record["flags"]:
            counts[flag] += 1
        if settings.source_lang is not None:
            pair = {settings.source_lang: record.pop("source"), settings.target_lang: record["translation"]}
            record["translation"] = pair
        rows.append({**kept, **record})
    return Content(rows, counts)


class _Ledger:
    """Which shards are this process's to make, and which are there."""

    def __init__(
        self, shards: Shards, jobs: Iterator[Job], share: _Share, found: set[int], on_skip: Callable[[int], object]
    ) -> None:
        self.shards, self.jobs, self.share, self.found, self.on_skip = shards, jobs, share, found, on_skip
        self.count = self.num_found = self.rows_found = 0

    def missing(self) -> Iterator[Job]:
        """
        This process's jobs.

        Raises:
            ValueError: a shard that was made from other sources, or none for a row that is gone.
        """
        for job in self.jobs:
            self.count += 1
            # another process may be writing it at this moment
            record = self.shards.record(job.shard) if job.shard in self.found else None
            if record is not None:
                # sources may have changed since the shard was made
                self._check(record, job)
                self.num_found += 1
                self.rows_found += record.rows
            # by turns: shards of one file are spread over all processes
            elif job.shard % self.share.count == self.share.index:
                yield job
                continue
            self.on_skip(len(job.texts))
        beyond = [shard for shard in self.found if shard >= self.count]
        if beyond:
            raise ValueError(
                f"{self.shards.folder} has {len(beyond)} more shards than the sources give now, from "
                f"{self.shards.path(min(beyond)).name} on. Choose another output_dir, or delete it."
            )
        if not self.count:
            raise ValueError("There is nothing to translate: the sources have no rows.")

    def records(self) -> list[Record]:
        """What is known of all shards; the processes have to have ended their work."""
        records = [self.shards.record(shard) for shard in range(self.count)]
        return [record for record in records if record is not None]

    def _check(self, record: Record, job: Job) -> None:
        if record.sources != job.fingerprint():
            raise ValueError(
                f"{self.shards.path(job.shard)} was made from other sources than those from {job.locate(0)} on. "
                "Choose another output_dir, or delete it."
            )


@dataclass(frozen=True)
class _Share:
    """
    Which of the processes of a launcher this is.

    Args:
        index (`int`): its number.
        count (`int`): how many there are.
        state (`PartialState`, *optional*): of accelerate, where there are several.
    """

    index: int = 0
    count: int = 1
    state: PartialState | None = None

    @classmethod
    def find(cls, settings: CorpusSettings) -> _Share:
        """What `accelerate launch` or `torchrun` says."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if settings.processes not in (None, 1):
            raise ValueError(f"A launcher started the processes. Leave out processes={settings.processes}.")
        from accelerate import PartialState

        state = PartialState(cpu=settings.device == "cpu", timeout=LONGEST_WAIT)
        follow_launcher()
        return cls(state.process_index, state.num_processes, state)

    @property
    def is_main(self) -> bool:
        """Whether it is the one that writes what there is once."""
        return self.index == 0

    def wait(self) -> None:
        """Until all processes are here."""
        if self.state is not None:
            self.state.wait_for_everyone()

    def places(self, settings: CorpusSettings, *, is_exported: bool) -> list[Place]:
        """Where models run: of a launcher's processes, one at its own device."""
        if self.state is None:
            return places(settings.processes, settings.device, settings.threads, is_exported=is_exported)
        return [Place(None if is_exported else str(self.state.device), settings.threads or 1)]


class _Bar:
    """Rows, rate and time left on standard error; rows that are not translated here count for no rate."""

    def __init__(self, corpus: Corpus, settings: CorpusSettings, *, is_shown: bool) -> None:
        from tqdm import tqdm

        limits = [count for count in (corpus.num_rows, settings.max_rows) if count is not None]
        total = min(limits) if corpus.num_rows is not None else None
        # where nobody looks, a line now and then
        every = 0.5 if sys.stderr.isatty() else 10.0
        self.bar = tqdm(total=total, desc="translate", unit=" rows", disable=not is_shown, mininterval=every)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def add(self, count: int) -> None:
        """Rows that were translated; of a job that is lost, a negative number."""
        self.bar.update(count)

    def skip(self, count: int) -> None:
        """Rows that are there already, or another process's."""
        if not self.bar.disable:
            # tqdm's rate is over what came after `initial`
            self.bar.initial += count
            self.bar.n += count
            self.bar.last_print_n += count


def _provenance() -> dict[str, Any]:
    from dims_hf.reports.provenance import provenance

    return provenance()
