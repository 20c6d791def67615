# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Quality and latency of several models on several test sets, side by side: one table, one figure, one document."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import torch

from dims_hf._output import holding
from dims_hf.benchmark.translators import vocabulary_mapping
from dims_hf.data import corpus_fingerprint, load_corpus
from dims_hf.data.beam_search import BeamTranslator
from dims_hf.data.beam_search_ctranslate2 import vocabulary
from dims_hf.evaluation.bleu import paired_bootstrap, usable_tokenizer
from dims_hf.evaluation.evaluator import measure
from dims_hf.evaluation.metrics import SystemOutput
from dims_hf.models.capabilities import is_non_autoregressive
from dims_hf.reports.evaluation import subsets_from_columns, write_translations
from dims_hf.reports.figures import STYLES, new_figure, save_figure
from dims_hf.reports.files import write_json, write_text
from dims_hf.reports.leaderboard import leaderboard_markdown
from dims_hf.reports.provenance import provenance, public, public_name, weights_checksum
from dims_hf.translation.loading import load_model, resolve_model
from dims_hf.translation.results import Translation
from dims_hf.translation.runtimes import open_runtime
from dims_hf.translation.sentences import translate_texts
from dims_hf.translation.torch_runtime import TorchRuntime


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from dims_hf.export.shortlist import Shortlist

logger = logging.getLogger(__name__)

Translate = Callable[[Sequence[str]], "list[Translation]"]
"""Texts in, one translation each out."""

Learn = Callable[["PreTrainedModel", "PreTrainedTokenizerBase"], "Shortlist"]
"""The lexical shortlist of a model and its tokenizer."""

# Sentences whose latency is measured one by one, and per call of 32; each several times, the systems in turns.
_NUM_TIMED = {1: 48, 32: 128}
_ROUNDS = 5
_PEER_BEAMS = 5


@dataclass(frozen=True)
class TestSet:
    """
    Sentences and their references.

    Args:
        name (`str`): as tables show it.
        sources, references (`list[str]`): one reference per source.
        subsets (`dict[str, list[bool]]`): name to one flag per sentence; scored as test sets of their own.
        fingerprint (`str`): of the corpus.
    """

    # not one of pytest's classes
    __test__ = False

    name: str
    sources: list[str]
    references: list[str]
    subsets: dict[str, list[bool]]
    fingerprint: str


