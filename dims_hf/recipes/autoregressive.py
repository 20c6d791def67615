# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A small autoregressive translation model from scratch (Marian's architecture), trained as a recipe says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from transformers import GenerationConfig, MarianConfig, MarianMTModel, PreTrainedTokenizerBase, set_seed

from dims_hf.data import corpus_fingerprint, tokenizer_fingerprint
from dims_hf.recipes.parsing import parse_recipe
from dims_hf.recipes.run_settings import Fingerprints, folder_fingerprint, holding_run, is_finished
from dims_hf.recipes.runs import (
    CorpusArguments,
    ModelArguments,
    encode_splits,
    read_corpus,
    refuse_references,
    run_training,
    shared_tokenizer,
    start_from,
    start_logging,
)
from dims_hf.trainers.autoregressive import AutoregressiveTrainer, AutoregressiveTrainingArguments


MODEL_TYPE = "marian"


@dataclass
class AutoregressiveModelArguments(ModelArguments):
    """Architecture of an autoregressive model trained from scratch, and its tokenizer."""

    model_type: str = field(default=MODEL_TYPE, metadata={"help": f"`{MODEL_TYPE}`; others: train_teacher."})

    @classmethod
    def model_types(cls) -> tuple[str, ...]:
        """Families that can be trained: this one."""
        return (MODEL_TYPE,)


def train_autoregressive(argv: Sequence[str] | None = None) -> Path:
    """
    Trains an autoregressive model as a recipe says; resumes if the output folder has a checkpoint.

    The folder then loads with `AutoModelForSeq2SeqLM` and `AutoTokenizer`, without this package.

    Args:
        argv (`Sequence[str]`, *optional*): `RECIPE.yaml` and overrides; default: the process's arguments.

    Returns:
        `Path`: folder of the final model.

    Raises:
        ValueError: for a bad recipe or corpus, or an output folder with another run in it, before any training.
    """
    corpus_args, model_args, args = parse_recipe(
        (CorpusArguments, AutoregressiveModelArguments, AutoregressiveTrainingArguments), argv
    )
    start_logging(args.should_log)
    if corpus_args.monolingual is not None:
        raise ValueError("This model learns from translations. Leave out monolingual.")
    refuse_references(corpus_args, "an autoregressive model")
    with holding_run(args, [corpus_args, model_args]) as parts:
        corpus = read_corpus(corpus_args)
        tokenizer = shared_tokenizer(model_args, corpus, args)
        prints = Fingerprints(
            corpus_fingerprint(corpus),
            tokenizer_fingerprint(tokenizer),
            init_fingerprint=folder_fingerprint(model_args.init),
        )
        if is_finished(args, parts, prints):
            return Path(args.output_dir)
        set_seed(args.seed)
        model = make_autoregressive_model(model_args, tokenizer)
        if model_args.init is not None:
            start_from(model, model_args.init)
        trainer = AutoregressiveTrainer(model, args, **encode_splits(corpus, corpus_args, model, tokenizer))
        return run_training(trainer, parts)


def make_autoregressive_model(args: ModelArguments, tokenizer: PreTrainedTokenizerBase) -> MarianMTModel:
    """
    A Marian model with fresh weights over a tokenizer of `<s> … </s>`: one table for source, target and output.

    Decoding starts with `<s>`, so that a generated sequence is `<s> … </s>` as in every model here; `</s>` ends it,
    and no other special token is ever written.
    """
    config = MarianConfig(
        vocab_size=len(tokenizer),
        d_model=args.d_model,
        encoder_layers=args.encoder_layers,
        decoder_layers=args.decoder_layers,
        encoder_attention_heads=args.attention_heads,
        decoder_attention_heads=args.attention_heads,
        encoder_ffn_dim=args.ffn_dim,
        decoder_ffn_dim=args.ffn_dim,
        dropout=args.dropout,
        activation_function="relu",
        scale_embedding=True,
        # Unit variance once scaled, as the sinusoids beside it; transformers' 0.02 is for wider models.
        init_std=args.d_model**-0.5,
        max_position_embeddings=args.max_position_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
        forced_eos_token_id=None,
        share_encoder_decoder_embeddings=True,
        tie_word_embeddings=True,
    )
    model = MarianMTModel(config)
    model.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        pad_token_id=config.pad_token_id,
        eos_token_id=config.eos_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        suppress_tokens=sorted(set(tokenizer.all_special_ids) - {config.eos_token_id}),
        max_length=args.max_position_embeddings,
        num_beams=5,
    )
    return model
