# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A pre-trained encoder's tokenizer for sources: its vocabulary trimmed to a corpus, and joined with the target's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dims_hf.models.tokenization_source_target import SourceTargetTokenizer

from .tokenizer import SPACE, SPECIAL_TOKENS, USUAL_CHARACTERS


if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

_BATCH_SIZE = 4096

# What a tokenizer of transformers calls `<s> <pad> </s> <unk> <mask>`, in our order.
_ROLES = ("cls_token", "pad_token", "sep_token", "unk_token", "mask_token")

# Kinds of tokenizers whose unused tokens can go without another cut of any text that does not use them.
_KINDS = ("WordPiece", "BPE", "Unigram")


def join_tokenizers(
    encoder_tokenizer: PreTrainedTokenizerBase, target_tokenizer: PreTrainedTokenizerBase, sources: Sequence[str]
) -> SourceTargetTokenizer:
    """
    One tokenizer that reads sources as a pre-trained encoder does, and reads and writes targets by another.

    Args:
        encoder_tokenizer (`PreTrainedTokenizerBase`): the encoder's, a fast one; trimmed by [`trim_tokenizer`].
        target_tokenizer (`PreTrainedTokenizerBase`): the target's, such as [`train_tokenizer`] makes.
        sources (`Sequence[str]`): training sources, which are cut into the same tokens as before.

    Raises:
        ValueError: for a tokenizer that cannot be trimmed, or a target's whose special tokens have other ids than 0
            to 4.
    """
    names = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
    ids = tuple(getattr(target_tokenizer, f"{name}_id") for name in names)
    if ids != tuple(range(len(SPECIAL_TOKENS))):
        raise ValueError(
            f"The target tokenizer has the ids {ids} for {' '.join(SPECIAL_TOKENS)}, which a source tokenizer could "
            "not share. Use one made by train_tokenizer, whose ids are 0 to 4."
        )
    return SourceTargetTokenizer(
        tokenizer_object=target_tokenizer.backend_tokenizer,
        source_tokenizer_object=trim_tokenizer(encoder_tokenizer, sources),
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=target_tokenizer.model_max_length,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
        **{name: str(getattr(target_tokenizer, name)) for name in names},
    )


