# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Tiny models end to end: what is written, resumed and refused."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dims_hf import ImputerConfig, ImputerForConditionalGeneration
from dims_hf.benchmark import BenchmarkSettings, machine, run as run_module, run_benchmark
from dims_hf.benchmark.groups import make_groups
from dims_hf.benchmark.machine import best_peaks, measure_peaks
from dims_hf.benchmark.settings import SIZES
from dims_hf.benchmark.systems import System, make_systems
from dims_hf.benchmark.weights import make_ours, make_weights
from dims_hf.cli.main import main
from dims_hf.data import save_tokenizer
from dims_hf.recipes.autoregressive import make_autoregressive_model
from dims_hf.reports import weights_checksum


PEAKS = {"fp32": 1e10, "bf16": 1e10, "int8": 1e10, "bandwidth": 1e10}

TINY: dict[str, Any] = {
    "size": "tiny",
    "systems": ("torch-fp32", "marian-greedy"),
    "iterations": (1, 2),
    "length_beams": (1, 3),
    "batches": (1, "max"),
    "max_tokens": 24,
    "lengths": (6,),
    "threads": (1,),
    "devices": ("cpu",),
    "memory": False,
}

IMPUTER_SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
}


@pytest.fixture(autouse=True)
def quick_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of known rates, and rounds of one call."""
    monkeypatch.setattr(run_module, "measure_peaks", lambda device: PEAKS)
    monkeypatch.setattr("dims_hf.benchmark.measuring._MOST_CALLS", 1)


@pytest.fixture
def settings(tmp_path: Path) -> BenchmarkSettings:
    return BenchmarkSettings(**TINY, output_dir=str(tmp_path / "benchmark"))


def test_run_benchmark_writes_table_figure_and_results(settings: BenchmarkSettings):
    threads = torch.get_num_threads()
    results = run_benchmark(settings)
    folder = Path(settings.output_dir)
    assert sorted(path.name for path in folder.iterdir()) == ["benchmark.json", "benchmark.md", "benchmark.png"]
    assert json.loads((folder / "benchmark.json").read_text()) == results
    inner, largest = results["groups"].values()
    assert list(inner["systems"]) == [
        "ours torch-fp32 1x1",
        "ours torch-fp32 2x1",
        "ours torch-fp32 1x3",
        "ours torch-fp32 2x3",
        "marian-greedy 2-2",
        "marian-greedy 4-1",
    ]
    # what is slow is left out of the largest batch
    assert list(largest["systems"]) == ["ours torch-fp32 1x1", "marian-greedy 2-2", "marian-greedy 4-1"]
    assert largest["batch_size"] == 3
    for record in (*inner["systems"].values(), *largest["systems"].values()):
        assert len(record["round_ms"]) == 5
        assert abs(record["mean_target_tokens"] - 6) <= 1
    assert torch.get_num_threads() == threads
    text = (folder / "benchmark.md").read_text()
    assert "Random weights" in text and "speed alone" in text
    assert results["provenance"]["versions"]["torch"] == version("torch")


def test_run_benchmark_again_measures_only_what_is_missing(
    settings: BenchmarkSettings, monkeypatch: pytest.MonkeyPatch
):
    measured = []
    measure = run_module.measure_group

    def interrupted(group: Any, *arguments: Any) -> dict[str, Any]:
        measured.append(group.batch)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return measure(group, *arguments)

    monkeypatch.setattr(run_module, "measure_group", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_benchmark(settings)
    kept = json.loads((Path(settings.output_dir) / "benchmark.json").read_text())["groups"]
    results = run_benchmark(settings)
    assert measured == [1, "max", "max"]
    first = next(iter(kept))
    assert results["groups"][first] == kept[first]
    assert len(results["groups"]) == 2


def test_run_benchmark_trained_models_translate_a_corpus_and_are_scored(
    tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path
):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "attention_heads": 2, "ffn_dim": 16}
    arguments = SimpleNamespace(**sizes, dropout=0.0, max_position_embeddings=64)
    models = {"student": tiny_model, "peer": make_autoregressive_model(arguments, tiny_tokenizer)}
    for name, model in models.items():
        model.save_pretrained(tmp_path / name)
        tiny_tokenizer.save_pretrained(tmp_path / name)
    pairs = [{"translation": {"en": "a cat .", "de": "eine Katze ."}}] * 2
    pairs.append({"translation": {"en": "the old dog sees the cat .", "de": "der alte Hund sieht die Katze ."}})
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    changes = {
        "models": tuple(str(tmp_path / name) for name in models),
        "data": str(tmp_path / "test.jsonl"),
        "source_lang": "en",
        "target_lang": "de",
        "systems": ("torch-fp32", "torch-compiled", "marian-greedy", "ctranslate2-fp32"),
        "batches": (1, 2),
        "output_dir": str(tmp_path / "benchmark"),
    }
    results = run_benchmark(BenchmarkSettings(**{**TINY, **changes}))
    inner = next(iter(results["groups"].values()))
    assert inner["systems"]["student torch-fp32 1x1"]["num_calls"] == 3 * 5
    assert "of a corpus have many" in inner["unavailable"]["student torch-compiled 1x1"]
    assert set(results["quality"]["student torch-fp32 2x3"]) == {
        "bleu", "bleu_signature", "brevity_penalty", "length_ratio", "bleu_before_collapse", "chrf", "chrf_signature",
    }  # fmt: skip
    assert results["weights"]["student"] == weights_checksum(tmp_path / "student")
    if "ctranslate2-fp32 peer" in inner["systems"]:
        tokens = {
            inner["systems"][f"{name} peer"]["mean_target_tokens"] for name in ("marian-greedy", "ctranslate2-fp32")
        }
        assert len(tokens) == 1
    assert results["settings"]["models"] == ["student", "peer"] and results["settings"]["data"] == "test.jsonl"
    text = (tmp_path / "benchmark" / "benchmark.md").read_text()
    assert "Trained weights" in text and "| BLEU |" in text and str(tmp_path) not in text
    assert (tmp_path / "benchmark" / "benchmark.png").is_file()


def test_run_benchmark_imputer_is_measured_in_torch_and_onnx_with_one_candidate(tiny_tokenizer: Any, tmp_path: Path):
    config = ImputerConfig(vocab_size=len(tiny_tokenizer), max_position_embeddings=64, **IMPUTER_SIZES)
    ImputerForConditionalGeneration(config).save_pretrained(tmp_path / "imputer")
    save_tokenizer(tiny_tokenizer, tmp_path / "imputer")
    pairs = [{"translation": {"en": "the old dog sees the cat .", "de": "der alte Hund sieht die Katze ."}}] * 3
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    changes = {
        "models": (str(tmp_path / "imputer"),),
        "data": str(tmp_path / "test.jsonl"),
        "source_lang": "en",
        "target_lang": "de",
        "systems": ("torch-fp32", "onnx-fp32"),
        "batches": (2,),
        "output_dir": str(tmp_path / "benchmark"),
    }
    results = run_benchmark(BenchmarkSettings(**{**TINY, **changes}))
    (group,) = results["groups"].values()
    reason = "imputer predicts no length, so it has no length candidates"
    assert group["unavailable"]["imputer torch-fp32 2x3"] == reason
    assert group["systems"]["imputer torch-fp32 2x1"]["gflop"] > group["systems"]["imputer torch-fp32 1x1"]["gflop"]
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package, reason="needs the onnx extra")
    assert group["unavailable"]["imputer onnx-fp32 2x3"] == reason
    for passes in (1, 2):
        exported, original = (f"imputer {runtime} {passes}x1" for runtime in ("onnx-fp32", "torch-fp32"))
        tokens = [group["systems"][name]["mean_target_tokens"] for name in (exported, original)]
        assert tokens[0] == tokens[1] and results["quality"][exported] == results["quality"][original]


def test_run_benchmark_measures_memory_of_what_was_added_or_failed(
    settings: BenchmarkSettings, monkeypatch: pytest.MonkeyPatch
):
    asked: list[tuple[str, list[int]]] = []

    def measure(settings: Any, system: str, groups: Any, models: Path) -> dict[str, Any]:
        asked.append((system, [group.batch for group in groups]))
        has_failed = system.startswith("marian") and len(asked) < 3
        return {"error": "killed"} if has_failed else {group.key: 1.0 for group in groups}

    monkeypatch.setattr(run_module, "measure_memory", measure)
    plain = {"iterations": (1,), "length_beams": (1,), "memory": True, "without": ("marian-beam5",)}
    for batches in ((1,), (1, 2), (1, 2)):
        run_benchmark(replace(settings, **plain, batches=batches, systems=("torch-fp32", "marian-greedy")))
    ours, peers = "ours torch-fp32 1x1", ("marian-greedy 2-2", "marian-greedy 4-1")
    assert asked == [
        (ours, [1]),
        (peers[0], [1]),
        (peers[1], [1]),
        (ours, [2]),
        (peers[0], [1, 2]),
        (peers[1], [2]),
    ]


def test_run_benchmark_one_system_that_fails_in_any_way_costs_no_other(
    settings: BenchmarkSettings, monkeypatch: pytest.MonkeyPatch
):
    class RuntimeFailure(Exception):
        """What libraries raise need not be a RuntimeError."""

    def fail(system: System, *arguments: Any) -> None:
        raise RuntimeFailure("no kernel")

    opened = System.open
    monkeypatch.setattr(
        System, "open", lambda system, *rest: fail(system) if system.is_ours else opened(system, *rest)
    )
    group = next(iter(run_benchmark(settings)["groups"].values()))
    assert group["unavailable"]["ours torch-fp32 1x1"] == "RuntimeFailure: no kernel"
    assert list(group["systems"]) == ["marian-greedy 2-2", "marian-greedy 4-1"]


def test_make_weights_two_trained_models_of_one_name_are_refused(tiny_model: Any, tiny_tokenizer: Any, tmp_path: Path):
    places = [tmp_path / folder / "student" for folder in ("first", "second")]
    for place in places:
        tiny_model.save_pretrained(place)
        save_tokenizer(tiny_tokenizer, place)
    with pytest.raises(ValueError, match="Several models are called student"):
        make_weights(BenchmarkSettings(models=tuple(map(str, places)), data="corpus"))


@pytest.mark.parametrize("changes", [{"seed": 2}, {"rounds": 6}, {"iterations": (1,)}])
def test_run_benchmark_of_another_kind_in_the_same_folder_is_refused(settings: BenchmarkSettings, changes: dict):
    folder = Path(settings.output_dir)
    folder.mkdir()
    document = run_module._open(folder / "benchmark.json", settings, None)
    run_module.save(document, folder / "benchmark.json")
    with pytest.raises(ValueError, match=f"a benchmark with other {next(iter(changes))}"):
        run_benchmark(BenchmarkSettings(**{**TINY, **changes}, output_dir=settings.output_dir))


def test_run_benchmark_over_a_foreign_file_is_refused(settings: BenchmarkSettings):
    folder = Path(settings.output_dir)
    folder.mkdir()
    (folder / "benchmark.json").write_text("{}")
    with pytest.raises(ValueError, match="is not a benchmark of this release"):
        run_benchmark(settings)


def test_run_benchmark_system_that_fails_is_a_row_with_its_reason(
    settings: BenchmarkSettings, monkeypatch: pytest.MonkeyPatch
):
    opened = System.open

    def fail(self: System, *arguments: Any) -> Any:
        if self.num_iterations == 2:
            raise RuntimeError("no\n compiler")
        return opened(self, *arguments)

    monkeypatch.setattr(System, "open", fail)
    results = run_benchmark(settings)
    group = next(iter(results["groups"].values()))
    assert group["unavailable"]["ours torch-fp32 2x1"] == "RuntimeError: no compiler"
    assert (
        "| torch fp32 (cpu) | RuntimeError: no compiler |" in (Path(settings.output_dir) / "benchmark.md").read_text()
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": "huge"}, "Unknown size 'huge'. Choose from base, small, tiny."),
        ({"rounds": 4}, "rounds must be >= 5, got 4"),
        ({"batches": (0,)}, "batches must be numbers >= 1"),
        ({"batches": ("most",)}, "Use numbers from 1 on, or max."),
        ({"threads": ()}, "threads must be numbers >= 1"),
        ({"lengths": ("max",)}, "lengths must be numbers >= 1"),
        ({"max_tokens": 0}, "max_tokens and max_examples must be >= 1"),
        ({"seed": -1}, "seed must be between 0 and 4294967295, got -1."),
        ({"devices": ("cpu", "tpu9")}, "'tpu9' is not a device. Say cpu, cuda or cuda:0."),
        ({"data": "phrasebook"}, "Give --model and --data together"),
        ({"models": ("a",)}, "Give --model and --data together"),
    ],
)
def test_settings_that_cannot_be_measured_raise(changes: dict, message: str):
    with pytest.raises(ValueError) as error:
        BenchmarkSettings(**{**TINY, **changes})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"systems": ("torch-fp33",)}, "Unknown systems torch-fp33. Choose from torch-fp32, "),
        ({"without": ("torch-fp32", "marian-greedy")}, "No system is left"),
    ],
)
def test_make_systems_of_wrong_names_raises(changes: dict, message: str):
    settings = BenchmarkSettings(**{**TINY, **changes})
    with pytest.raises(ValueError, match=message):
        make_systems(settings, make_weights(settings))


def test_make_groups_begins_with_the_middle_length():
    settings = BenchmarkSettings(**{**TINY, "lengths": (10, 20, 40), "batches": (1, 8)})
    assert [(group.length, group.batch) for group in make_groups(settings)] == [
        (20, 1), (20, 8), (10, 1), (10, 8), (40, 1), (40, 8),
    ]  # fmt: skip


def test_make_forced_length_is_what_the_length_predictor_says():
    weights = make_weights(BenchmarkSettings(**TINY))[0]
    source = torch.tensor([[0, 7, 8, 2], [0, 9, 2, 1]])
    for length in (1, 6, 40):
        output = weights.make(length).generate(source, num_iterations=1, collapse_repeats=False)
        assert output.shape == (2, length + 2)
    with pytest.raises(ValueError, match="Choose shorter lengths"):
        weights.make(254)


def test_make_ours_same_seed_same_weights_and_global_randomness_untouched():
    before = torch.random.get_rng_state()
    first, second, other = (make_ours(SIZES["tiny"], seed).lm_head.weight for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_measure_peaks_are_positive_and_the_best_of_several_is_taken():
    peaks = measure_peaks("cpu", scale=0.05)
    assert {"fp32", "bf16", "bandwidth"} <= set(peaks) and min(peaks.values()) > 0
    assert best_peaks([{"fp32": 1.0, "int8": 5.0}, {"fp32": 2.0}]) == {"fp32": 2.0, "int8": 5.0}


@pytest.mark.filterwarnings("ignore:torch.ao.quantization:DeprecationWarning", "ignore:torch.quantize_per:UserWarning")
def test_measure_peaks_takes_the_faster_of_torch_and_onnx_runtime(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("onnxruntime", reason="needs the onnx extra")
    pytest.importorskip("onnx", reason="needs the onnx extra")
    # two in fp32, bf16 has none, three in int8
    seconds = iter([4.0, 2.0, None, 8.0, 4.0, 1.0])
    products = machine._products(64, "cpu")
    assert {name: len(calls) for name, calls in products.items()} == {"fp32": 2, "bf16": 1, "int8": 3}
    for name, dtype in {"fp32": np.float32, "int8": np.int32}.items():
        [result] = products[name][-1]()
        assert result.dtype == dtype and np.array_equal(result, np.full((64, 64), 64))
    monkeypatch.setattr(machine, "_best_seconds", lambda *_: next(seconds, 1.0))
    peaks = measure_peaks("cpu", scale=0.05)
    assert {name: peaks[name] for name in ("fp32", "int8")} == {"fp32": 2 * 64**3 / 2.0, "int8": 2 * 64**3 / 1.0}
    assert "bf16" not in peaks


def test_command_line_ends_in_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    seen = []

    def refuse(settings: BenchmarkSettings, say: Any) -> None:
        seen.append(settings)
        raise ValueError("enough")

    monkeypatch.setattr("dims_hf.benchmark.run_benchmark", refuse)
    words = ["--quick", "--batches", "4", "max", "--device", "cpu", "--output_dir", str(tmp_path), "--memory"]
    assert main(["benchmark", *words]) == 2
    (settings,) = seen
    assert (settings.size, settings.iterations, settings.batches) == ("small", (1,), [4, "max"])
    assert (settings.devices, settings.memory, settings.rounds) == (["cpu"], True, 5)


def test_make_weights_of_a_foreign_model_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="is a bert model. The benchmark knows ours and Marian's"):
        make_weights(BenchmarkSettings(**{**TINY, "models": (str(tmp_path),), "data": "phrasebook"}))


def test_designs_are_families_with_equal_or_deep_encoders(tmp_path: Path):
    designs = ("cmlm", "cmlm-deep", "imputer-deep", "dat")
    settings = BenchmarkSettings(
        **{**TINY, "designs": designs, "systems": ("torch-fp32",), "batches": (2,), "length_beams": (1,)},
        output_dir=str(tmp_path),
    )
    weights = [each for each in make_weights(settings) if each.family == "ours"]
    assert [(each.name, each.layers) for each in weights] == [
        ("", "2-2"), ("cmlm-deep", "4-2"), ("imputer-deep", "4-2"), ("dat", "2-2"),
    ]  # fmt: skip
    results = run_benchmark(settings)
    (group,) = results["groups"].values()
    assert list(group["systems"]) == [
        "ours torch-fp32 1x1", "ours torch-fp32 2x1", "cmlm-deep torch-fp32 1x1", "cmlm-deep torch-fp32 2x1",
        "imputer-deep torch-fp32 1x1", "imputer-deep torch-fp32 2x1", "dat torch-fp32 1x1",
    ]  # fmt: skip
    assert list(group["unavailable"]) == ["dat torch-fp32 2x1"]
    with pytest.raises(ValueError, match="designs must be some of .*cmlm, cmlm-deep, .* got cmml"):
        replace(settings, designs=("cmml",))


def test_file_without_a_newer_setting_is_added_to(tmp_path: Path):
    settings = BenchmarkSettings(**{**TINY, "systems": ("torch-fp32",), "batches": (1,)}, output_dir=str(tmp_path))
    run_benchmark(settings)
    path = tmp_path / "benchmark.json"
    document = json.loads(path.read_text())
    del document["settings"]["designs"]
    path.write_text(json.dumps(document))
    assert len(run_benchmark(replace(settings, batches=(1, 2)))["groups"]) == 2


def test_run_benchmark_from_text_to_text_gives_the_same_translations(
    settings: BenchmarkSettings, monkeypatch: pytest.MonkeyPatch
):
    plain = {"iterations": (1,), "length_beams": (1,), "batches": (1, "text", "bulk"), "peers": ("2-2", "4-1", "2-1")}
    outputs: dict[str, list[list[int]]] = {}
    record = run_module._record

    def keep(system: Any, timed: Any, *arguments: Any) -> dict[str, Any]:
        outputs[f"{system.name} {len(timed.outputs)} {type(timed.translator).__name__}"] = timed.outputs
        return record(system, timed, *arguments)

    monkeypatch.setattr(run_module, "_record", keep)
    results = run_benchmark(replace(settings, **plain))
    assert [group["batch"] for group in results["groups"].values()] == [1, "text", "bulk"]
    assert [group["batch_size"] for group in results["groups"].values()] == [1, 1, 12]
    for group in results["groups"].values():
        assert [name for name in group["systems"] if "marian" in name] == [
            "marian-greedy 2-2", "marian-greedy 4-1", "marian-greedy 2-1",
        ]  # fmt: skip
    for name in ("ours torch-fp32 1x1", "marian-greedy 2-1"):
        assert outputs[f"{name} 1 TorchTranslator"] == outputs[f"{name} 1 TextTranslator"]
    text = (Path(settings.output_dir) / "benchmark.md").read_text()
    assert "**cpu, 1 thread, text to text, a sentence a call, 6 tokens**" in text
    assert "**cpu, 1 thread, text to text, 12 sentences in bulk, 6 tokens**" in text
    # peak memory is that of ids to ids
    monkeypatch.setattr(
        run_module, "measure_memory", lambda settings, system, groups, models: {group.key: 1.0 for group in groups}
    )
    again = run_benchmark(replace(settings, **plain, memory=True))
    assert set(again["memory"]["cpu"]["ours torch-fp32 1x1"]) == {"cpu, threads 1, batch 1, length 6"}


def test_run_benchmark_keeps_start_up_times_of_plain_systems(
    settings: BenchmarkSettings, monkeypatch: pytest.MonkeyPatch
):
    asked = []

    def measure(system: System, models: Path, sentence: str) -> dict[str, Any]:
        asked.append(system.name)
        fails = system.name.startswith("marian")
        return {"error": "no command starts it"} if fails else {"seconds": 1.5, "cpu_seconds": 1.25, "num_starts": 5}

    monkeypatch.setattr(run_module, "measure_startup", measure)
    for _ in range(2):
        run_benchmark(replace(settings, startup=True, batches=(1,)))
    ours, *peers = ["ours torch-fp32 1x1", "marian-greedy 2-2", "marian-greedy 4-1"]
    # what has failed is tried again
    assert asked == [ours, *peers, *peers]
    text = (Path(settings.output_dir) / "benchmark.md").read_text()
    assert "| one pass, torch fp32 | 1.50 | 1.25 |" in text
    assert "| start-up of transformers Marian greedy 2-2 | no command starts it |" in text


@pytest.mark.parametrize("peer", ["6", "6-", "0-1", "6-6-1"])
def test_peers_are_called_by_their_layers(peer: str):
    with pytest.raises(ValueError, match="peers are called by their layers, such as 6-6 12-1 6-1"):
        BenchmarkSettings(peers=(peer,))
