# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The translator of batches: alone, in processes of `datasets.map`, and as Ray actors, one of them killed."""

from __future__ import annotations

import math
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dims_hf import BatchTranslator, translate_ray_dataset


def test_batch_gains_a_column_and_keeps_the_others(tiny_folder: Path, sentences: list[str], expected: list[str]):
    translator = BatchTranslator(tiny_folder, column="en", device="cpu", with_quality=True)
    result = translator({"en": sentences, "id": list(range(30))})
    assert result["translation"] == expected and result["id"] == list(range(30))
    assert [row for row, value in enumerate(result["confidence"]) if math.isnan(value)] == [17]
    assert all(isinstance(flags, str) for flags in result["flags"])


def test_missing_column_and_refused_source_are_named(tiny_folder: Path):
    translator = BatchTranslator(tiny_folder, device="cpu", on_blank="error")
    with pytest.raises(ValueError, match="has no column 'text'; it has en. Name it with column"):
        translator({"en": ["a"]})
    with pytest.raises(ValueError, match=r"sources\[1\] is blank"):
        translator({"text": ["the dog", ""]})


def test_copy_in_another_process_opens_its_own_model(tiny_folder: Path):
    from datasets.fingerprint import Hasher

    translator = BatchTranslator(tiny_folder, device="cpu")
    before = Hasher.hash(translator)
    translator({"text": ["the dog"]})
    copy = pickle.loads(pickle.dumps(translator))
    assert copy._runtime is None and translator._runtime is not None
    assert Hasher.hash(translator) == before  # or `datasets` would not find its cache again
    assert Hasher.hash(BatchTranslator(tiny_folder, device="cpu", num_iterations=2)) != before


def test_ranks_take_turns_on_the_gpus(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path):
    import torch

    opened = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("dims_hf.translation.open_runtime", lambda model, **place: opened.append(place["device"]))
    for rank in (0, 1, 2):
        BatchTranslator(tiny_folder)._opened(rank)
    BatchTranslator(tiny_folder, device="cpu")._opened(1)
    assert opened == ["cuda:0", "cuda:1", "cuda:0", "cpu"]


@pytest.mark.slow
def test_processes_of_datasets_map_give_what_one_gives(
    tiny_folder: Path, sentences: list[str], expected: list[str], tmp_path: Path
):
    from datasets import Dataset

    dataset = Dataset.from_dict({"text": sentences})
    translator = BatchTranslator(tiny_folder, device="cpu")
    done = dataset.map(
        translator, batched=True, batch_size=5, num_proc=2, cache_file_name=str(tmp_path / "cache.arrow")
    )
    assert list(done["translation"]) == expected and list(done["text"]) == sentences


# ---- Ray -----------------------------------------------------------------------------------------------------------


class _DyingTranslator(BatchTranslator):
    """Ends the process of the actor that first meets a text, once."""

    def __init__(self, *arguments: Any, folder: str, text: str, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.marker, self.text = Path(folder) / "killed", text

    def __call__(self, batch: Any, rank: int | None = None) -> dict[str, Any]:
        if self.text in list(batch[self.column]) and not self.marker.exists():
            self.marker.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(batch, rank)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Ray with room for three actors."""
    ray = pytest.importorskip("ray", reason='needs pip install "dims-hf[ray]"')
    repository = str(Path(__file__).resolve().parents[3])
    variables = {"PYTHONPATH": repository, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    options = {
        "num_cpus": 3, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 100 * 2**20,
        "runtime_env": {"env_vars": variables}, "log_to_driver": False,
    }  # fmt: skip
    for last in (False, False, True):
        try:
            ray.init(**options)
            break
        except Exception:  # a busy machine is too slow for its agents, which have fifteen seconds to start
            ray.shutdown()
            if last:
                raise
    yield ray
    ray.shutdown()


@pytest.mark.slow
def test_actors_of_ray_translate_every_row_although_one_is_killed(
    cluster: Any,
    tiny_folder: Path,
    sentences: list[str],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("dims_hf.bulk.batches.BatchTranslator", _DyingTranslator)
    rows = cluster.data.from_items([{"text": text, "id": row} for row, text in enumerate(sentences)])
    options = {"concurrency": 2, "batch_size": 5, "folder": str(tmp_path), "text": sentences[12]}
    done = translate_ray_dataset(rows, tiny_folder, **options).take_all()
    assert (tmp_path / "killed").read_text().isdigit()
    assert sorted(row["id"] for row in done) == list(range(30))  # nothing twice, nothing lost
    found = {row["id"]: row["translation"] for row in done}
    assert [found[row] for row in range(30)] == expected


def test_no_actor_is_refused(tiny_folder: Path):
    for options in ({"concurrency": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="both must be >= 1"):
            translate_ray_dataset(None, tiny_folder, **options)
