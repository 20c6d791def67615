# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Import of fairseq checkpoints: reference outputs, mapping of every weight, refusals, dictionaries."""

from __future__ import annotations

import argparse
import os
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dims_hf import (
    CMLMCForConditionalGeneration,
    CMLMCRFForConditionalGeneration,
    CMLMForConditionalGeneration,
    DATForConditionalGeneration,
    ImputerConfig,
    ImputerForConditionalGeneration,
    InsertionForConditionalGeneration,
    LevenshteinForConditionalGeneration,
)
from dims_hf.export import import_fairseq_checkpoint, model_from_fairseq_state_dict
from dims_hf.export.fairseq import TIED_NAMES, read_fairseq_dictionary, tokenizer_from_fairseq_dictionary


VOCAB_SIZE, WIDTH, INNER, ROWS, HEADS = 12, 8, 10, 18, 2
DICTIONARY = "the 90\ncat 40\nsl@@ 9\neep@@ 8\ns 7\nhouse 5\nmadeupword0000 0\nmadeupword0001 0\n"


def _attention(prefix: str) -> dict[str, torch.Tensor]:
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    weights = {f"{prefix}.{name}.weight": torch.randn(WIDTH, WIDTH) for name in names}
    return {**weights, **{f"{prefix}.{name}.bias": torch.randn(WIDTH) for name in names}}


def _norm(prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}.weight": torch.randn(WIDTH), f"{prefix}.bias": torch.randn(WIDTH)}


def _layer(prefix: str, attentions: tuple[str, ...]) -> dict[str, torch.Tensor]:
    weights = {
        f"{prefix}.fc1.weight": torch.randn(INNER, WIDTH),
        f"{prefix}.fc1.bias": torch.randn(INNER),
        f"{prefix}.fc2.weight": torch.randn(WIDTH, INNER),
        f"{prefix}.fc2.bias": torch.randn(WIDTH),
        **_norm(f"{prefix}.final_layer_norm"),
    }
    for name in attentions:
        weights.update(_attention(f"{prefix}.{name}"))
        weights.update(_norm(f"{prefix}.{name}_layer_norm"))
    return weights


@pytest.fixture
def state_dict() -> dict[str, torch.Tensor]:
    """A random CMLM under fairseq's names: two encoder layers, one decoder layer."""
    torch.manual_seed(1)
    table = torch.randn(VOCAB_SIZE, WIDTH)
    table[1] = 0
    weights = {f"{side}.version": torch.tensor([3.0]) for side in ("encoder", "decoder")}
    weights |= {f"{side}.embed_tokens.weight": table for side in ("encoder", "decoder")}
    weights |= {f"{side}.embed_positions.weight": torch.randn(ROWS, WIDTH) for side in ("encoder", "decoder")}
    weights |= _layer("encoder.layers.0", ("self_attn",)) | _layer("encoder.layers.1", ("self_attn",))
    weights |= _layer("decoder.layers.0", ("self_attn", "encoder_attn"))
    weights["decoder.output_projection.weight"] = table
    weights["decoder.embed_length.weight"] = torch.randn(256, WIDTH)
    return weights


def _reference_attention(
    weights: dict[str, torch.Tensor], prefix: str, queries: torch.Tensor, keys: torch.Tensor
) -> torch.Tensor:
    """Multi-head attention of torch itself, filled with fairseq's projections; (L, D) in and out, no padding."""
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    parts = ("q_proj", "k_proj", "v_proj")
    attention.load_state_dict(
        {
            "in_proj_weight": torch.cat([weights[f"{prefix}.{part}.weight"] for part in parts]),
            "in_proj_bias": torch.cat([weights[f"{prefix}.{part}.bias"] for part in parts]),
            "out_proj.weight": weights[f"{prefix}.out_proj.weight"],
            "out_proj.bias": weights[f"{prefix}.out_proj.bias"],
        }
    )
    return attention(queries[None], keys[None], keys[None])[0][0]


