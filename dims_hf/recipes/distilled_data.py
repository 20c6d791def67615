# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Making a sequence-level distilled corpus from a recipe, in one process or many: translate, filter, report, card."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from tqdm import tqdm

from dims_hf._commands import follow_launcher, saying_how_to_go_on
from dims_hf._output import holding
from dims_hf.bulk.shards import MANIFEST, Content, Job, Shards, check_settings, save_settings
from dims_hf.bulk.workers import Place, Pool, Translate, places
from dims_hf.data import corpus_fingerprint
from dims_hf.data.beam_search import RUNTIMES, BeamTranslator, Sampling, TranslatedRow
from dims_hf.data.corpora import SIDE_COLUMNS, SPLITS
from dims_hf.data.distilled import (
    PairFilter,
    check_held_out,
    check_split,
    columns_of,
    filter_rows,
    sources_fingerprint,
    write_split,
)
from dims_hf.evaluation import score
from dims_hf.methods.options import check_ranges, option
from dims_hf.recipes.own_teachers import OwnTeacher
from dims_hf.recipes.parsing import parse_recipe
from dims_hf.recipes.runs import CorpusArguments, read_corpus, refuse_references, start_logging
from dims_hf.recipes.selection import SelectingTranslator
from dims_hf.reports import provenance
from dims_hf.reports.dataset_card import create_dataset_card
from dims_hf.reports.files import write_text
from dims_hf.reports.provenance import public_name
from dims_hf.translation.loading import load_checkpoint, load_model, load_tokenizer, resolve_model
from dims_hf.translation.torch_runtime import TorchRuntime


if TYPE_CHECKING:
    from accelerate import PartialState
    from datasets import DatasetDict

    from dims_hf.models.modeling_translation import NATForConditionalGeneration

logger = logging.getLogger(__name__)

Teacher = BeamTranslator | OwnTeacher

REPORT = "distillation.json"
SHARDS = "shards"

# Processes wait for the slowest at the end; those that are done early must not give up.
_LONGEST_WAIT = timedelta(days=7)

# What a teacher that is a model of this package does not have.
_OF_BEAM_SEARCH = ("length_penalty", "source_prefix", "teacher_source_lang", "teacher_target_lang")

_DTYPES = ("float32", "bfloat16", "float16", "int8")


