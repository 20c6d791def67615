# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""`NATTrainer` on a toy corpus: it learns, and neither splitting nor stopping in between changes what it does."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from dims_hf import DiMSTrainer, NATTrainer, NATTrainingArguments
from dims_hf.methods.masks import EVALUATION_STEP
from dims_hf.objectives import fusion
from dims_hf.recipes.runs import warn_of_worse_average
from dims_hf.trainers import CollapseError
from dims_hf.trainers.nat_trainer import Work, add_up
from dims_hf.trainers.schedules import FairseqInverseSqrt
from dims_hf.trainers.token_budget_trainer import limit_primitive_caches


def losses_of(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_commonest_slips_in_python_are_named(toy, tmp_path):
    from datasets import Dataset
    from transformers import TrainingArguments

    model = copy.deepcopy(toy.models["cmlm"])
    with pytest.raises(
        ValueError, match=r"args must be NATTrainingArguments, got TrainingArguments\. Pass args=dims_hf"
    ):
        NATTrainer(model, TrainingArguments(output_dir=tmp_path, report_to="none"), toy.train)
    with pytest.raises(ValueError, match="args must be DiMSConfig, got none"):
        DiMSTrainer(model, train_dataset=toy.train)
    args = NATTrainingArguments(output_dir=tmp_path)
    with pytest.raises(ValueError, match="args must be DiMSConfig, got NATTrainingArguments"):
        DiMSTrainer(model, None, args, train_dataset=toy.train)
    texts = Dataset.from_dict({"source": ["a"], "target": ["b"]})
    with pytest.raises(
        ValueError, match=r"has the columns source, target, and no input_ids\. Encode it: dims_hf\.encode"
    ):
        NATTrainer(model, args, texts)


def test_training_lowers_the_loss_and_moves_every_parameter(make_teacher_trainer):
    trainer = make_teacher_trainer(max_steps=60, learning_rate=5e-3, dropout=0.1)
    before = copy.deepcopy(trainer.model)
    trainer.train()
    losses = losses_of(trainer)
    assert sum(losses[-5:]) / 5 < 0.8 * sum(losses[:5]) / 5
    moved = {name: not torch.equal(value, dict(before.named_parameters())[name])
             for name, value in trainer.model.named_parameters()}  # fmt: skip
    assert all(moved.values()), [name for name, has_moved in moved.items() if not has_moved]


def test_log_has_parts_that_add_up_to_the_loss_accuracy_and_speed(make_teacher_trainer):
    trainer = make_teacher_trainer(max_steps=4, logging_steps=2)
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["step"] for entry in entries] == [2, 4]
    for entry in entries:
        assert entry["loss"] == pytest.approx(entry["token"] + 0.1 * entry["length"], rel=1e-5)
        assert 0 <= entry["accuracy"] <= 1
        assert entry["target_tokens_per_second"] > 0
        assert 0 <= entry["padding_share"] < 1 and 0 < entry["data_wait_share"] < 1
        assert entry["learning_rate"] == 2e-3


def test_first_loss_is_the_objective_of_the_first_update(make_teacher_trainer, toy):
    trainer = make_teacher_trainer(max_steps=1)
    model = copy.deepcopy(trainer.model).eval()
    sampler = iter_first_batch(trainer)
    trainer.train()
    batch = trainer.mask(trainer.data_collator([toy.train[row] for row in sampler]), 0)
    outputs = model(**{name: batch[name] for name in batch if name != "labels"}, return_length_logits=True)
    is_labelled = batch["labels"] != -100
    token = torch.nn.functional.cross_entropy(
        outputs.logits[is_labelled], batch["labels"][is_labelled], label_smoothing=0.1
    )
    length = torch.nn.functional.cross_entropy(outputs.length_logits, batch["decoder_attention_mask"].sum(dim=1))
    assert losses_of(trainer)[0] == pytest.approx((token + 0.1 * length).item(), abs=1e-5)


def iter_first_batch(trainer):
    trainer.get_train_dataloader()
    trainer.train_batch_sampler.set_epoch(0)
    return next(iter(trainer.train_batch_sampler))