def _reference_stack(
    weights: dict[str, torch.Tensor], side: str, layers: int, ids: list[int], encoded: torch.Tensor | None = None
) -> torch.Tensor:
    """One side of the network for one sentence without padding, written from the equations."""

    def norm(prefix: str, states: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(states, (WIDTH,), weights[f"{prefix}.weight"], weights[f"{prefix}.bias"])

    states = weights[f"{side}.embed_tokens.weight"][ids] * WIDTH**0.5
    states = states + weights[f"{side}.embed_positions.weight"][2 : 2 + len(ids)]
    for index in range(layers):
        layer = f"{side}.layers.{index}"
        attended = _reference_attention(weights, f"{layer}.self_attn", states, states)
        states = norm(f"{layer}.self_attn_layer_norm", states + attended)
        if encoded is not None:
            attended = _reference_attention(weights, f"{layer}.encoder_attn", states, encoded)
            states = norm(f"{layer}.encoder_attn_layer_norm", states + attended)
        inner = (states @ weights[f"{layer}.fc1.weight"].T + weights[f"{layer}.fc1.bias"]).relu()
        update = inner @ weights[f"{layer}.fc2.weight"].T + weights[f"{layer}.fc2.bias"]
        states = norm(f"{layer}.final_layer_norm", states + update)
    return states


@torch.no_grad()
def test_model_of_random_state_dict_computes_what_its_equations_say(state_dict: dict[str, torch.Tensor]):
    model = model_from_fairseq_state_dict(state_dict, attention_heads=HEADS)
    source, target = [0, 5, 7, 4, 2], [0, 3, 6, 3, 2]
    outputs = model(torch.tensor([source]), decoder_input_ids=torch.tensor([target]), return_length_logits=True)

    encoded = _reference_stack(state_dict, "encoder", 2, source)
    logits = _reference_stack(state_dict, "decoder", 1, target, encoded) @ state_dict["encoder.embed_tokens.weight"].T
    logits[:, 3] = -1000.0

    torch.testing.assert_close(outputs.encoder_last_hidden_state[0], encoded, atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs.logits[0], logits, atol=1e-4, rtol=1e-5)
    length_logits = encoded.mean(dim=0) @ state_dict["decoder.embed_length.weight"].T
    torch.testing.assert_close(outputs.length_logits[0], length_logits, atol=1e-5, rtol=1e-5)


def test_config_of_random_state_dict_comes_from_its_shapes(state_dict: dict[str, torch.Tensor]):
    model = model_from_fairseq_state_dict(state_dict, attention_heads=(HEADS, 4))
    config = model.config
    assert isinstance(model, CMLMForConditionalGeneration)
    assert not model.training
    assert (config.vocab_size, config.d_model, config.encoder_layers, config.decoder_layers) == (12, 8, 2, 1)
    assert (config.encoder_attention_heads, config.decoder_attention_heads) == (2, 4)
    assert (config.encoder_ffn_dim, config.decoder_ffn_dim) == (10, 10)
    assert (config.max_position_embeddings, config.max_target_length) == (16, 256)
    assert (config.mask_token_id, config.unk_token_id) == (3, 3)
    assert config.scale_embedding is True
    assert (config.legacy_mask_logit, config.suppress_special_tokens) == (-1000.0, False)


def test_model_without_legacy_leaves_logits_alone_and_suppresses_special_tokens(state_dict: dict[str, torch.Tensor]):
    model = model_from_fairseq_state_dict(state_dict, attention_heads=HEADS, legacy=False)
    assert model.config.legacy_mask_logit is None
    assert model.suppressed_token_ids() == [0, 1, 2, 3]


def test_model_from_half_tensors_is_fp32(state_dict: dict[str, torch.Tensor]):
    halves = {name: tensor.half() for name, tensor in state_dict.items()}
    model = model_from_fairseq_state_dict(halves, attention_heads=HEADS)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    torch.testing.assert_close(model.length_head.weight, halves["decoder.embed_length.weight"].float())


@pytest.mark.parametrize("absent", [{"decoder.output_projection.weight"}, {"encoder.embed_tokens.weight"}])
def test_model_from_state_dict_with_fewer_tied_copies_is_the_same(
    state_dict: dict[str, torch.Tensor], absent: set[str]
):
    fewer = {name: tensor for name, tensor in state_dict.items() if name not in absent}
    model = model_from_fairseq_state_dict(fewer, attention_heads=HEADS)
    torch.testing.assert_close(model.lm_head.weight, state_dict["decoder.embed_tokens.weight"])
    assert model.lm_head.weight is model.model.shared.weight


def test_model_does_not_share_memory_with_the_state_dict(state_dict: dict[str, torch.Tensor]):
    before = state_dict["decoder.embed_length.weight"].clone()
    model = model_from_fairseq_state_dict(state_dict, attention_heads=HEADS)
    with torch.no_grad():
        model.length_head.weight.zero_()
    torch.testing.assert_close(state_dict["decoder.embed_length.weight"], before)


def test_model_with_differing_tied_copies_is_refused(state_dict: dict[str, torch.Tensor]):
    state_dict["decoder.output_projection.weight"] = state_dict["decoder.output_projection.weight"] + 1
    with pytest.raises(ValueError, match=r"output_projection\.weight differs from encoder\.embed_tokens"):
        model_from_fairseq_state_dict(state_dict, attention_heads=HEADS)


def test_missing_unexpected_and_misshapen_weights_are_reported_together(state_dict: dict[str, torch.Tensor]):
    del state_dict["decoder.layers.0.fc2.bias"]
    state_dict["decoder.layer_norm.weight"] = torch.zeros(WIDTH)
    state_dict["encoder.layers.1.fc1.weight"] = torch.zeros(INNER + 1, WIDTH)
    with pytest.raises(ValueError) as caught:
        model_from_fairseq_state_dict(state_dict, attention_heads=HEADS)
    message = str(caught.value)
    assert "missing: decoder.layers.0.fc2.bias" in message
    assert "unexpected: decoder.layer_norm.weight" in message
    assert "encoder.layers.1.fc1.weight (11, 8) instead of (10, 8)" in message


@pytest.mark.parametrize(
    ("added", "removed", "named"),
    [
        ("decoder.layers.0.self_attn_unmasked.q_proj.weight", "decoder.embed_length.weight", "Imputer .*CMLMC"),
        ("encoder.layers.0.self_attn.in_proj_weight", None, "Mask-Predict"),
        ("encoder.layers.0.layer_norms.0.gamma", None, "Mask-Predict"),
        ("decoder.reduce_concat.0.weight", None, "--concat-prediction"),
        ("decoder.layers_msk.0.fc1.weight", None, "--no-share-maskpredictor"),
        ("decoder.embed_seg.weight", None, "--segment-embedding"),
    ],
)
def test_model_of_unsupported_family_is_refused_by_name(
    state_dict: dict[str, torch.Tensor], added: str | None, removed: str | None, named: str
):
    if added is not None:
        state_dict[added] = torch.zeros(1)
    state_dict.pop(removed, None)
    with pytest.raises(NotImplementedError, match=named):
        model_from_fairseq_state_dict(state_dict, attention_heads=HEADS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.clear(), "no encoder.layers.0, but nothing"),
        (lambda weights: weights.pop("decoder.embed_positions.weight"), "no decoder.embed_positions.weight"),
        (
            lambda weights: weights.update({"decoder.embed_positions.weight": torch.zeros(ROWS + 1, WIDTH)}),
            r"18 rows \(encoder\) and 19 \(decoder\)",
        ),
        (
            lambda weights: [weights.pop(name) for name in list(weights) if weights[name].shape[:1] == (VOCAB_SIZE,)],
            "no token embedding",
        ),
        (
            lambda weights: [weights.pop(name) for name in list(weights) if name.startswith("decoder.layers")],
            "no decoder.layers.0",
        ),
    ],
)
def test_incomplete_state_dict_is_refused(state_dict: dict[str, torch.Tensor], change: Any, message: str):
    change(state_dict)
    with pytest.raises(ValueError, match=message):
        model_from_fairseq_state_dict(state_dict, attention_heads=HEADS)


