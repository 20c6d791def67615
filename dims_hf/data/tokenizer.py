# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Training, saving, comparing and fingerprinting the joint source-target subword tokenizer.

The file it writes is a plain `tokenizer.json`: `AutoTokenizer` loads it with no code of ours.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dims_hf._output import filling


if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.normalizers import Normalizer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""The five special tokens; their position is their id (0 to 4), as the model configs expect by default."""

BLANK_TOKEN = "<blank>"
"""The sixth special token (id 5) of tokenizers for models that write alignments."""

BYTE_TOKENS = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""Names of the 256 byte tokens, the spelling `tokenizers` looks up when `byte_fallback` is on."""

SPACE = "▁"
"""Stands for a blank inside a token (U+2581)."""

# From this size on, 256 byte tokens are a price worth paying for a vocabulary with no unknown characters.
BYTE_FALLBACK_MIN_VOCAB_SIZE = 4000

# Share of the running characters that get a token of their own when bytes can spell the rest.
CHARACTER_COVERAGE = 0.99999

# A group of more digits would cost ten times the tokens.
_MOST_DIGITS = 3

# First and last code points of ranges nobody sees.
_INVISIBLE = (
    (0x0000, 0x0008), (0x000E, 0x001F), (0x007F, 0x0084), (0x0086, 0x009F),  # controls that are no white space
    (0x00AD, 0x00AD), (0x034F, 0x034F),  # soft hyphen, grapheme joiner
    (0x061C, 0x061C), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0xFEFF, 0xFEFF),  # zero width, direction
    (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x3164, 0x3164), (0xFFA0, 0xFFA0),  # fillers
    (0xFE00, 0xFE0F), (0xFFF0, 0xFFFB), (0xFDD0, 0xFDEF),  # variation selectors, annotations, noncharacters
    *((plane | 0xFFFE, plane | 0xFFFF) for plane in range(0, 0xE0000, 0x10000)),  # noncharacters
    (0x13430, 0x1343F),  # controls of hieroglyphs
    (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A),  # controls of shorthand and music
    (0xE000, 0xF8FF), (0xE0000, 0x10FFFF),  # private use, tags
)  # fmt: skip

# White space beside Unicode's own: `▁`, which is a blank inside tokens, the braille blank, lost characters.
_BLANKS = "\u2581\u2800\ufffc\ufffd"

# Signs whose compatibility form says something else ("3½" is not "31⁄2", "m²" not "m2") or falls apart (lone accents).
_KEPT_SIGNS = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞²³¹⁰⁴⁵⁶⁷⁸⁹⁺⁻ⁿ₀₁₂₃₄₅₆₇₈₉ªº¨¯´¸˘˙˚˛˜˝…™℠№℃℉"

# Always tokens where bytes spell what is rare: users type them, however rare they are in a corpus.
USUAL_CHARACTERS = "".join(map(chr, range(0x21, 0x7F))) + "€£§°–—…„“”‚‘’«»"


