# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Every family against the reference and a plain re-implementation, and what transformers expects of a model."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoModel, AutoModelForSeq2SeqLM
from transformers.activations import ACT2FN

from dims_hf import MODELS, CMLMForConditionalGeneration, LengthPredictionConfig
from dims_hf.models.modeling_nat import NATAttention, masked_mean, position_ids_from_mask
from dims_hf.models.modeling_translation import project_in_parts


FAMILIES = sorted(MODELS)
LENGTH_FAMILIES = sorted(name for name, (config, *_) in MODELS.items() if issubclass(config, LengthPredictionConfig))
for_every_length_family = pytest.mark.parametrize("family", LENGTH_FAMILIES, indirect=True)
# A field's own loss is tested where it is.
without_field = pytest.mark.parametrize("family", sorted(set(LENGTH_FAMILIES) - {"cmlm_crf"}), indirect=True)

SOURCE = torch.tensor([[0, 7, 8, 9, 10, 2], [0, 7, 11, 2, 1, 1]])
TARGET = torch.tensor([[0, 4, 9, 4, 12, 4, 2], [0, 4, 5, 2, 1, 1, 1]])
LABELS = torch.tensor([[-100, 7, -100, 13, -100, 5, -100], [-100, 6, -100, -100, -100, -100, -100]])


@pytest.fixture
def labels(family: str) -> torch.LongTensor:
    """What the family is trained on for `TARGET`: tokens at its masks, or the tokens of an alignment's target."""
    return torch.tensor([[7, 13, 13], [6, -100, -100]]) if family in ("imputer", "dat") else LABELS