def test_attention_heads_that_do_not_divide_the_width_are_refused(state_dict: dict[str, torch.Tensor]):
    with pytest.raises(ValueError, match=r"d_model=8 is not divisible by encoder_attention_heads=3"):
        model_from_fairseq_state_dict(state_dict, attention_heads=3)


def test_golden_cmlm_is_reproduced(shared_data: Path):
    path = shared_data / "tiny_golden.pt"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    golden = torch.load(path, weights_only=True)["cmlm"]
    model = model_from_fairseq_state_dict(golden["state_dict"], attention_heads=2)
    with torch.no_grad():
        outputs = model(
            golden["src"], decoder_input_ids=golden["tgt_in"], return_length_logits=True, output_hidden_states=True
        )
        alone = model(golden["src"][1:], decoder_input_ids=golden["tgt_in"][1:, :4]).logits
    close = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(outputs.encoder_last_hidden_state.transpose(0, 1), golden["encoder_out"], **close)
    torch.testing.assert_close(outputs.length_logits, golden["length_logits"], **close)
    torch.testing.assert_close(outputs.decoder_last_hidden_state, golden["hidden"], **close)
    torch.testing.assert_close(outputs.logits, golden["logits"], **close)
    torch.testing.assert_close(alone, golden["logits_sent1_unbatched"], **close)
    assert outputs.length_logits.argmax(dim=-1).tolist() == [192, 15]
    expected = torch.tensor([-2.22448, 0.0, -4.55234, -1000, -4.42929, 7.40527, -1.09359, -0.40136])
    torch.testing.assert_close(outputs.logits[0, 2, :8], expected, **close)


@pytest.mark.parametrize("legacy", [True, False])
def test_golden_cmlmc_is_reproduced(shared_data: Path, legacy: bool):
    path = shared_data / "tiny_golden.pt"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    golden = torch.load(path, weights_only=True)["cmlmc"]
    model = model_from_fairseq_state_dict(golden["state_dict"], attention_heads=2, legacy=legacy)
    with torch.no_grad():
        logits = model(golden["src"], decoder_input_ids=golden["tgt_in"]).logits
    others = torch.arange(logits.shape[-1]) != 3  # the mask's logit is legacy too
    close = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(logits[0][:, others], golden["logits"][0][:, others], **close)
    # Sentence 1 is padded: the reference's extra attention sees that, and an import without legacy does not.
    batched, alone = golden["logits"][1, :4], golden["logits_sent1_unbatched"][0]
    expected, other = (batched, alone) if legacy else (alone, batched)
    torch.testing.assert_close(logits[1, :4][:, others], expected[:, others], **close)
    assert (logits[1, :4][:, others] - other[:, others]).abs().max() > 0.1


# --- CMLMC -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def cmlmc_state_dict(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state_dict` with what a CMLMC has more."""
    for side in ("encoder", "decoder"):
        state_dict[f"{side}.PEfc.weight"], state_dict[f"{side}.PEfc.bias"] = (
            torch.randn(WIDTH, 2 * WIDTH), torch.randn(WIDTH),
        )  # fmt: skip
    state_dict |= _attention("decoder.layers.0.self_attn_unmasked")
    return state_dict | _norm("decoder.layers.0.self_attn_unmasked_layer_norm")


def test_cmlmc_is_recognised_by_its_names_and_keeps_the_oddities_of_the_reference(cmlmc_state_dict):
    model = model_from_fairseq_state_dict(cmlmc_state_dict, attention_heads=HEADS)
    assert type(model) is CMLMCForConditionalGeneration and not model.training
    config = model.config
    assert (config.scale_embedding, config.update_all_positions) == (False, True)
    assert (config.legacy_mask_logit, config.suppress_special_tokens) == (-1000.0, False)
    assert config.legacy_unmasked_attn_no_pad_mask and config.mask_token_id == 3
    torch.testing.assert_close(model.model.decoder.embed_proj.weight, cmlmc_state_dict["decoder.PEfc.weight"])
    layer = model.model.decoder.layers[0]
    expected = cmlmc_state_dict["decoder.layers.0.self_attn_unmasked.q_proj.weight"]
    torch.testing.assert_close(layer.self_attn_unmasked.q_proj.weight, expected)


def test_cmlmc_without_legacy_masks_padding_and_suppresses_special_tokens(cmlmc_state_dict):
    model = model_from_fairseq_state_dict(cmlmc_state_dict, attention_heads=HEADS, legacy=False)
    assert not model.config.legacy_unmasked_attn_no_pad_mask and model.config.legacy_mask_logit is None
    assert model.config.update_all_positions and model.suppressed_token_ids() == [0, 1, 2, 3]


def test_cmlmc_without_projected_positions_is_refused_by_their_names(cmlmc_state_dict):
    # Trained without --concatPE, which the other implementation of CMLMC allows.
    del cmlmc_state_dict["encoder.PEfc.weight"]
    with pytest.raises(ValueError, match="missing: encoder.PEfc.weight"):
        model_from_fairseq_state_dict(cmlmc_state_dict, attention_heads=HEADS)


def test_cmlmc_checkpoint_is_imported_saved_and_decodes_as_it_did(
    tmp_path: Path, dictionary: Path, cmlmc_state_dict: dict[str, torch.Tensor]
):
    from dims_hf.cli.import_fairseq import main

    arguments = _arguments(no_scale_embedding=True, decoder_attention_heads=2)
    path = _save(tmp_path / "c.pt", cmlmc_state_dict, args=arguments)
    model = import_fairseq_checkpoint(path, dictionary).model
    main([str(path), str(dictionary), str(tmp_path / "model")])
    again = CMLMCForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert again.config.to_diff_dict() == {**again.config.to_diff_dict(), **model.config.to_diff_dict()}
    sources = torch.tensor([[0, 5, 7, 4, 2], [0, 6, 2, 1, 1]])
    settings = {"num_iterations": 4, "target_lengths": torch.tensor([6, 3]), "collapse_repeats": False}
    assert torch.equal(again.generate(sources, **settings), model.generate(sources, **settings))


