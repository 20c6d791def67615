# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Best checkpoints on disk, their average, and which checkpoint a run resumes from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dims_hf import CMLMConfig, CMLMForConditionalGeneration
from dims_hf.trainers import BestCheckpoints
from dims_hf.trainers.callbacks import RunRecord
from dims_hf.trainers.checkpoints import (
    check_checkpoint,
    checkpoint_folder,
    commit_checkpoint,
    finished_checkpoints,
    last_complete_checkpoint,
    remove_unfinished_checkpoints,
    rotate_checkpoints,
    staging_folder,
)


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


@pytest.mark.parametrize("content", ["{}", '{"step": 20}', '{"step": "20", "metric": 1.0}', "[1]", "{", ""])
def test_best_checkpoints_damaged_record_is_left_out_and_removed(tmp_path, model, content):
    checkpoints = BestCheckpoints(tmp_path, 2)
    offer_all(checkpoints, model, {10: 3.0, 20: 5.0})
    (tmp_path / "step-20" / "record.json").write_text(content)
    assert [record["step"] for record in checkpoints.records()] == [10]
    checkpoints.forget_after(20)
    assert [path.name for path in tmp_path.iterdir()] == ["step-10"]


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


# ---- which one a run goes on from ----


def write_checkpoint(folder, step, *, commit=True, processes=1, without=()):
    """A checkpoint as the trainer writes it, of small files."""
    staging, place = staging_folder(folder, step), checkpoint_folder(folder, step)
    (staging / "ema_teacher").mkdir(parents=True)
    record = RunRecord()
    record.num_processes = processes
    state = {"global_step": step, "stateful_callbacks": {"RunRecord": record.state()}}
    for name in ("model.safetensors", "ema_teacher/model.safetensors"):
        save_file({"x": torch.full((50,), float(step))}, staging / name)
    ranks = ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]
    for name in ("optimizer.pt", "scheduler.pt", *ranks):
        torch.save({"x": torch.full((50,), float(step))}, staging / name)
    (staging / "trainer_state.json").write_text(json.dumps(state))
    for name in without:
        (staging / name).unlink()
    if commit:
        commit_checkpoint(staging, place)
    else:  # as an earlier release, or transformers itself
        staging.rename(place)
    return place


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-40] ^= 0xFF
    path.write_bytes(content)


def test_last_complete_checkpoint_is_the_one_with_the_highest_number(tmp_path):
    assert last_complete_checkpoint(tmp_path) is None
    assert last_complete_checkpoint(tmp_path / "missing") is None
    for step in (100, 90, 9):
        write_checkpoint(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-100")


NEEDED = {
    "model.safetensors": "the weights",
    "optimizer.pt": "the optimizer's state",
    "scheduler.pt": "the schedule's state",
    "rng_state.pth": "the random state",
}


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("name", NEEDED)
def test_checkpoint_that_lacks_what_a_run_needs_is_refused_by_name(tmp_path, name, commit):
    place = write_checkpoint(tmp_path, 20, commit=commit, without=[name])
    with pytest.raises(ValueError) as refusal:
        check_checkpoint(place)
    assert f"{place} cannot be resumed from: {name} ({NEEDED[name]}) is missing" in str(refusal.value)
    assert str(refusal.value).endswith("Name another checkpoint, or start a new run from its weights.")
    assert ("save_only_model" in str(refusal.value)) is (name == "optimizer.pt")


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("name", [*NEEDED, "ema_teacher/model.safetensors", "trainer_state.json"])
def test_damaged_checkpoint_is_named_and_the_one_before_taken(tmp_path, caplog, name, damage):
    write_checkpoint(tmp_path, 10)
    damage(write_checkpoint(tmp_path, 20) / name)
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    if (damage, name) == (Path.unlink, "model.safetensors"):
        assert caplog.text == ""  # half deleted: nothing to say
    else:
        assert "checkpoint-20 cannot be resumed from: " in caplog.text
        assert name in caplog.text and "Going back to checkpoint-10." in caplog.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("files.json", '{"model.safetensors": 3}'),
        ("files.json", '{"model.safetensors": [1, 2, 3]}'),
        ("files.json", '{"model.safetensors": ["a", null]}'),
        ("trainer_state.json", "[]"),
        ("trainer_state.json", '{"stateful_callbacks": []}'),
        ("trainer_state.json", '{"stateful_callbacks": {"RunRecord": {"attributes": {"num_processes": "x"}}}}'),
        ("trainer_state.json", "[" * 100_000),
    ],
)
def test_checkpoint_with_odd_json_is_passed_over(tmp_path, caplog, name, content):
    write_checkpoint(tmp_path, 10)
    (write_checkpoint(tmp_path, 20) / name).write_text(content)
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert "checkpoint-20 cannot be resumed from: " in caplog.text


@pytest.mark.parametrize("name", [*NEEDED, "ema_teacher/model.safetensors", "trainer_state.json"])
def test_cut_file_is_noticed_without_a_list_of_files_too(tmp_path, caplog, name):
    write_checkpoint(tmp_path, 10, commit=False)
    cut(write_checkpoint(tmp_path, 20, commit=False) / name)
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert Path(name).name in caplog.text and "Going back to checkpoint-10." in caplog.text