@dataclass
class DistilledDataArguments:
    """The teacher, how it translates, which translations are kept, and where they go."""

    teacher: str = field(metadata={"help": "Folder or Hub id of an autoregressive translation model."})
    output_dir: str = field(metadata={"help": "Folder of the new corpus; it may hold one that was begun."})
    split: str = field(default="train", metadata={"help": "What is distilled: train, and nothing else."})
    num_beams: int = option(5, ge=1, le=1000, help="Width of the beam; 1 is greedy.")
    length_penalty: float = option(1.0, ge=-1000, le=1000, help="Scores are divided by length to this power.")
    teacher_source_lang: str | None = field(
        default=None, metadata={"help": "Source language as a teacher of many languages calls it: eng_Latn, en_XX."}
    )
    teacher_target_lang: str | None = field(default=None, metadata={"help": "Target language, likewise."})
    source_prefix: str = field(default="", metadata={"help": "Text before every source, e.g. `>>deu<< `."})
    runtime: str = field(
        default="torch",
        metadata={
            "help": "What runs the teacher; ctranslate2 is several times as fast on CPUs, for Marian models.",
            "choices": tuple(RUNTIMES),
        },
    )
    dtype: str = field(
        default="float32", metadata={"help": "Precision of the teacher; int8: of ctranslate2.", "choices": _DTYPES}
    )
    num_hypotheses: int = option(
        1, ge=1, le=1000, help="Translations of each source; all but the best go into `alternatives`."
    )
    selector: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub id of a one-pass model that chooses among the hypotheses (EM)."},
    )
    top_k: int | None = option(
        None, ge=1, help="Draw each token among the so many likeliest instead of searching; num_beams is 1 then."
    )
    temperature: float = option(1.0, gt=0, le=1000, help="Divides the logits that top_k draws from.")
    seed: int = option(1, ge=0, le=2**31 - 1, help="Of what top_k draws.")
    num_iterations: int | None = option(
        None, ge=1, help="Decoder passes of a teacher that is a model of this package; U-DiMS has 2."
    )
    length_beam_size: int = option(1, ge=1, help="Length candidates of such a teacher.")
    max_tokens_per_batch: int = option(16384, ge=1, help="Padded source tokens, every beam counted.")
    shard_size: int = option(5000, ge=1, help="Sentences per shard: what a kill may cost.")
    processes: int = option(
        1, ge=1, le=1024, help="Processes with a teacher each: one for a GPU, or with one thread for a core."
    )
    max_length_ratio: float | None = option(
        3.0, ge=1, help="Drop pairs with more tokens on one side per token of the other; none = never."
    )
    drop_copies: bool = field(default=True, metadata={"help": "Drop translations that equal their source."})
    license: str | None = field(default=None, metadata={"help": "Licence identifier of the result, for the card."})
    attribution: str | None = field(default=None, metadata={"help": "Whom the corpus wants named, for the card."})
    use_cpu: bool = field(default=False, metadata={"help": "Stay on the CPU where there is a GPU."})
    disable_tqdm: bool = field(default=False, metadata={"help": "No progress bar."})

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.top_k is None and (self.temperature, self.seed) != (1.0, 1):
            raise ValueError("temperature and seed are of sampling. Set top_k, or leave them out.")
        if self.top_k is not None:
            self._refuse("top_k samples", "length_penalty")
        if self.num_iterations is not None:
            self._refuse("num_iterations is for models of this package", *_OF_BEAM_SEARCH)
        else:
            self._refuse("an autoregressive teacher has a beam", "length_beam_size")

    def _refuse(self, reason: str, *names: str) -> None:
        """Refuses settings that would be read and ignored."""
        defaults = {declared.name: declared.default for declared in fields(self)}
        for name in names:
            if getattr(self, name) != defaults[name]:
                raise ValueError(f"{name}={getattr(self, name)!r} has no effect: {reason}. Leave one of them out.")


def make_distilled_data(argv: Sequence[str] | None = None) -> Path:
    """
    Translates the training sources of a corpus with an autoregressive teacher, or with a model of this package;
    begun work is taken up again.

    The result is a folder that [`load_corpus`] and `datasets.load_dataset` read: distilled `train.jsonl`, untouched
    `valid.jsonl` and `test.jsonl`, with `README.md` (card), `distillation.json` (report) and `shards/` (every
    translation, before filtering).

    Args:
        argv (`Sequence[str]`, *optional*): `RECIPE.yaml` and overrides; default: the process's arguments.

    Returns:
        `Path`: the folder.

    Raises:
        ValueError: for a bad recipe, corpus or teacher, a held-out set, or a folder with something else in it, before
            any translation.
    """
    corpus_args, args = parse_recipe((CorpusArguments, DistilledDataArguments), argv)
    folder, pair_filter = Path(args.output_dir), PairFilter(args.max_length_ratio, args.drop_copies)
    if corpus_args.monolingual is not None and args.num_iterations is None:
        raise ValueError(
            "monolingual sentences are for U-DiMS. Leave it out: the sources of data are distilled. Or set "
            "num_iterations, with a model of this package as the teacher."
        )
    refuse_references(corpus_args, "this command")
    _check_output(folder, corpus_args)
    check_split(args.split)
    resolve_model(args.teacher)  # a mistyped path is told before the corpus is read
    state = _processes(args)
    follow_launcher()
    with saying_how_to_go_on(lambda: _describe_progress(folder)):
        # The folder is the main process's; the others wait for it, or are ended by their launcher.
        with holding(folder) if state.is_main_process else nullcontext():
            _distil(corpus_args, args, pair_filter, state)
    return folder