@pytest.fixture
def all_labels(family: str, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """`labels`, and those of the heads that have others."""
    edits = {"deletion_labels": LABELS.clamp(max=1), "insertion_labels": LABELS[:, :-1].clamp(max=3)}
    return {"labels": labels, **(edits if family == "levenshtein" else {})}


# ---- reference ----


# First logits of sentence 0 at position 2, and the likeliest length classes, as the reference computes them.
KNOWN = {
    "cmlm": ([-2.22448, 0.0, -4.55234, -1000.0, -4.42929, 7.40527, -1.09359, -0.40136], [192, 15]),
    "cmlmc": ([-2.90872, 0.0, 1.81536, -1000.0, 0.93484, -5.81276, 3.20650, 7.47032], [71, 71]),
}


@pytest.fixture
def golden(shared_data: Path, family: str) -> dict:
    """Random tiny model of the reference implementation with its outputs in fp32."""
    path = shared_data / "tiny_golden.pt"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return torch.load(path, weights_only=True)[family]


@pytest.fixture
def golden_model(golden: dict) -> CMLMForConditionalGeneration:
    from dims_hf.export import model_from_fairseq_state_dict

    return model_from_fairseq_state_dict(golden["state_dict"], attention_heads=2)


@torch.no_grad()
def golden_forward(model: CMLMForConditionalGeneration, golden: dict):
    return model(
        golden["src"],
        decoder_input_ids=golden["tgt_in"],
        output_hidden_states=True,
        return_length_logits=True,
    )


@pytest.mark.parametrize("family", KNOWN, indirect=True)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_golden_outputs_are_reproduced(golden: dict, golden_model: CMLMForConditionalGeneration, implementation: str):
    golden_model.set_attn_implementation(implementation)
    outputs = golden_forward(golden_model, golden)
    is_source = golden["src"].ne(1)
    encoder_out = golden["encoder_out"].transpose(0, 1)
    pairs = {
        "encoder": (outputs.encoder_last_hidden_state[is_source], encoder_out[is_source]),
        "length": (outputs.length_logits, golden["length_logits"]),
        "hidden": (outputs.decoder_last_hidden_state, golden["hidden"]),
        "logits": (outputs.logits, golden["logits"]),
    }
    for name, (ours, theirs) in pairs.items():
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("family", KNOWN, indirect=True)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_golden_sentence_alone_equals_the_sentence_in_its_batch(golden: dict, implementation: str):
    from dims_hf.export import model_from_fairseq_state_dict

    # Without the reference's oddities padding is masked everywhere; its mask logit does not depend on that.
    model = model_from_fairseq_state_dict(golden["state_dict"], attention_heads=2, legacy=False)
    model.config.legacy_mask_logit = -1000.0
    model.set_attn_implementation(implementation)
    with torch.no_grad():
        alone = model(golden["src"][1:, 2:], decoder_input_ids=golden["tgt_in"][1:, :4]).logits
    batch = golden_forward(model, golden).logits[1:, :4]
    for logits in (alone, batch):
        torch.testing.assert_close(logits, golden["logits_sent1_unbatched"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", KNOWN, indirect=True)
def test_golden_known_values(golden: dict, golden_model: CMLMForConditionalGeneration, family: str):
    outputs = golden_forward(golden_model, golden)
    logits, lengths = KNOWN[family]
    torch.testing.assert_close(outputs.logits[0, 2, :8], torch.tensor(logits), atol=1e-5, rtol=0)
    assert outputs.length_logits.argmax(dim=1).tolist() == lengths


@pytest.mark.parametrize("family", ["cmlmc"], indirect=True)
def test_legacy_attention_of_cmlmc_sees_padding_and_only_in_the_decoder(make_model: Callable):
    legacy, model = make_model(legacy_unmasked_attn_no_pad_mask=True), make_model()
    with torch.no_grad():
        ours, theirs = (m(SOURCE, decoder_input_ids=TARGET) for m in (model, legacy))
        alone = legacy(SOURCE[1:, :4], decoder_input_ids=TARGET[1:, :4]).logits
    assert torch.equal(ours.encoder_last_hidden_state, theirs.encoder_last_hidden_state)
    torch.testing.assert_close(ours.logits[0], theirs.logits[0], atol=1e-5, rtol=0)  # the longest has no padding
    assert (ours.logits[1, :4] - theirs.logits[1, :4]).abs().max() > 1e-2
    torch.testing.assert_close(ours.logits[1:, :4], alone, atol=1e-5, rtol=0)


# ---- a second implementation, sentence by sentence, without padding ----


def attend(
    layer: nn.Module, query: torch.Tensor, states: torch.Tensor, num_heads: int, *, is_causal: bool = False
) -> torch.Tensor:
    """Textbook attention head by head: query (L, D), states (S, D) -> (L, D)."""
    q, k, v = layer.q_proj(query), layer.k_proj(states), layer.v_proj(states)
    width = q.shape[1] // num_heads
    heads = []
    for h in range(num_heads):
        part = slice(h * width, (h + 1) * width)
        scores = q[:, part] @ k[:, part].T / width**0.5
        if is_causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
        heads.append(scores.softmax(dim=-1) @ v[:, part])
    return layer.out_proj(torch.cat(heads, dim=1))


def embed_plainly(model: CMLMForConditionalGeneration, stack: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    scale = model.config.d_model**0.5 if model.config.scale_embedding else 1.0
    tokens, positions = model.model.shared.weight[ids] * scale, stack.embed_positions.weight[2 : 2 + len(ids)]
    if model.config.model_type == "cmlmc":
        return torch.cat([tokens, positions], dim=1) @ stack.embed_proj.weight.T + stack.embed_proj.bias
    return tokens + positions


@torch.no_grad()
def forward_plainly(model: CMLMForConditionalGeneration, source: torch.Tensor, target: torch.Tensor):
    """Encoder states, decoder states and logits of one unpadded sentence."""
    config = model.config
    is_cmlmc = config.model_type == "cmlmc"
    states = embed_plainly(model, model.model.encoder, source)
    activation = ACT2FN[config.activation_function]
    for layer in model.model.encoder.layers:
        attended = attend(layer.self_attn, states, states, config.encoder_attention_heads)
        states = layer.self_attn_layer_norm(states + attended)
        states = layer.final_layer_norm(states + layer.fc2(activation(layer.fc1(states))))
    hidden = embed_plainly(model, model.model.decoder, target)
    for layer in model.model.decoder.layers:
        if is_cmlmc:
            attended = attend(layer.self_attn_unmasked, hidden, hidden, config.decoder_attention_heads)
            hidden = layer.self_attn_unmasked_layer_norm(hidden + attended)
        attended = attend(layer.self_attn, hidden, hidden, config.decoder_attention_heads, is_causal=is_cmlmc)
        hidden = layer.self_attn_layer_norm(hidden + attended)
        attended = attend(layer.encoder_attn, hidden, states, config.decoder_attention_heads)
        hidden = layer.encoder_attn_layer_norm(hidden + attended)
        hidden = layer.final_layer_norm(hidden + layer.fc2(activation(layer.fc1(hidden))))
    return states, hidden, hidden @ model.model.shared.weight.T


# DisCo's positions do not see themselves, and the logits of an insertion are those of two tokens.
of_one_token_each = pytest.mark.parametrize("family", sorted(set(MODELS) - {"disco", "insertion"}), indirect=True)


@of_one_token_each
@pytest.mark.parametrize("scale_embedding", [True, False])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_forward_equals_a_plain_implementation(make_model: Callable, implementation: str, scale_embedding: bool):
    model = make_model(attn_implementation=implementation, scale_embedding=scale_embedding).double()
    with torch.no_grad():
        outputs = model(SOURCE, decoder_input_ids=TARGET, output_hidden_states=True)
    for row in range(2):
        source, target = SOURCE[row][SOURCE[row] != 1], TARGET[row][TARGET[row] != 1]
        states, hidden, logits = forward_plainly(model, source, target)
        torch.testing.assert_close(outputs.encoder_last_hidden_state[row, : len(source)], states)
        torch.testing.assert_close(outputs.decoder_last_hidden_state[row, : len(target)], hidden)
        torch.testing.assert_close(outputs.logits[row, : len(target)], logits)


@of_one_token_each
def test_every_target_position_sees_every_other(make_model: Callable):
    model = make_model()
    embeds = model.get_input_embeddings()(TARGET[:1]).detach().requires_grad_()
    logits = model(SOURCE[:1], decoder_inputs_embeds=embeds).logits
    for position in range(TARGET.shape[1]):
        (gradient,) = torch.autograd.grad(logits[0, position].square().sum(), embeds, retain_graph=True)
        assert (gradient[0].abs().sum(dim=-1) > 0).all()


def test_position_ids_count_tokens_not_columns():
    mask = torch.tensor([[1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 0, 0]])
    assert position_ids_from_mask(mask).tolist() == [[2, 3, 4, 1], [1, 2, 3, 4], [1, 1, 1, 1]]
    assert position_ids_from_mask(mask.bool()).tolist() == position_ids_from_mask(mask).tolist()


def test_masked_mean_leaves_padding_out():
    states = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]], [[7.0, 8.0], [9.0, 9.0], [9.0, 9.0]]])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]])
    assert masked_mean(states, mask).tolist() == [[2.0, 4.0], [0.0, 0.0]]


# ---- initialisation ----


