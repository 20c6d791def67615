# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A frozen autoregressive model beside the one in training, as the methods that learn from one use it.

Shapes: B batch, S source length, N target tokens, E embedding, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from dims_hf.data import check_same_tokenizer
from dims_hf.methods.full_masks import FullMaskOptions, FullMasks
from dims_hf.methods.options import option
from dims_hf.models import NATConfig
from dims_hf.models.modeling_translation import NATForConditionalGeneration
from dims_hf.objectives import ProjectedVocabulary, VocabularyProjection
from dims_hf.translation.loading import load_checkpoint, load_tokenizer


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Ids that both models must have in common, beside those of all other tokens.
_SPECIAL_IDS = ("bos_token_id", "pad_token_id", "eos_token_id")


@dataclass(frozen=True)
class AutoregressiveOptions(FullMaskOptions):
    """Settings of a method that learns from an autoregressive model."""

    autoregressive_teacher: str | None = option(
        None, help="Folder or Hub id of an autoregressive model with the same tokenizer; it stays as it is."
    )


class FromAutoregressive(FullMasks):
    """Methods that learn from a frozen autoregressive model, `self.teacher`, which is no part of what is trained."""

    # Attention backend that the loss needs of both models, if any will not do.
    attention: str | None = None

    def __init__(self, options: Any, config: NATConfig, *, num_updates: int = -1):
        super().__init__(options, config, num_updates=num_updates)
        self.teacher: AutoregressiveTeacher | None = None

    def configure(self, model: NATForConditionalGeneration) -> None:
        """As [`Method`]; loads the autoregressive model."""
        super().configure(model)
        if self.options.autoregressive_teacher is None:
            raise ValueError(
                "autoregressive_teacher is missing: this method learns from an autoregressive model. Name the folder "
                "of one, such as train_autoregressive makes with the same tokenizer."
            )
        self.teacher = AutoregressiveTeacher.load(self.options.autoregressive_teacher, self.config, self.attention)

    def check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Refuses a tokenizer that is not the autoregressive model's."""
        theirs = load_tokenizer(self.options.autoregressive_teacher)
        check_same_tokenizer(theirs, tokenizer)

    def read_teacher(self, device: torch.device) -> AutoregressiveTeacher:
        """The autoregressive model on a device."""
        assert self.teacher is not None, "configure() loads it"
        self.teacher.model.to(device)
        return self.teacher


class AutoregressiveTeacher:
    """
    An autoregressive model, in evaluation mode and without gradients of its own weights.

    Args:
        model (`PreTrainedModel`): encoder-decoder model of transformers whose logits are its last decoder states times
            a table, such as Marian or BART.

    Raises:
        ValueError: for a model whose logits are something else.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model.eval().requires_grad_(False)
        self.start_id: int = model.config.decoder_start_token_id
        head, bias = model.get_output_embeddings(), getattr(model, "final_logits_bias", None)
        self.projection = VocabularyProjection(head.weight, None, None if bias is None else bias.view(-1))
        self.embedding_scale = self._find_scale()

    @classmethod
    def load(cls, path: str, config: NATConfig, attention: str | None = None) -> AutoregressiveTeacher:
        """
        Loads a model and compares it with the configuration of the one in training.

        Raises:
            ValueError: where there is none, one of another vocabulary or kind, or one whose weights are missing,
                unexpected or not finite.
        """
        try:
            found = load_checkpoint(path)
        except ValueError as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"autoregressive_teacher={path} is no model that could be loaded ({reason}). Name the folder of one, "
                "such as train_autoregressive makes."
            ) from None
        if getattr(found.config, "mask_token_id", None) is not None:
            raise ValueError(
                f"autoregressive_teacher={path} is not autoregressive. Name a Marian, BART or mBART model with the "
                "same tokenizer, such as train_autoregressive makes."
            )
        for name in ("vocab_size", *_SPECIAL_IDS):
            ours, theirs = getattr(config, name), getattr(found.config, name)
            if ours != theirs:
                raise ValueError(
                    f"The autoregressive model differs in {name}: {theirs}, the model in training has {ours}. Train "
                    "both with one tokenizer (tokenizer: FOLDER)."
                )
        if attention is not None:
            found.set_attn_implementation(attention)
        return cls(found)

    def read(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, prefixes: torch.Tensor, **options: Any
    ) -> Any:
        """
        The model's output where its decoder reads `prefixes`, and predicts the token after each.

        Args:
            input_ids, attention_mask (`torch.Tensor` of shape `(B, S)`): sources.
            prefixes (`torch.Tensor` of shape `(B, N, E)`, or ids of shape `(B, N)`): the start token first.
            options: of the decoder, such as `output_hidden_states`.
        """
        # of the source alone; the decoder's pass needs a gradient to what it reads
        with torch.no_grad():
            encoded = self.model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask)
        name = "inputs_embeds" if prefixes.is_floating_point() else "input_ids"
        return self.model.get_decoder()(
            **{name: prefixes},
            encoder_hidden_states=encoded[0],
            encoder_attention_mask=attention_mask,
            use_cache=False,
            return_dict=True,
            **options,
        )

    def vocabulary(self, hidden_states: torch.Tensor) -> ProjectedVocabulary:
        """What it makes of its last decoder states (B, N, D)."""
        return ProjectedVocabulary(hidden_states, self.projection)

    @property
    def embedding(self) -> torch.Tensor:
        """Table (V, E) of what its decoder reads as embeddings in place of ids."""
        return self.model.get_decoder().get_input_embeddings().weight * self.embedding_scale

    @torch.no_grad()
    def _find_scale(self) -> float:
        """What rows of the table are to be multiplied by: the decoder does it, or the embedding, or nobody."""
        ids = torch.tensor([[self.start_id, self.model.config.eos_token_id]])
        mask = torch.ones_like(ids)
        expected = self.model(input_ids=ids, attention_mask=mask, decoder_input_ids=ids, use_cache=False).logits
        decoder = self.model.get_decoder()
        table = decoder.get_input_embeddings()
        for scale in (1.0, *(float(getattr(each, "embed_scale", 1.0)) for each in (decoder, table))):
            # tried instead of read from the configuration: families differ in who multiplies, and by what name
            states = self.read(ids, mask, table.weight[ids] * scale).last_hidden_state
            if torch.allclose(self.projection.project(states[0]), expected[0], rtol=1e-3, atol=1e-4):
                return scale
        raise ValueError(
            f"{type(self.model).__name__} computes its logits in another way than from its last decoder states and a "
            "table. Use a Marian, BART or mBART model."
        )
