# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The autoregressive model: ids and shifting, the loss of an update, training, resuming, and what others load."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianMTModel

from dims_hf.recipes.autoregressive import (
    AutoregressiveModelArguments,
    make_autoregressive_model,
    train_autoregressive,
)
from dims_hf.recipes.parsing import parse_recipe
from dims_hf.recipes.runs import CorpusArguments
from dims_hf.trainers.autoregressive import (
    AutoregressiveCollator,
    AutoregressiveTrainer,
    AutoregressiveTrainingArguments,
)


SIZES = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "attention_heads": 2, "ffn_dim": 32,
         "max_position_embeddings": 24}  # fmt: skip
SETTINGS = {
    "max_steps": 6, "max_tokens_per_batch": 256, "learning_rate": 5e-3, "lr_scheduler_type": "constant",
    "warmup_steps": 0, "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True, "report_to": "none",
    "dataloader_pin_memory": False, "seed": 3, "num_best_checkpoints": 0,
}  # fmt: skip


def make_arguments(folder: Path, **options: Any) -> AutoregressiveTrainingArguments:
    return AutoregressiveTrainingArguments(output_dir=folder, **{**SETTINGS, **options})


@pytest.fixture
def make_trainer(toy: SimpleNamespace, tmp_path: Path) -> Callable[..., AutoregressiveTrainer]:
    """A trainer from the same weights every time; keyword arguments are settings."""

    def make(folder: str = "run", dropout: float = 0.0, **options: Any) -> AutoregressiveTrainer:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = make_autoregressive_model(AutoregressiveModelArguments(dropout=dropout, **SIZES), toy.tokenizer)
        return AutoregressiveTrainer(
            model,
            make_arguments(tmp_path / folder, **options),
            train_dataset=toy.train,
            eval_dataset=toy.valid,
            eval_corpus=toy.valid_text,
            processing_class=toy.tokenizer,
        )

    return make