def _distil(
    corpus_args: CorpusArguments, args: DistilledDataArguments, pair_filter: PairFilter, state: PartialState
) -> None:
    """Translates what is not translated yet, then writes corpus, report and card."""
    folder = Path(args.output_dir)
    corpus = read_corpus(corpus_args, SPLITS)
    shared = check_held_out(corpus)
    translator = load_translator(args, state.device)
    selecting = load_selector(args, translator)
    settings = {**_settings(translator, args, corpus), **({} if selecting is None else selecting.settings())}
    check_settings(folder / SHARDS, settings)
    if not corpus_args.drop_too_long:
        _check_lengths(translator, corpus)
    state.wait_for_everyone()
    if state.is_main_process:
        save_settings(folder / SHARDS, settings)
    # What the report says of the teacher's quality, it says of the teacher alone.
    translators = {"valid": translator, "train": selecting or translator}
    rows = {split: translate_split(corpus, split, each, args, state) for split, each in translators.items()}
    if state.is_main_process:
        report = {
            **_describe(corpus_args, args, translator, corpus),
            **_assemble(folder, corpus, rows, corpus_args, pair_filter),
            "settings": settings,
            "filter": asdict(pair_filter),
            "held_out_sources_in_train": shared,
        }
        write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", folder / REPORT)
        write_text(create_dataset_card(report, title=folder.resolve().name), folder / "README.md")
        logger.info("%s", summary_line(report, folder))
    state.wait_for_everyone()


def load_translator(args: DistilledDataArguments, device: torch.device) -> Teacher:
    """The teacher, ready to translate; models with code of their own are not loaded."""
    return _load_beam_search(args, device) if args.num_iterations is None else _load_own_teacher(args, device)


def _load_own_teacher(args: DistilledDataArguments, device: torch.device) -> OwnTeacher:
    if args.runtime != "torch" or args.num_hypotheses > 1 or args.top_k is not None:
        raise ValueError(
            "num_iterations is for the torch runtime and one hypothesis, without sampling. Leave out the others."
        )
    if args.dtype == "int8":
        raise ValueError("dtype int8 is one of the ctranslate2 runtime. Choose another dtype.")
    model, tokenizer = load_model(args.teacher, str(device), args.dtype)
    if not hasattr(model, "decoding_settings"):
        raise ValueError(f"{type(model).__name__} is autoregressive, and has no passes. Leave out num_iterations.")
    return OwnTeacher(
        TorchRuntime(model, tokenizer),
        num_iterations=args.num_iterations or 1,
        length_beam_size=args.length_beam_size,
        max_tokens_per_batch=args.max_tokens_per_batch,
    )


def _load_beam_search(args: DistilledDataArguments, device: torch.device) -> BeamTranslator:
    # CTranslate2 converts the weights itself
    is_converted = args.runtime == "ctranslate2"
    if args.dtype == "int8" and not is_converted:
        raise ValueError("dtype int8 is one of the ctranslate2 runtime. Set runtime: ctranslate2, or another dtype.")
    place = resolve_model(args.teacher)
    tokenizer = load_tokenizer(place)
    try:
        model = load_checkpoint(place, dtype=getattr(torch, "float32" if is_converted else args.dtype))
    except ValueError as error:
        if "is not a model that translates" not in str(error):
            raise
        raise ValueError(
            f"{args.teacher} is not a model that translates one text into another. Use a Marian, NLLB or mBART model "
            "as the teacher, or train one with training/train_autoregressive.py."
        ) from None
    return BeamTranslator(
        model.to(device),
        tokenizer,
        num_beams=args.num_beams,
        length_penalty=args.length_penalty,
        num_hypotheses=args.num_hypotheses,
        max_tokens_per_batch=args.max_tokens_per_batch,
        source_code=args.teacher_source_lang,
        target_code=args.teacher_target_lang,
        source_prefix=args.source_prefix,
        sampling=None if args.top_k is None else Sampling(args.top_k, args.temperature, args.seed),
        runtime=args.runtime,
        precision=args.dtype,
    )


def load_selector(args: DistilledDataArguments, translator: Teacher) -> SelectingTranslator | None:
    """The translator with the model that chooses among its hypotheses; `None` where nobody does."""
    if args.selector is None:
        return None
    if isinstance(translator, OwnTeacher):
        raise ValueError(
            "selector chooses among an autoregressive teacher's translations. Leave it or the teacher out."
        )
    model, tokenizer = load_model(args.selector, str(translator.model.device), "float32")
    if getattr(model.config, "mask_token_id", None) is None:
        raise ValueError(
            f"selector={args.selector} is not a non-autoregressive model of this package. Name one, such as a CMLM "
            "trained on the best translations, or leave it out."
        )
    return SelectingTranslator(translator, cast("NATForConditionalGeneration", model), tokenizer)


