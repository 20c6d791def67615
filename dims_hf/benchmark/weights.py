# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The models behind the systems: random weights of equal dimensions, or trained checkpoints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch

from dims_hf.benchmark.settings import DEEP, SIZES, BenchmarkSettings, Size
from dims_hf.benchmark.work import Dimensions
from dims_hf.benchmark.workloads import BOS, EOS, MASK, PAD, UNK
from dims_hf.models.capabilities import predicts_length
from dims_hf.reports.provenance import public_name
from dims_hf.translation.loading import load_config, load_model, resolve_model
from dims_hf.translation.sentences import collapses_repeats


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

OURS, MARIAN = "ours", "marian"

_MAX_POSITIONS = 512

# What `work` counts by formula.
_FAMILIES_WITH_FORMULA = ("cmlm", "cmlmc", "imputer", MARIAN)

# A layer norm of D coordinates writes none beyond sqrt(D - 1), 23 for D = 512, so that this outweighs any state.
_SURE_STATE, _SURE_WEIGHT = 32.0, 1000.0


@dataclass
class Weights:
    """
    One model, and how to get it.

    Args:
        name (`str`): in tables; layers of a random Marian model (`12-1`), empty for our random model.
        family (`str`): `"ours"` or `"marian"`.
        load (`Callable`): makes a new fp32 model on the CPU, and its tokenizer.
        is_random (`bool`): good for speed alone.
    """

    name: str
    family: str
    load: Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]]
    is_random: bool
    _cache: dict[Any, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def _facts(self) -> tuple[Any, PreTrainedTokenizerBase, bool]:
        """Configuration, tokenizer, and whether repeats are collapsed; the model itself is not kept."""
        model, tokenizer = self.load()
        return model.config, tokenizer, self.family == OURS and collapses_repeats(model)

    @property
    def config(self) -> Any:
        """Of the model."""
        return self._facts[0]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of the model."""
        return self._facts[1]

    @property
    def layers(self) -> str:
        """Encoder and decoder layers, `6-6`."""
        return f"{self.config.encoder_layers}-{self.config.decoder_layers}"

    @property
    def has_formula(self) -> bool:
        """Whether the operations of its family are known by formula; else a translation is run and counted."""
        return self.config.model_type in _FAMILIES_WITH_FORMULA

    @property
    def dimensions(self) -> Dimensions:
        """What decides its cost."""
        config = self.config
        return Dimensions(
            config.d_model,
            config.encoder_ffn_dim,
            config.encoder_layers,
            config.decoder_layers,
            config.vocab_size,
            decoder_ffn_dim=config.decoder_ffn_dim,
            has_correction=config.model_type == "cmlmc",
        )

    @property
    def predicts_length(self) -> bool:
        """Whether it predicts target lengths; Imputers do not, and have one candidate per sentence."""
        return predicts_length(self.config)

    @property
    def collapses_repeats(self) -> bool:
        """Whether a repeated token is dropped from its translations, as its generation config says; Marian's stay."""
        return self._facts[2]

    @property
    def tokens(self) -> list[str]:
        """The vocabulary, by id."""
        return self.tokenizer.convert_ids_to_tokens(list(range(self.config.vocab_size)))

    def make(self, forced_tokens: int | None) -> PreTrainedModel:
        """A new model to do with as one likes; random ones of ours predict translations of `forced_tokens`."""
        model, _ = self.load()
        if self.predicts_length and self.is_random and forced_tokens is not None:
            force_length(model, forced_tokens)
        return model

    def share(self, key: Any, make: Callable[[], Any]) -> Any:
        """What systems have in common, made once: those that differ in passes alone, say."""
        if key not in self._cache:
            self._cache[key] = make()
        return self._cache[key]

    def forget(self) -> None:
        """Lets go of everything shared."""
        self._cache.clear()


def make_weights(settings: BenchmarkSettings) -> list[Weights]:
    """
    The models of a benchmark, ours first; random Marian models are as deep as ours, and deep-shallow, or as the
    settings say.
    """
    if settings.models:
        weights = [_trained(place) for place in settings.models]
        twice = sorted(name for name, count in Counter(each.name for each in weights).items() if count > 1)
        if twice:
            raise ValueError(f"Several models are called {', '.join(twice)}. Rename a folder: tables show the name.")
        return weights
    size, seed = SIZES[settings.size], settings.seed
    named = settings.peers or (f"{size.layers}-{size.layers}", f"{2 * size.layers}-1")
    shapes = [tuple(map(int, peer.split("-"))) for peer in named]
    peers = [
        Weights(
            f"{shape[0]}-{shape[1]}",
            MARIAN,
            lambda shape=shape: (make_marian(size, *shape, seed), make_tokenizer(size)),
            True,
        )
        for shape in shapes
    ]
    ours = [
        Weights(
            "" if design == "cmlm" else design,
            OURS,
            lambda design=design: (make_ours(size, seed, design), make_tokenizer(size)),
            True,
        )
        for design in settings.designs
    ]
    return [*ours, *peers]


def make_ours(size: Size, seed: int, design: str = "cmlm") -> PreTrainedModel:
    """
    A model of ours with random weights; a CMLM is also what a DiMS student is.

    Args:
        size ([`Size`]): dimensions.
        seed (`int`): of the weights.
        design (`str`): a family, or `FAMILY-deep` for an encoder of `2 * layers` layers and a decoder of 2.
    """
    from dims_hf.models import MODELS

    family, is_deep = design.removesuffix(DEEP), design.endswith(DEEP)
    config_class, _, model_class = MODELS[family]
    config = config_class(
        encoder_layers=2 * size.layers if is_deep else size.layers,
        decoder_layers=2 if is_deep else size.layers,
        max_position_embeddings=_MAX_POSITIONS * getattr(config_class, "upsample_ratio", 1),
        **_common(size),
    )
    return _seeded(model_class, config, seed)


def make_marian(size: Size, encoder_layers: int, decoder_layers: int, seed: int) -> PreTrainedModel:
    """An autoregressive model with random weights over the same vocabulary."""
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        encoder_layers=encoder_layers,
        decoder_layers=decoder_layers,
        activation_function="relu",
        max_position_embeddings=_MAX_POSITIONS,
        decoder_start_token_id=BOS,
        forced_eos_token_id=None,
        share_encoder_decoder_embeddings=True,
        scale_embedding=True,
        **_common(size),
    )
    return _seeded(MarianMTModel, config, seed)