def test_fresh_weights_are_normal_with_std_of_the_reference(family: str, make_config: Callable):
    torch.manual_seed(0)
    model = MODELS[family][2](make_config(vocab_size=400, d_model=64, max_position_embeddings=200))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert parameter.abs().max() == 0, name
        elif "layer_norm" in name:
            assert (parameter == 1).all(), name
        else:
            weights = parameter[parameter.flatten(1).abs().sum(dim=1) > 0]
            assert weights.std().item() == pytest.approx(0.02, rel=0.1), name
            is_small = weights.numel() < 1000  # a head's own mean is further from 0
            assert abs(weights.mean().item()) < (4 * 0.02 / weights.numel() ** 0.5 if is_small else 0.002), name
    assert model.model.shared.weight[model.config.pad_token_id].abs().max() == 0
    for stack in (model.model.encoder, model.model.decoder):
        assert stack.embed_positions.weight[1].abs().max() == 0
        assert stack.embed_positions.weight.shape == (202, 64)
    if family in LENGTH_FAMILIES:
        assert model.length_head.weight.shape == (16, 64) and model.length_head.bias is None
    else:
        assert not [name for name in model.state_dict() if "length" in name]


def test_padding_logit_is_zero_as_in_the_reference(make_model: Callable):
    assert make_model()(SOURCE, decoder_input_ids=TARGET).logits[..., 1].abs().max() == 0


@for_every_length_family
def test_missing_weights_are_drawn_not_left_as_memory(tmp_path: Path, make_model: Callable):
    model = make_model(initializer_range=0.02, d_model=64)
    state_dict = {k: v for k, v in model.state_dict().items() if not k.startswith(("length_head", "lm_head"))}
    model.save_pretrained(tmp_path, state_dict=state_dict)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert again.length_head.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert torch.equal(again.model.shared.weight, model.model.shared.weight)


# ---- padding, inputs ----


