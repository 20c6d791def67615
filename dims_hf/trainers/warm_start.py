# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Warm start: a translation model whose encoder is a pre-trained one of transformers (BERT, RoBERTa, XLM-R, …), or whose
layers are those of an autoregressive model.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from dims_hf.models.capabilities import has_pretrained_encoder
from dims_hf.models.modeling_nat import NATEmbeddedStack
from dims_hf.models.modeling_pretrained_encoder import FIRST_POSITIONS, NATPretrainedEncoder
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.translation.loading import check_finite, resolve_model


logger = logging.getLogger(__name__)

# What the configuration of a warm-started model says of its encoder.
ENCODER_FIELDS = ("pretrained_encoder", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim")

# Fields of an encoder's configuration that say nothing about its layers.
_LEFT_OUT = frozenset(
    ("architectures", "auto_map", "dtype", "id2label", "label2id", "_name_or_path", "torch_dtype",
     "transformers_version")
)  # fmt: skip

# What an encoder calls the special tokens of sources -> what they are called here.
_SPECIAL_TOKENS = {"bos": "bos", "cls": "bos", "pad": "pad", "eos": "eos", "sep": "eos"}


def warm_start_encoder(
    model: NATForConditionalGeneration,
    name_or_path: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    num_layers: int | None = None,
) -> NATForConditionalGeneration:
    """
    A translation model like a given one, with a pre-trained encoder in the place of its own.

    The encoder's states are those of the original, token for token. Its table has the rows of the tokenizer's source
    vocabulary alone, and a fresh linear map takes its states to `d_model` where it has another width. Decoder and
    heads are those of `model`.

    Source of the idea: CTCPMLM (arXiv 2306.06345), which starts CTC from pre-trained masked language models.

    Args:
        model (`NATForConditionalGeneration`): of any family of this package; it stays as it is.
        name_or_path (`str`): folder or Hub id of a BERT, DistilBERT, ELECTRA, RoBERTa, CamemBERT, XLM-R or ModernBERT.
        tokenizer (`PreTrainedTokenizerBase`): from [`join_tokenizers`], made with the encoder's tokenizer.
        num_layers (`int`, *optional*): keep the first so many layers; all of them when `None`.

    Returns:
        `NATForConditionalGeneration`: of the class of `model`; its configuration has `pretrained_encoder`.

    Raises:
        ValueError: there is no such encoder, it is of another kind, has fewer layers or positions than wanted, or the
            tokenizer is not made from its own.

    ```python
    tokenizer = join_tokenizers(load_encoder_tokenizer("roberta-base"), target_tokenizer, sources)
    config = ImputerConfig(vocab_size=len(tokenizer), blank_token_id=5)
    model = warm_start_encoder(ImputerForConditionalGeneration(config), "roberta-base", tokenizer)
    ```"""
    encoder = _load_encoder(name_or_path, num_layers)
    rows = _rows_of_tokens(name_or_path, tokenizer, encoder)
    config = copy.deepcopy(model.config)
    _check_positions(name_or_path, encoder.config, config.max_source_length)
    _describe_encoder(config, encoder.config, vocab_size=len(rows))
    warm = type(model)(config)
    _copy_weights(model, warm)
    _fill_encoder(cast(NATPretrainedEncoder, warm.model.encoder).pretrained, encoder, rows)
    warm.generation_config = copy.deepcopy(model.generation_config)
    return warm.train(model.training)


def load_encoder_tokenizer(name_or_path: str) -> PreTrainedTokenizerBase:
    """
    The tokenizer of a pre-trained encoder.

    Raises:
        ValueError: there is no such model, or none that can be loaded without code of its own.
    """
    place = resolve_model(name_or_path)
    _load_encoder_config(name_or_path)  # says what is wrong with another kind of model
    with _refusing(name_or_path, "no tokenizer that could be loaded"):
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    # transformers makes one of special tokens alone where a folder has no file of it
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        raise ValueError(
            f"encoder_name_or_path={name_or_path} has a tokenizer without a word: its files are missing. Copy the "
            "whole folder, tokenizer.json included."
        )
    return tokenizer


def _load_encoder_config(name_or_path: str) -> PreTrainedConfig:
    with _refusing(name_or_path, "no model that could be loaded"):
        config = AutoConfig.from_pretrained(resolve_model(name_or_path), trust_remote_code=False)
    known = ", ".join(FIRST_POSITIONS)
    if config.is_encoder_decoder:
        raise ValueError(
            f"encoder_name_or_path={name_or_path} is an encoder-decoder ({config.model_type}). Give an encoder: "
            f"{known}; to go on from a model of this package, use init."
        )
    if config.model_type not in FIRST_POSITIONS or getattr(config, "is_decoder", False):
        raise ValueError(
            f"encoder_name_or_path={name_or_path} is no encoder known here but a {config.model_type} model. Give one "
            f"of these: {known}."
        )
    if getattr(config, "position_embedding_type", None) not in (None, "absolute"):
        raise ValueError(
            f"encoder_name_or_path={name_or_path} has position_embedding_type={config.position_embedding_type}, which "
            "transformers no longer computes. Give one with absolute positions."
        )
    if FIRST_POSITIONS[config.model_type] and config.pad_token_id != 1:
        raise ValueError(
            f"encoder_name_or_path={name_or_path} counts positions from pad_token_id={config.pad_token_id}; here they "
            "are counted from 1, as in every published model of this type. Give another."
        )
    return config


def _load_encoder(name_or_path: str, num_layers: int | None) -> PreTrainedModel:
    """The encoder in fp32, whole and finite, with its first layers if not all are wanted."""
    config = _load_encoder_config(name_or_path)
    num_given = config.num_hidden_layers
    if num_layers is not None and num_layers > num_given:
        raise ValueError(
            f"encoder_name_or_path={name_or_path} has {num_given} layers, and encoder_layers={num_layers} are wanted. "
            f"Use encoder_layers: {num_given}, or less."
        )
    if num_layers is not None and num_layers < num_given:
        logger.info("Keeps the first %d of the %d layers of %s.", num_layers, num_given, name_or_path)
        config.num_hidden_layers = num_layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:num_layers]
    with _refusing(name_or_path, "no model that could be loaded"), _quiet_loading():
        encoder, report = AutoModel.from_pretrained(
            resolve_model(name_or_path),
            config=config,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise ValueError(
            f"encoder_name_or_path={name_or_path} lacks weights of its encoder, such as {missing[0]}. Its files do "
            "not belong together, or one was cut: copy it again."
        )
    check_finite(encoder, name_or_path)
    return encoder


@contextmanager
def _refusing(name_or_path: str, what: str) -> Iterator[None]:
    """Whatever transformers raises, as one `ValueError` that names the place."""
    try:
        yield
    except Exception as error:  # each library below has exceptions of its own, for the same few faults
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"encoder_name_or_path={name_or_path} is {what} ({reason}). Name the folder or the Hub id of a "
            "pre-trained encoder with its tokenizer."
        ) from error