def make_tokenizer(size: Size) -> PreTrainedTokenizerBase:
    """Words `w5`, `w6`, … by id, for exporters that ask for a tokenizer."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    words = [*special, *(f"w{index}" for index in range(len(special), size.vocab_size))]
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", BOS), ("</s>", EOS)])
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), special))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **names)


def force_length(model: PreTrainedModel, num_tokens: int) -> None:
    """
    Sets weights so that the length predictor, which still runs, always says `num_tokens`: one coordinate of the last
    encoder state is large, and the length's class looks at it. Every runtime, exported ones too, then agrees.
    """
    if num_tokens + 2 >= min(model.config.max_target_length, model.config.max_position_embeddings):
        raise ValueError(
            f"{num_tokens} tokens are more than the models of the benchmark write. Choose shorter lengths."
        )
    with torch.no_grad():
        model.model.encoder.layers[-1].final_layer_norm.bias[0] = _SURE_STATE
        model.length_head.weight[:, 0] = 0.0
        model.length_head.weight[num_tokens + 2] = 0.0
        model.length_head.weight[num_tokens + 2, 0] = _SURE_WEIGHT


def _common(size: Size) -> dict[str, Any]:
    """What both configurations call by the same names."""
    sides = ("encoder", "decoder")
    return {
        "vocab_size": size.vocab_size,
        "d_model": size.d_model,
        **{f"{side}_attention_heads": size.heads for side in sides},
        **{f"{side}_ffn_dim": size.ffn_dim for side in sides},
        "dropout": 0.0,
        "bos_token_id": BOS,
        "pad_token_id": PAD,
        "eos_token_id": EOS,
        "unk_token_id": UNK,
        "mask_token_id": MASK,
    }


def _seeded(kind: type, config: Any, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind(config).eval()


def _trained(place: str) -> Weights:
    folder = resolve_model(place)
    config = load_config(folder)
    if config.model_type != MARIAN and not hasattr(config, "mask_token_id"):
        raise ValueError(f"{place} is a {config.model_type} model. The benchmark knows ours and Marian's.")
    family = MARIAN if config.model_type == MARIAN else OURS
    return Weights(public_name(place), family, lambda: load_model(folder, "cpu"), is_random=False)