def trim_tokenizer(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tokenizer:
    """
    A tokenizer with the tokens that some texts need, and those of usual characters, so that other texts can be spelt.

    The texts are cut into the same tokens as before: what decides between two cuts (the longest match of WordPiece,
    the order of BPE's merges, the scores of a unigram model) does not depend on tokens that are not used. Ids are new:
    `<s> <pad> </s> <unk> <mask>`, by whatever name, are 0 to 4, and the others follow in their order. A text becomes
    `<s> … </s>`.

    Args:
        tokenizer (`PreTrainedTokenizerBase`): a fast tokenizer (WordPiece, BPE or unigram) of a masked language model.
        texts (`Sequence[str]`): what it must cut as before.

    Raises:
        ValueError: for a tokenizer that has no such file, is of another kind or lacks one of the special tokens.
    """
    from tokenizers import Tokenizer

    spec = _specification(tokenizer)
    specials = _special_tokens(tokenizer)
    used = _used_tokens(spec, texts)
    kept = _kept_tokens(spec, used, specials, {*"".join(texts), *"".join(texts).lower(), *USUAL_CHARACTERS})
    spec["model"] = _trimmed_model(spec, kept)
    ids = {token: index for index, token in enumerate(kept)}
    added = [each for each in spec["added_tokens"] if each["content"] in ids]
    spec["added_tokens"] = sorted(
        ({**each, "id": ids[each["content"]], "special": each["content"] in specials} for each in added),
        key=lambda each: each["id"],
    )
    spec["post_processor"] = _sentence_template(specials[0], specials[2])
    if spec["model"]["type"] == "Unigram":
        spec["normalizer"] = _without_names(spec["normalizer"], specials)
    return Tokenizer.from_str(json.dumps(spec))


def _specification(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What `tokenizer.json` holds, without padding and truncation."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError("The encoder's tokenizer has no tokenizer.json. Only fast tokenizers can be trimmed.")
    spec = {**json.loads(backend.to_str()), "padding": None, "truncation": None}
    kind = spec["model"]["type"]
    if kind not in _KINDS:
        raise ValueError(
            f"The encoder's tokenizer is a {kind} model, which is not trimmed here. Known: {', '.join(_KINDS)}."
        )
    return spec


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    named = {role: getattr(tokenizer, role, None) for role in _ROLES}
    missing = [role for role, token in named.items() if token is None]
    if missing:
        raise ValueError(
            f"The encoder's tokenizer has no {' and no '.join(missing)}. Take the encoder of a masked language model "
            "(BERT, RoBERTa, …) with its own tokenizer."
        )
    return [str(token) for token in named.values()]


def _used_tokens(spec: dict[str, Any], texts: Sequence[str]) -> set[str]:
    from tokenizers import Tokenizer

    full = Tokenizer.from_str(json.dumps(spec))
    # "[SEP]" in a text is text, in training as in translating
    full.encode_special_tokens = True
    ids: set[int] = set()
    for start in range(0, len(texts), _BATCH_SIZE):
        for encoding in full.encode_batch(list(texts[start : start + _BATCH_SIZE]), add_special_tokens=False):
            ids.update(encoding.ids)
    tokens = map(full.id_to_token, ids)
    return {token for token in tokens if token is not None}


def _kept_tokens(
    spec: dict[str, Any], used: set[str], specials: Sequence[str], characters: Iterable[str]
) -> list[str]:
    """Tokens by their new ids: special ones first, the others in their old order."""
    model, characters = spec["model"], set(characters)
    old = _vocabulary(spec)
    if model["type"] == "BPE":
        # Single characters are where merges begin; of byte-level models there are 256.
        wanted = {token for token in old if len(token) == 1 or (token[:3] == "<0x" and model.get("byte_fallback"))}
        wanted = _with_parts(used | wanted, model)
    else:
        prefix = model.get("continuing_subword_prefix") or SPACE
        wanted = used | {token for token in old if token.removeprefix(prefix) in characters} | {SPACE}
    return [*specials, *(token for token in old if token in wanted and token not in specials)]


def _vocabulary(spec: dict[str, Any]) -> list[str]:
    """All tokens by their old ids."""
    vocab = spec["model"]["vocab"]
    ids = dict(vocab) if isinstance(vocab, dict) else {token: index for index, (token, _) in enumerate(vocab)}
    ids |= {each["content"]: each["id"] for each in spec["added_tokens"]}
    return sorted(ids, key=ids.__getitem__)


def _with_parts(tokens: set[str], model: dict[str, Any]) -> set[str]:
    """Tokens, and all that BPE merges on the way to them."""
    merges = list(_merges(model))
    known = set(tokens)
    while True:
        parts = {part for left, right, whole in merges if whole in known for part in (left, right)}
        if parts <= known:
            return known
        known |= parts


def _merges(model: dict[str, Any]) -> Iterable[tuple[str, str, str]]:
    """Both parts and the whole of each merge, in their order."""
    prefix = model.get("continuing_subword_prefix") or ""
    for merge in model["merges"]:
        left, right = merge.split(" ") if isinstance(merge, str) else merge
        yield left, right, left + right.removeprefix(prefix)


def _trimmed_model(spec: dict[str, Any], kept: Sequence[str]) -> dict[str, Any]:
    model = dict(spec["model"])
    if model["type"] == "Unigram":
        scores = dict(map(tuple, model["vocab"]))
        # Unknown characters cost what they did, which follows from the lowest score.
        lowest = min(scores.values())
        num_specials = len(SPECIAL_TOKENS)
        model["vocab"] = [
            [token, lowest if index < num_specials else scores.get(token, lowest)] for index, token in enumerate(kept)
        ]
        model["unk_id"] = SPECIAL_TOKENS.index("<unk>")
        return model
    model["vocab"] = {token: index for index, token in enumerate(kept)}
    if model["type"] == "BPE":
        known = set(kept)
        model["merges"] = [[left, right] for left, right, whole in _merges(model) if {left, right, whole} <= known]
    return model


def _without_names(normalizer: dict[str, Any] | None, specials: Sequence[str]) -> dict[str, Any]:
    """
    A normalizer that also breaks the names of special tokens with a blank: a unigram model takes any text that is in
    its vocabulary for that token, where others have no way to write one.
    """
    breaks = [
        {"type": "Replace", "pattern": {"String": name}, "content": f"{name[0]} {name[1:]}"} for name in specials
    ]
    return {"type": "Sequence", "normalizers": [*([] if normalizer is None else [normalizer]), *breaks]}


def _sentence_template(begin: str, end: str) -> dict[str, Any]:
    """Post-processor that makes `<s> … </s>` of a text."""

    def special(token: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": 0}}

    def text(name: str) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": 0}}

    ids = {begin: SPECIAL_TOKENS.index("<s>"), end: SPECIAL_TOKENS.index("</s>")}
    return {
        "type": "TemplateProcessing",
        "single": [special(begin), text("A"), special(end)],
        "pair": [special(begin), text("A"), special(end), text("B"), special(end)],
        "special_tokens": {token: {"id": token, "ids": [index], "tokens": [token]} for token, index in ids.items()},
    }