SPLITS = [(256, 1), (128, 2), (32, 8)]  # budget of a micro-batch, accumulation


def test_splitting_an_update_into_micro_batches_changes_nothing(make_trainer, training_log, largest_difference):
    trainers = []
    for max_tokens_per_batch, gradient_accumulation_steps in SPLITS:
        trainer = make_trainer(
            max_tokens_per_batch=max_tokens_per_batch, gradient_accumulation_steps=gradient_accumulation_steps
        )
        trainer.train()
        trainers.append(trainer)
    for trainer in trainers[1:]:
        assert largest_difference(trainer.model, trainers[0].model, up_to_rounding=True) <= 1e-6
        for entry, expected in zip(training_log(trainer), training_log(trainers[0]), strict=True):
            assert entry == pytest.approx(expected, abs=1e-5)
            assert entry["loss"] == pytest.approx(expected["loss"], abs=1e-6)


def test_mean_per_micro_batch_depends_on_the_split(make_teacher_trainer, largest_difference):
    trainers = []
    for max_tokens_per_batch, gradient_accumulation_steps in SPLITS[:2]:
        trainer = make_teacher_trainer(
            max_tokens_per_batch=max_tokens_per_batch,
            gradient_accumulation_steps=gradient_accumulation_steps,
            loss_normalization="micro_batch",
        )
        trainer.train()
        trainers.append(trainer)
    assert largest_difference(*(trainer.model for trainer in trainers)) > 1e-4
    for trainer in trainers:
        for entry in (entry for entry in trainer.state.log_history if "loss" in entry):
            assert entry["loss"] == pytest.approx(entry["token"] + 0.1 * entry["length"], rel=1e-5)


def test_evaluation_reports_loss_parts_and_bleu_for_each_number_of_passes(make_teacher_trainer):
    trainer = make_teacher_trainer(evaluates=True, eval_iterations=[1, 3], dropout=0.5)
    trainer.model.train()
    metrics = trainer.evaluate()
    assert {"eval_loss", "eval_token", "eval_length", "eval_accuracy", "eval_bleu_1", "eval_bleu_3", "eval_chrf_1",
            "eval_chrf_3", "eval_distinct_translations", "eval_runtime"} <= metrics.keys()  # fmt: skip
    assert metrics["eval_loss"] == pytest.approx(metrics["eval_token"] + 0.1 * metrics["eval_length"], rel=1e-6)
    assert trainer.model.training
    again = trainer.evaluate()  # without dropout and with fixed masks
    assert {name: again[name] for name in again if name != "eval_runtime"} == {
        name: metrics[name] for name in metrics if name != "eval_runtime"
    }
    assert "eval_bleu_2" in trainer.evaluate(num_iterations=2)


def test_validation_bleu_has_the_tokenizer_of_the_target_language(make_teacher_trainer, monkeypatch):
    trainer = make_teacher_trainer(evaluates=True, eval_iterations=[1])
    asked = []
    monkeypatch.setattr(
        "dims_hf.trainers.nat_trainer.score",
        lambda *texts, **options: asked.append(options) or {"bleu": 1.0, "chrf": 1.0},
    )
    trainer.evaluate()
    trainer.target_lang = "zh"
    trainer.evaluate()
    assert asked == [{"target_lang": None}, {"target_lang": "zh"}]


@pytest.mark.parametrize("num_sentences", [13, 20])
def test_evaluation_loss_is_the_mean_over_all_sentences_whatever_the_batches(make_trainer, toy, num_sentences):
    dataset = toy.valid.select(range(num_sentences))
    splits = [{"max_tokens_per_batch": 40}, {"max_tokens_per_batch": 999},
              {"max_tokens_per_batch": None, "per_device_eval_batch_size": 3}]  # fmt: skip
    trainers = [make_trainer(**split) for split in splits]
    losses = [trainer._evaluate_loss(dataset) for trainer in trainers]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5) and losses[0] == pytest.approx(losses[2], abs=1e-5)
    trainer = trainers[0]
    batch = trainer.mask(trainer.data_collator([dataset[row] for row in range(num_sentences)]), EVALUATION_STEP)
    trainer.model.eval()
    with torch.no_grad():
        expected = trainer.objective(trainer.model, batch).total.item()
    assert losses[0]["loss"] == pytest.approx(expected, abs=1e-5)