def text_normalizer() -> Normalizer:
    """
    What happens to every text before it is cut into tokens; it is part of every `tokenizer.json` made here.

    Characters nobody sees go (controls, byte order marks, zero-width and bidirectional marks, soft hyphens, variation
    selectors, fillers, tags, private use). The rest is brought into Unicode form NFKC, as SentencePiece's `nmt_nfkc`
    does, but for signs whose compatibility form says something else ("½", "²", "…", "´"). White space of every kind
    (line feeds, tabs, no-break and ideographic spaces, runs of them, `▁`, the replacement character) becomes one
    blank, and none is left at either end. Text in NFC with single blanks and without such characters, which is nearly
    all clean text, stays as it is; what was changed is not brought back by decoding.
    """
    from tokenizers import Regex, normalizers

    # NFKC changes every character it knows; characters of private use, which are gone by then, stand in for some.
    kept = [(sign, chr(0xE000 + index)) for index, sign in enumerate(_KEPT_SIGNS)]
    invisible = "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in _INVISIBLE)
    return normalizers.Sequence(
        [
            normalizers.Replace(Regex(f"[{invisible}]"), ""),
            *(normalizers.Replace(sign, private) for sign, private in kept),
            normalizers.NFKC(),
            *(normalizers.Replace(private, sign) for sign, private in kept),
            normalizers.Replace(Regex(rf"[\s{_BLANKS}]+"), " "),
            normalizers.Strip(),
        ]
    )


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    *,
    kind: Literal["bpe", "unigram"] = "bpe",
    max_length: int = 256,
    byte_fallback: bool | None = None,
    with_blank: bool = False,
    max_digits: int | None = None,
    direction_tokens: Sequence[str] = (),
) -> PreTrainedTokenizerFast:
    """
    Trains one subword tokenizer for both languages.

    Text is normalised as [`text_normalizer`] says and blanks become `▁`; what the normaliser leaves as it is comes
    back exactly from `decode(encode(text), skip_special_tokens=True)`. The name of a special token in a text ("<s>" in
    HTML) is text like any other (where `tokenizers` reads the file without transformers, set its
    `encode_special_tokens = True`, which it does not store). Punctuation and numbers are separated from words, so
    "Haus." and "Haus" share their tokens. The same texts give the same tokenizer, in any process and on any number of
    threads.

    Args:
        texts (`Iterable[str]`):
            Sentences of both languages. Read once.
        vocab_size (`int`):
            Number of tokens wanted, with the five special tokens and the 256 byte tokens (if any). The result has
            fewer, with a warning, when the texts are too small to fill it: size the model by `len(tokenizer)`.
        kind (`str`, *optional*, defaults to `"bpe"`):
            `"bpe"` or `"unigram"`.
        max_length (`int`, *optional*, defaults to 256):
            Longest sequence of the model in tokens, with `<s>` and `</s>`; stored as `model_max_length`.
        byte_fallback (`bool`, *optional*):
            Spell characters that have no token by their UTF-8 bytes. Costs 256 tokens. When off, every character of
            `texts` has a token and any other becomes `<unk>`. Default: on if `vocab_size` is at least 4000.
        with_blank (`bool`, *optional*, defaults to `False`):
            Adds `<blank>`, with id 5, for models that write alignments.
        max_digits (`int`, *optional*):
            Cuts numbers into groups of at most so many digits, from the left, each of them a token (1,110 for 3), and
            the blank before a number into a token of its own. A model then copies numbers it has never seen. A group
            whose like follows is one digit shorter ("555555" is "55", "555", "5"), so that equal neighbours, which
            decoding may collapse, come up in numbers of eight and more digits only. Default: numbers are cut as their
            frequency says. For `"bpe"` only.
        direction_tokens (`Sequence[str]`, *optional*):
            Words that are one token each at the start of a source, such as ">>de<<"; the blank after one is its own.

    Returns:
        `PreTrainedTokenizerFast`: encodes to `<s> … </s>`; ids 0 to 4 are `<s> <pad> </s> <unk> <mask>`.

    Raises:
        `ValueError`: no text, an unknown `kind`, `max_digits` below 1 or for `"unigram"`, or a `vocab_size` too small
            for the alphabet.
    """
    if kind not in ("bpe", "unigram"):
        raise ValueError(f"Unknown tokenizer kind {kind!r}. Use 'bpe' or 'unigram'.")
    if max_digits is not None and (kind != "bpe" or not 1 <= max_digits <= _MOST_DIGITS):
        raise ValueError(f"max_digits={max_digits} must lie between 1 and {_MOST_DIGITS}, for kind='bpe'. Try 3.")
    if byte_fallback is None:
        byte_fallback = vocab_size >= BYTE_FALLBACK_MIN_VOCAB_SIZE
    # Sorting makes the result independent of the order the texts come in, too.
    texts = sorted(_normalize(texts))
    # (The unigram trainer keeps every character, whatever it is told.)
    alphabet = _alphabet(texts, coverage=CHARACTER_COVERAGE if byte_fallback and kind == "bpe" else 1.0)
    if byte_fallback and vocab_size >= BYTE_FALLBACK_MIN_VOCAB_SIZE:
        alphabet = sorted({*alphabet, *USUAL_CHARACTERS})
    groups = _digit_groups(max_digits)
    num_bytes = len(BYTE_TOKENS) if byte_fallback else 0
    num_added = len({*groups, *direction_tokens} - {*alphabet})
    specials = (*SPECIAL_TOKENS, BLANK_TOKEN) if with_blank else SPECIAL_TOKENS
    _check_vocab_size(vocab_size, len(specials), len(alphabet), num_bytes, num_added)
    tokenizer = _untrained(kind, max_digits)
    trainer = _trainer(kind, vocab_size - num_bytes - num_added, alphabet, specials)
    with _single_threaded():
        # Without numbers where every group of digits has its token anyway.
        words = [re.sub("[0-9]+", " ", text) for text in texts] if groups else texts
        tokenizer.train_from_iterator(words, trainer=trainer, length=len(words))
    if kind == "unigram":
        tokenizer = _with_canonical_scores(tokenizer, len(specials))
    if groups:
        tokenizer = _with_digit_groups(tokenizer, groups)
    if byte_fallback:
        tokenizer = _with_byte_tokens(tokenizer, len(specials))
    tokenizer.add_tokens(_direction_tokens(direction_tokens))
    size = tokenizer.get_vocab_size()
    if size < vocab_size:
        logger.warning(
            "The texts fill only %d of the %d tokens asked for; the tokenizer has %d.", size, vocab_size, size
        )
    return _wrap(tokenizer, max_length)


