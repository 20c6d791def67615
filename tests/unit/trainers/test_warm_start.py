# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Warm start: exactly the states of the pre-trained encoder, in models of every family; what is refused, and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import DatasetDict
from safetensors.torch import load_file, save_file
from transformers import AutoModel, GPT2Config, MarianConfig, MarianMTModel, T5Config, T5ForConditionalGeneration

from dims_hf import MODELS, CMLMConfig, CMLMForConditionalGeneration, NATConfig, SourceTargetTokenizer
from dims_hf.data import join_tokenizers, save_tokenizer, train_tokenizer
from dims_hf.export import export_onnx
from dims_hf.export.native_export import model_tensors
from dims_hf.recipes.autoregressive import AutoregressiveModelArguments, make_autoregressive_model
from dims_hf.recipes.runs import ModelArguments, make_model, make_tokenizer
from dims_hf.trainers import load_encoder_tokenizer, start_from_autoregressive, warm_start_encoder
from dims_hf.translation import load_checkpoint, translate
from tests.fixtures.encoders import ENCODERS
from tests.fixtures.teachers import make_sources


SOURCES = make_sources(40)
SIZES = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 40,
}


@pytest.fixture(scope="module")
def target_tokenizer() -> Any:
    return train_tokenizer(["der kleine Hund sieht die alte Katze .", "eine Katze schläft"], 100, with_blank=True)


@pytest.fixture(scope="module")
def tokenizers(encoder_tokenizers, target_tokenizer) -> dict[str, SourceTargetTokenizer]:
    return {kind: join_tokenizers(each, target_tokenizer, SOURCES) for kind, each in encoder_tokenizers.items()}


@pytest.fixture
def make_warm(encoder_folder, tokenizers):
    """A warm-started model of a family, in evaluation mode, its tokenizer and the folder of its encoder."""

    def make(model_type: str, family: str = "cmlm", *, num_layers: int | None = None, **fields: Any) -> tuple:
        folder, tokenizer = encoder_folder(model_type), tokenizers[ENCODERS[model_type]]
        config_class, _, model_class = MODELS[family]
        with torch.random.fork_rng():
            torch.manual_seed(1)
            model = model_class(config_class(vocab_size=len(tokenizer), **{**SIZES, **fields}))
            warm = warm_start_encoder(model, str(folder), tokenizer, num_layers=num_layers)
        return warm.eval(), tokenizer, folder

    return make


@torch.no_grad()
def original_states(folder: Path, texts: list[str], **options: Any) -> Any:
    """What the original encoder makes of texts, with its own tokenizer; a list of states (S, E), one for each text."""
    encoder, tokenizer = AutoModel.from_pretrained(folder).eval(), load_encoder_tokenizer(str(folder))
    return [encoder(**tokenizer(text, return_tensors="pt"), **options) for text in texts]


