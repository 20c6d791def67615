# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""How commands end: an error is one line, Ctrl-C and SIGTERM say how to go on, and children end with their parent."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dims_hf._output import why_disk_is_full


# import name -> extra of this package that installs it
_EXTRAS = {
    "accelerate": "train",
    "datasets": "train",
    "yaml": "train",
    "evaluate": "eval",
    "rich": "eval",
    "sacrebleu": "eval",
    "markdown_it": "documents",
    "matplotlib": "plot",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "ctranslate2": "benchmark",
    "fastapi": "serve",
    "gradio": "app",
    "uvicorn": "serve",
    "pyarrow": "train",
    "ray": "ray",
}

# Errors whose message tells what to mend; any other is a fault of ours, and named by its class too.
_FORESEEN = (ValueError, OSError, NotImplementedError, FloatingPointError)

_LAUNCHERS = (b"torchrun", b"torch.distributed", b"accelerate")
_PR_SET_PDEATHSIG = 1


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM; in all else as Ctrl-C."""


def run_command(command: Callable[[], int | None], *, debug: bool = False) -> int:
    """
    Runs a command to its end, whatever end that is.

    Args:
        command (`Callable`): returns an exit status; `None` is 0.
        debug (`bool`): let errors through, with their tracebacks.

    Returns:
        `int`: 0 on success, 2 for an error the user can mend, 1 for one we did not foresee, 130 after Ctrl-C, 143
        after SIGTERM.
    """
    try:
        with ending_gently():
            return command() or 0
    except KeyboardInterrupt as interrupt:
        _say_once(" ".join(str(interrupt).split()))
        return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)
    except BrokenPipeError:
        _forget_output()
        return 0
    except Exception as error:
        if why_disk_is_full(error):
            _forget_output()
        if debug:
            raise
        line, code = describe_error(error)
        _say(f"error: {line}")
        return code


def describe_error(error: Exception) -> tuple[str, int]:
    """An error in one line, and the exit status that goes with it."""
    text = " ".join(str(error).split())
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package in _EXTRAS:
        return f'{package} is not installed. Install it: pip install "dims-hf[{_EXTRAS[package]}]"', 2
    reason = why_disk_is_full(error)
    if reason is not None:
        name = getattr(error, "filename2", None) or getattr(error, "filename", None)  # of a copy, where it goes
        where = f" ({name})" if name else ""
        return f"The disk is full{where}: {reason}. Make room and run the command again.", 2
    # libraries say in errors of many classes what of theirs is not installed
    if isinstance(error, OSError) and text.startswith("[Errno") and error.filename is not None:
        return f"{_short(error.filename)}: {error.strerror}. Correct the path, or its permissions.", 2
    is_absent = "pip install" in text or (isinstance(error, ImportError) and "installed" in text)
    if text and (isinstance(error, _FORESEEN) or is_absent):
        return text, 2
    return f"{type(error).__name__}: {text or 'no message'} (`dims-hf --debug ...` shows where)", 1


def _short(name: object) -> str:
    """A name in a message, cut in the middle where it is as long as a name can be."""
    text = (os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)) or "A path without a name"
    return text if len(text) <= 300 else f"{text[:150]}…{text[-100:]}"


@contextmanager
def ending_gently() -> Iterator[None]:
    """While the block runs, SIGTERM raises [`Terminated`], so that files and children are left in order."""
    is_ours = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # whoever handles it already goes on doing so
    )
    if not is_ours:
        yield
        return
    signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise_terminated(*_: object) -> None:
    raise Terminated


@contextmanager
def saying_how_to_go_on(describe: Callable[[], str]) -> Iterator[None]:
    """An interrupt inside the block carries what is saved, and what the same command would do next."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if interrupt.args:  # an inner block knows better
            raise
        raise type(interrupt)(describe()) from None


def follow_launcher() -> None:
    """
    Ends this process when the launcher that started it (torchrun, accelerate) has ended, even by SIGKILL.

    Launchers forward SIGTERM to their children at best while they live. Linux only; elsewhere nothing happens.
    """
    parent = Path(f"/proc/{os.getppid()}/cmdline")
    if parent.is_file() and any(name in parent.read_bytes() for name in _LAUNCHERS):
        end_with_parent(os.getppid(), signal.SIGTERM)


def end_with_parent(parent: int, how: signal.Signals) -> None:
    """
    Sends this process a signal when its parent has ended, however that ended. Linux only; elsewhere nothing happens.

    Args:
        parent (`int`): process id of the parent; where it has ended already, so does this process.
        how (`signal.Signals`): the signal.
    """
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        os.kill(os.getpid(), how)


def _say_once(line: str) -> None:
    """What was interrupted, if there is more to say of it; of several processes, the first speaks for all."""
    if line and os.environ.get("RANK", "0") == "0":
        _say(f"interrupted: {line}")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _forget_output() -> None:
    """Where the reader (`| head`) has gone or the disk is full, the flush at exit must not complain as well."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
