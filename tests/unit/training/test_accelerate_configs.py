# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The accelerate configurations that ship are read by accelerate itself, and say what their names promise."""

from __future__ import annotations

from pathlib import Path

import pytest


FOLDER = Path(__file__).resolve().parents[3] / "training" / "accelerate"
EXPECTED = {
    "cpu": {"distributed_type": "NO", "mixed_precision": "no", "num_processes": 1, "num_machines": 1, "use_cpu": True},
    "one_gpu": {"distributed_type": "NO", "mixed_precision": "bf16", "num_processes": 1, "use_cpu": False},
    "multi_gpu_fp16": {"distributed_type": "MULTI_GPU", "mixed_precision": "fp16", "num_machines": 1},
    "multi_node": {"distributed_type": "MULTI_GPU", "mixed_precision": "fp16", "num_machines": 2, "num_processes": 8},
}


def test_accelerate_folder_holds_the_expected_configs():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_accelerate_config_is_loaded_by_accelerate(name: str):
    pytest.importorskip("accelerate")
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    for key, expected in EXPECTED[name].items():
        value = getattr(config, key)
        assert getattr(value, "value", value) == expected, key
    assert config.num_processes % config.num_machines == 0


@pytest.mark.parametrize("name", EXPECTED)
def test_accelerate_config_is_accepted_by_accelerate_launch(name: str, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("accelerate")
    from accelerate.commands import launch

    # the launcher refuses GPU configurations on a machine without one, which is not what is tested here
    monkeypatch.setattr(launch, "is_bf16_available", lambda *_: True)
    monkeypatch.setattr(launch.torch.cuda, "device_count", lambda: 8)
    arguments = launch.launch_command_parser().parse_args(
        ["--config_file", str(FOLDER / f"{name}.yaml"), "training/train_teacher.py", "RECIPE.yaml"]
    )
    arguments, defaults, mixed_precision = launch._validate_launch_command(arguments)
    expected = EXPECTED[name]
    assert defaults is not None
    assert mixed_precision
    assert str(arguments.mixed_precision).lower() == expected["mixed_precision"]
    assert bool(arguments.multi_gpu) == (expected["distributed_type"] == "MULTI_GPU")
    assert bool(arguments.use_cpu or arguments.cpu) == expected.get("use_cpu", False)