def _normalize(texts: Iterable[str]) -> list[str]:
    normalizer = text_normalizer()
    normalized = [normalizer.normalize_str(text) for text in texts]
    if not any(normalized):
        raise ValueError("There is no text to train a tokenizer on. Pass the sentences of both languages.")
    return normalized


def _alphabet(texts: list[str], coverage: float) -> list[str]:
    """The most frequent characters that together make up `coverage` of the text, and `▁`; ties by code point."""
    counts = Counter("".join(texts))
    # blanks are `▁` inside tokens
    counts.pop(" ", None)
    wanted, covered, kept = coverage * sum(counts.values()), 0, {SPACE}
    # by code point among equals, since a counter keeps the order of the texts
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if covered >= wanted:
            break
        kept.add(character)
        covered += count
    return sorted(kept)


def _check_vocab_size(vocab_size: int, num_specials: int, alphabet_size: int, num_bytes: int, num_added: int) -> None:
    smallest = num_specials + num_bytes + alphabet_size + num_added
    if vocab_size < smallest:
        parts = f"{num_specials} special tokens, {num_bytes} byte tokens and {alphabet_size} characters"
        if num_added:
            parts += f", and {num_added} groups of digits and direction tokens,"
        raise ValueError(
            f"vocab_size={vocab_size} is too small: {parts} need at least {smallest}. Raise vocab_size"
            + (", or set byte_fallback=False." if num_bytes else " (byte_fallback=True covers rare characters).")
        )


def _digit_groups(max_digits: int | None) -> list[str]:
    """All numbers of one to `max_digits` digits, short ones first."""
    sizes = range(1, (max_digits or 0) + 1)
    return ["".join(digits) for size in sizes for digits in product("0123456789", repeat=size)]


def _with_digit_groups(tokenizer: Tokenizer, groups: list[str]) -> Tokenizer:
    """Adds every group of digits, made of a shorter one and a digit on either side of it."""
    from tokenizers import Tokenizer

    spec = json.loads(tokenizer.to_str())
    model = spec["model"]
    for group in groups:
        model["vocab"].setdefault(group, len(model["vocab"]))
    longer = [group for group in groups if len(group) > 1]
    # shorter groups first: a merge can only use tokens that there are by then
    model["merges"] += [[group[:-1], group[-1]] for group in longer]
    # Of "200", "00" may have been merged first.
    model["merges"] += [[group[0], group[1:]] for group in longer if len(group) > 2]
    return Tokenizer.from_str(json.dumps(spec))


def _direction_tokens(words: Sequence[str]) -> list[AddedToken]:
    from tokenizers import AddedToken

    # `rstrip`: the blank after it belongs to it
    return [AddedToken(word, rstrip=True, normalized=False) for word in words]


def _piece_pattern(max_digits: int | None) -> str:
    """
    What becomes a piece of its own, together with the blank before it: a run of the same punctuation mark or symbol, a
    run of digits, an apostrophe that is not between two letters ("don't" stays whole). Runs are not cut further
    because decoding may collapse equal neighbours: "..." or "2000" must be able to become one token.
    """
    # number of the capturing group that repeated marks refer back to
    digits, number = "", 1
    if max_digits is not None:
        number = 2
        shorter = rf"|[0-9]{{1,{max_digits - 1}}}" if max_digits > 1 else ""
        full = rf"([0-9]{{{max_digits}}})" + (r"(?!\1)" if max_digits > 1 else "")
        digits = f"{full}{shorter}|{SPACE}(?=[0-9])|"
    marks = rf"([\p{{P}}\p{{S}}&&[^{SPACE}'’]])\{number}*|(?<!\p{{L}})['’]+|['’]+(?!\p{{L}})"
    return rf"{digits}{SPACE}?(?:{marks}|\p{{N}}+)|[^\S ]"