@contextmanager
def _quiet_loading() -> Iterator[None]:
    """Without the report on weights that are left out on purpose, such as those of a head."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


def _rows_of_tokens(name_or_path: str, tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel) -> list[int]:
    """For each id of the source vocabulary the row of the encoder's table."""
    source = getattr(tokenizer, "source_tokenizer", None)
    if source is None:
        raise ValueError(
            f"The tokenizer has no source side, which must be that of {name_or_path}. Make one with join_tokenizers."
        )
    original = load_encoder_tokenizer(name_or_path).get_vocab()
    tokens = source.convert_ids_to_tokens(list(range(len(source))))
    num_rows = cast(nn.Embedding, encoder.get_input_embeddings()).num_embeddings
    unknown = [token for token in tokens if original.get(token, num_rows) >= num_rows]
    if unknown:
        raise ValueError(
            f"{name_or_path} has no row for {len(unknown)} tokens of the source tokenizer, such as {unknown[0]!r}: it "
            "was made for another encoder. Make one with join_tokenizers from the encoder's own."
        )
    return [original[token] for token in tokens]


def _check_positions(name_or_path: str, config: PreTrainedConfig, max_source_length: int) -> None:
    num_positions = config.max_position_embeddings - FIRST_POSITIONS[config.model_type]
    if max_source_length > num_positions:
        raise ValueError(
            f"encoder_name_or_path={name_or_path} reads at most {num_positions} tokens, and max_position_embeddings "
            f"admits sources of {max_source_length}. Make it smaller."
        )


def _describe_encoder(config: Any, encoder: PreTrainedConfig, *, vocab_size: int) -> None:
    """Writes the encoder's configuration, and its sizes by their names here, into that of the model."""
    settings = {name: value for name, value in encoder.to_diff_dict().items() if name not in _LEFT_OUT}
    given = ((f"{theirs}_token_id", f"{ours}_token_id") for theirs, ours in _SPECIAL_TOKENS.items())
    ids = {theirs: getattr(config, ours) for theirs, ours in given if getattr(encoder, theirs, None) is not None}
    config.pretrained_encoder = {**settings, **ids, "model_type": encoder.model_type, "vocab_size": vocab_size}
    config.encoder_layers = encoder.num_hidden_layers
    config.encoder_attention_heads = encoder.num_attention_heads
    config.encoder_ffn_dim = encoder.hidden_dim if encoder.model_type == "distilbert" else encoder.intermediate_size