def test_folder_whose_every_checkpoint_is_damaged_does_not_start_anew(tmp_path):
    cut(write_checkpoint(tmp_path, 10) / "optimizer.pt")
    write_checkpoint(tmp_path, 20, without=["optimizer.pt"])
    with pytest.raises(ValueError) as refusal:
        last_complete_checkpoint(tmp_path)
    message = str(refusal.value)
    assert message.startswith(f"{tmp_path} has no checkpoint to go on from. checkpoint-20 cannot be resumed from: ")
    assert "checkpoint-10 cannot be resumed from: optimizer.pt has " in message
    assert message.endswith("Delete them to start anew, or name another output_dir.")


def test_gradient_scaler_is_needed_in_fp16_only(tmp_path):
    place = write_checkpoint(tmp_path, 10)
    check_checkpoint(place)
    with pytest.raises(ValueError, match=r"scaler.pt \(the gradient scaler's state\) is missing"):
        check_checkpoint(place, needs_scaler=True)


def test_random_state_of_every_process_that_wrote_a_checkpoint_is_needed(tmp_path, caplog):
    write_checkpoint(tmp_path, 10, processes=2)
    write_checkpoint(tmp_path, 20, processes=2, commit=False, without=["rng_state_1.pth"])
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    assert "rng_state_1.pth (the random state) is missing" in caplog.text


def test_unfinished_and_half_deleted_checkpoints_are_removed_and_damaged_ones_stay(tmp_path):
    write_checkpoint(tmp_path, 10)
    write_checkpoint(tmp_path, 20, without=["optimizer.pt"])
    for step, names in ((30, ["model.safetensors"]), (40, ["optimizer.pt", "trainer_state.json"]), (50, [])):
        (tmp_path / f"checkpoint-{step}").mkdir()
        for name in names:
            (tmp_path / f"checkpoint-{step}" / name).touch()
    (tmp_path / "checkpoint-best").mkdir()
    remove_unfinished_checkpoints(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["checkpoint-10", "checkpoint-20", "checkpoint-best"]
    assert [path.name for path in finished_checkpoints(tmp_path)] == ["checkpoint-10", "checkpoint-20"]


# ---- rotation ----


@pytest.mark.parametrize(
    ("steps", "newest", "limit", "keep", "left"),
    [
        ((5, 10, 100), 100, 2, None, (10, 100)),
        ((5, 10, 100), 100, None, None, (5, 10, 100)),
        ((5, 10, 100), 100, 1, "checkpoint-5", (5, 100)),
        ((5, 10, 100), 100, 3, None, (5, 10, 100)),
        # a run that was resumed from checkpoint-10 has just written checkpoint-15
        ((5, 10, 15, 90, 100), 15, 2, None, (10, 15)),
        ((5, 10, 15, 100), 15, 3, None, (5, 10, 15)),
    ],
)
def test_rotation_goes_by_number_and_spares_the_newest(tmp_path, steps, newest, limit, keep, left):
    for age, step in enumerate(steps):
        place = write_checkpoint(tmp_path, step)
        # a clock that was wrong: the later, the older
        os.utime(place, (1e9 - 1e6 * age, 1e9 - 1e6 * age))
    rotate_checkpoints(tmp_path, newest=newest, limit=limit, keep=keep and str(tmp_path / keep))
    assert [path.name for path in finished_checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in left]
    assert len(list(tmp_path.iterdir())) == len(left)


def test_checkpoint_made_again_takes_its_place_and_a_link_is_not_written_through(tmp_path):
    write_checkpoint(tmp_path / "theirs", 10)
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "checkpoint-10").symlink_to(tmp_path / "theirs" / "checkpoint-10")
    for _ in range(2):
        write_checkpoint(tmp_path / "ours", 10, without=["ema_teacher/model.safetensors"])
    assert not (tmp_path / "ours" / "checkpoint-10").is_symlink()
    assert (tmp_path / "theirs" / "checkpoint-10" / "ema_teacher" / "model.safetensors").is_file()
    check_checkpoint(tmp_path / "ours" / "checkpoint-10")
    assert [path.name for path in (tmp_path / "ours").iterdir()] == ["checkpoint-10"]


def test_best_checkpoint_that_cannot_be_read_is_named_and_left_out(tmp_path, model, caplog):
    offer_all(BestCheckpoints(tmp_path, 4), model, {10: 3.0, 20: 5.0, 30: 1.0, 40: 2.0})
    cut(tmp_path / "step-20" / "model.safetensors")
    (tmp_path / "step-30" / "record.json").write_text("{")
    resumed = BestCheckpoints(tmp_path, 4)
    resumed.forget_after(40)
    assert "step-20 cannot be averaged (model.safetensors is cut or damaged)" in caplog.text
    assert "step-30 cannot be averaged (record.json is not readable)" in caplog.text
    assert [record["step"] for record in resumed.load_average(model)] == [10, 40]
    assert model.lm_head.weight.unique().tolist() == [25.0]


def test_best_checkpoints_hold_what_is_trained_only(tmp_path, model):
    model.model.encoder.requires_grad_(False)
    checkpoints = BestCheckpoints(tmp_path, 2)
    offer_all(checkpoints, model, {10: 3.0, 20: 5.0})
    stored = load_file(tmp_path / "step-10" / "model.safetensors")
    assert stored and not any(name.startswith("model.encoder.layers") for name in stored)
    set_all(model, 1.0)
    checkpoints.load_average(model)
    assert model.model.decoder.layers[0].fc1.weight.unique().tolist() == [15.0]
    assert model.model.encoder.layers[0].fc1.weight.unique().tolist() == [1.0]