@pytest.mark.parametrize("num_iterations", [1, 2, 4])
def test_imported_cmlmc_decodes_as_the_reference_loop(cmlmc_state_dict, num_iterations: int):
    # §6.2 of the reference written down once more: whole grid, every non-special position anew, lowest masked again.
    model = model_from_fairseq_state_dict(cmlmc_state_dict, attention_heads=HEADS)
    sources, lengths = torch.tensor([[0, 5, 7, 4, 2], [0, 6, 9, 2, 1]]), [6, 3]
    tokens = torch.full((2, 8), 1)
    for row, length in enumerate(lengths):
        tokens[row, : length + 2] = torch.tensor([0] + [3] * length + [2])
    is_target, scores = tokens != 1, torch.zeros(2, 8)
    for done in range(1, num_iterations + 1):
        with torch.no_grad():
            log_probs = model(sources, decoder_input_ids=tokens, decoder_attention_mask=is_target).logits.log_softmax(
                -1
            )
        is_updated = tokens > 2
        tokens = torch.where(is_updated, log_probs.argmax(-1), tokens)
        scores = torch.where(is_updated, log_probs.amax(-1), scores)
        for row, length in enumerate(lengths):
            num_left = length * (num_iterations - done) // num_iterations
            lowest = scores[row, 1 : length + 1].argsort(stable=True)[:num_left] + 1
            tokens[row, lowest] = 3
            scores[row, lowest] = 0.0
    ours = model.generate(
        sources, target_lengths=torch.tensor(lengths), num_iterations=num_iterations, collapse_repeats=False
    )
    assert torch.equal(ours, tokens)


# --- Imputer ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def imputer_state_dict(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state_dict` without a length predictor, and with a row for the blank."""
    del state_dict["decoder.embed_length.weight"]
    table = torch.cat([state_dict["encoder.embed_tokens.weight"], torch.randn(1, WIDTH)])
    return state_dict | dict.fromkeys(TIED_NAMES, table)


def test_imputer_is_recognised_by_its_names_and_keeps_the_oddities_of_the_reference(imputer_state_dict):
    model = model_from_fairseq_state_dict(imputer_state_dict, attention_heads=HEADS)
    assert type(model) is ImputerForConditionalGeneration and not model.training
    config = model.config
    assert (config.vocab_size, config.blank_token_id, config.mask_token_id) == (VOCAB_SIZE + 1, VOCAB_SIZE, 3)
    assert (config.upsample_ratio, config.update_all_positions, config.scale_embedding) == (2, False, True)
    assert (config.legacy_mask_logit, config.suppress_special_tokens) == (-1000.0, False)
    assert model.generation_config.legacy_adjacency is True
    modern = model_from_fairseq_state_dict(imputer_state_dict, attention_heads=HEADS, legacy=False)
    assert modern.config.legacy_mask_logit is None and modern.suppressed_token_ids() == [0, 1, 2, 3]
    assert getattr(modern.generation_config, "legacy_adjacency", None) is None


@torch.no_grad()
def test_imputer_computes_what_its_equations_say(imputer_state_dict):
    model = model_from_fairseq_state_dict(imputer_state_dict, attention_heads=HEADS)
    source, alignment = [0, 5, 7, 4, 2], [3] * 10
    encoded = _reference_stack(imputer_state_dict, "encoder", 2, source)
    table = imputer_state_dict["encoder.embed_tokens.weight"]
    logits = _reference_stack(imputer_state_dict, "decoder", 1, alignment, encoded) @ table.T
    logits[:, 3] = -1000.0
    torch.testing.assert_close(model(torch.tensor([source])).logits[0], logits, atol=1e-4, rtol=1e-5)
    runs = [token for token, _ in groupby(logits.argmax(dim=1).tolist())]
    expected = [0, *(token for token in runs if token != VOCAB_SIZE), 2]
    assert model.generate(torch.tensor([source]), num_iterations=1).tolist() == [expected]


def test_imputer_under_our_names_goes_to_fairseq_and_back():
    torch.manual_seed(0)
    model = ImputerForConditionalGeneration(
        ImputerConfig(vocab_size=13, d_model=8, encoder_layers=2, decoder_layers=1, encoder_attention_heads=2,
                      decoder_attention_heads=2, encoder_ffn_dim=10, decoder_ffn_dim=10, max_position_embeddings=16,
                      mask_token_id=3, blank_token_id=12, dropout=0.1)
    ).eval()  # fmt: skip
    named = {name.removeprefix("model."): tensor for name, tensor in model.state_dict().items()}
    named["decoder.output_projection.weight"] = named.pop("lm_head.weight")
    named["encoder.embed_tokens.weight"] = named.pop("shared.weight")
    again = model_from_fairseq_state_dict(named, attention_heads=2, legacy=False)
    assert again.config.to_dict() == model.config.to_dict()
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("ctc_distill", [True, False, None])
def test_imputer_checkpoint_is_imported_with_its_blank_and_translates(
    tmp_path: Path, dictionary: Path, imputer_state_dict: dict[str, torch.Tensor], ctc_distill: bool | None
):
    from transformers import AutoTokenizer, pipeline

    from dims_hf.cli.import_fairseq import main

    changed = {} if ctc_distill is None else {"ctc_distill": ctc_distill}
    path = _save(tmp_path / "c.pt", imputer_state_dict, args=_arguments(decoder_attention_heads=2, **changed))
    model, tokenizer, _ = import_fairseq_checkpoint(path, dictionary)
    assert model.config.update_all_positions is bool(ctc_distill)
    assert tokenizer.convert_tokens_to_ids("<blank>") == model.config.blank_token_id == VOCAB_SIZE
    assert len(tokenizer) == VOCAB_SIZE + 1 and tokenizer.model_max_length == 8  # 16 positions at 2 per token
    assert tokenizer.decode([4, VOCAB_SIZE, 5], skip_special_tokens=True) == "the cat"
    main([str(path), str(dictionary), str(tmp_path / "model")])
    again = ImputerForConditionalGeneration.from_pretrained(tmp_path / "model")
    assert again.generation_config.legacy_adjacency is True
    assert AutoTokenizer.from_pretrained(tmp_path / "model").get_vocab() == tokenizer.get_vocab()
    inputs = tokenizer("the house sl@@ eep@@ s", return_tensors="pt")
    ids = again.generate(**inputs, num_iterations=4)
    assert torch.equal(ids, model.generate(**inputs, num_iterations=4))
    text = tokenizer.decode(ids[0], skip_special_tokens=True)
    translate = pipeline("translation", model=str(tmp_path / "model"))
    assert translate("the house sl@@ eep@@ s", num_iterations=4)[0]["translation_text"] == text


