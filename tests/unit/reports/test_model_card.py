# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The generated card: its full text, and its metadata read back."""

from __future__ import annotations

import re

import pytest
from huggingface_hub import ModelCard

from dims_hf.reports import create_model_card, markdown_table, save_model_card
from dims_hf.reports.model_card import TEMPLATE_PATH


_BODY = r"""
# cmlm-en-de

Non-autoregressive translation from English to German: all words of a sentence at once, in one pass of the decoder, \
at \*\*28\.0 BLEU\*\* on the test set of phrasebook\. It has 6\.1 million parameters\.

## How to use

```python
import dims_hf  # .*
from transformers import pipeline

translator = pipeline\("translation", model="someone/cmlm-en-de"\)
print\(translator\("I see the cat\."\)\[0\]\["translation_text"\]\)
# Ich sehe die Katze\.
```

## Results

(?P<table>\|[\s\S]*?)

!\[Quality against the number of decoder iterations\]\(quality\.png\)

## Decoding settings

\| setting \| value \|
\| --- \| --- \|
\| num_iterations \| 1 \|
\| length_beam_size \| 1 \|
\| collapse_repeats \| True \|

`num_iterations` counts passes of the decoder: 1 predicts the whole sentence at once\.

## Training

\| setting \| value \|
\| --- \| --- \|
\| ema_decay \| 0\.9992 \|

## Limits

- Measured on phrasebook only\. .*
- One sentence at a time: .*
- Words are chosen without seeing each other, .*
- 12\.5 % of tokens equal their right neighbour before repeats are collapsed; .*
- Knows few words\.

## Data and licence

Evaluated on phrasebook\. The weights are under cc-by-2\.0\. Sentences by their authors\.

## Where the numbers come from

\| setting \| value \|
\| --- \| --- \|
\| command \| `evaluate\.py --student student` \|
\| seed \| 1 \|
\| hardware \| a processor, 2 cores \|
\| num threads \| 2 \|
\| python \| 3\.11\.7 \|
\| created \| 2026-01-01T00:00:00Z \|
\| versions \| torch 2\.6\.0, transformers 5\.13\.0 \|
\| test data \| `0123456789ab` \|

## Citation

```bibtex
@inproceedings\{norouzi-etal-2023-dims,
(?:  .*\n)+\}
```
""".replace("\\\n", "")


@pytest.fixture
def card(results) -> ModelCard:
    return create_model_card(
        results,
        model_id="someone/cmlm-en-de",
        license="cc-by-2.0",
        training={"ema_decay": 0.9992},
        attribution="Sentences by their authors.",
        sample=("I see the cat.", "Ich sehe die Katze."),
        limits=["Knows few words."],
        figure="quality.png",
    )


def test_create_model_card_full_text_is_as_expected(card, results):
    header, body = re.fullmatch(r"---\n([\s\S]*?)\n---\n([\s\S]*)", str(card)).groups()
    match = re.fullmatch(_BODY.strip() + r"\n*", body.strip())
    assert match, body
    assert match["table"] == markdown_table(results).rstrip()
    assert "pipeline_tag: translation" in header and "library_name: transformers" in header


def test_save_model_card_in_a_folder_reads_back_with_its_model_index(card, tmp_path):
    path = save_model_card(card, tmp_path)
    assert path == tmp_path / "README.md"
    data = ModelCard.load(path).data
    assert (data.language, data.license, data.metrics) == (["en", "de"], "cc-by-2.0", ["bleu", "chrf"])
    assert data.to_dict() == card.data.to_dict()
    bleu, chrf = data.eval_results
    assert (bleu.metric_type, bleu.metric_value, chrf.metric_type, chrf.metric_value) == ("bleu", 28.0, "chrf", 48.0)
    assert (bleu.task_type, bleu.dataset_name, bleu.dataset_split) == ("translation", "phrasebook", "test")
    assert bleu.metric_args == {
        "signature": "nrefs:1|tok:13a",
        "num_iterations": 1,
        "length_beam_size": 1,
        "collapse_repeats": True,
    }


def test_create_model_card_of_the_teacher_indexes_every_number_of_iterations(results):
    card = create_model_card(results, model_id="teacher", system="teacher", num_iterations=10)
    indexed = [(result.metric_args["num_iterations"], result.metric_value) for result in card.data.eval_results]
    assert indexed[::2] == [(1, 20.0), (2, 25.0), (4, 28.0), (10, 30.0)]
    assert "in 10 passes of the decoder, at **30.0 BLEU**" in str(card)


def test_create_model_card_without_options_leaves_their_sections_out(results):
    text = str(create_model_card(results, model_id="student"))
    assert "## Training" not in text and "![" not in text and "{{" not in text and "None" not in text
    assert "\n\n\n" not in text


def test_create_model_card_code_sample_loads_the_usage_path(results):
    text = str(create_model_card(results, model_id="student", usage_path="model_cards/student"))
    assert "# student\n" in text and 'pipeline("translation", model="model_cards/student")' in text


def test_create_model_card_quotes_in_the_sample_stay_python(results):
    text = str(create_model_card(results, model_id="student", sample=('Say "no".', "Sag „nein“.")))
    line = next(line for line in text.splitlines() if line.startswith("print("))
    compile(line, "card", "exec")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"system": "nobody"}, "There is no system 'nobody' in the results. There are teacher, student"),
        ({"num_iterations": 3}, r"'student' has no record with num_iterations=3.*there are iterations \[1\]"),
    ],
)
def test_create_model_card_unknown_system_or_setting_is_refused(results, options, message):
    with pytest.raises(ValueError, match=message):
        create_model_card(results, model_id="student", **options)


def test_model_card_template_in_model_cards_is_the_package_s(repository):
    assert (repository / "model_cards" / "template.md").read_bytes() == TEMPLATE_PATH.read_bytes()
