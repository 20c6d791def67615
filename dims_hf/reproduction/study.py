# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What can be run: teachers, corpora and students of one corpus and budget, each known by a hash of its settings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from dims_hf.data.corpora import EMBEDDED_CORPUS
from dims_hf.reproduction.budgets import Budget, with_length


RAW, DISTILLED = "raw", "distilled"


class Family(NamedTuple):
    """A kind of teachers: its name in tables, its model, and the field of the budget that says what differs."""

    label: str
    model_type: str
    differences: str | None = None

    @property
    def writes_alignments(self) -> bool:
        """Whether it predicts no length."""
        return self.model_type == "imputer"


FAMILIES = {
    "cmlm": Family("CMLM", "cmlm"),
    "cmlmc": Family("CMLMC", "cmlmc", "cmlmc_settings"),
    "imputer": Family("Imputer", "imputer", "imputer_settings"),
    "ctc": Family("CTC", "imputer", "ctc_settings"),
    "fullynat": Family("FullyNAT", "imputer", "fullynat_settings"),
}

# Kinds of runs: what is trained or made, in the order of a whole study.
KINDS = ("teacher", "autoregressive", "distilled_data", "student")

# Settings of which none is a value: a fixed teacher.
_MEANINGFUL_NONE = ("ema_decay",)

# What a dry run looks at of a corpus.
_DRY_TRAIN, _DRY_VALID = 2000, 8

_LANGUAGE_PAIR = re.compile(r"([a-z]{2,3})-([a-z]{2,3})")


