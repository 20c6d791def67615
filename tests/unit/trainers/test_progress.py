# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Progress: lines and bar with step, total and time left; curves in the output folder; `--smoke`."""

from __future__ import annotations

import gc
import re
import sys
from types import SimpleNamespace

import pytest
from transformers import TrainerControl, TrainerState
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from dims_hf.cli.main import main
from dims_hf.recipes.parsing import parse_recipe
from dims_hf.recipes.runs import CorpusArguments, ModelArguments
from dims_hf.recipes.smoke import smoke_values
from dims_hf.reports.figures import _logged, plot_training
from dims_hf.trainers.config import NATTrainingArguments
from dims_hf.trainers.progress import CURVES, DrawCurves, ShowProgress


LOG = [
    {"step": 10, "loss": 4.0, "learning_rate": 1e-3},
    {"step": 20, "loss": 3.0},
    {"step": 20, "eval_loss": 3.5, "eval_bleu_1": 10.0, "eval_bleu_4": 12.0},
    {"step": 20, "loss": 2.5},
    {"step": 20, "train_runtime": 5.0},
]


def _state(**values) -> TrainerState:
    return TrainerState(is_world_process_zero=True, **values)


def test_lines_tell_step_total_and_time_left(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr("dims_hf.trainers.progress.time.monotonic", lambda: now[0])
    progress = ShowProgress(is_bar=False)
    progress.on_train_begin(None, _state(global_step=100, max_steps=400), TrainerControl())
    now[0] += 30  # 100 updates of this start in 30 s: 200 are left
    progress.on_log(None, _state(global_step=200, max_steps=400), TrainerControl(), logs={"loss": 3.14159})
    progress.on_log(None, _state(global_step=200, max_steps=400), TrainerControl(), logs={"train_runtime": 3.0})
    assert capsys.readouterr().err == "update 200/400, 1 min 00 s left: loss 3.142\n"
    other = TrainerState(is_world_process_zero=False, global_step=200, max_steps=400)
    progress.on_log(None, other, TrainerControl(), logs={"loss": 1.0})
    assert capsys.readouterr().err == ""


def test_bar_of_a_terminal_moves_and_ends(capsys):
    pytest.importorskip("rich")
    progress = ShowProgress(is_bar=True)
    progress.on_train_begin(None, _state(global_step=0, max_steps=3), TrainerControl())
    bar = progress._bar
    for step in (1, 2, 3):
        progress.on_step_end(None, _state(global_step=step, max_steps=3), TrainerControl())
        progress.on_log(None, _state(global_step=step, max_steps=3), TrainerControl(), logs={"loss": 1.5})
    (task,) = bar.tasks
    assert (task.completed, task.total, task.fields["shown"]) == (3, 3, "loss 1.5")
    progress.on_train_end(None, _state(global_step=3, max_steps=3), TrainerControl())
    assert progress._bar is None and "3/3" in capsys.readouterr().err


def test_bar_without_rich_is_lines(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    progress = ShowProgress(is_bar=True)
    progress.on_train_begin(None, _state(global_step=0, max_steps=3), TrainerControl())
    progress.on_log(None, _state(global_step=1, max_steps=3), TrainerControl(), logs={"loss": 1.5})
    assert capsys.readouterr().err.startswith("update 1/3, ")


def test_trainers_have_one_progress_of_their_own(make_teacher_trainer):
    kinds = [type(callback) for callback in make_teacher_trainer().callback_handler.callbacks]
    assert kinds.count(ShowProgress) == kinds.count(DrawCurves) == 1
    assert PrinterCallback not in kinds and ProgressCallback not in kinds


def test_curves_are_drawn_from_the_log_alone(tmp_path):
    pytest.importorskip("matplotlib")
    assert _logged(LOG, "loss") == [(10, 4.0), (20, 2.5)]
    assert plot_training(LOG, tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="neither a loss nor a score"):
        plot_training([{"step": 1, "train_runtime": 2.0}], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_callback_draws_into_the_output_folder_on_the_main_process(tmp_path, real_curves):
    pytest.importorskip("matplotlib")
    arguments, state = SimpleNamespace(output_dir=str(tmp_path)), _state(global_step=20, log_history=LOG)
    DrawCurves().on_evaluate(arguments, TrainerState(is_world_process_zero=False, global_step=20), TrainerControl())
    DrawCurves().on_evaluate(arguments, _state(global_step=0), TrainerControl())
    DrawCurves().on_train_end(arguments, _state(global_step=0), TrainerControl())
    assert list(tmp_path.iterdir()) == []
    DrawCurves().on_evaluate(arguments, state, TrainerControl())
    assert [path.name for path in tmp_path.iterdir()] == [CURVES]


def test_drawn_figures_are_given_back_at_once(tmp_path, real_curves):
    figure = pytest.importorskip("matplotlib.figure").Figure
    arguments, state = SimpleNamespace(output_dir=str(tmp_path)), _state(global_step=20, log_history=LOG)
    gc.collect()
    gc.disable()
    try:
        DrawCurves().on_evaluate(arguments, state, TrainerControl())
        assert (tmp_path / CURVES).exists()
        assert not [one for one in gc.get_objects() if isinstance(one, figure)]
    finally:
        gc.enable()


def test_callback_draws_once_a_minute_and_at_the_end(tmp_path, monkeypatch):
    now, drawn = [100.0], []
    monkeypatch.setattr("dims_hf.trainers.progress.time.monotonic", lambda: now[0])
    monkeypatch.setattr("dims_hf.trainers.progress.plot_training", lambda log, path: drawn.append(now[0]))
    callback, arguments, state = DrawCurves(), SimpleNamespace(output_dir=str(tmp_path)), _state(global_step=20)
    for second in (100.0, 130.0, 160.0, 161.0):
        now[0] = second
        callback.on_evaluate(arguments, state, TrainerControl())
    callback.on_train_end(arguments, state, TrainerControl())
    assert drawn == [100.0, 160.0, 161.0]


def test_smoke_shrinks_a_recipe_and_the_command_line_wins():
    types = (CorpusArguments, ModelArguments, NATTrainingArguments)
    corpus, model, args = parse_recipe(types, ["phrasebook_teacher", "--smoke", "--max_steps", "3"])
    assert (corpus.max_train_examples, model.d_model, args.max_steps) == (300, 64, 3)
    assert args.output_dir == "runs/phrasebook-teacher-smoke"
    assert parse_recipe(types, ["phrasebook_teacher"])[2].output_dir == "runs/phrasebook-teacher"
    assert smoke_values({"output_dir": "a/"}, {"d_model"}, {"d_model", "rounds"}) == {
        "rounds": 1,
        "output_dir": "a-smoke",
    }


@pytest.mark.slow
def test_smoke_passes_through_a_whole_recipe(tmp_path, real_curves, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "phrasebook_teacher", "--smoke", "--use_cpu"]) == 0
    folder = tmp_path / "runs" / "phrasebook-teacher-smoke"
    assert (folder / "training_summary.json").is_file() and (folder / CURVES).is_file()
    lines = re.findall(r"^update (\d+)/8, (?:[\w ]+ left): (?:loss|eval_loss) ", capsys.readouterr().err, re.M)
    assert {"2", "4", "6", "8"} <= set(lines)
    words = ["phrasebook_dims", "--smoke", "--use_cpu", "--teacher", str(folder)]
    assert main(["distill", *words]) == 0
    assert (tmp_path / "runs" / "phrasebook-dims-smoke" / "training_summary.json").is_file()
