# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""
Translates with an exported folder; needs numpy, onnxruntime and tokenizers only.

    python onnx_translator.py FOLDER < source.txt > translation.txt

Shapes: B batch, S source length, T target length (with `<s>` and `</s>`), K length candidates, R = B·K rows,
C ids of a shortlist.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np


# The attention operator of 1.20 loses the mask of rows after the first.
OLDEST_RUNTIME = (1, 21)


class OnnxTranslator:
    """
    Translator over the graphs of `dims-hf export`.

    Args:
        folder (`str` or `os.PathLike`): what the export wrote.
        threads (`int`, *optional*): threads of ONNX Runtime; as many as it likes when `None`.
        shortlist (`bool`, *optional*): of an export with a shortlist, use it; `False`: the whole vocabulary, exactly.

    Raises:
        FileNotFoundError: `folder` holds no export.
        ValueError: ONNX Runtime is too old.

    ```python
    translator = OnnxTranslator("student-onnx")
    translator.translate(["A cat sleeps."])
    ```"""

    def __init__(self, folder: str | os.PathLike[str], threads: int | None = None, *, shortlist: bool = True) -> None:
        self.folder = Path(folder)
        if not (self.folder / "export.json").is_file():
            raise FileNotFoundError(f"{folder} holds no export.json. Give a folder that `dims-hf export` wrote.")
        self.description: dict[str, Any] = json.loads((self.folder / "export.json").read_text(encoding="utf-8"))
        self.settings: dict[str, Any] = self.description["settings"]
        self._sessions = {name: self._open(file, threads) for name, file in self.description["graphs"].items()}
        self._shortlist: dict[str, np.ndarray] | None = None
        if shortlist and "shortlist" in self.description:
            with np.load(self.folder / self.description["shortlist"]["file"]) as arrays:
                self._shortlist = dict(arrays)

    @cached_property
    def tokenizer(self) -> Any:
        """The model's tokenizer, with neither padding nor truncation."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.folder / "tokenizer.json"))
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def _open(self, file: str, threads: int | None) -> Any:
        import onnxruntime

        version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
        if version < OLDEST_RUNTIME:
            raise ValueError(
                f"onnxruntime {onnxruntime.__version__} gives wrong translations of batches. "
                f"Install {'.'.join(map(str, OLDEST_RUNTIME))} or newer: pip install -U onnxruntime"
            )
        options = onnxruntime.SessionOptions()
        # Inputs with defaults are meant to be overridden, which the runtime would warn of.
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(str(self.folder / file), options, providers=["CPUExecutionProvider"])

    def translate(
        self,
        sources: Sequence[str],
        *,
        batch_tokens: int = 4096,
        num_iterations: int | None = None,
        length_beam_size: int | None = None,
    ) -> list[str]:
        """
        Translates sentences, in the order given.

        Args:
            sources (`Sequence[str]`): source sentences, none blank.
            batch_tokens (`int`): padded tokens per batch, every length candidate counted. A longer sentence is a batch
                of its own.
            num_iterations (`int`, *optional*): decoder passes; those of the model's generation config when `None`.
            length_beam_size (`int`, *optional*): length candidates per sentence; as above when `None`.

        Raises:
            ValueError: a blank or overlong source (named by its row), or a number below 1.
        """
        if batch_tokens < 1:
            raise ValueError(f"batch_tokens must be >= 1, got {batch_tokens}. The default is 4096.")
        rows = self.encode(sources)
        translations = [""] * len(rows)
        num_candidates = length_beam_size or self.settings["length_beam_size"]
        for batch in _batches([len(row) for row in rows], max(1, batch_tokens // num_candidates)):
            input_ids, attention_mask = self.pad([rows[index] for index in batch])
            sequences, _ = self.generate(
                input_ids, attention_mask, num_iterations=num_iterations, length_beam_size=length_beam_size
            )
            for index, text in zip(batch, self.decode(sequences)):
                translations[index] = text
        return translations

    def encode(self, sources: Sequence[str]) -> list[list[int]]:
        """Token ids `<s> … </s>` of every source, refused by row when blank or longer than the position table."""
        if isinstance(sources, str):
            raise ValueError("sources is one string. Pass a list of sentences, [source] for a single one.")
        for row, source in enumerate(sources):
            if not isinstance(source, str) or not source.strip():
                raise ValueError(f"sources[{row}] is blank: {source!r}. Remove the row, or give it a sentence.")
        rows = [encoding.ids for encoding in self.tokenizer.encode_batch(list(sources))]
        limit = self.settings["max_position_embeddings"]
        for row, token_ids in enumerate(rows):
            if len(token_ids) > limit:
                raise ValueError(
                    f"sources[{row}] has {len(token_ids)} tokens, the model takes at most {limit}. Split or drop the "
                    "sentence."
                )
        return rows

    def pad(self, rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Right-pads token ids to `input_ids` (B, S) and `attention_mask` (B, S), 1 = token."""
        input_ids = np.full((len(rows), max(map(len, rows))), self.settings["pad_token_id"], np.int64)
        attention_mask = np.zeros_like(input_ids)
        for index, row in enumerate(rows):
            input_ids[index, : len(row)] = row
            attention_mask[index, : len(row)] = 1
        return input_ids, attention_mask

    def listed_ids(self, input_ids: np.ndarray) -> dict[str, np.ndarray]:
        """
        Inputs of the graphs that say which target ids they look at; none where the export has no shortlist.

        Args:
            input_ids (`np.ndarray` of shape `(B, S)`): int64.

        Returns:
            `dict`: `vocabulary_ids` (C,), all that some sentence may use, and `is_listed` (B, C), those that each
            sentence may: its own, so that a translation does not depend on its batch.
        """
        if "shortlist" not in self.description:
            return {}
        is_listed = np.zeros((len(input_ids), self.settings["vocab_size"]), np.bool_)
        if self._shortlist is None:
            is_listed[:] = True
        else:
            # Padding names nothing but itself, which is written always or never.
            is_listed[np.arange(len(input_ids))[:, None, None], self._shortlist["by_source"][input_ids]] = True
            is_listed[:, self._shortlist["always"]] = True
        ids = np.flatnonzero(is_listed.any(axis=0))
        num_padding = -len(ids) % self.description["shortlist"]["multiple_of"]
        is_listed = np.pad(is_listed[:, ids], ((0, 0), (0, num_padding)))
        return {"vocabulary_ids": np.pad(ids, (0, num_padding)), "is_listed": is_listed}

    def decode(self, sequences: np.ndarray) -> list[str]:
        """Text of sequences (B, T), repeats collapsed where the model's generation config says so."""
        rows = map(_collapse, sequences) if self.settings["collapse_repeats"] else sequences
        return [self.tokenizer.decode(row.tolist(), skip_special_tokens=True) for row in rows]

    def generate(
        self,
        input_ids: np.ndarray,
        attention_mask: np.ndarray,
        *,
        num_iterations: int | None = None,
        length_beam_size: int | None = None,
        target_lengths: np.ndarray | None = None,
        with_scores: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Best candidate of each sentence of a batch, as the model's `generate()` gives it before repeats are collapsed.

        Args:
            input_ids, attention_mask (`np.ndarray` of shape `(B, S)`): int64; 1 for tokens.
            num_iterations, length_beam_size (`int`, *optional*): as for [`translate`].
            target_lengths (`np.ndarray` of shape `(B,)`, *optional*): content tokens of each translation instead of
                the predicted length; excludes `length_beam_size > 1`.
            with_scores (`bool`): whether the scores are needed; without them one pass takes a little less time.

        Returns:
            `tuple`: sequences (B, T), right-padded, and scores (B,): mean log-probabilities, with a shortlist
            normalised over its ids alone.

        Raises:
            ValueError: for a number below 1, or more than one pass with a graph of one pass.
        """
        given = {"num_iterations": num_iterations, "length_beam_size": length_beam_size}
        for name, value in given.items():
            given[name] = self.settings[name] if value is None else value
            if given[name] < 1:
                raise ValueError(f"{name} must be >= 1, got {value}.")
        num_iterations, num_candidates = given.values()
        if target_lengths is not None and num_candidates > 1:
            raise ValueError("target_lengths fix the length. Use length_beam_size=1 with them, or leave them out.")
        offsets = np.arange(num_candidates) - num_candidates // 2
        listed = self.listed_ids(input_ids)
        if "model" in self._sessions:
            if num_iterations > 1:
                raise ValueError(
                    f"This export decodes in one pass, num_iterations={num_iterations} was asked for. "
                    f"Export the model again with --num-iterations {num_iterations}."
                )
            lengths = np.zeros(1, np.int64) if target_lengths is None else np.asarray(target_lengths, np.int64)
            needs_scores = np.array(with_scores or num_candidates > 1)
            inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "length_offsets": offsets}
            inputs |= {"target_lengths": lengths, "with_scores": needs_scores, **listed}
            sequences, scores = self._sessions["model"].run(["sequences", "scores"], inputs)
        else:
            decoder = _IterativeDecoder(self._sessions, self.settings, input_ids, attention_mask, listed)
            sequences, scores = decoder.run(offsets, num_iterations, target_lengths)
        # Candidates ascend in length: with a stable order, ties go to the shorter one.
        order = np.argsort(-scores.reshape(-1, num_candidates), axis=1, kind="stable")[:, 0]
        best = order + np.arange(len(order)) * num_candidates
        is_used = (sequences[best] != self.settings["pad_token_id"]).any(axis=0)
        return sequences[best, : np.flatnonzero(is_used)[-1] + 1], scores[best]


class _IterativeDecoder:
    """Mask-predict over one encoded batch; sentences that no pass can change any more leave it."""

    def __init__(
        self,
        sessions: dict,
        settings: dict,
        input_ids: np.ndarray,
        attention_mask: np.ndarray,
        listed: dict[str, np.ndarray],
    ) -> None:
        self.settings, self.session = settings, sessions["decoder"]
        encoder = sessions["encoder"]
        names = [output.name for output in encoder.get_outputs()]
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        self.encoded = dict(zip(names, encoder.run(names, inputs)))
        self.predicted = self.encoded.pop("lengths")
        # Those of the whole batch stay when a sentence leaves it; everything else is by sentence.
        self.shared = {name: value for name, value in listed.items() if name == "vocabulary_ids"}
        by_sentence = {name: value for name, value in listed.items() if name not in self.shared}
        self.encoded |= {"attention_mask": attention_mask, **by_sentence}

    def run(
        self, offsets: np.ndarray, num_iterations: int, target_lengths: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sequences (R, T) and scores (R,) of all candidates."""
        bounds = self.settings["shortest_length"], self.settings["longest_length"]
        lengths = (self.predicted[:, None] + offsets).clip(*bounds)
        if target_lengths is not None:
            lengths = np.asarray(target_lengths, np.int64)[:, None] + 2
        self.num_candidates = lengths.shape[1]
        lengths = lengths.reshape(-1)
        tokens, is_content = self._templates(lengths)
        hypotheses, scores, is_masked = tokens.copy(), np.zeros(tokens.shape, np.float32), is_content
        num_content = is_content.sum(axis=1)
        for num_passes in range(1, num_iterations + 1):
            is_updated = self._positions_to_update(tokens, is_content, is_masked)
            if not is_updated.any():
                break
            predictions, log_probs = self._predict(tokens, lengths, is_updated)
            before, had_masks = tokens, is_masked.any()
            hypotheses[is_updated], scores[is_updated] = predictions, log_probs
            num_left = num_content * (num_iterations - num_passes) // num_iterations
            is_masked = _lowest(scores, is_content, num_left)
            tokens = np.where(is_masked, self.settings["mask_token_id"], hypotheses)
            if not had_masks and (before == tokens).all():
                break
        return hypotheses, scores.sum(axis=1) / lengths.astype(np.float32)

    def _templates(self, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`<s> mask … mask </s> pad …` (R, T), and which positions are masks."""
        columns, last = np.arange(lengths.max()), lengths[:, None] - 1
        is_content = (columns > 0) & (columns < last)
        ids = {name: self.settings[f"{name}_token_id"] for name in ("bos", "eos", "pad", "mask")}
        tokens = np.where(is_content, ids["mask"], np.where(columns == last, ids["eos"], ids["pad"]))
        tokens[:, 0] = ids["bos"]
        return tokens.astype(np.int64), is_content

    def _positions_to_update(self, tokens: np.ndarray, is_content: np.ndarray, is_masked: np.ndarray) -> np.ndarray:
        if not self.settings["update_all_positions"]:
            return is_masked
        # A special token inside a sentence, which only imported models predict, stays unless it is masked again.
        special = [self.settings[f"{name}_token_id"] for name in ("bos", "eos", "pad")]
        return is_content & ~np.isin(tokens, special)

    def _predict(
        self, tokens: np.ndarray, lengths: np.ndarray, is_updated: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and log-probabilities of the updated positions, in row-major order."""
        by_sentence = is_updated.reshape(-1, self.num_candidates * is_updated.shape[1])
        keep = by_sentence.any(axis=1)
        rows = np.repeat(keep, self.num_candidates)
        inputs = {name: value if keep.all() else value[keep] for name, value in self.encoded.items()}
        inputs |= self.shared
        inputs |= {"tokens": tokens[rows], "lengths": lengths[rows], "positions": np.flatnonzero(is_updated[rows])}
        return self.session.run(["predictions", "log_probs"], inputs)


def _lowest(scores: np.ndarray, is_eligible: np.ndarray, num_selected: np.ndarray) -> np.ndarray:
    """The `num_selected` (R,) eligible positions with the lowest scores of each row; ties go to the leftmost."""
    order = np.argsort(np.where(is_eligible, scores, np.inf), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(order.shape[1]), order.shape), axis=1)
    return (ranks < num_selected[:, None]) & is_eligible


def _collapse(row: np.ndarray) -> np.ndarray:
    """Drops every token that equals its right neighbour."""
    return row[np.append(row[:-1] != row[1:], True)]


def _batches(sizes: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices grouped by size, longest first, so that rows × longest row stays within the budget."""
    order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    while order:
        count = max(1, budget // sizes[order[0]])
        yield order[:count]
        order = order[count:]


def _read_lines() -> list[str]:
    """Lines of standard input; they end at a line feed only."""
    lines = [line.strip("\r") for line in sys.stdin.buffer.read().decode("utf-8").split("\n")]
    return lines if lines[-1] else lines[:-1]


def main(argv: Sequence[str] | None = None) -> int:
    """Translates standard input line by line; blank lines stay blank."""
    parser = argparse.ArgumentParser(description="Translate standard input, one sentence per line.")
    parser.add_argument("folder", help="what `dims-hf export` wrote")
    parser.add_argument("--threads", type=int, help="threads of ONNX Runtime")
    parser.add_argument("--num-iterations", type=int, help="decoder passes; the model's own number when not given")
    parser.add_argument("--length-beam-size", type=int, help="target lengths tried; as above")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="tokens decoded at once, padding counted")
    parser.add_argument(
        "--no-shortlist", dest="shortlist", action="store_false", help="consider the whole vocabulary, exactly"
    )
    options = vars(parser.parse_args(argv))
    try:
        translator = OnnxTranslator(options.pop("folder"), options.pop("threads"), shortlist=options.pop("shortlist"))
        lines = _read_lines()
        rows = [row for row, line in enumerate(lines) if line.strip()]
        for row, text in zip(rows, translator.translate([lines[row] for row in rows], **options)):
            lines[row] = text
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.buffer.write("".join(" ".join(line.split()) + "\n" for line in lines).encode("utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