@pytest.mark.parametrize("model_type", ENCODERS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_states_are_those_of_the_original(model_type: str, side: str, make_warm):
    model, tokenizer, folder = make_warm(model_type)
    texts = sorted(SOURCES, key=len)[::8]
    batch = tokenizer(texts, padding=True, padding_side=side, return_tensors="pt")
    assert not batch["attention_mask"].all()
    with torch.no_grad():
        states = model.get_encoder()(**batch).last_hidden_state
    for row, output in enumerate(original_states(folder, texts)):
        ours = states[row][batch["attention_mask"][row].bool()]
        assert ours.shape == output.last_hidden_state[0].shape
        torch.testing.assert_close(ours, output.last_hidden_state[0], atol=1e-5, rtol=0)


def test_longest_source_and_both_layouts_of_positions(make_warm):
    # 42 rows: BERT's positions are 0 to 41, RoBERTa's 2 to 41
    assert make_warm("roberta")[0].config.max_source_length == 40
    assert make_warm("bert", max_position_embeddings=42)[0].config.max_source_length == 42
    with pytest.raises(ValueError, match=r"reads at most 40 tokens.*sources of 41\. Make it smaller"):
        make_warm("roberta", max_position_embeddings=41)
    # an Imputer's sources are half as long as its alignments
    assert make_warm("roberta", "imputer", max_position_embeddings=80)[0].config.max_source_length == 40


def test_first_layers_are_those_of_the_original(make_warm):
    model, tokenizer, folder = make_warm("bert", num_layers=2)
    (output,) = original_states(folder, SOURCES[:1], output_hidden_states=True)
    with torch.no_grad():
        states = model.get_encoder()(**tokenizer(SOURCES[:1], return_tensors="pt")).last_hidden_state
    torch.testing.assert_close(states, output.hidden_states[2], atol=1e-5, rtol=0)
    assert model.config.encoder_layers == model.config.pretrained_encoder["num_hidden_layers"] == 2
    model, *_ = make_warm("modernbert", num_layers=2)
    assert len(model.get_encoder().pretrained.layers) == 2
    with pytest.raises(ValueError, match=r"has 3 layers, and encoder_layers=4 are wanted\. Use encoder_layers: 3"):
        make_warm("bert", num_layers=4)


def test_linear_map_takes_another_width_to_the_decoder(make_warm):
    model, tokenizer, _ = make_warm("bert", d_model=32)
    batch = tokenizer(SOURCES[:2], padding=True, return_tensors="pt")
    encoder = model.get_encoder()
    output = encoder(**batch, output_hidden_states=True)
    assert output.last_hidden_state.shape[-1] == 32 and output.hidden_states[-1].shape[-1] == 16
    expected = output.hidden_states[-1] @ encoder.output_projection.weight.T + encoder.output_projection.bias
    torch.testing.assert_close(output.last_hidden_state, expected)
    assert isinstance(make_warm("bert", d_model=16)[0].get_encoder().output_projection, torch.nn.Identity)


def test_decoder_and_heads_are_those_of_the_given_model(encoder_folder, tokenizers):
    tokenizer = tokenizers["bpe"]
    model = CMLMForConditionalGeneration(CMLMConfig(vocab_size=len(tokenizer), **SIZES))
    model.generation_config.num_iterations = 3
    before = {name: value.clone() for name, value in model.state_dict().items()}
    warm = warm_start_encoder(model, str(encoder_folder("roberta")), tokenizer)
    after = warm.state_dict()
    kept = [name for name in before if not name.startswith("model.encoder.")]
    assert len(kept) > 20 and all(torch.equal(before[name], after[name]) for name in kept)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.config.pretrained_encoder is None and warm.generation_config.num_iterations == 3
    assert warm.lm_head.weight is warm.model.shared.weight is warm.model.decoder.embed_tokens.weight


@pytest.mark.parametrize("family", MODELS)
def test_every_family_translates_and_comes_back_from_its_folder(family: str, make_warm, tmp_path: Path):
    # of a graph with eight vertices for each token of the source
    sizes = {"max_position_embeddings": 80} if family == "dat" else {}
    model, tokenizer, _ = make_warm("bert", family, **sizes)
    model.save_pretrained(tmp_path)
    again = load_checkpoint(tmp_path).eval()
    batch = tokenizer(SOURCES[:3], padding=True, return_tensors="pt")
    ours, theirs = model.generate(**batch), again.generate(**batch)
    assert torch.equal(ours, theirs) and int(ours.max()) < len(tokenizer)
    assert again.config.source_vocab_size == len(tokenizer.source_tokenizer) != again.config.vocab_size


@pytest.mark.parametrize("model_type", ENCODERS)
def test_every_encoder_comes_back_from_its_folder(model_type: str, make_warm, tmp_path: Path):
    model, tokenizer, _ = make_warm(model_type)
    model.save_pretrained(tmp_path)
    again = load_checkpoint(tmp_path).eval()
    batch = tokenizer(SOURCES[:3], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = [each.get_encoder()(**batch).last_hidden_state for each in (model, again)]
    assert torch.equal(*states)


def test_encoder_is_trained_with_the_rest(make_warm):
    model, tokenizer, _ = make_warm("modernbert", d_model=32)
    batch = tokenizer(SOURCES[:3], padding=True, return_tensors="pt")
    target = torch.tensor([[0, 7, 8, 2]]).expand(3, -1)
    model.train()(**batch, decoder_input_ids=target, labels=target).loss.backward()
    without = [name for name, value in model.named_parameters() if value.grad is None]
    assert without == []
    assert model.get_encoder().get_input_embeddings().weight.grad.abs().sum() > 0


def test_gradient_checkpointing_and_attention_reach_the_encoder(make_warm):
    model, tokenizer, _ = make_warm("bert")
    batch = tokenizer(SOURCES[:3], padding=True, return_tensors="pt")
    model.gradient_checkpointing_enable()
    assert all(layer.gradient_checkpointing for layer in model.get_encoder().pretrained.encoder.layer)
    model.set_attn_implementation("eager")
    assert model.get_encoder().pretrained.config._attn_implementation == "eager"
    output = model.eval()(**batch, decoder_input_ids=torch.zeros(3, 2).long(), output_attentions=True)
    width = batch["input_ids"].shape[1]
    assert [tuple(each.shape) for each in output.encoder_attentions] == [(3, 2, width, width)] * 3


def test_table_of_targets_can_be_replaced_beside_that_of_sources(make_warm):
    model, tokenizer, _ = make_warm("bert")
    sources = model.get_encoder().get_input_embeddings().weight.clone()
    model.resize_token_embeddings(len(tokenizer) + 8)
    assert model.lm_head.weight.shape[0] == len(tokenizer) + 8
    assert torch.equal(model.get_encoder().get_input_embeddings().weight, sources)


def test_inputs_are_checked_as_by_any_encoder(make_warm):
    model, tokenizer, _ = make_warm("bert")
    encoder, size = model.get_encoder(), len(tokenizer.source_tokenizer)
    ids = torch.tensor([[0, 7, 2, 1]])
    assert torch.equal(encoder(ids).last_hidden_state, encoder(ids, ids.ne(1)).last_hidden_state)
    embeds = encoder.get_input_embeddings()(ids)
    assert torch.equal(encoder(inputs_embeds=embeds, attention_mask=ids.ne(1))[0], encoder(ids)[0])
    for wrong in ({}, {"input_ids": ids, "inputs_embeds": embeds}):
        with pytest.raises(ValueError, match="exactly one of token ids and embeddings"):
            encoder(**wrong)
    with pytest.raises(ValueError, match=r"41 tokens does not fit the position table of 40"):
        encoder(torch.full((1, 41), 7))
    with pytest.raises(ValueError, match=f"the id {size}, outside the model's vocabulary of {size}"):
        model.generate(torch.tensor([[0, size, 2]]))
    model.generate(torch.tensor([[0, size - 1, 2]]))


# ---- what is refused ---------------------------------------------------------------------------------------------


def refusal(name: str, tokenizer: Any = None) -> str:
    config = CMLMConfig(vocab_size=60, **SIZES)
    with pytest.raises(ValueError) as caught:
        warm_start_encoder(CMLMForConditionalGeneration(config), name, tokenizer)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_place_without_a_model_is_refused(tmp_path: Path):
    assert "nowhere does not exist" in refusal(str(tmp_path / "nowhere"))
    assert "holds no config.json" in refusal(str(tmp_path))
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert "is no model that could be loaded" in refusal(str(tmp_path))


def test_models_of_other_kinds_are_refused(tmp_path: Path, encoder_folder):
    sizes = {"vocab_size": 20, "d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "pad_token_id": 1}
    MarianMTModel(MarianConfig(**sizes, encoder_attention_heads=2, decoder_attention_heads=2)).save_pretrained(
        tmp_path / "marian"
    )
    message = refusal(str(tmp_path / "marian"))
    assert "is an encoder-decoder (marian). Give an encoder: bert" in message and "use init" in message
    GPT2Config().save_pretrained(tmp_path / "gpt2")
    assert "is no encoder known here but a gpt2 model. Give one of these: bert" in refusal(str(tmp_path / "gpt2"))
    for name, value, expected in (
        ("is_decoder", True, "is no encoder known here but a bert model"),
        ("position_embedding_type", "relative_key", "has position_embedding_type=relative_key"),
    ):
        shutil.copytree(encoder_folder("bert"), tmp_path / name)
        config = json.loads((tmp_path / name / "config.json").read_text())
        (tmp_path / name / "config.json").write_text(json.dumps({**config, name: value}))
        assert expected in refusal(str(tmp_path / name))


def test_positions_that_are_counted_otherwise_are_refused(tmp_path: Path, encoder_folder):
    shutil.copytree(encoder_folder("roberta"), tmp_path / "roberta")
    config = json.loads((tmp_path / "roberta" / "config.json").read_text())
    (tmp_path / "roberta" / "config.json").write_text(json.dumps({**config, "pad_token_id": 0}))
    assert "counts positions from pad_token_id=0" in refusal(str(tmp_path / "roberta"))


def test_weights_that_are_missing_or_no_numbers_are_refused(tmp_path: Path, encoder_folder, tokenizers):
    shutil.copytree(encoder_folder("bert"), tmp_path / "bert")
    path = tmp_path / "bert" / "model.safetensors"
    weights = load_file(path)
    broken = {**weights, "embeddings.LayerNorm.weight": torch.full((16,), float("nan"))}
    save_file(broken, path, metadata={"format": "pt"})
    assert "embeddings.LayerNorm.weight hold NaN" in refusal(str(tmp_path / "bert"), tokenizers["wordpiece"])
    del broken["encoder.layer.1.output.dense.weight"]
    save_file(broken, path, metadata={"format": "pt"})
    assert "lacks weights of its encoder, such as encoder.layer.1.output.dense.weight" in refusal(
        str(tmp_path / "bert"), tokenizers["wordpiece"]
    )


def test_tokenizers_that_are_not_the_encoders_are_refused(tmp_path: Path, encoder_folder, tokenizers, tiny_tokenizer):
    assert "has no source side" in refusal(str(encoder_folder("bert")), tiny_tokenizer)
    message = refusal(str(encoder_folder("bert")), tokenizers["bpe"])
    assert "tokens of the source tokenizer, such as" in message and "made for another encoder" in message
    for path in encoder_folder("bert").glob("*"):
        if "token" not in path.name:
            shutil.copy(path, tmp_path / path.name)
    with pytest.raises(ValueError, match="has a tokenizer without a word"):
        load_encoder_tokenizer(str(tmp_path))


def test_configuration_names_encoders_that_are_known():
    with pytest.raises(ValueError, match="pretrained_encoder lacks vocab_size"):
        CMLMConfig(pretrained_encoder={"model_type": "bert"})
    config = CMLMConfig(vocab_size=60, pretrained_encoder={"model_type": "gpt2", "vocab_size": 9}, **SIZES)
    with pytest.raises(ValueError, match="of the type 'gpt2', which is not one of bert"):
        CMLMForConditionalGeneration(config)
    assert NATConfig(vocab_size=60).source_vocab_size == 60


# ---- exports -----------------------------------------------------------------------------------------------------


def test_graphs_and_native_code_of_our_own_encoder_are_refused_by_name(make_warm, tmp_path: Path):
    model, tokenizer, _ = make_warm("bert", "imputer")
    with pytest.raises(ValueError, match=r"pre-trained encoder \(bert\), which has no native form yet"):
        model_tensors(model)
    with pytest.raises(ValueError, match="'imputer with a pre-trained encoder' are not built by hand"):
        export_onnx(model, tokenizer, tmp_path / "onnx", graph="built")


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "int8"), [("modernbert", False), ("bert", True)])
def test_traced_graphs_translate_as_the_model_does(model_type: str, int8: bool, make_warm, tmp_path: Path):
    from dims_hf.export import OnnxTranslator
    from dims_hf.translation import open_runtime

    model, tokenizer, _ = make_warm(model_type, d_model=32, max_target_length=20)
    # fp32 graphs are compared with the model by the export itself, token for token
    description = export_onnx(model, tokenizer, tmp_path / "onnx", num_iterations=2, int8=int8)
    assert description["verification"]["num_sequences"] > 20
    translator = OnnxTranslator(tmp_path / "onnx")
    written = translator.translate(SOURCES[:5])
    if not int8:
        assert written == [each.text for each in translate(model, tokenizer, SOURCES[:5], num_iterations=2)]
    runtime = open_runtime(tmp_path / "onnx")
    assert runtime.tokenizer(SOURCES[:5])["input_ids"] == tokenizer(SOURCES[:5])["input_ids"]
    with pytest.raises(ValueError, match="outside the model's vocabulary"):
        translator.generate(*translator.pad([[0, len(tokenizer.source_tokenizer), 2]]))


# --- from an autoregressive model


@pytest.fixture
def autoregressive() -> MarianMTModel:
    """An autoregressive model in evaluation mode, of the sizes above and a tokenizer of a few words."""
    arguments = AutoregressiveModelArguments(
        d_model=16, encoder_layers=2, decoder_layers=2, attention_heads=4, ffn_dim=24, max_position_embeddings=40
    )
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return make_autoregressive_model(arguments, train_tokenizer(["der Hund", "die Katze"], 300)).eval()


@pytest.mark.parametrize("family", [family for family in MODELS if family != "cmlmc"])
def test_states_of_the_encoder_are_those_of_the_autoregressive_model(family: str, autoregressive: MarianMTModel):
    config_class, _, model_class = MODELS[family]
    config = autoregressive.config
    vocab_size = config.vocab_size + 1  # one token more, as a blank is
    layers = {"encoder_layers": 2, "decoder_layers": 2}
    # more positions than the autoregressive model's 40; a graph model's own function is gelu
    sizes: dict[str, Any] = {**SIZES, **layers, "max_position_embeddings": 60, "activation_function": "relu"}
    model = model_class(config_class(vocab_size=vocab_size, **sizes)).eval()
    fresh = model.get_input_embeddings().weight[-1].clone()
    start_from_autoregressive(model, autoregressive, "peer")
    ids = torch.tensor([[0, 7, 9, 11, 2], [0, 8, 2, 1, 1]])
    mask = ids.ne(1)
    with torch.no_grad():
        ours = model.get_encoder()(input_ids=ids, attention_mask=mask)[0]
        theirs = autoregressive.get_encoder()(input_ids=ids, attention_mask=mask)[0]
    assert torch.allclose(ours[mask], theirs[mask], atol=1e-6)
    taken = dict(model.model.decoder.layers.named_parameters())
    for name, weight in autoregressive.model.decoder.layers.named_parameters():
        assert torch.equal(taken[name], weight)
    assert torch.equal(model.get_input_embeddings().weight[-1], fresh)
    assert model.lm_head.weight is model.get_input_embeddings().weight


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder_layers": 3}, "has encoder_layers=2, this model 3. Give the recipe the same"),
        ({"activation_function": "gelu"}, "has activation_function=relu, this model gelu"),
        ({"vocab_size": 10}, "has not one table of at most 10 tokens"),
    ],
)
def test_an_autoregressive_model_that_does_not_fit_is_refused(
    fields: dict[str, Any], message: str, autoregressive: MarianMTModel
):
    sizes = {**SIZES, "encoder_layers": 2, "decoder_layers": 2, "vocab_size": autoregressive.config.vocab_size}
    model = CMLMForConditionalGeneration(CMLMConfig(**{**sizes, **fields}))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=f"init=peer {message}"):
        start_from_autoregressive(model, autoregressive, "peer")
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_family_that_projects_positions_is_refused(autoregressive: MarianMTModel):
    config_class, _, model_class = MODELS["cmlmc"]
    sizes = {**SIZES, "encoder_layers": 2, "decoder_layers": 2, "scale_embedding": True}
    model = model_class(config_class(vocab_size=autoregressive.config.vocab_size, **sizes))
    with pytest.raises(ValueError, match="init=peer adds positions to embeddings, a cmlmc model does not"):
        start_from_autoregressive(model, autoregressive, "peer")