def test_imputer_with_a_dictionary_of_another_size_is_refused(
    tmp_path: Path, dictionary: Path, imputer_state_dict: dict[str, torch.Tensor]
):
    path = _save(tmp_path / "c.pt", imputer_state_dict, args=_arguments(decoder_attention_heads=2))
    dictionary.write_text(DICTIONARY + "more 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"gives 14 tokens .*embedding has 13 rows"):
        import_fairseq_checkpoint(path, dictionary)


# --- other families --------------------------------------------------------------------------------------------------


LINK_HEADS = 4
# fairseq's architecture -> its weights beside those of encoder and decoder
OWN_WEIGHTS = {
    "levenshtein_transformer": {
        "decoder.embed_mask_ins.weight": (256, 2 * WIDTH), "decoder.embed_word_del.weight": (2, WIDTH),
    },
    "insertion_transformer": {"decoder.pool_out.weight": (WIDTH, 2 * WIDTH), "decoder.pool_out.bias": (WIDTH,)},
    "nacrf_transformer": {
        "crf_layer.E1.weight": (VOCAB_SIZE, 3), "crf_layer.E2.weight": (VOCAB_SIZE, 3),
        "decoder.embed_length.weight": (256, WIDTH),
    },
    "glat_decomposed_link": {
        "decoder.link_positional.weight": (4 * ROWS, WIDTH),
        "decoder.query_linear.weight": (WIDTH, 2 * WIDTH), "decoder.query_linear.bias": (WIDTH,),
        "decoder.key_linear.weight": (WIDTH, 2 * WIDTH), "decoder.key_linear.bias": (WIDTH,),
        "decoder.gate_linear.weight": (LINK_HEADS, 2 * WIDTH), "decoder.gate_linear.bias": (LINK_HEADS,),
        "decoder.embed_positions.weight": (4 * ROWS, WIDTH),
        "decoder.embed_length.weight": (256, WIDTH),
    },
}  # fmt: skip
MODEL_OF = {
    "levenshtein_transformer": LevenshteinForConditionalGeneration,
    "insertion_transformer": InsertionForConditionalGeneration,
    "nacrf_transformer": CMLMCRFForConditionalGeneration,
    "glat_decomposed_link": DATForConditionalGeneration,
}
SOURCE, TARGET = [0, 5, 7, 4, 2], [0, 3, 6, 3, 2]


@pytest.fixture
def own_state_dict(state_dict: dict[str, torch.Tensor], architecture: str) -> dict[str, torch.Tensor]:
    """A random model of the architecture under fairseq's names."""
    del state_dict["decoder.embed_length.weight"]
    return {**state_dict, **{name: torch.randn(shape) for name, shape in OWN_WEIGHTS[architecture].items()}}


for_own = pytest.mark.parametrize("architecture", OWN_WEIGHTS)


def import_own(weights: dict[str, torch.Tensor], **fields: Any) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The model, what the equations say of its last decoder states for `TARGET`, and the table."""
    model = model_from_fairseq_state_dict(weights, attention_heads=HEADS, activation_function="relu", **fields)
    with torch.no_grad():
        encoded = _reference_stack(weights, "encoder", 2, SOURCE)
        return model, _reference_stack(weights, "decoder", 1, TARGET, encoded), weights["encoder.embed_tokens.weight"]


def run_own(model: Any, **options: Any) -> Any:
    with torch.no_grad():
        return model(torch.tensor([SOURCE]), decoder_input_ids=torch.tensor([TARGET]), **options)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("architecture", ["levenshtein_transformer"])
def test_levenshtein_heads_compute_what_their_equations_say(own_state_dict: dict[str, torch.Tensor]):
    model, states, table = import_own(own_state_dict)
    outputs = run_own(model, return_edit_logits=True)
    close(outputs.logits[0], states @ table.T)
    close(outputs.deletion_logits[0], states @ own_state_dict["decoder.embed_word_del.weight"].T)
    pairs = torch.cat([states[:-1], states[1:]], dim=1)
    close(outputs.insertion_logits[0], pairs @ own_state_dict["decoder.embed_mask_ins.weight"].T)
    assert model.config.max_insertions == 255


@pytest.mark.parametrize("architecture", ["insertion_transformer"])
def test_insertion_head_computes_what_its_equations_say(own_state_dict: dict[str, torch.Tensor]):
    model, states, table = import_own(own_state_dict)
    pairs = torch.cat([states[:-1], states[1:]], dim=1)
    gaps = pairs @ own_state_dict["decoder.pool_out.weight"].T + own_state_dict["decoder.pool_out.bias"]
    close(run_own(model).logits[0, :-1], gaps @ table.T)


@pytest.mark.parametrize("architecture", ["nacrf_transformer"])
def test_field_scores_words_as_its_tables_say(own_state_dict: dict[str, torch.Tensor]):
    model, states, table = import_own(own_state_dict, crf_beam_size=4)
    close(run_own(model).logits[0], states @ table.T)
    candidates = torch.tensor([[[5, 6], [7, 8], [4, 9]]])
    with torch.no_grad():
        steps = model.crf_head(candidates, torch.randn(1, 3, WIDTH))
    first, second = (own_state_dict[f"crf_layer.E{number}.weight"] for number in (1, 2))
    close(steps[0, 1], first[candidates[0, 1]] @ second[candidates[0, 2]].T)
    assert (model.config.crf_rank, model.config.crf_beam_size, model.config.crf_dynamic) == (3, 4, False)


@pytest.mark.parametrize("architecture", ["glat_decomposed_link"])
def test_transitions_compute_what_their_equations_say(own_state_dict: dict[str, torch.Tensor]):
    model, states, table = import_own(own_state_dict, upsample_ratio=4)
    outputs = run_own(model, return_transitions=True)
    close(outputs.logits[0], states @ table.T)

    weights = own_state_dict
    features = torch.cat([states, weights["decoder.link_positional.weight"][2 : 2 + len(TARGET)]], dim=1)
    query, key, gate = (
        features @ weights[f"decoder.{name}_linear.weight"].T + weights[f"decoder.{name}_linear.bias"]
        for name in ("query", "key", "gate")
    )
    query, key = (part.view(len(TARGET), LINK_HEADS, -1) for part in (query, key))
    gate = gate.log_softmax(dim=1)
    for vertex in range(len(TARGET) - 1):
        scores = torch.einsum("kf,wkf->wk", query[vertex], key[vertex + 1 :]) / query.shape[2] ** 0.5
        expected = (scores.log_softmax(dim=0) + gate[vertex]).logsumexp(dim=1)
        close(outputs.transition_log_probs[0, vertex, vertex + 1 :], expected)
    assert model.config.max_position_embeddings == 4 * ROWS - 2 and model.config.link_heads == LINK_HEADS


@for_own
def test_own_weights_that_are_missing_or_unexpected_are_named(own_state_dict, architecture: str):
    first, *others = (name for name in OWN_WEIGHTS[architecture] if "embed_positions" not in name)
    del own_state_dict[others[0] if others[0] != "decoder.embed_length.weight" else first]
    own_state_dict["decoder.layer_norm.weight"] = torch.ones(WIDTH)
    with pytest.raises(ValueError) as caught:
        model_from_fairseq_state_dict(own_state_dict, attention_heads=HEADS)
    assert f"missing: {others[0]}" in str(caught.value) and "unexpected: decoder.layer_norm.weight" in str(
        caught.value
    )


OWN_ARGUMENTS = {
    "levenshtein_transformer": (
        {"early_exit": "6,6,6"}, {"early_exit": "1,3,3", "decoder_layers": 3}, "--early-exit 1,3,3",
    ),
    "insertion_transformer": ({"label_tau": 1.0}, {"decoder_normalize_before": True}, "--decoder-normalize-before"),
    "nacrf_transformer": ({"crf_beam_approx": 5}, {"src_embedding_copy": True}, "--src-embedding-copy"),
    "glat_decomposed_link": ({"decode_upsample_scale": 4.0}, {"upsample_scale": "4~8"}, "--upsample-scale 4~8"),
}  # fmt: skip


@for_own
def test_own_checkpoint_is_imported_with_its_arguments_saved_and_translates(
    tmp_path: Path, dictionary: Path, own_state_dict: dict[str, torch.Tensor], architecture: str
):
    from transformers import AutoModelForSeq2SeqLM

    known, refused, option = OWN_ARGUMENTS[architecture]
    heads = {"arch": architecture, "encoder_attention_heads": HEADS, "decoder_attention_heads": LINK_HEADS}
    path = _save(tmp_path / "c.pt", own_state_dict, args={**heads, **known})
    model, tokenizer, _ = import_fairseq_checkpoint(path, dictionary)
    assert type(model) is MODEL_OF[architecture]
    fields = {"nacrf_transformer": ("crf_beam_size", 5), "glat_decomposed_link": ("upsample_ratio", 4)}
    name, value = fields.get(architecture, ("mask_token_id", 3))
    assert getattr(model.config, name) == value
    model.save_pretrained(tmp_path / "model")
    source = tokenizer("the cat", return_tensors="pt").input_ids
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model")
    sequences = model.generate(source)
    assert torch.equal(again.generate(source), sequences) and not (sequences == 3).any()
    with pytest.raises(ValueError, match=option):
        import_fairseq_checkpoint(_save(path, own_state_dict, args={**heads, **refused}), dictionary)


# --- checkpoints -----------------------------------------------------------------------------------------------------


@pytest.fixture
def dictionary(tmp_path: Path) -> Path:
    path = tmp_path / "dict.en.txt"
    path.write_text(DICTIONARY, encoding="utf-8")
    return path


def _arguments(**changed: Any) -> dict[str, Any]:
    return {"arch": "cmlm_transformer", "encoder_attention_heads": 2, "decoder_attention_heads": 4, **changed}


def _save(path: Path, state_dict: dict[str, torch.Tensor], **entries: Any) -> Path:
    torch.save({"model": state_dict, **entries}, path)
    return path


@pytest.mark.parametrize(
    "entries",
    [
        {"args": argparse.Namespace(**_arguments(dropout=0.3))},
        {"args": _arguments(dropout=0.3)},
        {"args": None, "cfg": {"model": argparse.Namespace(**_arguments(dropout=0.3))}},
        {"args": None, "cfg": {"model": _arguments(dropout=0.3), "task": {"_name": "translation_lev"}}},
    ],
    ids=["args-namespace", "args-dict", "cfg-namespace", "cfg-dict"],
)
def test_import_reads_arguments_wherever_fairseq_kept_them(
    tmp_path: Path, dictionary: Path, state_dict: dict[str, torch.Tensor], entries: dict[str, Any]
):
    path = _save(tmp_path / "checkpoint.pt", state_dict, **entries)
    model, tokenizer, arguments = import_fairseq_checkpoint(path, dictionary)
    assert arguments == _arguments(dropout=0.3)
    assert (model.config.encoder_attention_heads, model.config.decoder_attention_heads) == (2, 4)
    assert model.config.dropout == 0.3
    assert tokenizer.model_max_length == 16


def test_import_with_no_scale_embedding_and_gelu_follows_the_arguments(
    tmp_path: Path, dictionary: Path, state_dict: dict[str, torch.Tensor]
):
    arguments = _arguments(no_scale_embedding=True, activation_fn="gelu")
    model = import_fairseq_checkpoint(_save(tmp_path / "c.pt", state_dict, args=arguments), dictionary).model
    assert model.config.scale_embedding is False
    assert model.config.activation_function == "gelu"


@pytest.mark.parametrize(
    ("changed", "option"),
    [
        ({"encoder_normalize_before": True}, "--encoder-normalize-before"),
        ({"pred_length_offset": True}, "--pred-length-offset"),
        ({"activation_fn": "tanh"}, "--activation-fn=tanh"),
    ],
)
def test_import_with_options_that_change_the_network_is_refused(
    tmp_path: Path, dictionary: Path, state_dict: dict[str, torch.Tensor], changed: dict[str, Any], option: str
):
    path = _save(tmp_path / "c.pt", state_dict, args=_arguments(**changed))
    with pytest.raises(ValueError, match=option):
        import_fairseq_checkpoint(path, dictionary)


def test_import_without_arguments_needs_attention_heads(
    tmp_path: Path, dictionary: Path, state_dict: dict[str, torch.Tensor]
):
    path = _save(tmp_path / "c.pt", state_dict)
    with pytest.raises(ValueError, match="Pass attention_heads"):
        import_fairseq_checkpoint(path, dictionary)
    imported = import_fairseq_checkpoint(path, dictionary, attention_heads=2)
    assert imported.arguments == {}
    assert imported.model.config.decoder_attention_heads == 2


def test_imported_folder_loads_and_translates_through_auto_classes_and_pipeline(
    tmp_path: Path, dictionary: Path, state_dict: dict[str, torch.Tensor]
):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

    from dims_hf.data import save_tokenizer

    model, tokenizer, _ = import_fairseq_checkpoint(
        _save(tmp_path / "c.pt", state_dict, args=_arguments()), dictionary
    )
    model.save_pretrained(tmp_path / "out")
    save_tokenizer(tokenizer, tmp_path / "out")

    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")
    assert again.config.legacy_mask_logit == -1000.0
    loaded = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded("the cat").input_ids == [0, 4, 5, 2]
    assert loaded.mask_token_id == again.config.mask_token_id == 3
    translate = pipeline("translation", model=str(tmp_path / "out"))
    ids = model.generate(**tokenizer("the cat", return_tensors="pt"), num_iterations=2)
    expected = tokenizer.decode(ids[0], skip_special_tokens=True)
    assert translate("the cat", num_iterations=2)[0]["translation_text"] == expected


class _Bomb:
    """Unpickling this creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_import_of_checkpoint_with_code_runs_nothing_and_names_what_it_holds(
    tmp_path: Path, dictionary: Path, state_dict: dict[str, torch.Tensor], zipped: bool
):
    path = tmp_path / "c.pt"
    content = {"model": state_dict, "args": _arguments(), "extra_state": _Bomb(tmp_path / "exploded")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=rf"{os.mkdir.__module__}\.mkdir.*would run code") as caught:
        import_fairseq_checkpoint(path, dictionary)
    assert "convert it once where fairseq is installed" in str(caught.value)
    assert not (tmp_path / "exploded").exists()
    torch.load(path, weights_only=False)  # the file is what the test takes it for
    assert (tmp_path / "exploded").exists()


def test_import_leaves_the_list_of_trusted_classes_as_it_was(
    tmp_path: Path, dictionary: Path, state_dict: dict[str, torch.Tensor]
):
    before = set(torch.serialization.get_safe_globals())
    path = _save(tmp_path / "c.pt", state_dict, args=argparse.Namespace(**_arguments()))
    import_fairseq_checkpoint(path, dictionary)
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"not a checkpoint at all", "is text, not a torch checkpoint. Give the checkpoint"),
        (b"PK\x03\x04 cut short", "is not a readable torch checkpoint"),
    ],
    ids=["empty", "text", "truncated"],
)
def test_import_of_damaged_file_is_refused(tmp_path: Path, dictionary: Path, content: bytes, message: str):
    path = tmp_path / "c.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        import_fairseq_checkpoint(path, dictionary)


