# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The recipes that ship: every one is parsed by its command, and those for a cluster make their first updates."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from datasets import DatasetDict
from transformers import PreTrainedConfig

from dims_hf import CMLMConfig, CMLMCRFConfig, CMLMCRFForConditionalGeneration
from dims_hf.data import save_tokenizer, train_tokenizer
from dims_hf.methods import preset_values
from dims_hf.recipes.autoregressive import AutoregressiveModelArguments
from dims_hf.recipes.distilled_data import DistilledDataArguments
from dims_hf.recipes.parsing import find_recipe, parse_recipe
from dims_hf.recipes.runs import CorpusArguments, DistillationArguments, ModelArguments, make_tokenizer, start_from
from dims_hf.trainers.autoregressive import AutoregressiveTrainingArguments
from dims_hf.trainers.config import DiMSConfig, NATTrainingArguments


FOLDER = Path(__file__).resolve().parents[3] / "dims_hf" / "recipes" / "library"
RECIPES = sorted(FOLDER.glob("*.yaml"))

# end of the name -> what the command takes
KINDS = {
    "_12_2": (CorpusArguments, ModelArguments, NATTrainingArguments),
    "_teacher": (CorpusArguments, ModelArguments, NATTrainingArguments),
    "_dims": (CorpusArguments, DistillationArguments, DiMSConfig),
    "_autoregressive": (CorpusArguments, AutoregressiveModelArguments, AutoregressiveTrainingArguments),
    "_distilled_data": (CorpusArguments, DistilledDataArguments),
}
PAIRS = {
    "wmt14_en_de": ("wmt/wmt14", "de-en", "en", "de"),
    "wmt14_de_en": ("wmt/wmt14", "de-en", "de", "en"),
    "wmt16_en_ro": ("wmt/wmt16", "ro-en", "en", "ro"),
    "wmt16_ro_en": ("wmt/wmt16", "ro-en", "ro", "en"),
}
TINY = (
    "--d_model 16 --encoder_layers 1 --decoder_layers 1 --attention_heads 2 --ffn_dim 16 --vocab_size 120 "
    "--max_position_embeddings 40"
).split()
SLICE = (
    "--data_config null --no_fp16 --use_cpu --max_steps 20 --max_tokens_per_batch 256 --max_train_examples 200 "
    "--max_valid_examples 4 --eval_strategy no --save_strategy no --num_best_checkpoints 0 --report_to none"
).split()


def parse(path: Path, overrides: list[str]) -> tuple:
    owners = next(owners for ending, owners in KINDS.items() if path.stem.endswith(ending))
    return parse_recipe(owners, [str(path), *overrides], preset_values=preset_values)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipe_is_parsed_by_its_command(path: Path):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    # half precision is refused where there is no GPU; everything else is checked
    corpus, *_ = parse(path, ["--no_fp16"] if values.get("fp16") else [])
    assert (corpus.data, corpus.source_lang) == (values["data"], values["source_lang"])


