# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration: names, defaults, refusals, and what config.json carries to a machine without the package."""

from __future__ import annotations

import json

import pytest
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

from dims_hf import MODELS, CMLMConfig, CMLMForConditionalGeneration, CMLMModel, ImputerConfig, NATConfig


def test_defaults_are_those_of_the_contract():
    config = CMLMConfig()
    ids = [getattr(config, f"{name}_token_id") for name in ("bos", "pad", "eos", "unk", "mask")]
    assert ids == [0, 1, 2, 3, 4]
    assert config.max_target_length == 256
    assert (config.encoder_layers, config.decoder_layers, config.d_model, config.encoder_ffn_dim) == (6, 6, 512, 2048)
    assert (config.encoder_attention_heads, config.decoder_attention_heads) == (8, 8)
    assert config.activation_function == "relu"
    assert config.scale_embedding and config.tie_word_embeddings and config.is_encoder_decoder
    assert config.initializer_range == 0.02
    assert config.length_loss_weight == 0.1
    assert config.suppress_special_tokens and not config.update_all_positions and config.legacy_mask_logit is None


def test_names_of_other_models_are_understood():
    config = CMLMConfig(d_model=64, encoder_layers=3, encoder_attention_heads=2)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (64, 3, 2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"d_model": 30, "encoder_attention_heads": 8}, r"d_model=30 .*encoder_attention_heads=8.*Choose"),
        ({"decoder_attention_heads": 0}, r"decoder_attention_heads=0.*Choose"),
        ({"vocab_size": 4}, r"mask_token_id=4 is not an id of a vocabulary of 4 tokens.*Set mask_token_id"),
        ({"mask_token_id": -1}, r"mask_token_id=-1.*Set"),
        ({"mask_token_id": None}, r"mask_token_id=None.*Set"),
        ({"pad_token_id": 32000}, r"pad_token_id=32000.*32000 tokens"),
        ({"eos_token_id": [2, 5]}, r"eos_token_id=\[2, 5\]"),
        ({"dropout": 1.5}, r"dropout=1\.5 is not a probability.*\[0, 1\]"),
        ({"attention_dropout": -0.1}, r"attention_dropout=-0\.1"),
    ],
)
def test_impossible_value_is_refused_with_the_fix(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        CMLMConfig(**fields)


def test_imputer_defaults_and_longest_source():
    config = ImputerConfig()
    assert (config.upsample_ratio, config.blank_token_id, config.max_position_embeddings) == (2, 5, 1024)
    assert not config.update_all_positions and not hasattr(config, "max_target_length")
    assert ImputerConfig(max_position_embeddings=20, upsample_ratio=3).max_source_length == 6
    assert CMLMConfig(max_position_embeddings=20).max_source_length == 20
    assert "max_source_length" not in config.to_dict()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"upsample_ratio": 0}, r"upsample_ratio must be >= 1, got 0\. The reference uses 2"),
        ({"blank_token_id": 32000}, r"blank_token_id=32000 is not an id of a vocabulary of 32000 tokens.*Set"),
        ({"blank_token_id": 4}, r"blank_token_id=4 is also mask_token_id\. Give the blank a token"),
        ({"blank_token_id": 3}, r"blank_token_id=3 is also unk_token_id"),
        ({"vocab_size": 4, "mask_token_id": 3}, r"blank_token_id=5 is not an id"),
    ],
)
def test_impossible_value_of_an_imputer_is_refused_with_the_fix(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        ImputerConfig(**fields)


def test_wrong_type_is_refused():
    with pytest.raises(Exception, match="vocab_size"):
        CMLMConfig(vocab_size="many")


def test_mask_may_be_the_unknown_token_as_in_imported_checkpoints():
    assert CMLMConfig(mask_token_id=3).mask_token_id == 3


def test_round_trip_through_a_file_keeps_every_field(tmp_path, make_config):
    config = make_config(
        mask_token_id=7, legacy_mask_logit=-1000.0, suppress_special_tokens=False, scale_embedding=False, dropout=0.25
    )
    config.save_pretrained(tmp_path)
    again = CMLMConfig.from_pretrained(tmp_path)
    assert again.to_diff_dict() == config.to_diff_dict()
    assert again.mask_token_id == 7 and again.legacy_mask_logit == -1000.0 and again.dropout == 0.25


def test_config_file_names_the_code_that_loads_it_elsewhere(tmp_path, make_config):
    make_config().save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert written["auto_map"] == {
        "AutoConfig": "configuration_cmlm.CMLMConfig",
        "AutoModel": "modeling_cmlm.CMLMModel",
        "AutoModelForSeq2SeqLM": "modeling_cmlm.CMLMForConditionalGeneration",
    }
    assert written["custom_pipelines"] == {
        "translation": {
            "impl": "pipeline_translation.NATTranslationPipeline",
            "pt": ["AutoModelForSeq2SeqLM"],
            "type": "text",
        }
    }
    assert written["model_type"] == "cmlm"


def test_installed_config_needs_no_trust_for_its_pipeline(tmp_path, make_config):
    make_config().save_pretrained(tmp_path)
    # transformers asks for trust as soon as the config object has this attribute.
    assert getattr(AutoConfig.from_pretrained(tmp_path), "custom_pipelines", None) is None


def test_auto_classes_find_ours_by_model_type(tmp_path, make_config, make_model):
    make_model().save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is CMLMConfig
    assert type(AutoConfig.for_model("cmlm")) is CMLMConfig
    assert type(AutoModel.from_config(make_config())) is CMLMModel
    assert type(AutoModelForSeq2SeqLM.from_config(make_config())) is CMLMForConditionalGeneration
    assert type(AutoModel.from_pretrained(tmp_path)) is CMLMModel
    assert type(AutoModelForSeq2SeqLM.from_pretrained(tmp_path)) is CMLMForConditionalGeneration


@pytest.mark.parametrize("model_type", sorted(MODELS))
def test_every_family_is_complete(model_type: str):
    config_class, base_class, translation_class = MODELS[model_type]
    assert issubclass(config_class, NATConfig) and config_class.model_type == model_type
    assert base_class.config_class is config_class and translation_class.config_class is config_class
    classes = (config_class, base_class, translation_class)
    named = dict(zip(("AutoConfig", "AutoModel", "AutoModelForSeq2SeqLM"), classes, strict=True))
    for auto_class, reference in config_class.remote_code_map.items():
        module, _, name = reference.partition(".")
        assert name == named[auto_class].__name__
        assert named[auto_class].__module__ == f"dims_hf.models.{module}"