def test_a_recipe_starts_from_an_autoregressive_folder(autoregressive: MarianMTModel, tmp_path: Path):
    folder = tmp_path / "peer"
    autoregressive.save_pretrained(folder)
    save_tokenizer(train_tokenizer(["der Hund", "die Katze"], 300), folder)
    arguments = ModelArguments(
        model_type="imputer", init=str(folder), d_model=16, encoder_layers=2, decoder_layers=2, attention_heads=4,
        ffn_dim=24, max_position_embeddings=40,
    )  # fmt: skip
    tokenizer = make_tokenizer(arguments, DatasetDict(), tmp_path / "run", is_first=True)
    model = make_model(arguments, tokenizer)
    assert model.config.vocab_size == autoregressive.config.vocab_size + 1 == model.config.blank_token_id + 1
    first = "encoder.layers.0.fc1.weight"
    assert torch.equal(model.model.state_dict()[first], autoregressive.model.state_dict()[first])


def test_another_encoder_decoder_of_transformers_is_no_start(tmp_path: Path):
    sizes: dict[str, Any] = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1, "num_heads": 4, "vocab_size": 30}
    model = CMLMForConditionalGeneration(CMLMConfig(vocab_size=30, **SIZES))
    with pytest.raises(ValueError, match="init=other is a t5 model. Start from one of this package"):
        start_from_autoregressive(model, T5ForConditionalGeneration(T5Config(**sizes)), "other")
