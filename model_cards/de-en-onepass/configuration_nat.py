# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Configuration fields that every non-autoregressive translation model shares; one subclass per model family."""

from dataclasses import fields
from typing import TYPE_CHECKING, ClassVar

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig


PIPELINE_IMPL = "pipeline_translation.NATTranslationPipeline"


# What no model has is an accident, and building it would fill the memory or never end.
_BOUNDS = {
    "vocab_size": (1, 2**24),
    "d_model": (1, 2**16),
    "encoder_layers": (0, 1000),
    "decoder_layers": (1, 1000),
    "encoder_ffn_dim": (1, 2**20),
    "decoder_ffn_dim": (1, 2**20),
    "max_position_embeddings": (1, 2**20),
}
# Of every other size that a family has.
_LARGEST = 2**24


@strict
class NATConfig(PreTrainedConfig):
    r"""
    Base configuration of a non-autoregressive encoder-decoder. Field names follow BART's.

    Args:
        vocab_size (`int`): size of the joint source/target vocabulary, special tokens included.
        d_model (`int`): width of embeddings, layers and hidden states.
        encoder_layers, decoder_layers (`int`): number of post-norm Transformer layers.
        encoder_attention_heads, decoder_attention_heads (`int`): heads; each must divide `d_model`.
        encoder_ffn_dim, decoder_ffn_dim (`int`): inner width of the feed-forward sublayers.
        dropout, attention_dropout, activation_dropout (`float`): drop probabilities in [0, 1].
        activation_function (`str`): name in transformers' `ACT2FN`.
        max_position_embeddings (`int`): longest sequence in tokens, `<s>` and `</s>` included; position tables have
            two more rows (offset of fairseq: row 1 is padding, the k-th token uses row k + 1).
        scale_embedding (`bool`): multiply token embeddings by sqrt(d_model).
        initializer_range (`float`): standard deviation of the normal initialisation of all matrices and tables.
        mask_token_id (`int`): id of the mask state. Imported fairseq checkpoints use `unk_token_id`.
        suppress_special_tokens (`bool`): never predict `<s>`, `<pad>`, `</s>` or the mask inside a sentence. Imported
            fairseq checkpoints keep the reference's freedom (`False`: only the mask is excluded).
        legacy_mask_logit (`float`, *optional*): value that replaces the mask's logit in every decoder output; -1000 in
            the reference implementation (kept for imported checkpoints), `None` leaves the logits alone.
        update_all_positions (`bool`): whether every decoding pass re-predicts all content positions (models trained to
            correct themselves) or only the masked ones.
        masks_alone (`bool`): whether the model was trained (last) on masks alone, so that targets that are partly
            shown are foreign to it: it decodes in one pass.
        empty_token_id (`int`, *optional*): id of a token that stands for nothing: decoding predicts it like others and
            drops it as it collapses repeats; a special token of the tokenizer. Of families that predict a length (AXE,
            Ghazvininejad et al. 2020).
        pretrained_encoder (`dict`, *optional*): configuration of an encoder of transformers that reads the source in
            the place of our own, as [`warm_start_encoder`] writes it; it has a vocabulary of its own, and
            `encoder_layers`, `encoder_attention_heads` and `encoder_ffn_dim` are then its own.
    """

    keys_to_ignore_at_inference = ["encoder_last_hidden_state", "decoder_last_hidden_state", "length_logits"]
    attribute_map = {
        "num_attention_heads": "encoder_attention_heads",
        "hidden_size": "d_model",
        "num_hidden_layers": "encoder_layers",
    }
    # Subclasses name their classes for `auto_map`: {"AutoConfig": "module.Class", ...}.
    remote_code_map: ClassVar[dict[str, str]] = {}
    # What a family can do, as code asks for it: whether it predicts the length of a translation (`predict_length`,
    # `max_target_length`), whether it writes alignments with blanks (`blank_token_id`), and its key in `STRATEGIES`.
    predicts_length = False
    writes_alignments = False
    decoding_strategy = ""
    # Whether a pass leaves no masks, so that later ones read all that it wrote, and whether each position then sees
    # only what was surer than itself.
    fills_all = False
    shows_in_order = False
    # Whether decoding is one pass by construction, with nothing that a second one could read.
    makes_one_pass = False

    vocab_size: int = 32000
    d_model: int = 512
    encoder_layers: int = 6
    decoder_layers: int = 6
    encoder_attention_heads: int = 8
    decoder_attention_heads: int = 8
    encoder_ffn_dim: int = 2048
    decoder_ffn_dim: int = 2048
    dropout: float | int = 0.1
    attention_dropout: float | int = 0.0
    activation_dropout: float | int = 0.0
    activation_function: str = "relu"
    max_position_embeddings: int = 1024
    scale_embedding: bool = True
    initializer_range: float = 0.02
    suppress_special_tokens: bool = True
    legacy_mask_logit: float | int | None = None
    update_all_positions: bool = False
    masks_alone: bool = False
    empty_token_id: int | None = None
    pretrained_encoder: dict | None = None
    if TYPE_CHECKING:
        bos_token_id: int = 0
        pad_token_id: int = 1
        eos_token_id: int = 2
        mask_token_id: int = 4
    else:
        # What is no id is refused by `_check_token_id`, with the advice that the validator of `strict` does not give.
        bos_token_id: int | None = 0
        pad_token_id: int | None = 1
        eos_token_id: int | list[int] | None = 2
        mask_token_id: int | None = 4
    unk_token_id: int | None = 3
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs) -> None:
        # The installed package serves `pipeline("translation")` through the registry and needs no trust; only the copy
        # of this file that travels with a checkpoint keeps the entry that makes transformers ask for it.
        if not __name__.startswith("transformers_modules."):
            kwargs.pop("custom_pipelines", None)
        super().__post_init__(**kwargs)
        self._check_values()

    def _check_values(self) -> None:
        for name, (least, most) in _BOUNDS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"{name}={value} is not between {least} and {most}. Correct config.json.")
        self._check_names_and_sizes()
        for side in ("encoder", "decoder"):
            heads = getattr(self, f"{side}_attention_heads")
            if side == "encoder" and self.pretrained_encoder is not None:
                continue  # of another width
            if heads < 1 or self.d_model % heads:
                raise ValueError(
                    f"d_model={self.d_model} is not divisible by {side}_attention_heads={heads}. "
                    "Choose a number of heads that divides d_model."
                )
        for name in ("bos_token_id", "pad_token_id", "eos_token_id", "mask_token_id"):
            self._check_token_id(name)
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not a probability. Choose a value in [0, 1].")

        if self.empty_token_id is not None:
            self._check_empty_token()
        for name in ("model_type", "vocab_size"):
            if self.pretrained_encoder is not None and name not in self.pretrained_encoder:
                raise ValueError(f"pretrained_encoder lacks {name}. Correct config.json.")

    def _check_names_and_sizes(self) -> None:
        """Refuses a function that is none, and a number of a family's own that no memory holds."""
        if self.activation_function not in ACT2FN:
            raise ValueError(
                f"activation_function={self.activation_function!r} is no function of transformers. Use relu or gelu."
            )
        ours, theirs = ({each.name for each in fields(kind)} for kind in (type(self), PreTrainedConfig))
        for name in sorted(ours - theirs):
            value = getattr(self, name)
            if isinstance(value, int) and not name.endswith("_token_id") and abs(value) > _LARGEST:
                raise ValueError(f"{name}={value} is beyond {_LARGEST}, which no machine has room for. Correct it.")

    def _check_empty_token(self) -> None:
        if not self.predicts_length:
            raise ValueError(
                f"empty_token_id={self.empty_token_id} has no effect on models of type {self.model_type}, which "
                "predict no length. Leave it out."
            )
        self._check_token_id("empty_token_id")
        for name in ("bos_token_id", "pad_token_id", "eos_token_id", "mask_token_id"):
            if getattr(self, name) == self.empty_token_id:
                raise ValueError(
                    f"empty_token_id={self.empty_token_id} is also {name}. Give the empty token an id of its own."
                )

    def _check_token_id(self, name: str) -> None:
        token_id = getattr(self, name)
        if not isinstance(token_id, int) or not 0 <= token_id < self.vocab_size:
            raise ValueError(
                f"{name}={token_id} is not an id of a vocabulary of {self.vocab_size} tokens. "
                f"Set {name} to the tokenizer's id, or vocab_size to len(tokenizer)."
            )

    @property
    def max_source_length(self) -> int:
        """Longest source in tokens, `<s>` and `</s>` included."""
        return self.max_position_embeddings

    @property
    def source_vocab_size(self) -> int:
        """Rows of the table that sources are looked up in: a pre-trained encoder has one of its own."""
        return self.vocab_size if self.pretrained_encoder is None else self.pretrained_encoder["vocab_size"]

    def to_dict(self) -> dict:
        """Adds what lets a checkpoint load, and `pipeline("translation")` run, where this package is not installed."""
        output = super().to_dict()
        if self.remote_code_map:
            output["auto_map"] = dict(self.remote_code_map)
            output["custom_pipelines"] = {
                "translation": {"impl": PIPELINE_IMPL, "pt": ["AutoModelForSeq2SeqLM"], "type": "text"}
            }
        return output


@strict
class LengthPredictionConfig(NATConfig):
    r"""
    Configuration of the families that predict target lengths; all other fields are those of [`NATConfig`].

    Args:
        max_target_length (`int`): number of length classes; class c means c target tokens with `<s>` and `</s>`.
        length_loss_weight (`float`): weight of the length cross-entropy in the loss that `forward` returns.
    """

    predicts_length = True
    decoding_strategy = "mask_predict"

    max_target_length: int = 256
    length_loss_weight: float | int = 0.1

    def _check_values(self) -> None:
        super()._check_values()
        if self.max_target_length < 4:
            raise ValueError(
                f"max_target_length={self.max_target_length} has no class for a token between <s> and </s>. Use 256."
            )


__all__ = ["LengthPredictionConfig", "NATConfig"]