def shift_right(rows: torch.Tensor, width: int) -> torch.Tensor:
    """Rows padded on the left to `width`."""
    kept = [row[row != 1] for row in rows]
    return torch.stack([torch.cat([torch.ones(width - len(row), dtype=torch.long), row]) for row in kept])


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_left_padding_equals_right_padding(make_model: Callable, implementation: str):
    # In double precision: wide weights make attention sharp, and sums of another width are rounded otherwise.
    model = make_model(attn_implementation=implementation).double()
    source, target = shift_right(SOURCE, 9), shift_right(TARGET, 8)
    with torch.no_grad():
        right = model(SOURCE, decoder_input_ids=TARGET)
        left = model(source, source.ne(1).long(), target, target.ne(1).long())
    torch.testing.assert_close(left.logits[target != 1], right.logits[TARGET != 1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_without_masks_and_rows_of_padding_are_the_same_in_eager_and_sdpa(make_model: Callable, side: str):
    """Positions of padding included: what has nothing to see attends to all, in both, as in BART."""
    nothing = torch.ones(1, 9, dtype=torch.long)
    pad = nn.functional.pad
    rows = {"left": lambda ids: shift_right(ids, 9), "right": lambda ids: pad(ids, (0, 9 - ids.shape[1]), value=1)}
    source, target = (torch.cat([rows[side](ids), nothing]) for ids in (SOURCE, TARGET))
    outputs = []
    for name in ("eager", "sdpa"):
        model = make_model(attn_implementation=name).double()
        disturb(model)
        with torch.no_grad():
            outputs.append(model(source, decoder_input_ids=target, output_hidden_states=True))
    torch.testing.assert_close(outputs[0].logits, outputs[1].logits, atol=1e-11, rtol=0)
    for part in ("encoder_hidden_states", "decoder_hidden_states"):
        for ours, theirs in zip(*(getattr(each, part) for each in outputs), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-11, rtol=0)


@torch.no_grad()
def disturb(model: nn.Module) -> None:
    """Weights as after training: neither a bias nor a row of padding is 0."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def test_a_row_of_padding_attends_to_all(make_model: Callable):
    model = make_model(attn_implementation="eager")
    disturb(model)
    source, target = torch.tensor([[0, 7, 2], [1, 1, 1]]), torch.tensor([[0, 4, 2], [1, 1, 1]])
    with torch.no_grad():
        outputs = model(source, decoder_input_ids=target, output_attentions=True)
    for weights in (*outputs.encoder_attentions, *outputs.decoder_attentions, *outputs.cross_attentions):
        assert (weights[1] > 0).sum() > 6 and weights[1].sum(-1).allclose(torch.ones(weights.shape[2]))


def test_content_under_padding_changes_nothing(make_model: Callable):
    model = make_model()
    source, target = SOURCE.clone(), TARGET.clone()
    source[SOURCE == 1] = 17
    target[TARGET == 1] = 18
    with torch.no_grad():
        clean = model(SOURCE, decoder_input_ids=TARGET).logits
        dirty = model(source, SOURCE.ne(1), target, TARGET.ne(1)).logits
    torch.testing.assert_close(dirty[TARGET != 1], clean[TARGET != 1], atol=1e-6, rtol=0)


def test_missing_attention_masks_are_read_from_padding(make_model: Callable):
    model = make_model()
    with torch.no_grad():
        given = model(SOURCE, SOURCE.ne(1).long(), TARGET, TARGET.ne(1).long()).logits
        derived = model(SOURCE, decoder_input_ids=TARGET).logits
    assert torch.equal(given, derived)


def test_row_of_padding_gives_no_nan(make_model: Callable):
    for implementation in ("eager", "sdpa"):
        model = make_model(attn_implementation=implementation)
        source, target = torch.tensor([[0, 7, 2], [1, 1, 1]]), torch.tensor([[0, 4, 2], [1, 1, 1]])
        assert model(source, decoder_input_ids=target).logits.isfinite().all()


def test_embeddings_mean_the_same_as_ids(make_model: Callable, labels: torch.LongTensor):
    model = make_model()
    embed = model.get_input_embeddings()
    with torch.no_grad():
        by_ids = model(SOURCE, SOURCE.ne(1), TARGET, TARGET.ne(1), labels=labels)
        by_embeddings = model(
            attention_mask=SOURCE.ne(1),
            decoder_attention_mask=TARGET.ne(1),
            inputs_embeds=embed(SOURCE),
            decoder_inputs_embeds=embed(TARGET),
            labels=labels,
        )
    assert torch.equal(by_embeddings.logits, by_ids.logits)
    assert torch.equal(by_embeddings.loss, by_ids.loss)


def test_forward_names_what_any_encoder_decoder_takes(make_model: Callable):
    # transformers asks the signature whether a model takes embeddings, and leaves them out where it does not say so
    sides = ("", "decoder_")
    wanted = {f"{side}{name}" for side in sides for name in ("input_ids", "attention_mask", "inputs_embeds")}
    for model in (make_model(), make_model().model):
        assert wanted | {"encoder_outputs"} <= inspect.signature(model.forward).parameters.keys()


def test_given_encoder_outputs_skip_the_encoder(make_model: Callable, labels: torch.LongTensor):
    model = make_model()
    full = model(SOURCE, decoder_input_ids=TARGET, labels=labels)
    encoder_outputs = model.get_encoder()(SOURCE, SOURCE.ne(1))
    for given in (encoder_outputs, (encoder_outputs.last_hidden_state,)):
        for ids in (SOURCE, None):
            again = model(ids, SOURCE.ne(1), TARGET, labels=labels, encoder_outputs=given)
            assert torch.equal(again.logits, full.logits)
            assert torch.equal(again.loss, full.loss)


def test_projected_keys_and_values_serve_instead_of_encoder_states(make_model: Callable):
    decoder = make_model().get_decoder()
    states = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
    full = decoder(TARGET, encoder_hidden_states=states, encoder_attention_mask=SOURCE.ne(1)).last_hidden_state
    reused = decoder(
        TARGET,
        encoder_hidden_states=states,
        encoder_attention_mask=SOURCE.ne(1),
        cross_key_values=decoder.project_cross_key_values(states),
    ).last_hidden_state
    assert torch.equal(reused, full)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_targets_of_one_source_share_its_states(make_model: Callable, implementation: str):
    decoder = make_model(attn_implementation=implementation, initializer_range=0.1).get_decoder()
    states = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
    targets = torch.cat([TARGET, TARGET.flip(0), torch.full_like(TARGET, 7)])  # three for each source
    shared = decoder(targets, encoder_hidden_states=states, encoder_attention_mask=SOURCE.ne(1)).last_hidden_state
    repeated = decoder(
        targets,
        encoder_hidden_states=states.repeat_interleave(3, dim=0),
        encoder_attention_mask=SOURCE.ne(1).repeat_interleave(3, dim=0),
    ).last_hidden_state
    torch.testing.assert_close(shared[targets != 1], repeated[targets != 1], atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="3 targets do not divide among 2 sources. Give every source the same"):
        decoder(targets[:3], encoder_hidden_states=states, encoder_attention_mask=SOURCE.ne(1))


def test_states_of_chosen_positions_are_those_among_all(make_model: Callable):
    decoder = make_model(initializer_range=0.1).get_decoder()
    states = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))
    inputs = {"encoder_hidden_states": states, "encoder_attention_mask": SOURCE.ne(1)}
    full = decoder(TARGET, **inputs).last_hidden_state
    chosen = decoder(TARGET, **inputs, output_positions=TARGET == 4).last_hidden_state
    torch.testing.assert_close(chosen, full[TARGET == 4], atol=1e-6, rtol=0)


def test_impossible_input_is_refused_with_the_fix(make_model: Callable):
    model = make_model(max_position_embeddings=8)
    with pytest.raises(ValueError, match=r"decoder_input_ids is missing\. Pass .* or call generate\(\)"):
        model.model(SOURCE)
    with pytest.raises(ValueError, match="exactly one of token ids and embeddings"):
        model(SOURCE, decoder_input_ids=TARGET, inputs_embeds=model.get_input_embeddings()(SOURCE))
    long = torch.full((1, 9), 7)
    with pytest.raises(ValueError, match="9 tokens does not fit the position table of 8.*Shorten"):
        model(long, decoder_input_ids=TARGET[:1])
    with pytest.raises(ValueError, match="9 tokens does not fit the position table of 8"):
        model(SOURCE[:1], decoder_input_ids=long)


def test_position_table_limits_tokens_not_padded_width(make_model: Callable):
    model = make_model(max_position_embeddings=8)
    full = torch.full((1, 8), 7)
    with torch.no_grad():
        alone = model(full, decoder_input_ids=full).logits
        padded = model(shift_right(full, 20), decoder_input_ids=shift_right(full, 20)).logits[:, 12:]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=0)


# ---- loss and outputs ----


def expected_loss(logits: torch.Tensor, length_logits: torch.Tensor, num_items: int, lengths: list[int]):
    log_probs, length_log_probs = logits.log_softmax(-1), length_logits.log_softmax(-1)
    rows, columns = (LABELS != -100).nonzero(as_tuple=True)
    picks = zip(rows.tolist(), columns.tolist(), strict=True)
    token_nll = -sum(log_probs[row, column, LABELS[row, column]] for row, column in picks)
    length_nll = -sum(length_log_probs[row, length] for row, length in enumerate(lengths)) / len(lengths)
    return token_nll / num_items + 0.1 * length_nll


@without_field
def test_loss_equals_the_hand_computation(make_model: Callable):
    model = make_model()
    outputs = model(SOURCE, decoder_input_ids=TARGET, labels=LABELS)
    expected = expected_loss(outputs.logits, outputs.length_logits, 4, [7, 4])
    torch.testing.assert_close(outputs.loss, expected)
    outputs = model(SOURCE, decoder_input_ids=TARGET, labels=LABELS, num_items_in_batch=torch.tensor(10))
    torch.testing.assert_close(outputs.loss, expected_loss(outputs.logits, outputs.length_logits, 10, [7, 4]))


@without_field
def test_length_classes_count_all_tokens_and_are_clamped(make_model: Callable):
    model = make_model(max_target_length=6)
    outputs = model(SOURCE, decoder_input_ids=TARGET, labels=LABELS)
    torch.testing.assert_close(
        outputs.loss, expected_loss(outputs.logits, outputs.length_logits, 4, [5, 4])
    )  # 7 → last class


@for_every_length_family
def test_length_class_of_300_tokens_is_the_last_of_256(make_model: Callable):
    model = make_model(max_target_length=256, max_position_embeddings=400)
    target, labels = torch.full((1, 300), 7), torch.full((1, 300), -100)
    outputs = model(SOURCE[:1], decoder_input_ids=target, labels=labels)
    expected = -0.1 * outputs.length_logits.log_softmax(-1)[0, 255]
    torch.testing.assert_close(outputs.loss, expected)


@for_every_length_family
def test_nothing_labelled_gives_the_length_loss_alone_and_no_nan(make_model: Callable):
    model = make_model(length_loss_weight=0.0)
    outputs = model(SOURCE, decoder_input_ids=TARGET, labels=torch.full_like(LABELS, -100))
    assert outputs.loss.item() == 0.0
    outputs.loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@for_every_length_family
def test_packed_logits_equal_the_full_ones(make_model: Callable):
    model = make_model()
    positions = LABELS != -100
    full = model(SOURCE, decoder_input_ids=TARGET, labels=LABELS)
    packed = model(SOURCE, decoder_input_ids=TARGET, labels=LABELS, logits_positions=positions)
    torch.testing.assert_close(packed.logits, full.logits[positions])
    torch.testing.assert_close(packed.loss, full.loss)
    assert packed.logits.shape == (4, 20)
    none = model(SOURCE, decoder_input_ids=TARGET, labels=LABELS, logits_positions=torch.zeros_like(positions))
    assert none.logits.shape == (0, 20) and none.loss.isfinite()


def test_legacy_mask_logit_replaces_only_the_mask(make_model: Callable):
    plain = make_model()(SOURCE, decoder_input_ids=TARGET).logits
    legacy = make_model(legacy_mask_logit=-1000)(SOURCE, decoder_input_ids=TARGET).logits
    assert (legacy[..., 4] == -1000).all()
    plain[..., 4] = -1000
    assert torch.equal(legacy, plain)


def test_plain_forward_returns_what_any_seq2seq_model_returns(make_model: Callable, labels: torch.LongTensor):
    model = make_model(attn_implementation="eager")
    outputs = model(SOURCE, decoder_input_ids=TARGET)
    assert list(outputs.keys()) == ["logits", "encoder_last_hidden_state"]
    outputs = model(SOURCE, decoder_input_ids=TARGET, output_attentions=True)
    assert list(outputs.keys()) == [
        "logits",
        "decoder_attentions",
        "cross_attentions",
        "encoder_last_hidden_state",
        "encoder_attentions",
    ]
    with_labels = model(SOURCE, decoder_input_ids=TARGET, labels=labels)
    assert {"loss", "decoder_last_hidden_state"} <= set(with_labels.keys())
    assert with_labels.decoder_last_hidden_state.shape == (2, 7, 16)


@for_every_length_family
def test_length_logits_come_on_request_and_with_labels(make_model: Callable):
    model = make_model(attn_implementation="eager")
    with_lengths = model(SOURCE, decoder_input_ids=TARGET, return_length_logits=True)
    assert list(with_lengths.keys()) == ["logits", "encoder_last_hidden_state", "length_logits"]
    assert with_lengths.length_logits.shape == (2, 16)
    expected = model.predict_length(with_lengths.encoder_last_hidden_state, SOURCE.ne(1))
    assert torch.equal(with_lengths.length_logits, expected)
    assert "length_logits" in model(SOURCE, decoder_input_ids=TARGET, labels=LABELS).keys()


def test_tuple_output_holds_the_same_tensors_in_order(make_model: Callable):
    model = make_model(attn_implementation="eager")
    arguments = {"decoder_input_ids": TARGET, "output_attentions": True, "output_hidden_states": True}
    named = model(SOURCE, **arguments)
    plain = model(SOURCE, **arguments, return_dict=False)
    assert type(plain) is tuple and len(plain) == len(named.to_tuple())
    for ours, theirs in zip(plain, named.to_tuple(), strict=True):
        ours, theirs = (x if isinstance(x, tuple) else (x,) for x in (ours, theirs))
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    logits, encoder_states, *_ = model(SOURCE, decoder_input_ids=TARGET, return_dict=False)
    assert torch.equal(logits, named.logits) and torch.equal(encoder_states, named.encoder_last_hidden_state)


def test_configs_return_dict_false_gives_tuples_and_still_decodes(make_model: Callable):
    model = make_model()
    expected = model(SOURCE, decoder_input_ids=TARGET).logits
    translation = model.generate(SOURCE)
    model.config.return_dict = False
    assert torch.equal(model(SOURCE, decoder_input_ids=TARGET)[0], expected)
    assert torch.equal(model.generate(SOURCE), translation)


def test_hidden_states_and_attentions_have_the_usual_counts_and_shapes(make_model: Callable):
    model = make_model(attn_implementation="eager")
    outputs = model(SOURCE, decoder_input_ids=TARGET, output_attentions=True, output_hidden_states=True)
    assert [x.shape for x in outputs.encoder_hidden_states] == [(2, 6, 16)] * 3
    assert [x.shape for x in outputs.decoder_hidden_states] == [(2, 7, 16)] * 4
    assert [x.shape for x in outputs.encoder_attentions] == [(2, 2, 6, 6)] * 2
    assert [x.shape for x in outputs.decoder_attentions] == [(2, 4, 7, 7)] * 3
    assert [x.shape for x in outputs.cross_attentions] == [(2, 4, 7, 6)] * 3
    assert torch.equal(outputs.encoder_hidden_states[-1], outputs.encoder_last_hidden_state)
    assert torch.equal(outputs.decoder_hidden_states[-1], outputs.decoder_last_hidden_state)
    for weights in (*outputs.decoder_attentions, *outputs.cross_attentions):
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(2, 4, 7))
    assert outputs.cross_attentions[0][1, :, :, 4:].abs().max() == 0  # padding of the second source
    assert outputs.decoder_attentions[0][1, :, :, 4:].abs().max() == 0


@of_one_token_each
def test_base_model_returns_the_states_the_head_projects(make_model: Callable):
    model = make_model()
    outputs = model.model(SOURCE, decoder_input_ids=TARGET, output_hidden_states=True)
    full = model(SOURCE, decoder_input_ids=TARGET)
    assert torch.equal(model.lm_head(outputs.last_hidden_state), full.logits)
    assert torch.equal(outputs.encoder_last_hidden_state, full.encoder_last_hidden_state)
    assert len(outputs.decoder_hidden_states) == 4


def test_retained_gradients_reach_recorded_states(make_model: Callable):
    model = make_model(attn_implementation="eager")
    outputs = model(SOURCE, decoder_input_ids=TARGET, output_attentions=True, output_hidden_states=True)
    recorded = [
        outputs.encoder_hidden_states[0],
        outputs.encoder_attentions[0],
        outputs.decoder_hidden_states[0],
        outputs.decoder_attentions[0],
        outputs.cross_attentions[0],
    ]
    for tensor in recorded:
        tensor.retain_grad()
    outputs.logits.square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in recorded)


# ---- backends, precision, checkpointing, compilation ----


def test_eager_equals_sdpa(make_model: Callable, labels: torch.LongTensor):
    eager, sdpa = (make_model(attn_implementation=name, initializer_range=0.1) for name in ("eager", "sdpa"))
    assert eager.config._attn_implementation == "eager" and sdpa.config._attn_implementation == "sdpa"
    ours, theirs = (m(SOURCE, decoder_input_ids=TARGET, labels=labels) for m in (eager, sdpa))
    torch.testing.assert_close(ours.logits[TARGET != 1], theirs.logits[TARGET != 1], atol=1e-6, rtol=0)
    ours.loss.backward()
    theirs.loss.backward()
    for (name, a), b in zip(eager.named_parameters(), sdpa.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-5, msg=name)


def test_flex_attention_equals_sdpa(make_model: Callable):
    if not make_model()._supports_flex_attn:
        with pytest.raises(ValueError, match="does not support.*flex_attention"):
            make_model(attn_implementation="flex_attention")
        return
    flex, sdpa = make_model(attn_implementation="flex_attention"), make_model()
    # Uncompiled, which is slow in earnest but needs no C++ compiler; on the CPU there is no backward pass.
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        ours, theirs = (m(SOURCE, decoder_input_ids=TARGET).logits for m in (flex, sdpa))
    torch.testing.assert_close(ours[TARGET != 1], theirs[TARGET != 1], atol=1e-5, rtol=0)


def test_attention_dropout_acts_in_training_only(make_model: Callable):
    for implementation in ("eager", "sdpa"):
        model = make_model(attn_implementation=implementation, attention_dropout=0.5)
        torch.manual_seed(0)
        first, second = (model(SOURCE, decoder_input_ids=TARGET).logits for _ in range(2))
        assert torch.equal(first, second)
        model.train()
        first, second = (model(SOURCE, decoder_input_ids=TARGET).logits for _ in range(2))
        assert not torch.equal(first, second)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(
    make_model: Callable, use_reentrant: bool, all_labels: dict[str, torch.Tensor]
):
    # In double precision, since the reentrant kind adds gradients up in another order.
    model = make_model(dropout=0.2).double().train()
    losses, gradients = [], []
    for checkpointing in (False, True):
        if checkpointing:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": use_reentrant})
            assert model.is_gradient_checkpointing
        model.zero_grad()
        torch.manual_seed(3)
        loss = model(SOURCE, decoder_input_ids=TARGET, **all_labels).loss
        loss.backward()
        losses.append(loss.item())
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert losses[0] == losses[1]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-5, msg=name)


def test_training_reaches_every_parameter(make_model: Callable, all_labels: dict[str, torch.Tensor]):
    model = make_model().train()
    model(SOURCE, decoder_input_ids=TARGET, **all_labels).loss.backward()
    for name, parameter in model.named_parameters():
        if name.startswith("aligner."):  # learns from links
            continue
        assert parameter.grad is not None, name
        if not name.endswith("k_proj.bias"):  # softmax cancels a constant added to all keys' scores
            assert parameter.grad.abs().max() > 0, name
    assert model.model.shared.weight.grad[1].abs().max() > 0  # through the projection: <pad> is one of V outputs


def test_a_few_steps_fit_one_batch(make_model: Callable, labels: torch.LongTensor):
    model = make_model(initializer_range=0.02).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = model(SOURCE, decoder_input_ids=TARGET, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loading_runs_and_stays_close(
    tmp_path: Path, make_model: Callable, dtype: torch.dtype, labels: torch.LongTensor
):
    model = make_model(initializer_range=0.1)
    model.save_pretrained(tmp_path)
    half = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=dtype)
    assert {p.dtype for p in half.parameters()} == {dtype}
    with torch.no_grad():
        ours, theirs = (m(SOURCE, decoder_input_ids=TARGET, labels=labels) for m in (half, model))
    assert ours.logits.dtype == dtype and ours.loss.dtype == torch.float32
    is_target = TARGET != 1
    torch.testing.assert_close(ours.logits[is_target].float(), theirs.logits[is_target], atol=0.15, rtol=0)
    assert half.generate(SOURCE).shape[0] == 2


def test_half_precision_checkpoint_loads_in_its_own_dtype(tmp_path: Path, make_model: Callable):
    make_model().to(torch.float16).save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype="auto")
    assert again.dtype == torch.float16
    assert AutoModelForSeq2SeqLM.from_pretrained(tmp_path, dtype=torch.float32).dtype == torch.float32


@pytest.mark.slow
def test_compiles_to_one_graph(make_model: Callable):
    model = make_model()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        expected = model(input_ids=SOURCE, decoder_input_ids=TARGET).logits
        torch.testing.assert_close(compiled(input_ids=SOURCE, decoder_input_ids=TARGET).logits, expected)


@pytest.mark.slow
def test_exports_with_dynamic_batch_source_and_target(make_model: Callable):
    model = make_model()
    batch, source, target = (torch.export.Dim(name, min=2, max=30) for name in ("batch", "source", "target"))
    example = {
        "input_ids": SOURCE,
        "attention_mask": SOURCE.ne(1).long(),
        "decoder_input_ids": TARGET,
        "decoder_attention_mask": TARGET.ne(1).long(),
    }
    shapes = {name: {0: batch, 1: target if name.startswith("decoder") else source} for name in example}
    program = torch.export.export(model, (), kwargs=example, dynamic_shapes=shapes, strict=False)
    sources = [[0, 5, 2, 1, 1, 1, 1, 1], [0, 6, 7, 8, 9, 10, 11, 2], [0, 9, 9, 2, 1, 1, 1, 1]]
    targets = [[0, 4, 2, 1], [0, 4, 8, 2], [0, 4, 4, 2]]
    other = {"input_ids": torch.tensor(sources), "decoder_input_ids": torch.tensor(targets)}
    other["attention_mask"] = other["input_ids"].ne(1).long()
    other["decoder_attention_mask"] = other["decoder_input_ids"].ne(1).long()
    with torch.no_grad():
        exported, expected = program.module()(**other).logits, model(**other).logits
    is_target = other["decoder_input_ids"] != 1
    torch.testing.assert_close(exported[is_target], expected[is_target], atol=1e-5, rtol=0)


# ---- saving, loading, embeddings ----


def stored_names(folder: Path) -> set[str]:
    with safe_open(folder / "model.safetensors", framework="pt") as tensors:
        return set(tensors.keys())


def test_round_trip_is_exact_and_stores_the_embedding_once(tmp_path: Path, make_model: Callable):
    model = make_model()
    model.save_pretrained(tmp_path)
    names = stored_names(tmp_path)
    assert [name for name in names if "shared" in name or "embed_tokens" in name or "lm_head" in name] == [
        "model.shared.weight"
    ]
    again, info = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    assert again.lm_head.weight is again.model.shared.weight
    assert again.model.encoder.embed_tokens.weight is again.model.decoder.embed_tokens.weight
    assert not again.training


def test_base_model_loads_from_the_heads_checkpoint_and_back(tmp_path: Path, make_model: Callable):
    model = make_model()
    model.save_pretrained(tmp_path / "head")
    base = AutoModel.from_pretrained(tmp_path / "head")
    assert torch.equal(
        base(SOURCE, decoder_input_ids=TARGET).last_hidden_state,
        model.model(SOURCE, decoder_input_ids=TARGET).last_hidden_state,
    )
    base.save_pretrained(tmp_path / "base")
    assert "shared.weight" in stored_names(tmp_path / "base")
    assert not [name for name in stored_names(tmp_path / "base") if "embed_tokens" in name]
    head = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "base")
    assert torch.equal(head.model.shared.weight, model.model.shared.weight)


def test_checkpoint_carries_the_code_that_runs_it(tmp_path: Path, family: str, make_model: Callable):
    make_model().save_pretrained(tmp_path)
    closure = {f"{name}_nat.py" for name in ("configuration", "modeling", "generation")}
    closure |= {f"configuration_{family}.py", f"modeling_{family}.py", "masking.py", "decoding_mask_predict.py"}
    closure |= {"modeling_translation.py"}
    assert closure | {"pipeline_translation.py"} <= {path.name for path in tmp_path.iterdir()}


def test_embeddings_are_tied_after_every_way_of_making_a_model(
    family: str, make_config: Callable, make_model: Callable
):
    model = make_model()
    for made in (MODELS[family][2](make_config()), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        table = made.get_input_embeddings().weight
        assert made.get_output_embeddings().weight is table
        assert made.get_encoder().embed_tokens.weight is table and made.get_decoder().embed_tokens.weight is table
    assert sum("shared" in n or "embed_tokens" in n or "lm_head" in n for n, _ in model.named_parameters()) == 1


def test_state_dict_round_trip_with_plain_torch(make_model: Callable):
    first, second = make_model(0), make_model(1)
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(first(SOURCE, decoder_input_ids=TARGET).logits, second(SOURCE, decoder_input_ids=TARGET).logits)


@pytest.mark.parametrize("new_size", [24, 16])
def test_resized_embeddings_keep_old_logits_and_the_tie(tmp_path: Path, make_model: Callable, new_size: int):
    model = make_model()
    before = model(SOURCE, decoder_input_ids=TARGET).logits
    model.resize_token_embeddings(new_size, mean_resizing=False)
    after = model(SOURCE, decoder_input_ids=TARGET).logits
    kept = min(20, new_size)
    assert after.shape[-1] == model.config.vocab_size == new_size
    torch.testing.assert_close(after[..., :kept], before[..., :kept])
    assert model.lm_head.weight is model.model.shared.weight
    assert model.model.encoder.embed_tokens.weight is model.model.shared.weight
    assert model.generate(SOURCE).max() < new_size
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert torch.equal(again(SOURCE, decoder_input_ids=TARGET).logits, after)


def test_set_input_embeddings_reaches_both_stacks(make_model: Callable):
    model = make_model()
    table = nn.Embedding(20, 16, padding_idx=1)
    model.set_input_embeddings(table)
    assert model.get_input_embeddings() is table
    assert model.get_encoder().embed_tokens is table and model.get_decoder().embed_tokens is table


def test_inputs_can_require_gradients(make_model: Callable, all_labels: dict[str, torch.Tensor]):
    """As adapters over frozen weights need them."""
    model = make_model()
    model.requires_grad_(False)
    model.enable_input_require_grads()
    assert model(SOURCE, decoder_input_ids=TARGET, **all_labels).loss.requires_grad
    model.disable_input_require_grads()
    assert not model(SOURCE, decoder_input_ids=TARGET, **all_labels).loss.requires_grad


def test_attention_can_be_changed_after_loading(make_model: Callable):
    model, eager = make_model(), make_model(attn_implementation="eager")
    model.set_attn_implementation("eager")
    assert model.config._attn_implementation == model.get_decoder().config._attn_implementation == "eager"
    with torch.no_grad():
        ours, theirs = (m(SOURCE, decoder_input_ids=TARGET).logits for m in (model, eager))
    assert torch.equal(ours, theirs)


def test_models_are_made_without_memory_and_filled_later(family: str, make_config: Callable, make_model: Callable):
    model = make_model()
    with torch.device("meta"):
        empty = MODELS[family][2](make_config())
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    empty.load_state_dict(model.state_dict(), assign=True)
    empty.tie_weights()
    with torch.no_grad():
        ours, theirs = (m.eval()(SOURCE, decoder_input_ids=TARGET).logits for m in (empty, model))
    assert torch.equal(ours, theirs)


def test_weights_of_another_vocabulary_are_refused_or_drawn_anew(tmp_path: Path, family: str, make_model: Callable):
    model = make_model()
    model.save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="size mismatch|mismatched"):
        AutoModelForSeq2SeqLM.from_pretrained(tmp_path, vocab_size=22)
    other = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, vocab_size=22, ignore_mismatched_sizes=True)
    assert other(SOURCE, decoder_input_ids=TARGET).logits.shape[-1] == 22
    weights = other.model.encoder.layers[0].fc1.weight
    assert torch.equal(weights, model.model.encoder.layers[0].fc1.weight)


def test_dummy_inputs_run(make_model: Callable):
    model = make_model()
    assert model(**model.dummy_inputs).logits.shape == (2, 4, 20)


def test_batch_does_not_change_a_row(make_model: Callable):
    model = make_model()
    with torch.no_grad():
        batch = model(SOURCE, decoder_input_ids=TARGET)
        alone = model(SOURCE[1:, :4], decoder_input_ids=TARGET[1:, :4])
    torch.testing.assert_close(alone.logits, batch.logits[1:, :4], atol=1e-5, rtol=0)


@for_every_length_family
def test_lengths_do_not_depend_on_padding(make_model: Callable):
    model, settings = make_model(), {"return_length_logits": True}
    source = shift_right(SOURCE, 9)
    with torch.no_grad():
        batch = model(SOURCE, decoder_input_ids=TARGET, **settings).length_logits
        left = model(source, decoder_input_ids=TARGET, **settings).length_logits
        alone = model(SOURCE[1:, :4], decoder_input_ids=TARGET[1:, :4], **settings).length_logits
    torch.testing.assert_close(left, batch, atol=1e-5, rtol=0)
    torch.testing.assert_close(alone, batch[1:], atol=1e-5, rtol=0)


@for_every_length_family
def test_predict_length_projects_the_mean_state(make_model: Callable):
    model = make_model()
    states = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(1))
    logits = model.predict_length(states, SOURCE.ne(1))
    expected = torch.stack([states[0].mean(dim=0), states[1, :4].mean(dim=0)]) @ model.length_head.weight.T
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("field", [{"activation_function": "silu"}, {"dropout": 1.0}, {"activation_dropout": 1.0}])
def test_every_field_of_the_layers_has_an_effect(make_model: Callable, field: dict):
    changed, plain = make_model(**field).train(), make_model().train()
    outputs = [model(SOURCE, decoder_input_ids=TARGET).logits for model in (changed, plain)]
    assert not torch.equal(*outputs)


def test_dropout_acts_in_training_only(make_model: Callable):
    model, plain = make_model(dropout=0.5, activation_dropout=0.5), make_model()
    outputs = [m(SOURCE, decoder_input_ids=TARGET).logits for m in (model, plain)]
    assert torch.equal(*outputs)


@pytest.mark.parametrize("num_rows", [0, 1, 128, 129])
def test_projection_in_parts_of_the_vocabulary_is_the_whole_one(num_rows):
    head = torch.nn.Linear(8, 5000, bias=False)
    hidden_states = torch.randn(num_rows, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        parts, calls = project_in_parts(head, hidden_states), []
        head.register_forward_hook(lambda *_: calls.append(1))
        torch.testing.assert_close(parts, head(hidden_states), rtol=1e-5, atol=1e-6)
        project_in_parts(head, hidden_states)
    assert len(calls) == 2  # a layer with hooks is called, whatever the rows
    assert project_in_parts(head, hidden_states).requires_grad  # as a whole, for training


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast_casts_the_input_of_attention_as_it_does_that_of_a_projection(dtype):
    config = LengthPredictionConfig(
        vocab_size=20, d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=8, decoder_ffn_dim=8, attn_implementation="eager",
    )  # fmt: skip
    attention = NATAttention(config, 2).to(dtype)
    states = torch.randn(2, 3, 8, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16):
        attended, _ = attention(states)
        assert attended.dtype == attention.q_proj(states).dtype