@dataclass(frozen=True)
class Run:
    """
    One training, or one distilled corpus.

    Its identity is a hash of its settings and of the identities of what it needs: experiments that ask for the same
    run share it, and its name says nothing that the hash does not.

    Args:
        kind (`str`): one of `KINDS`.
        name (`str`): readable start of its folder's name.
        settings (`Mapping[str, Any]`): of the training command, without what depends on the machine.
        needs (`Mapping[str, Run]`): field of the settings to the run whose folder fills it.
        given (`str`, *optional*): a model that is there already; nothing is trained.
        seconds (`float`): what it is expected to take; no part of the identity.
    """

    kind: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    needs: Mapping[str, Run] = field(default_factory=dict)
    given: str | None = None
    seconds: float = 0.0

    @cached_property
    def identity(self) -> str:
        """Eight hexadecimal digits."""
        parts = {
            "kind": self.kind,
            # 1 and 1.0 are the same setting, and 0 and 0.0
            "settings": {name: float(value) if type(value) is int else value for name, value in self.settings.items()},
            "needs": {name: run.identity for name, run in self.needs.items()},
            "given": self.given,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def folder_name(self) -> str:
        """Name of its folder."""
        return f"{self.name}-{self.identity}"

    @property
    def updates(self) -> int:
        """Optimiser updates it makes at most, over all rounds; 0 for a corpus or a given model."""
        return max(0, self.settings.get("max_steps", 0)) * self.settings.get("rounds", 1)


def in_order(runs: Iterable[Run]) -> list[Run]:
    """The runs and all that they need, each once, dependencies first; kinds and requests keep their order."""
    found: dict[str, Run] = {}

    def visit(run: Run) -> None:
        if run.identity not in found:
            # depth first: what a run needs comes before it
            for need in run.needs.values():
                visit(need)
            # by identity, so that experiments share a run whatever they call it
            found[run.identity] = run

    for run in runs:
        visit(run)
    return list(found.values())


@dataclass(frozen=True)
class Study:
    """
    Makes the runs of one corpus at one budget.

    Args:
        data (`str`): a corpus as `load_corpus` takes it.
        source_lang, target_lang (`str`, *optional*): languages; read off `name:xx-yy` and the embedded corpus.
        budget ([`Budget`]): sizes.
        data_config (`str`, *optional*): configuration of a Hub data set.
        given_teacher (`str`, *optional*): a trained CMLM teacher for the raw corpus; then none is trained.
        given_student (`str`, *optional*): its student at the budget's settings; then none is distilled.
        dry_steps (`int`, *optional*): only the first updates of every run, on a slice of the corpus.
    """

    data: str
    budget: Budget
    source_lang: str | None = None
    target_lang: str | None = None
    data_config: str | None = None
    given_teacher: str | None = None
    given_student: str | None = None
    dry_steps: int | None = None

    def __post_init__(self) -> None:
        if self.given_student is not None and self.given_teacher is None:
            raise ValueError("A student alone cannot be compared with its teacher. Set teacher as well.")
        source, target = _languages(self.data, self.data_config)
        object.__setattr__(self, "source_lang", self.source_lang or source)
        object.__setattr__(self, "target_lang", self.target_lang or target)
        if self.source_lang is None or self.target_lang is None:
            raise ValueError(f"The languages of {self.data} are not known. Set source_lang and target_lang.")

    def teacher(self, seed: int, family: str = "cmlm", corpus: str = RAW) -> Run:
        """A teacher of a family, on the raw or the distilled corpus."""
        if self.given_teacher is not None and (family, corpus) == ("cmlm", RAW):
            return Run("teacher", "given-teacher", given=self.given_teacher)
        budget, kind = self.budget, FAMILIES[family]
        settings = {"model_type": kind.model_type, **budget.teacher_settings}
        if kind.differences is not None:
            settings = changed(settings, getattr(budget, kind.differences))
        settings = with_length(settings, budget.max_teacher_steps)
        cost = budget.seconds["teacher" if family == "cmlm" else family] * settings["max_steps"]
        return self.training("teacher", f"teacher-{family}-{corpus}-seed{seed}", settings, seed, corpus, cost)

    def student(self, seed: int, family: str = "cmlm", corpus: str = RAW, **changes: Any) -> Run:
        """The student of a teacher; `changes` are settings that differ from the budget's student."""
        if self.given_student is not None and (family, corpus, changes) == ("cmlm", RAW, {}):
            return Run("student", "given-student", given=self.given_student)
        budget, settings = self.budget, self.budget.student_settings
        if FAMILIES[family].writes_alignments:
            settings = changed(settings, budget.imputer_student_settings)
        settings = with_length({**settings, **changes}, budget.max_student_steps)
        name = "-".join(("student", family, corpus, *_describe(settings), f"seed{seed}"))
        passes = settings["teacher_iterations"]
        if settings.get("unsupervised"):
            # the teacher first makes the targets, then labels them
            passes += settings.get("synthetic_iterations", 2)
        per_update = budget.seconds["student"] + passes * budget.seconds["pass"]
        # each round is a whole run
        cost = per_update * settings["max_steps"] * settings.get("rounds", 1)
        needs = {"teacher": self.teacher(seed, family, corpus)}
        return self.training("student", name, settings, seed, corpus, cost, needs)

    def autoregressive(self) -> Run:
        """The autoregressive teacher of the distilled corpus; one for all seeds."""
        budget = self.budget
        settings = with_length(budget.autoregressive_settings, budget.max_autoregressive_steps)
        cost, seed = budget.seconds["autoregressive"] * settings["max_steps"], budget.seeds[0]
        return self.training("autoregressive", f"autoregressive-seed{seed}", settings, seed, RAW, cost)

    def distilled_data(self) -> Run:
        """The distilled corpus; one for all seeds."""
        settings = {**self.budget.distilled_data_settings, **self._corpus()}
        # Its validation pairs become those of the distilled corpus: all of them, or the scores would differ.
        settings.pop("max_valid_examples", None)
        sentences = settings.get("max_train_examples") or 200_000
        cost = self.budget.seconds["start"] + self.budget.seconds["sentence"] * sentences
        return Run("distilled_data", "distilled-data", settings, {"teacher": self.autoregressive()}, seconds=cost)

    def training(
        self,
        kind: str,
        name: str,
        settings: Mapping[str, Any],
        seed: int,
        corpus: str,
        seconds: float,
        needs: Mapping[str, Run] | None = None,
    ) -> Run:
        """
        A training on the raw or the distilled corpus, or on that of its `needs`, with what the whole study has in
        common.
        """
        budget, needs = self.budget, dict(needs or {})
        settings = {**settings, **self._corpus(), "seed": seed, "precision": budget.precision}
        settings["tokens_per_update"] = budget.tokens_per_update
        settings["max_tokens_per_process"] = budget.max_tokens_per_process
        if corpus == DISTILLED and self.dry_steps is not None:
            # What an untrained model translates is no corpus: a dry run has the raw slice and that model's tokenizer.
            needs.update({"tokenizer": self.autoregressive()} if kind == "teacher" and "init" not in needs else {})
        elif corpus == DISTILLED:
            needs.setdefault("data", self.distilled_data())
            for name_of_setting in ("data", "data_config", "max_train_examples"):
                settings.pop(name_of_setting, None)
        if self.dry_steps is not None:
            # a dry run costs what its updates cost
            share = self.dry_steps / max(1, settings["max_steps"])
            settings, seconds = _shortened(settings, self.dry_steps), seconds * share
        return Run(kind, name, settings, needs, seconds=seconds + budget.seconds["start"])

    def _corpus(self) -> dict[str, Any]:
        budget = self.budget
        values = {
            "data": self.data,
            "data_config": self.data_config,
            "source_lang": self.source_lang,
            "target_lang": self.target_lang,
            "max_train_examples": budget.max_train_examples,
            "max_valid_examples": budget.max_valid_examples,
            # A data set of the Hub cannot be corrected by its reader.
            "drop_bad_rows": True if self.is_on_hub else None,
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def is_on_hub(self) -> bool:
        """Whether the corpus is neither embedded nor here."""
        return self.data != EMBEDDED_CORPUS and not Path(self.data).expanduser().exists()


def _languages(data: str, data_config: str | None) -> tuple[str | None, str | None]:
    """Those of the embedded corpus, or of a configuration that is called by its pair."""
    if data == EMBEDDED_CORPUS:
        from dims_hf.phrasebook import PHRASEBOOK_LANGUAGES

        return tuple(PHRASEBOOK_LANGUAGES)
    pair = _LANGUAGE_PAIR.fullmatch(data_config or data.partition(":")[2])
    return pair.groups() if pair else (None, None)


def changed(settings: Mapping[str, Any], differences: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of another family: what does not apply to it is none among the differences, and goes."""
    removed = {name for name, value in differences.items() if value is None and name not in _MEANINGFUL_NONE}
    return {name: value for name, value in {**settings, **differences}.items() if name not in removed}


def _describe(settings: Mapping[str, Any]) -> list[str]:
    """What tells one student from another, for the eye."""
    decay = settings.get("ema_decay")
    words = [
        f"n{settings['teacher_iterations']}",
        "fixed" if decay is None else f"ema{decay:g}",
        f"lambda{settings['hidden_weight']:g}",
        settings["mask_policy"],
    ]
    if settings.get("rounds", 1) > 1:
        words.append(f"rounds{settings['rounds']}")
    return [*words, *(["udims"] if settings.get("unsupervised") else [])]


def _shortened(settings: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The first updates alone, on a slice, with nothing evaluated on the way."""
    short = with_length(settings, steps)
    for name in ("early_stopping_patience", "metric_for_best_model", "eval_steps", "save_steps"):
        short.pop(name, None)
    limit = min(_DRY_TRAIN, short.get("max_train_examples") or _DRY_TRAIN)
    short.update(eval_strategy="no", save_strategy="no", num_best_checkpoints=0, logging_steps=max(1, steps // 2))
    return {**short, "max_train_examples": limit, "max_valid_examples": _DRY_VALID}