def test_import_of_bare_state_dict_is_refused(tmp_path: Path, dictionary: Path, state_dict: dict[str, torch.Tensor]):
    torch.save(state_dict, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="no entry 'model'"):
        import_fairseq_checkpoint(tmp_path / "c.pt", dictionary)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_import_of_weights_that_are_not_finite_names_them(
    tmp_path: Path, dictionary: Path, state_dict: dict[str, torch.Tensor], value: float
):
    state_dict["decoder.layers.0.fc1.bias"][3] = value
    path = _save(tmp_path / "c.pt", state_dict, args=_arguments())
    with pytest.raises(ValueError, match=r"^decoder\.layers\.0\.fc1\.bias holds NaN or infinite numbers"):
        import_fairseq_checkpoint(path, dictionary)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("encoder.layers.0.fc1.weight", [1.0], r"fc1\.weight'?: list"),
        (7, torch.zeros(2), "holds 7: Tensor"),
        ("decoder.embed_length.weight", torch.zeros(256), r"has the shape \(256,\)"),
        ("encoder.embed_positions.weight", torch.zeros(2, WIDTH), r"has the shape \(2, 8\)"),
        ("encoder.layers.0.fc1.weight", torch.tensor(1.0), r"has the shape \(\)"),
        ("decoder.layers.999999999.fc1.bias", torch.zeros(INNER), "unexpected: decoder.layers.999999999.fc1.bias"),
        ("decoder.embed_tokens.weight", torch.zeros(1).expand(10**9, WIDTH), "claims the shape"),
        ("encoder.layers.0.fc1.bias", torch.zeros(INNER, dtype=torch.complex64), "no plain tensor"),
    ],
)
def test_state_dict_that_no_training_wrote_is_refused(
    state_dict: dict[str, torch.Tensor], name: Any, value: Any, message: str
):
    with pytest.raises(ValueError, match=message):
        model_from_fairseq_state_dict({**state_dict, name: value}, attention_heads=HEADS)


