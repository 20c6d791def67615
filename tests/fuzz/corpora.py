# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Corpora, and text that users pass to a translator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.models import TINY_TEXTS, make_tokenizer, save_checkpoint
from tests.fuzz.mutations import ENCODINGS, damage_bytes, damage_json, damage_json_text, odd_text


WORDS = " ".join(TINY_TEXTS).split()


class TextCorpora:
    """A folder of `train.en`, `train.de`, one of them damaged; what is accepted is encoded."""

    name = "corpora"

    def prepare(self, folder: Path) -> None:
        self.tokenizer = make_tokenizer()

    def case(self, rng: Random, folder: Path) -> tuple[str, Callable[[], Any]]:
        lines = {side: [self._line(rng) for _ in range(12)] for side in ("en", "de")}
        side, what = rng.choice(("en", "de")), "clean"
        for language, texts in lines.items():
            (folder / f"train.{language}").write_bytes("".join(f"{text}\n" for text in texts).encode())
        path = folder / f"train.{side}"
        kind = rng.randrange(6)
        if kind == 0:
            encoding = what = rng.choice(ENCODINGS)
            path.write_bytes(path.read_text("utf-8").encode(encoding, "replace"))
        elif kind == 1:
            what, data = damage_bytes(rng, path.read_bytes())
            path.write_bytes(data)
        elif kind == 2:
            end = rng.choice((b"\r\n", b"\r", b"\n\r", b"\x85", "\u2028".encode(), b"\0", b"", b"\n\n"))
            what = f"line end {end!r}"
            path.write_bytes(path.read_bytes().replace(b"\n", end))
        elif kind < 5:
            what = "odd characters"
            lines[side][rng.randrange(12)] = odd_text(rng, WORDS)
            text = "".join(f"{line}\n" for line in lines[side])
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
        else:
            what = "missing" if rng.random() < 0.5 else "a folder"
            path.unlink()
            if what == "a folder":
                path.mkdir()
        drops = rng.random() < 0.3
        return f"{path.name}: {what}{', drop_bad_rows' if drops else ''}", lambda: self._read(folder, drops)

    @staticmethod
    def _line(rng: Random) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 9)))

    def _read(self, data: Any, drops: bool = False) -> None:
        from dims_hf.data import encode_corpus, load_corpus
        from dims_hf.models.source_text import is_blank

        rows = load_corpus(data, "en", "de", splits=("train",), drop_bad_rows=drops)["train"]
        texts = [*rows["source"], *rows["target"]]
        assert len(rows) and not any(is_blank(text) or "\0" in text or "\n" in text for text in texts), texts
        encode_corpus(
            rows, self.tokenizer, max_source_length=48, max_target_length=48, vocab_size=len(self.tokenizer),
            drop_too_long=True,
        )  # fmt: skip


class JsonCorpora(TextCorpora):
    """A JSONL file with a damaged row, or damaged bytes."""

    name = "JSONL"

    def case(self, rng: Random, folder: Path) -> tuple[str, Callable[[], Any]]:
        rows = [{"translation": {"en": self._line(rng), "de": self._line(rng)}, "near": 0} for _ in range(8)]
        lines = [json.dumps(row).encode() for row in rows]
        bad = rng.randrange(8)
        kind = rng.randrange(4)
        if kind == 0:
            what, changed = damage_json(rng, rows[bad], rng.randint(1, 2))
            lines[bad] = json.dumps(changed).encode()
        elif kind == 1:
            what, lines[bad] = damage_json_text(rng, json.dumps(rows[bad]))
        elif kind == 2:
            what = "odd characters"
            rows[bad]["translation"]["en"] = odd_text(rng, WORDS) + rng.choice(("", "\ud800"))
            lines[bad] = json.dumps(rows[bad], ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        data = b"\n".join(lines)
        if kind == 3:
            what, data = damage_bytes(rng, data)
        path = folder / "train.jsonl"
        path.write_bytes(data)
        place = rng.choice((path, folder, [path], {"train": path}))
        drops = rng.random() < 0.3
        return f"row {bad}: {what}", lambda: self._read(place, drops)


class Sources:
    """Files for `dims-hf translate`: a line of output for each of input, whatever the text."""

    name = "sources"

    def prepare(self, folder: Path) -> None:
        from dims_hf.translation import open_runtime

        save_checkpoint("cmlm", folder / "model")
        self.runtime = open_runtime(folder / "model")

    def case(self, rng: Random, folder: Path) -> tuple[str, Callable[[], Any]]:
        text = rng.choice(("\n", "\n", "\r\n", "\r")).join(odd_text(rng, WORDS) for _ in range(rng.randint(0, 8)))
        data, what = text.encode("utf-8", "surrogatepass"), "odd characters"
        if rng.random() < 0.3:
            what, data = damage_bytes(rng, data)
        elif rng.random() < 0.2:
            what = rng.choice(ENCODINGS)
            data = text.encode(what, "replace")
        path = folder / "source.txt"
        path.write_bytes(data)
        on_long = rng.choice(("error", "truncate", "split", "skip"))
        return f"{what}, on_long={on_long}", lambda: self._translate(path, on_long)

    def _translate(self, path: Path, on_long: str) -> None:
        from dims_hf._files import read_lines, stream_lines
        from dims_hf.translation import translate_texts

        with path.open("rb") as stream:
            lines = [line for group in stream_lines(stream, str(path)) for line in group]
        assert lines == read_lines(path)
        done = translate_texts(self.runtime, lines, on_long=on_long)
        assert len(done) == len(lines) and not any("<mask>" in each.text for each in done)