def translate_split(
    corpus: DatasetDict,
    split: str,
    translator: Teacher | SelectingTranslator,
    args: DistilledDataArguments,
    state: PartialState,
) -> list[TranslatedRow] | None:
    """Translations of a split, in its order, made by all processes together; `None` on all but the main one."""
    sources = list(corpus[split]["source"])
    shards = Shards(Path(args.output_dir) / SHARDS, split, args.shard_size, len(sources))
    # Every process must see the same ones missing: nobody begins before all have looked.
    missing = shards.missing()
    state.wait_for_everyone()
    if state.is_main_process and 0 < len(missing) < len(shards):
        logger.info("%d of %d shards of %s are there already.", len(shards) - len(missing), len(shards), split)
    share = missing[state.process_index :: state.num_processes]
    total = sum(len(job.texts) for job in shards.jobs(sources, share))
    is_silent = not state.is_main_process or args.disable_tqdm
    with tqdm(total=total, desc=f"translate {split}", unit=" sentences", disable=is_silent) as bar:
        where = _places(args, state)
        # one process needs no second teacher
        selects = isinstance(translator, SelectingTranslator)
        open_teacher = (
            partial(_open_teacher, args, selects) if len(where) > 1 else lambda place: _translating(translator)
        )
        for _ in Pool(shards, open_teacher, where, bar.update).run(shards.jobs(sources, share)):
            pass
    state.wait_for_everyone()
    return [TranslatedRow.from_json(row) for row in shards.read()] if state.is_main_process else None


def _places(args: DistilledDataArguments, state: PartialState) -> list[Place]:
    if args.processes == 1:
        return [Place()]
    if state.num_processes > 1:
        raise ValueError(f"A launcher started the processes. Leave out processes: {args.processes}.")
    return places(args.processes, "cpu" if args.use_cpu else None, None, is_exported=False)


def _open_teacher(args: DistilledDataArguments, selects: bool, place: Place) -> Translate:
    """The teacher in a process of its own and, where it selects, the model that chooses."""
    if place.threads is not None:
        torch.set_num_threads(place.threads)
    translator = load_translator(args, torch.device(place.device or "cpu"))
    return _translating((load_selector(args, translator) if selects else None) or translator)


def _translating(translator: Teacher | SelectingTranslator) -> Translate:
    def translate(job: Job, on_batch: Callable[[int], object]) -> Content:
        return Content([row.to_json() for row in translator(job.texts, on_batch)])

    return translate


def summary_line(report: dict[str, Any], folder: Path) -> str:
    """What was made, in one line."""
    train, dropped = report["train"], report["train"]["dropped"]
    reasons = ", ".join(f"{reason} {count}" for reason, count in dropped.items() if count) or "none"
    return (
        f"{folder}: {train['kept']} of {train['sources']} pairs kept (left out: {reasons}); the teacher has "
        f"{report['validation']['bleu']:.2f} BLEU on the validation split."
    )


def _describe_progress(folder: Path) -> str:
    num_shards = len([*(folder / SHARDS).glob("*.jsonl")])
    return f"{num_shards} shards of translations are saved in {folder}: the same command goes on with the others."


def _processes(args: DistilledDataArguments) -> PartialState:
    from accelerate import PartialState

    state = PartialState(cpu=args.use_cpu, timeout=_LONGEST_WAIT)
    start_logging(state.is_main_process)
    return state


def _check_output(folder: Path, corpus_args: CorpusArguments) -> None:
    """Refuses to write over a corpus that this command did not make."""
    if folder.resolve() == Path(corpus_args.data).expanduser().resolve():
        raise ValueError(f"output_dir is the corpus itself, {corpus_args.data}. Name another folder.")
    if (folder / SHARDS / MANIFEST).is_file():
        return
    suffixes = (corpus_args.source_lang, corpus_args.target_lang, "jsonl")
    for name in (f"{split}.{suffix}" for split in ("train", "valid", "test") for suffix in suffixes):
        if (folder / name).exists():
            raise ValueError(
                f"{folder / name} is there already, and is not from an earlier start of this command. Name another "
                "output_dir, so that nothing is overwritten."
            )


