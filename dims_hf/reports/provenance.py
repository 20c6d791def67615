# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Where a number comes from: command, commit, versions, hardware, weights; nothing private of this machine in it."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dims_hf._machine import installed_version, usable_cores


_PACKAGES = ("dims_hf", "torch", "transformers", "tokenizers", "sacrebleu")

# Names whose values are nobody else's business, and what a token of the Hub, of GitHub or of others looks like.
_SECRET_NAME = re.compile(
    r"(^|^-+|(hub|auth|access|api|bearer|refresh|session|hf|huggingface|git(hub|lab)?|wandb|user)[_-])token$|"
    r"(^|[_-])(secret|password|passwd|credentials?|(api|access|private)[_-]?key)$",
    re.IGNORECASE,
)
_SECRET_TEXT = re.compile(
    r"\b(hf_|gh[pousr]_|github_pat_|glpat-|npm_|pypi-|sk-|xox[abeprs]-|AKIA|AIza|eyJ)[\w.-]{8,}"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
    r"|(?:(?<=[?&]token=)|(?<=[?&]key=))[^&\s]+"
    r"|(?i:(?<=bearer )[\w.~+/-]{8,})"
)
# A path inside a sentence; slashes between words and in addresses of the web begin none.
_PATH_IN_TEXT = re.compile(r"(?<![\w.~:/-])~?(?:/[^\s/:,;'\"()<>\[\]]+){2,}/?")
MASKED = "<masked>"

_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin", "*.onnx")


def provenance(*, seed: int | None = None) -> dict[str, Any]:
    """Everything about this process that a reader needs to run it again.

    Args:
        seed (`int`, *optional*): the seed the run was given.

    Returns:
        `dict[str, Any]`: `command`, `git_commit` (`None` outside a checkout; ends in `+changes` when files differ from
        it), `seed`, `hardware`, `num_threads`, `python`, `versions`, `created` (UTC).
    """
    torch = _torch()
    return {
        "command": _command(sys.argv),
        "git_commit": git_commit(),
        "seed": seed,
        "hardware": hardware(),
        "num_threads": usable_cores() if torch is None else torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := installed_version(name))},
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def public_name(place: str) -> str:
    """A path's last part, and a Hub id as it is; where it lay on this machine tells a reader nothing."""
    path = Path(place).expanduser()
    # Not `resolve`: a link has the name its user knows.
    return path.absolute().name if path.exists() else _last_part(place)


def public(value: Any) -> Any:
    """
    A nested value as it may be published: secrets masked, paths of this machine cut to their last part.

    Args:
        value (`Any`): of mappings, sequences, text, numbers and `None`; paths become text.
    """
    if isinstance(value, Mapping):
        return {
            name: MASKED if each and _is_secret_name(name) and isinstance(each, str) else public(each)
            for name, each in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [public(each) for each in value]
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return _last_part(_SECRET_TEXT.sub(MASKED, value)) if isinstance(value, str) else value


def public_text(text: str) -> str:
    """A sentence, such as an error's, as [`public`], wherever secrets and paths stand in it."""
    return _PATH_IN_TEXT.sub(lambda match: os.path.basename(match[0].rstrip("/")), _SECRET_TEXT.sub(MASKED, text))


def weights_checksum(place: str | os.PathLike[str]) -> dict[str, str]:
    """
    SHA-256 of every weight file of a checkpoint folder, as `sha256sum` prints it; of a Hub id, those in the cache.

    Returns:
        `dict[str, str]`: file name to hexadecimal digest; empty where there is no such file.
    """
    folder = Path(place).expanduser()
    if not folder.is_dir():
        folder = _cached_folder(str(place)) or folder
    found = (sorted(folder.glob(pattern)) for pattern in _WEIGHT_FILES)
    files = next((paths for paths in found if paths), [])
    return {path.name: file_checksum(path) for path in files}


def file_checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _cached_folder(model_id: str) -> Path | None:
    """Where the Hub's cache has a model that was loaded just now."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(model_id, "config.json")
    return Path(path).parent if isinstance(path, str) else None


def hardware() -> str:
    """The processor, its core count, and the accelerators in one line."""
    cores = usable_cores()
    parts, torch = [f"{processor_name()}, {cores} core{'s' * (cores != 1)}"], _torch()
    if torch is not None and torch.cuda.is_available():
        parts += [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return " + ".join(parts)


def _torch() -> Any:
    """torch where this process has it: exported models run without, and then it says nothing of a result."""
    return sys.modules.get("torch")


def git_commit() -> str | None:
    """Commit of the checkout this package runs from, or `None` when it does not run from one."""
    folder = Path(__file__).resolve().parent
    # an installed package may lie in somebody else's repository, which then does not track this file
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/")
    return f"{commit}+changes" if commit and changes else commit


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _command(argv: Sequence[str]) -> str:
    """The command line, without secrets; of paths on this machine, also after `=`, the last part."""
    words, follows_secret = [], False
    for word in argv:
        name, equals, value = word.partition("=")
        is_secret = name.startswith("-") and _is_secret_name(name)
        words.append(MASKED if follows_secret else f"{name}={MASKED}" if is_secret and equals else _public_word(word))
        follows_secret = is_secret and not equals
    return shlex.join(words)


def _public_word(word: str) -> str:
    return "=".join(map(_last_part, _SECRET_TEXT.sub(MASKED, word).split("=")))


def _is_secret_name(name: object) -> bool:
    return isinstance(name, str) and _SECRET_NAME.search(name) is not None


def _last_part(word: str) -> str:
    is_on_this_machine = os.path.isabs(word) or word.startswith("~")
    return os.path.basename(word.rstrip("/")) if is_on_this_machine else word


def processor_name() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