@pytest.mark.parametrize("heads", [0, -2, True, (2,), (2, 2, 2), "2", 2.0])
def test_attention_heads_that_cannot_be_are_refused(state_dict: dict[str, torch.Tensor], heads: Any):
    with pytest.raises(ValueError, match="attention_heads must be a number >= 1, or two"):
        model_from_fairseq_state_dict(state_dict, attention_heads=heads)


def test_import_of_missing_files_names_them(tmp_path: Path, dictionary: Path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pt does not exist"):
        import_fairseq_checkpoint(tmp_path / "absent.pt", dictionary)
    with pytest.raises(FileNotFoundError, match=r"absent\.txt does not exist"):
        import_fairseq_checkpoint(dictionary, tmp_path / "absent.txt")


def test_import_with_dictionary_of_another_size_is_refused(
    tmp_path: Path, dictionary: Path, state_dict: dict[str, torch.Tensor]
):
    dictionary.write_text(DICTIONARY.replace("madeupword0001 0\n", ""), encoding="utf-8")
    path = _save(tmp_path / "c.pt", state_dict, args=_arguments())
    with pytest.raises(ValueError, match=r"gives 11 tokens .* has 12 rows.*madeupword"):
        import_fairseq_checkpoint(path, dictionary)


# --- dictionaries ----------------------------------------------------------------------------------------------------


def test_dictionary_ids_follow_the_special_tokens_in_file_order(dictionary: Path):
    ids = read_fairseq_dictionary(dictionary)
    assert [ids[token] for token in ("<s>", "<pad>", "</s>", "<unk>")] == [0, 1, 2, 3]
    assert [ids[token] for token in ("the", "cat", "sl@@", "eep@@", "s", "house")] == [4, 5, 6, 7, 8, 9]
    assert ids["madeupword0001"] == 11


def test_dictionary_with_overwrite_flag_gives_the_token_to_the_later_row(tmp_path: Path):
    path = tmp_path / "dict.txt"
    path.write_text("a 5\nb 4\na 3 #fairseq:overwrite\n<unk> 2 #fairseq:overwrite\nc 1\n", encoding="utf-8")
    ids = read_fairseq_dictionary(path)
    assert (ids["a"], ids["b"], ids["c"], ids["<unk>"]) == (6, 5, 8, 3)
    assert sorted(ids.values()) == list(range(9))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 5\nb 4\na 3\n", "line 3: 'a' is there twice"),
        ("a 5\n<s> 4\n", "line 2: '<s>' is there twice"),
        ("a 5\nb\n", "line 2: 'b' is not 'token count'"),
        ("a 5\n\nb 4\n", "line 2: '' is not 'token count'"),
        ("a five\n", "line 1: 'a five' is not 'token count'"),
    ],
)
def test_dictionary_with_a_bad_line_is_refused_with_its_number(tmp_path: Path, text: str, message: str):
    path = tmp_path / "dict.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_fairseq_dictionary(path)