def _untrained(kind: str, max_digits: int | None = None) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>") if kind == "bpe" else models.Unigram())
    tokenizer.normalizer = text_normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always"),
            pre_tokenizers.Split(Regex(_piece_pattern(max_digits)), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement=SPACE, prepend_scheme="always")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def _trainer(kind: str, vocab_size: int, alphabet: list[str], specials: tuple[str, ...]) -> Any:
    from tokenizers import AddedToken, trainers

    special_tokens = [AddedToken(token, special=True, normalized=False) for token in specials]
    if kind == "unigram":
        return trainers.UnigramTrainer(
            vocab_size=vocab_size,
            special_tokens=special_tokens,
            unk_token="<unk>",
            initial_alphabet=alphabet,
            show_progress=False,
        )
    # With a limit equal to the given alphabet, `tokenizers` drops all other characters (and never has to break ties).
    return trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special_tokens,
        min_frequency=2,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Keeps `tokenizers` on one thread: sums of floats in a fixed order are what makes unigram training repeatable."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _with_canonical_scores(tokenizer: Tokenizer, num_specials: int) -> Tokenizer:
    """
    Removes what is left to chance in a trained unigram model: the last digits of the scores, the order of equal ones,
    and the steps of 0.0001 that `tokenizers` gives in random order to characters it had to add back at the end.
    """
    from tokenizers import Tokenizer

    spec = json.loads(tokenizer.to_str())
    specials, pieces = spec["model"]["vocab"][:num_specials], spec["model"]["vocab"][num_specials:]
    # what was added back at the end has scores just above the lowest
    lowest = min(score for _, score in pieces)
    added_back_below = lowest + 1e-4 * (sum(len(piece) == 1 for piece, _ in pieces) + 1)
    canonical = [
        [piece, round(lowest if len(piece) == 1 and score <= added_back_below else score, 6)]
        for piece, score in pieces
    ]
    # as the trainer orders them, equals by their text
    canonical.sort(key=lambda item: (-item[1], item[0]))
    spec["model"]["vocab"] = specials + canonical
    return Tokenizer.from_str(json.dumps(spec))


def _with_byte_tokens(tokenizer: Tokenizer, first: int) -> Tokenizer:
    """Inserts the byte tokens behind the special tokens. (As tokens of the trainer they would count as special.)"""
    from tokenizers import Tokenizer

    spec = json.loads(tokenizer.to_str())
    model = spec["model"]
    model["byte_fallback"] = True
    if model["type"] == "Unigram":
        # The score is never compared: byte tokens are taken only for a character no other token covers.
        model["vocab"][first:first] = [[token, -100.0] for token in BYTE_TOKENS]
    else:
        # by id, so that all ids after the special tokens move up alike
        tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
        tokens[first:first] = BYTE_TOKENS
        model["vocab"] = {token: index for index, token in enumerate(tokens)}
    return Tokenizer.from_str(json.dumps(spec))


def _wrap(tokenizer: Tokenizer, max_length: int) -> PreTrainedTokenizerFast:
    from transformers import PreTrainedTokenizerFast

    names = ("bos_token", "pad_token", "eos_token", "unk_token", "mask_token")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_input_names=["input_ids", "attention_mask"],
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        # `<s>` in a text is text
        split_special_tokens=True,
        **dict(zip(names, SPECIAL_TOKENS, strict=True)),
    )