def losses(trainer: AutoregressiveTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_collator_decoder_reads_what_it_has_written():
    rows = [
        {"index": 0, "input_ids": [0, 7, 2], "labels": [0, 8, 9, 2]},
        {"index": 1, "input_ids": [0, 6, 5, 2], "labels": [0, 8, 2]},
    ]
    batch = {name: value.tolist() for name, value in AutoregressiveCollator(1)(rows).items()}
    assert batch == {
        "input_ids": [[0, 7, 2, 1], [0, 6, 5, 2]],
        "attention_mask": [[1, 1, 1, 0], [1, 1, 1, 1]],
        "decoder_input_ids": [[0, 8, 9], [0, 8, 2]],
        "labels": [[8, 9, 2], [8, 2, -100]],
    }


def test_model_has_one_table_and_the_ids_of_its_tokenizer(toy: SimpleNamespace):
    model = make_autoregressive_model(AutoregressiveModelArguments(**SIZES), toy.tokenizer)
    table = model.get_input_embeddings().weight
    assert table.shape == (len(toy.tokenizer), 16)
    for other in (model.lm_head, model.model.encoder.embed_tokens, model.model.decoder.embed_tokens):
        assert other.weight is table
    config, generation = model.config, model.generation_config
    for ids in (config, generation):
        assert (ids.decoder_start_token_id, ids.bos_token_id, ids.pad_token_id, ids.eos_token_id) == (0, 0, 1, 2)
    assert generation.suppress_tokens == [0, 1, 3, 4]
    (ids,) = model.generate(torch.tensor([[0, 7, 8, 2]]), max_length=12).tolist()
    assert ids[0] == 0 and not set(ids[1:]) & {0, 1, 3, 4}


def test_shifting_is_that_of_the_model_itself(toy: SimpleNamespace):
    model = make_autoregressive_model(AutoregressiveModelArguments(**SIZES), toy.tokenizer).eval()
    batch = AutoregressiveCollator(1)([toy.train[row] for row in range(4)])
    shifted = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    is_read = batch["labels"] != -100
    assert torch.equal(shifted[is_read], batch["decoder_input_ids"][is_read])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_smoothed_and_divided_by_the_tokens_of_the_update(
    make_trainer: Callable, toy: SimpleNamespace, smoothing: float
):
    trainer = make_trainer(label_smoothing_factor=smoothing)
    batch = dict(AutoregressiveCollator(1)([toy.train[row] for row in range(4)]))
    model, labels = trainer.model, batch["labels"]
    logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
    expected = F.cross_entropy(logits.transpose(1, 2), labels, label_smoothing=smoothing, reduction="sum")
    assert float(trainer.compute_loss(model, batch, num_items_in_batch=10)) == pytest.approx(float(expected) / 10)
    mean = float(expected) / int((labels != -100).sum())
    loss = trainer.compute_loss(model, batch)
    assert float(loss) == pytest.approx(mean)
    found = torch.autograd.grad(loss, model.lm_head.weight, retain_graph=True)[0]
    (wanted,) = torch.autograd.grad(expected / int((labels != -100).sum()), model.lm_head.weight)
    torch.testing.assert_close(found, wanted)
    assert model(**{name: value for name, value in batch.items() if name != "labels"}).logits.equal(logits)


def test_training_moves_every_weight_and_learns(make_trainer: Callable):
    trainer = make_trainer(max_steps=60, label_smoothing_factor=0.0)
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    start = trainer.evaluate()
    trainer.train()
    end = trainer.evaluate()
    unmoved = [
        name for name, value in trainer.model.named_parameters() if value.requires_grad and value.equal(before[name])
    ]
    assert unmoved == []
    assert end["eval_loss"] < 0.7 * start["eval_loss"]
    assert end["eval_chrf"] > start["eval_chrf"]
    assert trainer.model.training is True  # as the trainer left it


def test_accumulated_update_equals_one_of_a_large_batch(make_trainer: Callable, largest_difference: Callable):
    whole, parts = make_trainer("whole"), make_trainer("parts", max_tokens_per_batch=64, gradient_accumulation_steps=4)
    for trainer in (whole, parts):
        trainer.train()
    assert losses(parts) == pytest.approx(losses(whole), abs=1e-4)
    assert largest_difference(whole.model, parts.model, up_to_rounding=True) < 1e-4


def test_evaluation_does_not_depend_on_its_batches_and_draws_nothing(make_trainer: Callable):
    trainer = make_trainer(dropout=0.3)
    first = trainer.evaluate()
    trainer.args.max_tokens_per_batch = 30
    second = trainer.evaluate()
    for name in ("eval_loss", "eval_bleu", "eval_chrf"):
        assert second[name] == pytest.approx(first[name], abs=1e-5)


def test_resumed_run_equals_the_uninterrupted_one(make_trainer: Callable, largest_difference: Callable):
    save = {"save_strategy": "steps", "save_steps": 3, "dropout": 0.2, "max_steps": 20}
    whole = make_trainer("whole", **save)
    whole.train()
    again = make_trainer("again", **save)
    again.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-12")
    assert again.state.global_step == 20
    assert largest_difference(whole.model, again.model) == 0
    finished = make_trainer("finished", **save)
    finished.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-20")
    assert finished.state.global_step == 20
    assert largest_difference(whole.model, finished.model) == 0


def test_resuming_says_nothing_of_weights_that_are_tied_or_never_saved(
    make_trainer: Callable, caplog: pytest.LogCaptureFixture
):
    import logging

    from safetensors.torch import load_file

    save = {"save_strategy": "steps", "save_steps": 3, "max_steps": 3}
    trainer = make_trainer("whole", **save)
    trainer.train()
    checkpoint = f"{trainer.args.output_dir}/checkpoint-3"
    absent = trainer.model.state_dict().keys() - load_file(f"{checkpoint}/model.safetensors").keys()
    assert {"lm_head.weight", "model.encoder.embed_positions.weight"} <= absent
    # transformers' loggers hand nothing on to the root, where caplog listens
    logging.getLogger("transformers").addHandler(caplog.handler)
    try:
        make_trainer("again", **save).train(resume_from_checkpoint=checkpoint)
        assert "missing keys" not in caplog.text
        incompatible = trainer.model.load_state_dict({}, strict=False)
        trainer._issue_warnings_after_load(incompatible)
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)
    assert "model.shared.weight" in caplog.text and "embed_positions" not in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens_per_batch": 0}, "max_tokens_per_batch must be >= 1, got 0"),
        ({"generation_num_beams": 0}, "generation_num_beams must be >= 1, got 0"),
        ({"label_smoothing_factor": 1.0}, "label_smoothing_factor must lie in"),
        ({"metric_for_best_model": "bleu_1"}, "metric_for_best_model must be one of bleu, chrf, loss"),
        ({"remove_unused_columns": True}, "remove_unused_columns=True would drop the index"),
        ({"predict_with_generate": True}, "predict_with_generate.* have no effect"),
        ({"early_stopping_patience": 2}, "early_stopping_patience needs evaluations"),
    ],
)
def test_impossible_setting_is_refused(tmp_path: Path, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_arguments(tmp_path, **options)


def test_direction_of_the_metric_follows_from_its_name(tmp_path: Path):
    assert make_arguments(tmp_path).greater_is_better is True
    assert make_arguments(tmp_path, metric_for_best_model="loss").greater_is_better is False


def test_other_architecture_is_refused():
    with pytest.raises(ValueError, match="model_type must be one of marian, got 'cmlm'"):
        AutoregressiveModelArguments(model_type="cmlm")
    with pytest.raises(ValueError, match="upsample_ratio=2 has no effect with model_type=marian"):
        AutoregressiveModelArguments(upsample_ratio=2)


# ---- a whole run --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A run from a recipe: its `folder`, and the `words` that started it."""
    folder = tmp_path_factory.mktemp("autoregressive")
    data = folder / "data"
    data.mkdir()
    for split, numbers in (("train", range(60)), ("valid", range(60, 80))):
        for language, words in (("en", ["one", "two", "three"]), ("de", ["eins", "zwei", "drei"])):
            lines = [" ".join(words[number // 3**place % 3] for place in range(4)) for number in numbers]
            (data / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    recipe = {**SIZES, **SETTINGS, "data": str(data), "source_lang": "en", "target_lang": "de", "vocab_size": 40}
    recipe.update(eval_strategy="steps", eval_steps=2, save_strategy="steps", save_steps=2, num_best_checkpoints=2)
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    words = [str(folder / "recipe.yaml"), "--output_dir", str(folder / "run")]
    train_autoregressive(words)
    return SimpleNamespace(folder=folder / "run", words=words)


def test_run_is_loaded_by_transformers_alone(run: SimpleNamespace):
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(run.folder), AutoTokenizer.from_pretrained(run.folder)
    assert type(model) is MarianMTModel
    assert "auto_map" not in json.loads((run.folder / "config.json").read_text())
    inputs = tokenizer(["one two", "three"], padding=True, return_tensors="pt")
    assert inputs["input_ids"][0, 0] == 0 and inputs["input_ids"][0, -1] == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        output = model.generate(**inputs)
    assert output.shape[0] == 2 and output.shape[1] <= 24


def test_run_writes_a_summary_and_averages_its_best(run: SimpleNamespace):
    from dims_hf.recipes.runs import read_training_summary

    summary = json.loads((run.folder / "training_summary.json").read_text())
    assert len(summary["averaged_checkpoints"]) == 2
    assert {"final_loss", "final_bleu", "final_chrf"} <= summary["metrics"].keys()
    assert [entry["step"] for entry in summary["log"] if "eval_bleu" in entry] == [2, 4, 6]
    assert read_training_summary(run.folder)["updates"] == 6


def test_run_of_other_settings_in_the_same_folder_is_refused(run: SimpleNamespace):
    with pytest.raises(ValueError, match="holds a run with seed=3, this recipe says seed=4"):
        train_autoregressive([*run.words, "--seed", "4"])


def test_training_goes_on_from_a_trained_model(run: SimpleNamespace, tmp_path: Path):
    start = ["--init", str(run.folder), "--max_steps", "1", "--learning_rate", "1e-9", "--warmup_steps", "0"]
    saves = ["--eval_steps", "1", "--save_steps", "1", "--num_best_checkpoints", "0"]
    train_autoregressive([run.words[0], "--output_dir", str(tmp_path / "on"), *start, *saves])
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (tmp_path / "on", run.folder))
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, atol=1e-6, rtol=0)
    assert (tmp_path / "on" / "tokenizer.json").read_bytes() == (run.folder / "tokenizer.json").read_bytes()
    with pytest.raises(ValueError, match="has encoder_layers=1, this recipe says 2. Give the recipe the sizes"):
        train_autoregressive([run.words[0], "--output_dir", str(tmp_path / "deep"), *start, "--encoder_layers", "2"])


@pytest.mark.parametrize("name", ["phrasebook", "tatoeba_en_de"])
def test_shipped_recipe_is_read(repository: Path, name: str):
    path = repository / "dims_hf" / "recipes" / "library" / f"{name}_autoregressive.yaml"
    kinds = (CorpusArguments, AutoregressiveModelArguments, AutoregressiveTrainingArguments)
    corpus, model, args = parse_recipe(kinds, [str(path)])
    assert (corpus.source_lang, corpus.target_lang, model.model_type) == ("en", "de", "marian")
    assert args.eval_steps % args.save_steps == 0 and args.max_steps % args.eval_steps == 0
