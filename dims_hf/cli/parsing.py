# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The parser of the subcommands: its errors are exceptions."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn


class CommandParser(argparse.ArgumentParser):
    """`argparse` without abbreviations, raising `ValueError` so that a wrong command line is one line too."""

    def __init__(self, command: str, description: str) -> None:
        super().__init__(
            prog=f"dims-hf {command}",
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )

    def parse_words(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse a command line; dashes and underscores in the name of an option are the same, as in recipes."""
        parts = [word.partition("=") if word.startswith("--") else ("", "", word) for word in words]
        return self.parse_args([name.replace("_", "-") + equals + rest for name, equals, rest in parts])

    def add_place(self) -> None:
        """Add what all commands that translate with models of torch need: device, precision, consent to their code."""
        self.add_argument("--device", help="torch device; the first GPU, else the CPU, when not given")
        self.add_argument(
            "--dtype", help="float32, bfloat16 or float16; on a CPU float32, elsewhere the checkpoint's when not given"
        )
        self.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the model")

    def add_decoding(self) -> argparse._ArgumentGroup:
        """Add the group of options that say how one pass or several are decoded, and return it for more of them."""
        decoding = self.add_argument_group("decoding", "What is not given is as the model's own settings say.")
        decoding.add_argument("--num-iterations", type=int, help="decoder passes")
        decoding.add_argument("--length-beam-size", type=int, help="target lengths tried")
        decoding.add_argument("--length-score-weight", type=float, help="weight of a length's own probability")
        decoding.add_argument("--repeat-penalty", type=float, help="what two equal neighbours cost, inf forbids them")
        decoding.add_argument(
            "--keep-repeats", action="store_true", help="keep a token that equals its right neighbour"
        )
        decoding.add_argument("--max-tokens-per-batch", type=int, help="tokens decoded at once, padding counted")
        return decoding

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise ValueError(f"{message}. `{self.prog} --help` lists the arguments.")
