# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Best checkpoints on disk, their average, and which checkpoint a run resumes from."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from dims_hf import CMLMConfig, CMLMForConditionalGeneration
from dims_hf.trainers import BestCheckpoints
from dims_hf.trainers.callbacks import RunRecord
from dims_hf.trainers.checkpoints import last_complete_checkpoint


@pytest.fixture
def model():
    sizes = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    return CMLMForConditionalGeneration(
        CMLMConfig(vocab_size=12, encoder_attention_heads=2, decoder_attention_heads=2, max_target_length=6,
                   max_position_embeddings=6, **sizes)
    )  # fmt: skip


def set_all(model, value):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def offer_all(checkpoints, model, metrics):
    kept = []
    for step, metric in metrics.items():
        set_all(model, float(step))
        kept.append(checkpoints.offer(model, step, metric))
    return kept


METRICS = {10: 3.0, 20: 5.0, 30: 1.0, 40: 4.0, 50: 5.0}


def test_best_checkpoints_keep_the_k_best_and_the_earlier_of_equal_ones(tmp_path, model):
    checkpoints = BestCheckpoints(tmp_path / "best", 2)
    assert offer_all(checkpoints, model, METRICS) == [True, True, False, True, True]
    assert [(record["step"], record["metric"]) for record in checkpoints.records()] == [(20, 5.0), (50, 5.0)]
    assert sorted(path.name for path in (tmp_path / "best").iterdir()) == ["step-20", "step-50"]
    set_all(model, 60.0)
    assert not checkpoints.offer(model, 60, 5.0)


def test_best_checkpoints_of_a_loss_keep_the_lowest(tmp_path, model):
    checkpoints = BestCheckpoints(tmp_path, 2, greater_is_better=False)
    offer_all(checkpoints, model, METRICS)
    assert [record["step"] for record in checkpoints.records()] == [30, 10]


def test_best_checkpoints_are_found_again_by_a_resumed_run(tmp_path, model):
    offer_all(BestCheckpoints(tmp_path, 2), model, {10: 3.0, 20: 5.0})
    resumed = BestCheckpoints(tmp_path, 2)
    assert [record["step"] for record in resumed.records()] == [20, 10]
    set_all(model, 30.0)
    assert not resumed.offer(model, 30, 2.0)


def test_best_checkpoints_made_again_replace_themselves(tmp_path, model):
    checkpoints = BestCheckpoints(tmp_path, 2)
    offer_all(checkpoints, model, {10: 3.0, 20: 5.0})
    set_all(model, 7.0)
    assert checkpoints.offer(model, 10, 3.0)
    assert [record["step"] for record in checkpoints.records()] == [20, 10]
    assert load_file(tmp_path / "step-10" / "model.safetensors")["length_head.weight"].unique().item() == 7.0


def test_best_checkpoints_forget_those_after_the_resumed_step(tmp_path, model):
    checkpoints = BestCheckpoints(tmp_path, 5)
    offer_all(checkpoints, model, METRICS)
    checkpoints.forget_after(30)
    assert {record["step"] for record in checkpoints.records()} == {10, 20, 30}
    checkpoints.forget_after(0)
    assert checkpoints.records() == []


def test_best_checkpoints_interrupted_writing_leaves_no_half_record(tmp_path, model, monkeypatch):
    checkpoints = BestCheckpoints(tmp_path, 2)
    offer_all(checkpoints, model, {10: 3.0})
    with monkeypatch.context() as patch:
        patch.setattr("dims_hf.trainers.checkpoints.move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            checkpoints.offer(model, 20, 5.0)
    assert [record["step"] for record in checkpoints.records()] == [10]
    assert [record["step"] for record in checkpoints.load_average(model)] == [10]
    checkpoints.forget_after(10)  # what a resumed run starts with
    assert [path.name for path in tmp_path.iterdir()] == ["step-10"]


def test_best_checkpoints_with_limit_zero_keep_nothing(tmp_path, model):
    checkpoints = BestCheckpoints(tmp_path / "best", 0)
    assert not checkpoints.offer(model, 10, 3.0)
    assert not (tmp_path / "best").exists()


def test_average_is_the_hand_mean_in_fp32_of_tied_weights_too(tmp_path, model):
    checkpoints = BestCheckpoints(tmp_path, 3)
    offer_all(checkpoints, model, {1: 1.0, 2: 2.0, 6: 3.0})
    assert [record["step"] for record in checkpoints.load_average(model)] == [6, 2, 1]
    assert all(torch.equal(value, torch.full_like(value, 3.0)) for value in model.state_dict().values())
    assert model.lm_head.weight is model.model.shared.weight


def test_average_of_bf16_weights_is_not_rounded_before_the_end(tmp_path, model):
    model = model.bfloat16()
    checkpoints = BestCheckpoints(tmp_path, 3)
    offer_all(checkpoints, model, {256: 1.0, 258: 2.0})  # 257 is no bf16 number, 256 and 258 are
    stored = load_file(tmp_path / "step-256" / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.float32}
    wide = model.float()
    checkpoints.load_average(wide)
    assert wide.length_head.weight.unique().item() == 257.0


def test_average_is_over_as_many_as_a_resumed_run_keeps(tmp_path, model):
    offer_all(BestCheckpoints(tmp_path, 3), model, {1: 10.0, 2: 30.0, 3: 20.0})
    assert [record["step"] for record in BestCheckpoints(tmp_path, 2).load_average(model)] == [2, 3]
    assert model.lm_head.weight.unique().tolist() == [2.5]
    assert BestCheckpoints(tmp_path, 0).load_average(model) == []
    assert model.lm_head.weight.unique().tolist() == [2.5]


def test_average_of_nothing_leaves_the_model_alone(tmp_path, model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert BestCheckpoints(tmp_path / "best", 3).load_average(model) == []
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def write_checkpoint(folder, step, text='{"global_step": 1}'):
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    if text is not None:
        (path / "trainer_state.json").write_text(text)


def test_last_complete_checkpoint_skips_unfinished_ones(tmp_path):
    assert last_complete_checkpoint(tmp_path) is None
    assert last_complete_checkpoint(tmp_path / "missing") is None
    write_checkpoint(tmp_path, 90)
    write_checkpoint(tmp_path, 100)
    write_checkpoint(tmp_path, 110, text=None)
    write_checkpoint(tmp_path, 120, text=json.dumps({"global_step": 120})[:-3])
    (tmp_path / "checkpoint-best").mkdir()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")


def test_last_complete_checkpoint_has_the_random_state_of_every_process_that_wrote_it(tmp_path):
    record = RunRecord()
    record.num_processes = 2
    state = json.dumps({"stateful_callbacks": {"RunRecord": record.state()}})
    for step, ranks in ((10, (0, 1)), (20, (0,)), (5, ())):
        write_checkpoint(tmp_path, step, state)
        for rank in ranks:
            (tmp_path / f"checkpoint-{step}" / f"rng_state_{rank}.pth").touch()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-20" / "rng_state_1.pth").touch()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-20")