@dataclass
class Contestant:
    """
    A model in one runtime, decoded in one way.

    Args:
        name (`str`): of the model.
        model (`str`): its folder.
        runtime (`str`): what runs it, with the precision.
        decoding (`str`): passes or beam.
        num_parameters (`int`): of the model.
        open (`Callable`): makes the function that translates.
        is_peer (`bool`): whether the model is autoregressive.
    """

    name: str
    model: str
    runtime: str
    decoding: str
    num_parameters: int
    open: Callable[[], Translate]
    is_peer: bool
    outputs: dict[str, list[Translation]] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name, decoding and runtime."""
        return f"{self.name}, {self.decoding}, {self.runtime}"

    @cached_property
    def translate(self) -> Translate:
        """The opened model."""
        return self.open()


def run_leaderboard(
    models: Mapping[str, str | os.PathLike[str]],
    test_sets: Mapping[str, str | os.PathLike[str]],
    source_lang: str,
    target_lang: str,
    *,
    split: str = "test",
    max_examples: int | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    bleu_tokenizer: str | None = None,
    rounds: int = _ROUNDS,
    seed: int = 12345,
    shortlist: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """
    Translates every test set with every model, in every runtime at hand, and times them in turns.

    A model of this package is decoded as its own generation config says, and once more in one pass where that says
    more; in torch and, where they are installed, in the native int8 runtime or int8 ONNX. An autoregressive model is
    decoded greedily in torch and in CTranslate2 int8, and with a beam of 5 in CTranslate2 (in torch without it).
    Quality is compared with that of the first autoregressive model's greedy output (of the first model where there is
    none) by paired bootstrap.

    Args:
        models (`Mapping[str, str | os.PathLike]`): name to checkpoint folder or Hub id.
        test_sets (`Mapping[str, str | os.PathLike]`): name to corpus, as `load_corpus` takes it. A column with few
            distinct values, such as `near`, gives test sets of its own.
        source_lang, target_lang (`str`): language codes.
        split (`str`, *optional*, defaults to `"test"`): split of the corpora.
        max_examples (`int`, *optional*): first sentences of each set only.
        output_dir (`str` or `os.PathLike`, *optional*): folder for `leaderboard.json`, `leaderboard.md`,
            `leaderboard.png` and the translations. Nothing is written when `None`.
        bleu_tokenizer (`str`, *optional*): sacreBLEU's tokenizer; that of the target language when `None`.
        rounds (`int`, *optional*, defaults to 5): times that latency is measured; the median counts.
        seed (`int`, *optional*, defaults to 12345): of the bootstrap.
        shortlist (`str` or `os.PathLike`, *optional*): corpus whose training split a lexical shortlist is learnt from,
            for each model; the int8 runtimes then come once more, with it.

    Returns:
        `dict[str, Any]`: `task`, `systems` (each with `scores` by test set and `milliseconds` per sentence from text
        to text, by sentences per call), `comparisons` and `provenance`.

    Raises:
        ValueError: no model, no test set, a path that does not exist, or what `load_corpus` refuses.
    """
    if not models or not test_sets:
        raise ValueError("A leaderboard needs a model and a test set at least. Give --system and --test-set.")
    if rounds < 1:
        raise ValueError(f"rounds must be >= 1, got {rounds}.")
    sets = [_load_set(name, data, source_lang, target_lang, split, max_examples) for name, data in test_sets.items()]
    tokenizer = usable_tokenizer(sets[0].references, target_lang, bleu_tokenizer)
    places = {name: resolve_model(place) for name, place in models.items()}
    learn = None if shortlist is None else partial(_learn, Path(shortlist), source_lang, target_lang)
    with nullcontext() if output_dir is None else holding(output_dir), TemporaryDirectory() as scratch:
        contestants = [
            each
            for number, (name, place) in enumerate(places.items())
            for each in _contestants(name, place, Path(scratch, str(number)), learn)
        ]
        milliseconds = _latencies(contestants, sets[0].sources, rounds)
        systems = [
            {**_described(each), "scores": _scores(each, sets, tokenizer), "milliseconds": milliseconds[each.label]}
            for each in contestants
        ]
        results = {
            "task": {
                "source_lang": source_lang,
                "target_lang": target_lang,
                "split": split,
                "rounds": rounds,
                "threads": torch.get_num_threads(),
                "shortlist": None if shortlist is None else public_name(os.fspath(shortlist)),
                "test_sets": [
                    {"name": each.name, "num_sentences": len(each.sources), "fingerprint": each.fingerprint}
                    for each in sets
                ],
            },
            "systems": systems,
            "comparisons": list(_comparisons(contestants, sets, tokenizer, seed)),
            "provenance": provenance(seed=seed),
        }
        if output_dir is not None:
            _write(results, contestants, Path(output_dir))
        return results


def _load_set(
    name: str, data: str | os.PathLike[str], source_lang: str, target_lang: str, split: str, most: int | None
) -> TestSet:
    limits = {} if most is None else {split: most}
    rows = load_corpus(os.fspath(data), source_lang, target_lang, splits=(split,), max_examples=limits)[split]
    subsets = {f"{name}, {label}": flags for label, flags in subsets_from_columns(rows).items()}
    return TestSet(name, list(rows["source"]), list(rows["target"]), subsets, corpus_fingerprint(rows))


def _learn(
    corpus: Path, source_lang: str, target_lang: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Shortlist:
    from dims_hf.export import corpus_shortlist

    return corpus_shortlist(model, tokenizer, corpus, source_lang, target_lang)


def _contestants(name: str, place: str, scratch: Path, learn: Learn | None) -> Iterator[Contestant]:
    model, tokenizer = load_model(place, device="cpu")
    shortlists = [None] if learn is None else [None, learn(model, tokenizer)]
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    make = partial(Contestant, name, place, num_parameters=num_parameters)
    if not is_non_autoregressive(model.config):
        yield from _peers(partial(make, is_peer=True), model, tokenizer, shortlists, scratch)
        return
    make = partial(make, is_peer=False)
    passes = cast(Any, model.generation_config).num_iterations
    for count in sorted({1, passes}):
        decoding = f"{count} pass{'es' * (count > 1)}"
        runtime = TorchRuntime(model, tokenizer)
        yield make("torch fp32", decoding, open=lambda runtime=runtime, count=count: _ours(runtime, count))
    for shortlist in shortlists:
        exported = _export(model, tokenizer, scratch / _short("export", shortlist), shortlist)
        if exported is not None:
            label, folder = exported
            yield make(_short(label, shortlist), "1 pass", open=partial(_open_export, folder))


def _short(label: str, shortlist: Shortlist | None) -> str:
    return label if shortlist is None else f"{label}, shortlist"


def _open_export(folder: Path) -> Translate:
    return _ours(open_runtime(folder, threads=torch.get_num_threads()), None)


def _ours(runtime: Any, num_iterations: int | None) -> Translate:
    return lambda sources: translate_texts(runtime, sources, num_iterations=num_iterations, on_long="split")


def _export(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, shortlist: Shortlist | None
) -> tuple[str, Path] | None:
    """The fastest export that can be made here, and its name; `None` where there is none."""
    from dims_hf.export import export_native, export_onnx
    from dims_hf.native import is_available

    if is_available():
        try:
            export_native(model, tokenizer, folder / "native", num_iterations=1, shortlist=shortlist)
            return "native int8", folder / "native"
        except ValueError as error:
            # such as a family without a native form
            logger.info("%s has no native export, and is exported to ONNX: %s", folder.name, error)
    if not all(map(find_spec, ("onnx", "onnxruntime"))):
        return None
    try:
        export_onnx(model, tokenizer, folder / "onnx", int8=True, num_iterations=1, shortlist=shortlist)
    except ValueError as error:
        if shortlist is None:
            raise
        # such as a family that is traced
        logger.info("%s has no shortlist in ONNX: %s", folder.parent.name, error)
        return None
    return "ONNX int8", folder / "onnx"


def _peers(
    make: Callable[..., Contestant],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    shortlists: Sequence[Shortlist | None],
    scratch: Path,
) -> Iterator[Contestant]:
    yield make("torch fp32", "greedy", open=lambda: _peer(model, tokenizer, num_beams=1))
    # several times as fast, with the same search: a beam in torch takes minutes for a test set
    runtime, search = "torch fp32", {}
    if model.config.model_type == "marian" and find_spec("ctranslate2") is not None:
        runtime, search = "CTranslate2 fp32", {"runtime": "ctranslate2", "precision": "float32"}
        for shortlist in shortlists:
            fast = {"runtime": "ctranslate2", "precision": "int8"} | _mapped(shortlist, model, tokenizer, scratch)
            label = _short("CTranslate2 int8", shortlist)
            yield make(label, "greedy", open=partial(_peer, model, tokenizer, num_beams=1, **fast))
    yield make(runtime, f"beam {_PEER_BEAMS}", open=lambda: _peer(model, tokenizer, num_beams=_PEER_BEAMS, **search))


def _mapped(
    shortlist: Shortlist | None, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, scratch: Path
) -> dict[str, Any]:
    """The argument that gives CTranslate2 a shortlist, in a file as it reads them."""
    if shortlist is None:
        return {}
    text = vocabulary_mapping(shortlist, vocabulary(model, tokenizer))
    return {"vocabulary_mapping": write_text(text, scratch / "vocabulary_mapping.txt")}


def _peer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, **search: Any) -> Translate:
    translator = BeamTranslator(model, tokenizer, **search)

    def translate(sources: Sequence[str]) -> list[Translation]:
        texts = [row.text or "" for row in translator(sources)]
        rows = cast("list[list[int]]", tokenizer(texts, add_special_tokens=False)["input_ids"])
        return [Translation(text, text, tuple(ids), tuple(ids), 0.0) for text, ids in zip(texts, rows, strict=True)]

    return translate


def _scores(contestant: Contestant, sets: Sequence[TestSet], tokenizer: str) -> dict[str, Any]:
    scores = {}
    for each in sets:
        logger.info("%s translates the %s sentences of %s.", contestant.label, f"{len(each.sources):,}", each.name)
        translations = contestant.outputs[each.name] = contestant.translate(each.sources)
        output = SystemOutput(each.sources, each.references, translations, None, tokenizer)
        scores[each.name] = measure(output)
        scores.update({name: measure(output.select(flags)) for name, flags in each.subsets.items()})
    return scores


def _latencies(
    contestants: Sequence[Contestant], sources: Sequence[str], rounds: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Milliseconds per sentence from text to text, by label and sentences per call; all systems within each round."""
    found: dict[str, dict[str, list[float]]] = {
        each.label: {str(size): [] for size in _NUM_TIMED} for each in contestants
    }
    for each in contestants:
        each.translate(sources[: max(_NUM_TIMED)])
    for number in range(rounds):
        logger.info("Latency of %d systems, round %d of %d.", len(contestants), number + 1, rounds)
        for size, count in _NUM_TIMED.items():
            calls = [sources[start : start + size] for start in range(0, min(count, len(sources)), size)]
            for each in contestants:
                start = time.perf_counter()
                for call in calls:
                    each.translate(call)
                seconds = time.perf_counter() - start
                found[each.label][str(size)].append(1000 * seconds / sum(map(len, calls)))
    return {
        label: {size: {"median": median(times), "times": times} for size, times in sizes.items()}
        for label, sizes in found.items()
    }