def test_processes_without_a_validation_batch_add_nothing():
    shares = {"loss": 0.5, "token": 0.25, "length": 2.0}
    assert add_up([{}, shares, shares]) == {"loss": 1.0, "token": 0.5, "length": 4.0}


def test_evaluation_takes_sentences_longer_than_the_training_budget(make_teacher_trainer, toy):
    longest = max(map(len, toy.valid["labels"]))
    trainer = make_teacher_trainer(evaluates=True, max_tokens_per_batch=longest - 1)
    assert math.isfinite(trainer.evaluate()["eval_loss"])


def test_evaluation_without_text_decodes_the_encoded_pairs(make_teacher_trainer, toy):
    trainer = make_teacher_trainer(evaluates=True)
    expected = trainer.evaluate()
    trainer.eval_corpus = None
    assert trainer.evaluate()["eval_bleu_1"] == expected["eval_bleu_1"]
    assert trainer._texts(toy.valid, None) == trainer._texts(toy.valid, toy.valid_text)


def test_best_checkpoints_are_kept_and_averaged_into_the_final_model(make_teacher_trainer):
    trainer = make_teacher_trainer(
        evaluates=True, max_steps=8, eval_strategy="steps", eval_steps=2, num_best_checkpoints=3,
        metric_for_best_model="loss",
    )  # fmt: skip
    trainer.train()
    records = trainer.average_best_checkpoints()
    evaluated = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
    assert [record["step"] for record in records] == sorted(evaluated, key=evaluated.get)[:3]
    from safetensors.torch import load_file

    stored = [load_file(record["path"] / "model.safetensors") for record in records]
    for name, value in trainer.model.named_parameters():
        torch.testing.assert_close(value.detach(), sum(each[name] for each in stored) / 3)


@pytest.mark.parametrize(("num_best_checkpoints", "warns"), [(5, True), (0, False)])
def test_average_of_no_checkpoints_leaves_the_last_weights_and_says_so(
    make_teacher_trainer, caplog, num_best_checkpoints, warns
):
    trainer = make_teacher_trainer(num_best_checkpoints=num_best_checkpoints)
    with caplog.at_level("WARNING", logger="dims_hf"):
        assert trainer.average_best_checkpoints() == []
    assert ("No best checkpoints to average; the last weights stay. Set eval_strategy" in caplog.text) == warns


@pytest.mark.parametrize(("value", "count", "warns"), [(2.1, 2, True), (1.9, 2, False), (2.1, 1, False)])
def test_average_that_is_worse_than_its_best_checkpoint_is_said(make_teacher_trainer, caplog, value, count, warns):
    trainer = make_teacher_trainer(metric_for_best_model="loss")
    averaged = [{"step": 8, "metric": 2.0}, {"step": 6, "metric": 2.5}][:count]
    with caplog.at_level("WARNING", logger="dims_hf"):
        warn_of_worse_average(trainer, averaged, {"final_loss": value})
    said = "average of 2 checkpoints has loss 2.10 on the validation set, that of update 8 alone 2.00"
    assert (said in caplog.text) == warns


def test_several_gpus_in_one_process_are_refused(make_teacher_trainer, monkeypatch):
    monkeypatch.setattr(NATTrainingArguments, "n_gpu", 2)
    with pytest.raises(ValueError, match="One process sees 2 GPUs.*accelerate launch"):
        make_teacher_trainer()


def script_metrics(trainer, monkeypatch, **columns):
    """Evaluations that report the given numbers one after the other."""
    columns = {name: iter(values) for name, values in columns.items()}

    def evaluate_translation(*_):
        return {"distinct_translations": 1.0, **{name: next(values) for name, values in columns.items()}}

    monkeypatch.setattr(trainer, "_evaluate_translation", evaluate_translation)