@pytest.mark.parametrize("pair", PAIRS)
def test_cluster_recipes_name_the_hub_corpus_and_the_papers_sizes(pair: str):
    for kind in ("cmlm_teacher", "cmlmc_teacher", "dims"):
        corpus, models, args = parse(FOLDER / f"{pair}_{kind}.yaml", ["--no_fp16"])
        assert (corpus.data, corpus.data_config, corpus.source_lang, corpus.target_lang) == PAIRS[pair]
        assert yaml.safe_load((FOLDER / f"{pair}_{kind}.yaml").read_text())["fp16"] is True
        if kind == "dims":
            assert (args.teacher_iterations, args.ema_decay, args.hidden_weight) == (2, 0.9992, 0.7)
            assert args.num_train_epochs == (10 if pair.startswith("wmt14") else 30)
        else:
            assert models.model_type == kind.removesuffix("_teacher")
            assert (models.d_model, models.encoder_layers, models.ffn_dim) == (512, 6, 2048)
            assert args.learning_rate == (5e-4 if kind == "cmlm_teacher" else 7e-4)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A local corpus for each foreign language, drawn from the phrasebook."""
    from dims_hf.phrasebook import phrasebook_corpus

    splits = phrasebook_corpus(train=200, valid=4, test=1)
    folders = {}
    for language in ("de", "ro"):
        folders[language] = tmp_path_factory.mktemp(language)
        for split in ("train", "valid"):
            for suffix, side in (("en", 0), (language, 1)):
                text = "".join(pair[side] + "\n" for pair in splits[split])
                (folders[language] / f"{split}.{suffix}").write_text(text, encoding="utf-8")
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_cluster_recipes_make_their_first_updates_on_a_slice(pair: str, stand_in: dict[str, Path], tmp_path: Path):
    from dims_hf.recipes.runs import distill, read_training_summary, train_teacher

    data = ["--data", str(stand_in["ro" if "ro" in pair.split("_") else "de"])]
    for kind in ("cmlm", "cmlmc"):
        recipe, folder = str(FOLDER / f"{pair}_{kind}_teacher.yaml"), tmp_path / kind
        extra = ["--metric_for_best_model", "bleu_1", "--eval_iterations", "1", "--output_dir", str(folder)]
        train_teacher([recipe, *data, *TINY, *SLICE, *extra])
        assert read_training_summary(folder)["updates"] == 20
        student = tmp_path / f"{kind}-student"
        arguments = ["--teacher", str(folder), "--output_dir", str(student), "--early_stopping_patience", "null"]
        distill([str(FOLDER / f"{pair}_dims.yaml"), *data, *SLICE, *arguments])
        assert read_training_summary(student)["updates"] == 20


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*_12_2.yaml")), ids=lambda path: path.stem)
def test_deep_encoders_have_shallow_decoders(path: Path):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert (values["encoder_layers"], values["decoder_layers"]) == (12, 2)


def test_fields_of_a_family_are_set_by_name_and_others_refused():
    _, models, _ = parse(FOLDER / "phrasebook_dat_teacher.yaml", ["--family_settings", "{link_heads: 2}"])
    assert models.family_settings == {"link_heads": 2} and models.upsample_ratio == 4
    for words, message in (
        (
            ["--family_settings", "{link_hads: 2}"],
            "family_settings has 'link_hads'. Models of type dat take .*link_heads",
        ),
        (["--family_settings", "{d_model: 2}"], "family_settings has 'd_model'"),
        (["--model_type", "cmlm", "--family_settings", "null"], "upsample_ratio=4 has no effect .* imputer"),
        (["--init", "here", "--tokenizer", "there"], "init=here brings its tokenizer along"),
    ):
        with pytest.raises(ValueError, match=message):
            parse(FOLDER / "phrasebook_dat_teacher.yaml", words)


def test_recipe_is_found_by_name_and_a_file_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("phrasebook_dims", "phrasebook_dims.yaml"):
        assert find_recipe(name) == FOLDER / "phrasebook_dims.yaml"
    corpus, *_ = parse_recipe(KINDS["_dims"], ["phrasebook_dims"], preset_values=preset_values)
    assert corpus.data == "phrasebook"
    (tmp_path / "phrasebook_dims.yaml").write_text("data: mine\n", encoding="utf-8")
    assert find_recipe("phrasebook_dims.yaml") == Path("phrasebook_dims.yaml")
    with pytest.raises(FileNotFoundError, match="Recipe phrasbook_dim does not exist.*Did you mean phrasebook_dims"):
        find_recipe("phrasbook_dim")


@pytest.mark.parametrize(
    ("recipe", "command"),
    [
        ("phrasebook_teacher", "train"),
        ("phrasebook_autoregressive", "train-autoregressive"),
        ("phrasebook_distilled_data", "make-data"),
    ],
)
def test_a_recipe_of_another_command_is_refused_with_that_command(recipe, command):
    with pytest.raises(ValueError, match=f"{recipe} is a recipe of dims-hf {command}, and"):
        parse_recipe(KINDS["_dims"], [recipe], preset_values=preset_values)


def test_settings_of_a_recipe_are_those_of_its_method():
    _, _, args = parse(FOLDER / "phrasebook_imputer_dims.yaml", [])
    assert args.method == "dims_imputer" and args.choose("imputer").options.imputer_labels == "hard"
    with pytest.raises(ValueError, match="Unknown name --imputer_labels .* It is a setting of dims_imputer"):
        parse(FOLDER / "phrasebook_dims.yaml", ["--imputer_labels", "soft"])
    _, _, args = parse(
        FOLDER / "phrasebook_ctc_teacher.yaml", ["--objective", "ctc_glancing", "--glancing_ratio", "0.4"]
    )
    assert (args.method, args.glancing_ratio) == ("ctc_glancing", 0.4)


@pytest.mark.parametrize(
    "words",
    ["--encoder_layers 0", "--decoder_layers 1000000000", "--ffn_dim 0", "--vocab_size 1000000000000", "--d_model 30",
     "--encoder_layers -1", "--max_train_examples 0"],
)  # fmt: skip
def test_dimensions_that_cannot_be_are_refused_before_any_work(words: str):
    name = words.split()[0][2:]
    with pytest.raises(ValueError, match=f"{name}(=30 is not divisible| must )"):
        parse(FOLDER / "phrasebook_teacher.yaml", words.split())


def test_cmlm_with_a_field_starts_from_a_cmlm(tiny_model, tmp_path: Path):
    tiny_model.save_pretrained(tmp_path / "cmlm")
    names = {each.name for each in fields(CMLMConfig)} - {each.name for each in fields(PreTrainedConfig)}
    sizes = {name: getattr(tiny_model.config, name) for name in names}
    model = CMLMCRFForConditionalGeneration(CMLMCRFConfig(**sizes))
    start_from(model, str(tmp_path / "cmlm"))
    weights = model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in tiny_model.state_dict().items())
    deep = CMLMCRFForConditionalGeneration(CMLMCRFConfig(**{**sizes, "encoder_layers": 5}))
    with pytest.raises(ValueError, match="has encoder_layers=.*Give the recipe the sizes of the model it starts from"):
        start_from(deep, str(tmp_path / "cmlm"))


@pytest.mark.parametrize("name", ["init", "tokenizer"])
@pytest.mark.parametrize("place", ["/nowhere/model", "nowhere/at/all", "./model"])
def test_a_folder_that_is_not_there_is_told_at_once(name: str, place: str, tmp_path: Path):
    with pytest.raises(ValueError, match=f"{place} does not exist. Give a checkpoint folder or a Hub model id"):
        make_tokenizer(ModelArguments(**{name: place}), DatasetDict(), tmp_path, is_first=True)


def test_a_folder_of_a_tokenizer_needs_no_model(tmp_path: Path):
    save_tokenizer(train_tokenizer(["der Hund", "die Katze"], 300), tmp_path / "tokenizer")
    arguments = ModelArguments(tokenizer=str(tmp_path / "tokenizer"))
    assert len(make_tokenizer(arguments, DatasetDict(), tmp_path, is_first=True)) == 18


@pytest.mark.parametrize("family", ["cmlm", "imputer"])
@pytest.mark.parametrize("name", ["init", "tokenizer"])
def test_vocabulary_beside_one_that_is_there_is_its_own_or_refused(name: str, family: str, tmp_path: Path):
    tokenizer = train_tokenizer(["der Hund", "die Katze"], 300)
    save_tokenizer(tokenizer, tmp_path / name)
    size, blank = len(tokenizer), family == "imputer"

    def start(**sizes: int) -> int:
        arguments = ModelArguments(**{name: str(tmp_path / name)}, model_type=family, **sizes)
        return len(make_tokenizer(arguments, DatasetDict(), tmp_path, is_first=True))

    assert start() == start(vocab_size=size) == start(vocab_size=size + blank) == size + blank
    for wrong in (8000, size - 1, size + 2):
        with pytest.raises(ValueError, match=f"vocab_size={wrong} has no effect beside {name}=.* has .* Leave it"):
            start(vocab_size=wrong)


@pytest.mark.parametrize("name", ["init", "tokenizer"])
def test_kind_of_a_tokenizer_that_is_there_is_refused(name: str):
    with pytest.raises(ValueError, match=f"tokenizer_kind=bpe has no effect beside {name}=there, .* Leave it out"):
        ModelArguments(**{name: "there"}, tokenizer_kind="bpe")
    assert ModelArguments(**{name: "there"}).tokenizer_kind == "bpe"


def test_smoke_leaves_the_vocabulary_of_a_model_to_start_from():
    _, models, _ = parse(FOLDER / "phrasebook_oaxe_teacher.yaml", ["--smoke"])
    assert models.init is not None and models.vocab_size == 8000
    assert parse(FOLDER / "phrasebook_teacher.yaml", ["--smoke"])[1].vocab_size == 600
