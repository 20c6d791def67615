# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`TranslationMetric` behind the interface of `evaluate`, with every connection refused."""

from __future__ import annotations

import socket

import evaluate
import pytest

import dims_hf.evaluation
from dims_hf.evaluation import TranslationMetric, score


TEXTS = ["the small dog sees the old cat .", "a cat sleeps in the house today ."]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a metric opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_translation_metric_equals_score():
    hypotheses = [TEXTS[0].replace("old", "big"), ""]
    metric = TranslationMetric()
    assert isinstance(metric, evaluate.Metric)
    assert metric.compute(predictions=hypotheses, references=TEXTS) == score(hypotheses, TEXTS)


def test_translation_metric_added_in_batches_equals_one_call():
    metric = TranslationMetric()
    for text in TEXTS:
        metric.add_batch(predictions=[text], references=[text])
    assert metric.compute()["bleu"] == pytest.approx(100.0)


def test_translation_metric_several_references_and_legacy():
    result = TranslationMetric().compute(predictions=TEXTS, references=[[text, "no"] for text in TEXTS], legacy=True)
    assert result["bleu"] == pytest.approx(100.0)
    assert result["bleu_signature"].startswith("nrefs:2|")
    assert result["legacy_bleu"] == pytest.approx(100.0)


def test_translation_metric_writes_no_file(tmp_path):
    TranslationMetric(cache_dir=str(tmp_path)).compute(predictions=TEXTS, references=TEXTS)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_evaluation_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = dims_hf.evaluation.no_such_name