def test_early_stopping_waits_for_patience_evaluations(make_teacher_trainer, monkeypatch):
    trainer = make_teacher_trainer(
        evaluates=True, max_steps=20, eval_strategy="steps", eval_steps=1, early_stopping_patience=2,
        num_best_checkpoints=0,
    )  # fmt: skip
    script_metrics(trainer, monkeypatch, bleu_1=[1.0, 3.0, 2.0, 4.0, 4.0, 3.0, 9.0])
    trainer.train()
    assert trainer.state.global_step == 6


def test_collapse_stops_training_with_a_clear_error(make_dims_trainer, monkeypatch):
    trainer = make_dims_trainer(
        evaluates=True, max_steps=20, eval_strategy="steps", eval_steps=2, collapse_patience=2, num_best_checkpoints=0
    )
    script_metrics(trainer, monkeypatch, bleu_1=[1.0] * 9, distinct_translations=[0.9, 0.05, 0.05, 0.05])
    with pytest.raises(CollapseError, match="at step 6 only 5.0 % of the translations differ"):
        trainer.train()


def test_constant_translations_of_a_real_model_are_detected(make_dims_trainer):
    trainer = make_dims_trainer(
        evaluates=True, max_steps=2, eval_strategy="steps", eval_steps=1, collapse_patience=1, learning_rate=1e-6
    )
    with torch.no_grad():  # states that depend on nothing: one length, and one token at all positions
        for stack, bias in (
            (trainer.model.model.encoder, 1.0),
            (trainer.model.model.decoder, trainer.model.lm_head.weight[9]),
        ):
            stack.layers[-1].final_layer_norm.weight.zero_()
            stack.layers[-1].final_layer_norm.bias.copy_(torch.as_tensor(bias))
    with pytest.raises(CollapseError, match="at step 1 only"):
        trainer.train()


def test_nan_loss_stops_training_before_the_update_and_names_the_step(make_trainer, monkeypatch):
    trainer = make_trainer(max_steps=5)
    objective = trainer.objective

    def poisoned(model, inputs, items):
        loss = objective(model, inputs, items)
        return loss._replace(total=loss.total * math.nan) if trainer.state.global_step == 2 else loss

    monkeypatch.setattr(trainer, "objective", poisoned)
    with pytest.raises(FloatingPointError, match="The loss is nan at step 3. Lower learning_rate"):
        trainer.train()
    assert trainer.state.global_step == 2
    assert all(torch.isfinite(value).all() for value in trainer.model.parameters())


def test_reference_schedule_is_used_unless_another_is_named(make_teacher_trainer):
    trainer = make_teacher_trainer(lr_scheduler_type="fairseq_inverse_sqrt", warmup_steps=1, learning_rate=1e-3)
    trainer.train()
    assert isinstance(trainer.lr_scheduler, FairseqInverseSqrt)
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    assert rates[:5] == pytest.approx([1e-7, 1e-3, 7.0711e-4, 5.7735e-4, 5e-4], rel=1e-4)


def test_bf16_training_runs_on_the_cpu(make_trainer, monkeypatch):
    monkeypatch.setattr("dims_hf.trainers.precision.multiplies_bf16", lambda: True)  # slow is fine here
    trainer = make_trainer(bf16=True, max_steps=3, evaluates=True)
    trainer.train()
    assert all(math.isfinite(loss) for loss in losses_of(trainer))
    assert {value.dtype for value in trainer.model.parameters()} == {torch.float32}
    assert math.isfinite(trainer.evaluate()["eval_loss"])


def test_gradient_checkpointing_changes_nothing(make_teacher_trainer, largest_difference):
    plain = make_teacher_trainer(dropout=0.1)
    plain.train()
    checkpointed = make_teacher_trainer(dropout=0.1, gradient_checkpointing=True)
    checkpointed.train()
    assert checkpointed.model.is_gradient_checkpointing
    assert largest_difference(plain.model, checkpointed.model) <= 1e-6