def add_blank(tokenizer: PreTrainedTokenizerBase) -> None:
    """Adds `<blank>` as the last token to a tokenizer that has none."""
    from tokenizers import AddedToken

    if BLANK_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(BLANK_TOKEN, special=True, normalized=False)], special_tokens=True)


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, directory: str | os.PathLike[str]) -> None:
    """
    Saves a tokenizer so that every transformers release can load it.

    transformers 5 writes a class name that 4.x does not know (`TokenizersBackend`); it is replaced by
    `PreTrainedTokenizerFast`, which both load. Tokenizers with code of their own keep their class. Every file is moved
    into place when all are complete, `tokenizer.json` last.
    """
    sides = (tokenizer, getattr(tokenizer, "source_tokenizer", None))
    for backend in filter(None, (getattr(side, "backend_tokenizer", None) for side in sides)):
        # Traces of earlier calls with padding= or truncation= would be stored and applied by other readers.
        backend.no_padding()
        backend.no_truncation()
    with filling(Path(directory), ".tokenizer.", last="tokenizer.json") as partial:
        tokenizer.save_pretrained(partial)
        _clean_config(partial / "tokenizer_config.json")


def _clean_config(path: Path) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
    # Where this copy was read from says nothing to its next reader.
    config.pop("is_local", None)
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_same_tokenizer(
    teacher_tokenizer: PreTrainedTokenizerBase, student_tokenizer: PreTrainedTokenizerBase
) -> None:
    """
    Checks that two tokenizers give the same ids to the same text: same tokens, merges or scores, normalizer,
    pre-tokenizer and post-processor. (Of a tokenizer in Python code, only the tokens can be compared.)

    Raises:
        `ValueError`: naming the first id whose tokens differ, with both tokens and both sizes; or, when all tokens
            agree, what else differs.
    """
    theirs, ours = (getattr(each, "source_tokenizer", None) for each in (teacher_tokenizer, student_tokenizer))
    if theirs is not None and ours is not None:
        check_same_tokenizer(theirs, ours)
    elif theirs is not ours:
        raise ValueError(
            "Only one of teacher and student has a source tokenizer of its own, that of a pre-trained encoder. Use a "
            "teacher and a student with the same encoder."
        )
    teacher, student = _tokens(teacher_tokenizer), _tokens(student_tokenizer)
    fix = "Use the teacher's tokenizer for the student (the one saved in the teacher's folder)."
    # the first id that differs tells more than two sizes
    for index in range(max(len(teacher), len(student))):
        left = teacher[index] if index < len(teacher) else None
        right = student[index] if index < len(student) else None
        if left != right:
            raise ValueError(
                f"The student's tokenizer does not match the teacher's: id {index} is {_show(left)} in the teacher's "
                f"vocabulary ({len(teacher)} tokens) and {_show(right)} in the student's ({len(student)} tokens). "
                f"{fix}"
            )
    if tokenizer_fingerprint(teacher_tokenizer) != tokenizer_fingerprint(student_tokenizer):
        raise ValueError(
            f"The student's tokenizer has the teacher's {len(teacher)} tokens but other merges or scores, so the same "
            f"text would get other ids. {fix}"
        )
    rules = zip(_rules(teacher_tokenizer).items(), _rules(student_tokenizer).values())
    different = [name for (name, left), right in rules if left != right]
    if different:
        raise ValueError(
            f"The student's tokenizer has the teacher's {len(teacher)} tokens but another {' and '.join(different)}, "
            f"so the same text would get other ids. {fix}"
        )


def _rules(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What happens to text before and after it is cut into tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    spec = {} if backend is None else json.loads(backend.to_str())
    return {name: spec.get(name) for name in ("normalizer", "pre_tokenizer", "post_processor")}


def _show(token: str | None) -> str:
    return "missing" if token is None else repr(token)


def _tokens(tokenizer: PreTrainedTokenizerBase) -> list[str | None]:
    """Token of every id, `None` where an id is not used."""
    ids = {index: token for token, index in tokenizer.get_vocab().items()}
    return [ids.get(index) for index in range(max(ids, default=-1) + 1)]


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Twelve hexadecimal digits that change with any token, id, merge or unigram score of the tokenizer."""
    parts: list[Any] = [_tokens(tokenizer)]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        model = json.loads(backend.to_str())["model"]
        # releases of tokenizers write them as text or as pairs
        merges = model.get("merges") or []
        parts.append([merge.split(" ") if isinstance(merge, str) else merge for merge in merges])
        if model["type"] == "Unigram":
            parts.append(model["vocab"])
    source = getattr(tokenizer, "source_tokenizer", None)
    if source is not None:
        parts.append(tokenizer_fingerprint(source))
    return hashlib.sha256(json.dumps(parts, ensure_ascii=True).encode()).hexdigest()[:12]