@torch.no_grad()
def _copy_weights(model: nn.Module, warm: nn.Module) -> None:
    """Gives `warm` all weights of `model` but those of its encoder."""
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("model.encoder.")}
    _, unknown = warm.load_state_dict(kept, strict=False)
    assert not unknown, unknown


@torch.no_grad()
def _fill_encoder(target: PreTrainedModel, source: PreTrainedModel, rows: list[int]) -> None:
    """Gives the model's encoder the weights of the original, of its table the given rows."""
    table, trimmed = (cast(nn.Embedding, each.get_input_embeddings()).weight for each in (source, target))
    weights = dict(source.state_dict())
    names = [name for name, value in source.named_parameters() if value is table]
    # rows of the trimmed vocabulary, in its order
    weights[names[0]] = table[rows].to(trimmed.dtype)
    # the original may have a pooler or a head, of no use here
    missing, _ = target.load_state_dict(weights, strict=False)
    assert not missing, missing


# Sizes and functions that an autoregressive model must share with the model that starts from it.
_SHARED_FIELDS = (
    "d_model",
    "encoder_layers",
    "decoder_layers",
    "encoder_attention_heads",
    "decoder_attention_heads",
    "encoder_ffn_dim",
    "decoder_ffn_dim",
    "activation_function",
    "scale_embedding",
    "bos_token_id",
    "pad_token_id",
    "eos_token_id",
)


@torch.no_grad()
def start_from_autoregressive(model: NATForConditionalGeneration, given: PreTrainedModel, name: str) -> None:
    """
    Gives a model the token embeddings and the layers of an autoregressive one of the same sizes and tokenizer.

    The encoder's states are then those of the autoregressive model. Its decoder's layers are a start only: they had
    never seen what comes after a position. The sinusoids become the first values of the learned positions; tokens
    that were added to the tokenizer, such as a blank, and what is beside embeddings and layers keep their weights.

    Source of the idea: encoders of one-pass models that start from their teacher's, Gu et al. 2018, §5.1.

    Args:
        model (`NATForConditionalGeneration`): of any family of this package; changed in place.
        given (`PreTrainedModel`): an autoregressive model, such as [`make_autoregressive_model`] makes.
        name (`str`): what messages call the autoregressive model.

    Raises:
        ValueError: for a model of another architecture, size or vocabulary, naming what differs.
    """
    _check_autoregressive(model.config, given, name)
    if type(model.model.encoder).combine_positions is not NATEmbeddedStack.combine_positions:
        raise ValueError(
            f"init={name} adds positions to embeddings, a {model.config.model_type} model does not. Start from a "
            "model of its own family."
        )
    weights = {key: value for key, value in given.model.state_dict().items() if ".layers." in key}
    ours = model.model.state_dict()
    unfit = [key for key, value in weights.items() if key not in ours or ours[key].shape != value.shape]
    assert not unfit, unfit  # layers of every family have Marian's names, and the sizes were compared
    model.model.load_state_dict(weights, strict=False)
    table = cast(nn.Embedding, given.get_input_embeddings()).weight
    cast(nn.Embedding, model.get_input_embeddings()).weight[: len(table)] = table
    sinusoids = type(given.model.encoder.embed_positions)(model.config.max_position_embeddings, model.config.d_model)
    for stack in (model.model.encoder, model.model.decoder):
        # Marian's first token is at row 0, ours at row 2: row 1 is padding's
        cast(nn.Embedding, stack.embed_positions).weight[2:] = sinusoids.create_weight()


def _check_autoregressive(config: Any, given: PreTrainedModel, name: str) -> None:
    theirs = given.config
    if theirs.model_type != "marian":
        raise ValueError(
            f"init={name} is a {theirs.model_type} model. Start from one of this package, or from an autoregressive "
            "one that train-autoregressive made (marian)."
        )
    if has_pretrained_encoder(config):
        raise ValueError(
            f"init={name} has an encoder of its own, and so has encoder_name_or_path. Leave out one of the two."
        )
    if given.config.vocab_size > config.vocab_size or not theirs.share_encoder_decoder_embeddings:
        raise ValueError(
            f"init={name} has not one table of at most {config.vocab_size} tokens for source and target. Train it "
            "with the tokenizer of this model."
        )
    for field in _SHARED_FIELDS:
        if getattr(theirs, field) != getattr(config, field):
            raise ValueError(
                f"init={name} has {field}={getattr(theirs, field)}, this model {getattr(config, field)}. Give the "
                "recipe the same (family_settings takes what has no name of its own there)."
            )