def test_attention_backend_of_the_arguments_is_the_models(make_teacher_trainer):
    assert make_teacher_trainer(attn_implementation="eager").model.config._attn_implementation == "eager"


def test_training_without_data_is_refused(make_teacher_trainer):
    trainer = make_teacher_trainer()
    trainer.train_dataset = None
    with pytest.raises(ValueError, match="Training needs a train_dataset"):
        trainer.train()
    with pytest.raises(ValueError, match="Evaluation needs an eval_dataset"):
        trainer.evaluate()


def test_a_sentence_above_the_budget_is_refused_before_the_first_step(make_teacher_trainer):
    trainer = make_teacher_trainer(max_tokens_per_batch=5)
    with pytest.raises(ValueError, match="more than max_tokens_per_batch=5"):
        trainer.train()
    assert trainer.state.global_step == 0 and isinstance(trainer, NATTrainer)


def test_work_report_is_the_hand_value():
    work = Work(num_target_tokens=300, num_tokens=600, num_positions=800, seconds_waited=1.0)
    assert work.report(seconds=10.0, num_processes=2) == {
        "target_tokens_per_second": 30.0, "padding_share": 0.25, "data_wait_share": 0.05
    }  # fmt: skip


def test_padding_share_of_the_log_is_that_of_the_batches(make_teacher_trainer):
    trainer = make_teacher_trainer(max_steps=3, logging_steps=3)
    trainer.train()
    (entry,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    batches = [batch for _, batch in zip(range(3), trainer.get_train_dataloader(), strict=False)]
    masks = [mask for batch in batches for mask in (batch["attention_mask"].bool(), batch["labels"] != -100)]
    tokens, positions = sum(int(mask.sum()) for mask in masks), sum(mask.numel() for mask in masks)
    assert entry["padding_share"] == pytest.approx(1 - tokens / positions, abs=1e-6)


@pytest.mark.slow
def test_compiled_model_has_the_same_losses(make_teacher_trainer, training_log):
    # The trainer's own argument; this backend traces the model like all others, and needs no C++ compiler.
    plain, compiled = (
        make_teacher_trainer(folder=f"compile-{backend}", max_steps=1, torch_compile=backend is not None,
                             torch_compile_backend=backend)
        for backend in (None, "eager")
    )  # fmt: skip
    for trainer in (plain, compiled):
        trainer.train()
    for ours, expected in zip(training_log(compiled), training_log(plain), strict=True):
        assert ours == pytest.approx(expected, rel=1e-5)


def test_fused_optimizer_makes_the_updates_of_the_plain_one(make_teacher_trainer, largest_difference):
    trainers = [make_teacher_trainer(folder=optim, optim=optim) for optim in ("adamw_torch_fused", "adamw_torch")]
    for trainer in trainers:
        trainer.train()
    assert trainers[0].optimizer.optimizer.defaults["fused"]
    assert largest_difference(*(trainer.model for trainer in trainers), up_to_rounding=True) < 1e-6


def test_primitive_caches_are_limited_unless_the_environment_says_otherwise():
    environment = {"LRU_CACHE_CAPACITY": "7"}
    limit_primitive_caches(environment)
    assert environment == {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "7"}


def test_a_model_card_can_be_written_after_training_with_the_default_schedule(make_teacher_trainer, tmp_path):
    trainer = make_teacher_trainer(max_steps=1, lr_scheduler_type="fairseq_inverse_sqrt", warmup_steps=2)
    trainer.train()
    trainer.create_model_card(model_name="toy")  # as `push_to_hub` does
    card = (tmp_path / trainer.args.output_dir / "README.md").read_text()
    assert "fairseq_inverse_sqrt" in card
    assert isinstance(NATTrainingArguments(output_dir=str(tmp_path), report_to="none").lr_scheduler_type.value, str)


# ---- what transformers' Trainer takes ----


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, row):
        return {name: torch.tensor(value) for name, value in self.rows[row].items()}