def test_dictionary_that_is_not_utf8_is_refused(tmp_path: Path):
    path = tmp_path / "dict.txt"
    path.write_bytes("Größe 5\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"dict.txt:1: not valid UTF-8 .*Give the dict.txt that fairseq wrote"):
        read_fairseq_dictionary(path)


def test_dictionary_with_a_byte_order_mark_and_windows_lines_reads_the_same(tmp_path: Path, dictionary: Path):
    path = tmp_path / "windows.txt"
    path.write_text(DICTIONARY.replace("\n", "\r\n"), encoding="utf-8-sig", newline="")
    assert read_fairseq_dictionary(path) == read_fairseq_dictionary(dictionary)


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("the cat sl@@ eep@@ s", [0, 4, 5, 6, 7, 8, 2]),
        ("  the\tcat \n", [0, 4, 5, 2]),
        ("the dog", [0, 4, 3, 2]),
        ("", [0, 2]),
    ],
)
def test_tokenizer_encodes_pieces_between_bos_and_eos(dictionary: Path, text: str, ids: list[int]):
    assert tokenizer_from_fairseq_dictionary(dictionary)(text).input_ids == ids


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([0, 4, 5, 6, 7, 8, 2], "the cat sleeps"),
        ([0, 4, 5, 6, 2, 1, 1], "the cat sl"),
        ([0, 6, 8, 6, 8, 2], "sls sls"),
        ([0, 4, 3, 5, 2], "the cat"),
        ([0, 2], ""),
    ],
)
def test_tokenizer_decode_joins_pieces_and_drops_special_tokens(dictionary: Path, ids: list[int], text: str):
    assert tokenizer_from_fairseq_dictionary(dictionary).decode(ids, skip_special_tokens=True) == text


def test_tokenizer_keeps_punctuation_and_unicode_as_they_are(tmp_path: Path):
    path = tmp_path / "dict.txt"
    path.write_text("Grö@@ 3\nße 2\n. 2\n'@@ 1\ns 1\nn't 1\n@-@ 1\n", encoding="utf-8")
    tokenizer = tokenizer_from_fairseq_dictionary(path)
    text = "Grö@@ ße @-@ '@@ s n't ."
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True) == "Größe @-@ 's n't ."
