# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Entry point of `dims-hf`: finds the subcommand and turns every error into one line."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence

from dims_hf._commands import follow_launcher, run_command


# name -> module with `main(argv)`, and what `dims-hf --help` says of it. Imported only when called.
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("dims_hf.cli.train", "train a teacher from a recipe"),
    "distill": ("dims_hf.cli.distill", "distil a teacher into a student that needs fewer passes"),
    "train-autoregressive": ("dims_hf.cli.train_autoregressive", "train a model to distil a corpus with"),
    "make-data": ("dims_hf.cli.make_data", "distil a corpus: an autoregressive model's translations as targets"),
    "translate": ("dims_hf.cli.translate", "translate arguments, a file or standard input"),
    "translate-corpus": ("dims_hf.cli.translate_corpus", "translate millions of sentences into shards"),
    "app": ("dims_hf.cli.app", "watch translations in a browser, pass by pass"),
    "serve": ("dims_hf.cli.serve", "translate over HTTP, for clients of LibreTranslate"),
    "evaluate": ("dims_hf.cli.evaluate", "score models on a test set"),
    "tune": ("dims_hf.cli.tune", "choose decoding rules on a validation set and store them with the model"),
    "average": ("dims_hf.cli.average", "average the weights of models that began with the same ones"),
    "benchmark": ("dims_hf.cli.benchmark", "measure speed against autoregressive peers"),
    "reproduce": ("dims_hf.cli.reproduce", "regenerate the paper's tables and figures on a corpus"),
    "export": ("dims_hf.cli.export", "write a folder that translates without torch"),
    "import-fairseq": ("dims_hf.cli.import_fairseq", "convert a fairseq checkpoint"),
    "doctor": ("dims_hf.cli.doctor", "say what this machine and this installation can do"),
    "phrasebook": ("dims_hf.cli.phrasebook", "show or write the embedded English-German corpus"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one subcommand.

    Args:
        argv (`Sequence[str]`, *optional*): words of the command line, defaults to `sys.argv[1:]`. `--debug` before the
            subcommand or as the last word shows tracebacks.

    Returns:
        `int`: 0 on success, 2 for an error the user can mend, 1 for one we did not foresee, 130 or 143 when
        interrupted.
    """
    words, debug = _take_debug(list(sys.argv[1:] if argv is None else argv))
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_usage())
        return 0 if words else 2
    follow_launcher()  # before the imports of a command, which take seconds
    return run_command(lambda: _find_command(words[0])(words[1:]), debug=debug)


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    # Only in these two places: `--debug VALUE` in between is an argument of the transformers Trainer.
    if words and words[0] == "--debug":
        return words[1:], True
    if words and words[-1] == "--debug":
        return words[:-1], True
    return words, False


def _usage() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return (
        f"usage: dims-hf [--debug] COMMAND ...\n\n{listed}\n\n"
        "`dims-hf COMMAND --help` lists a command's arguments. --debug, first or last, shows tracebacks.\n"
    )


def _find_command(name: str) -> Callable[[Sequence[str]], int | None]:
    if name == "--version":
        return _show_version
    if name not in COMMANDS:
        raise ValueError(f"Unknown command {name!r}. Commands: {', '.join(COMMANDS)}.")
    return importlib.import_module(COMMANDS[name][0]).main


def _show_version(_: Sequence[str]) -> None:
    from dims_hf import __version__

    sys.stdout.write(f"dims-hf {__version__}\n")


if __name__ == "__main__":
    sys.exit(main())