def test_lists_and_torch_data_sets_train_like_a_dataset(make_teacher_trainer, toy, largest_difference):
    models = []
    for rows in (toy.train, toy.train.to_list(), Rows(toy.train)):
        args = make_teacher_trainer(max_steps=2).args
        trainer = NATTrainer(copy.deepcopy(toy.model).eval(), args, train_dataset=rows, processing_class=toy.tokenizer)
        torch.manual_seed(1)
        trainer.train()
        models.append(trainer.model)
    assert largest_difference(models[0], models[1]) == largest_difference(models[0], models[2]) == 0


def test_named_evaluation_sets_are_reported_each_and_as_their_mean(make_teacher_trainer, toy):
    args = make_teacher_trainer(evaluates=True, max_steps=1, eval_strategy="steps", eval_steps=1).args
    sets = {"a": toy.valid, "b": toy.valid.select(range(5))}
    trainer = NATTrainer(
        copy.deepcopy(toy.model), args, train_dataset=toy.train, eval_dataset=sets, processing_class=toy.tokenizer
    )
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] == pytest.approx((metrics["eval_a_loss"] + metrics["eval_b_loss"]) / 2)


@pytest.mark.parametrize("name", ["compute_metrics", "compute_loss_func", "preprocess_logits_for_metrics"])
def test_arguments_that_would_never_be_used_are_refused(make_teacher_trainer, toy, name):
    args = make_teacher_trainer().args
    with pytest.raises(ValueError, match=f"{name} would never be called"):
        NATTrainer(copy.deepcopy(toy.model), args, train_dataset=toy.train, **{name: lambda *_: {}})


def test_models_and_data_that_cannot_be_trained_are_refused_by_name(make_teacher_trainer, toy):
    args = make_teacher_trainer().args
    adapted = copy.deepcopy(toy.model)
    adapted.peft_config = {}
    with pytest.raises(ValueError, match=r"Adapters \(peft\) are not supported"):
        NATTrainer(adapted, args, train_dataset=toy.train)
    with pytest.raises(ValueError, match="model_init is not supported"):
        NATTrainer(None, args, train_dataset=toy.train, model_init=lambda: toy.model)
    with pytest.raises(ValueError, match="IterableDataset has no length"):
        NATTrainer(copy.deepcopy(toy.model), args, train_dataset=toy.train.to_iterable_dataset())
    with pytest.raises(ValueError, match="Pass processing_class"):
        NATTrainer(copy.deepcopy(toy.model), args, train_dataset=toy.train, eval_dataset=toy.valid)
    with pytest.raises(ValueError, match="predict is not supported"):
        make_teacher_trainer().predict(toy.valid)


def test_model_card_can_be_written_after_training(make_teacher_trainer):
    trainer = make_teacher_trainer(max_steps=1, lr_scheduler_type="fairseq_inverse_sqrt")
    trainer.train()
    trainer.create_model_card(model_name="toy")


@pytest.mark.parametrize("family", ["cmlm", "imputer"])
def test_losses_are_compiled_where_asked_for(make_teacher_trainer, monkeypatch, family):
    found = []

    def compile_(function, **options):
        def run(*args, **kwargs):
            found.append(function.__name__)
            return function(*args, **kwargs)

        return run

    method = {"cmlm": {}, "imputer": {"objective": "ctc_glancing"}}[family]
    plain = make_teacher_trainer(folder="plain", family=family, max_steps=2, **method)
    plain.train()
    monkeypatch.setattr(fusion, "_compiled", {})  # without what an earlier test compiled
    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setenv("CXX", "sh")
    compiled = make_teacher_trainer(folder="compiled", family=family, max_steps=2, compile_losses=True, **method)
    compiled.train()
    assert losses_of(compiled) == losses_of(plain)
    expected = {"cmlm": {"_cross_entropy_rows"}, "imputer": {"_pick_rows", "_differentiate_picks"}}[family]
    assert expected <= set(found)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="compile_losses needs a C"):
        make_teacher_trainer(folder="none", family=family, compile_losses=True)