def _settings(translator: Teacher, args: DistilledDataArguments, corpus: DatasetDict) -> dict[str, Any]:
    """Everything the shards depend on."""
    fingerprints = {
        f"{split}_sources_fingerprint": sources_fingerprint(corpus[split]["source"]) for split in ("train", "valid")
    }
    return {**translator.settings(), "shard_size": args.shard_size, **fingerprints}


def _check_lengths(translator: Teacher, corpus: DatasetDict) -> None:
    for split in ("valid", "train"):
        row = translator.first_too_long(list(corpus[split]["source"]))
        if row is not None:
            raise ValueError(
                f"Row {row} of {split}: the source has more than the {translator.max_source_tokens} tokens that the "
                "teacher takes. Shorten or remove it, or set drop_too_long: true."
            )


def _describe(
    corpus_args: CorpusArguments, args: DistilledDataArguments, translator: Teacher, corpus: DatasetDict
) -> dict[str, Any]:
    """What the report says of teacher, corpus and run; of paths, the last part."""
    config = translator.model.config
    return {
        "teacher": {
            "name": public_name(args.teacher),
            "model_type": config.model_type,
            "num_parameters": sum(parameter.numel() for parameter in translator.model.parameters()),
        },
        "selector": None if args.selector is None else public_name(args.selector),
        "corpus": {
            "data": public_name(corpus_args.data),
            "source_lang": corpus_args.source_lang,
            "target_lang": corpus_args.target_lang,
            "fingerprint": corpus_fingerprint(corpus),
            **({"monolingual": public_name(corpus_args.monolingual)} if corpus_args.monolingual else {}),
            "num_pairs": {split: len(corpus[split]) for split in corpus},
            "side_columns": [name for name in SIDE_COLUMNS if any(name in corpus[split].features for split in corpus)],
        },
        "license": args.license,
        "attribution": args.attribution,
        "provenance": provenance(),
    }


def _assemble(
    folder: Path,
    corpus: DatasetDict,
    rows: dict[str, list[TranslatedRow]],
    corpus_args: CorpusArguments,
    pair_filter: PairFilter,
) -> dict[str, Any]:
    """Writes the corpus; returns what became of the training pairs, and the teacher's quality."""
    languages = (corpus_args.source_lang, corpus_args.target_lang)
    sources = list(corpus["train"]["source"])
    # monolingual sentences have none
    references = list(corpus["train"]["target"]) if "target" in corpus["train"].column_names else None
    kept, dropped = filter_rows(sources, rows["train"], pair_filter)
    targets = [rows["train"][row].text for row in kept]
    columns = columns_of(corpus["train"].select(kept), targets, *languages)
    if any(row.alternatives for row in rows["train"]):
        columns["alternatives"] = [pair_filter.alternatives(sources[row], rows["train"][row]) for row in kept]
    write_split(folder, "train", columns)
    for split in corpus:
        if split != "train":
            write_split(folder, split, columns_of(corpus[split], list(corpus[split]["target"]), *languages))
    # A source that the teacher does not take counts as translated by nothing.
    hypotheses = [row.text or "" for row in rows["valid"]]
    scores = score(hypotheses, list(corpus["valid"]["target"]), target_lang=languages[1])
    return {
        "train": {
            "sources": len(sources),
            "kept": len(kept),
            "dropped": dropped,
            "drop_rate": 1 - len(kept) / len(sources),
            **_compare(targets, None if references is None else [references[row] for row in kept]),
        },
        "validation": {"num_sentences": len(hypotheses), **scores},
    }


def _compare(targets: list[str], references: list[str] | None) -> dict[str, Any]:
    """Translations beside the references that they replace, where there are some."""
    words = {"distilled": _num_distinct_words(targets)}
    if references is None:
        return {"equal_to_reference": None, "distinct_words": words}
    same = sum(target == reference for target, reference in zip(targets, references, strict=True))
    words["reference"] = _num_distinct_words(references)
    return {"equal_to_reference": same / len(targets), "distinct_words": words}


def _num_distinct_words(texts: list[str]) -> int:
    return len({word for text in texts for word in text.split()})