def _described(contestant: Contestant) -> dict[str, Any]:
    return {
        "name": public(contestant.name),
        "model": public_name(contestant.model),
        "weights": weights_checksum(contestant.model),
        "runtime": contestant.runtime,
        "decoding": contestant.decoding,
        "num_parameters": contestant.num_parameters,
        "is_autoregressive": contestant.is_peer,
        "label": public(contestant.label),
    }


def _comparisons(
    contestants: Sequence[Contestant], sets: Sequence[TestSet], tokenizer: str, seed: int
) -> Iterator[dict[str, Any]]:
    """Paired bootstraps of all systems against the baseline, one for each set and subset."""
    if len(contestants) == 1:
        return
    ordered = sorted(contestants, key=lambda each: not each.is_peer)
    for each in sets:
        for name, flags in {each.name: [True] * len(each.sources), **each.subsets}.items():
            rows = [row for row, is_selected in enumerate(flags) if is_selected]
            systems = {
                public(system.label): [system.outputs[each.name][row].text for row in rows] for system in ordered
            }
            references = [each.references[row] for row in rows]
            yield {
                "test_set": name,
                **paired_bootstrap(systems, references, seed=seed, tokenize=tokenizer),
            }


def _write(results: Mapping[str, Any], contestants: Sequence[Contestant], folder: Path) -> None:
    write_json(results, folder / "leaderboard.json", indent=2)
    write_text(leaderboard_markdown(results), folder / "leaderboard.md")
    for number, each in enumerate(contestants):
        for name, translations in each.outputs.items():
            texts = [translation.text for translation in translations]
            write_translations(texts, folder / "translations", f"{number:02d}", name)
    try:
        plot_leaderboard(results, folder / "leaderboard.png")
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise


def plot_leaderboard(results: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """BLEU against milliseconds per sentence (one per call), a panel for each test set.

    Args:
        results (`Mapping[str, Any]`): what [`run_leaderboard`] returned.
        path (`str` or `os.PathLike`): file to write; its suffix is the format.
    """
    names = list(results["systems"][0]["scores"])
    num_columns = min(3, len(names))
    figure, panels = new_figure(-(-len(names) // num_columns), num_columns)
    for axes in panels.flat[len(names) :]:
        axes.set_visible(False)
    runtimes = list(dict.fromkeys(system["runtime"] for system in results["systems"]))
    models = list(dict.fromkeys(f"{system['name']}, {system['decoding']}" for system in results["systems"]))
    for axes, name in zip(panels.flat, names):
        for system in results["systems"]:
            model = models.index(f"{system['name']}, {system['decoding']}")
            axes.plot(
                system["milliseconds"]["1"]["median"],
                system["scores"][name]["bleu"],
                color=STYLES[model % len(STYLES)][0],
                marker=STYLES[runtimes.index(system["runtime"]) % len(STYLES)][1],
                markersize=9,
                linestyle="none",
                label=system["label"],
            )
        axes.set(xscale="log", xlabel="ms per sentence, one per call", ylabel="BLEU", title=name)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=min(2, len(labels)))
    return save_figure(figure, Path(path))
