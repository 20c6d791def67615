# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Settings of a server: which models serve which languages, and the limits of a request. Plain values, as JSON."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class LanguagePair:
    """
    One model of a server.

    Args:
        source, target (`str`): codes of its languages (ISO 639).
        model (`str`): folder of a checkpoint or of an export.
    """

    source: str
    target: str
    model: str


@dataclass(frozen=True)
class ServerSettings:
    """
    What a server process is told.

    Args:
        pairs (`tuple[LanguagePair, ...]`): models, one per pair of languages.
        threads (`int`, *optional*): processor threads of each model.
        max_characters (`int`): characters of a request, all texts together.
        max_texts (`int`): texts of a request.
        max_bytes (`int`): bytes of a request's body.
        requests_per_minute (`int`): of one client address, in each worker process; 0 = no limit.
        timeout (`float`): seconds until a request that is not translated yet is given up.
        max_batch (`int`): sentences that are translated together, from however many requests.
        max_wait (`float`): seconds that the first sentence of a batch waits for others.
        max_waiting (`int`): sentences that may wait; requests beyond are turned away at once.
        threshold (`float`, *optional*): confidence below which a sentence is translated again.
        fallback_iterations (`int`, *optional*): decoder passes of the second try.
        fallback_model (`str`, *optional*): folder of another model for the second try, of the only pair.

    Raises:
        ValueError: no model, two models for one pair, a limit below its least value, or a threshold without one way of
            trying again.
    """

    pairs: tuple[LanguagePair, ...]
    threads: int | None = None
    max_characters: int = 20_000
    max_texts: int = 500
    max_bytes: int = 2_000_000
    requests_per_minute: int = 0
    timeout: float = 30.0
    max_batch: int = 64
    max_wait: float = 0.005
    max_waiting: int = 10_000
    threshold: float | None = None
    fallback_iterations: int | None = None
    fallback_model: str | None = None

    def __post_init__(self) -> None:
        if not self.pairs:
            raise ValueError("A server needs a model. Pass --model FOLDER, or --model en-de=FOLDER.")
        names = [(pair.source, pair.target) for pair in self.pairs]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"There are two models for {'-'.join(name)}. Keep one of them.")
        least = {"requests_per_minute": 0, "max_wait": 0.0, "timeout": 0.001, "threshold": 0.0}
        for field in fields(self)[1:]:
            value, bound = getattr(self, field.name), least.get(field.name, 1)
            if isinstance(value, (int, float)) and not value >= bound:
                raise ValueError(f"{field.name} must be >= {bound}, got {value}.")
        self._check_second_try()

    def _check_second_try(self) -> None:
        ways = [way for way in (self.fallback_iterations, self.fallback_model) if way is not None]
        if len(ways) != (self.threshold is not None):
            raise ValueError(
                "A second try needs --threshold and one of --fallback-iterations and --fallback-model. Give both or "
                "neither."
            )
        if self.threshold is not None and self.threshold > 1:
            raise ValueError(f"threshold must be between 0 and 1, got {self.threshold}. It is a mean probability.")
        if self.fallback_model is not None and len(self.pairs) > 1:
            raise ValueError("One fallback model cannot serve several language pairs. Use --fallback-iterations.")

    def to_json(self) -> str:
        """For a worker process."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> ServerSettings:
        """What [`to_json`] wrote."""
        values = json.loads(text)
        return cls(**{**values, "pairs": tuple(LanguagePair(**pair) for pair in values["pairs"])})


def parse_pair(text: str) -> LanguagePair:
    """
    `en-de=FOLDER`, or `FOLDER` alone, whose languages its card names.

    Raises:
        ValueError: the folder does not exist, or nothing says which languages it translates.
    """
    named = re.fullmatch(r"([a-z]{2,3})-([a-z]{2,3})=(.+)", text)
    folder = Path(named[3] if named else text).expanduser()
    if not folder.is_dir():
        raise ValueError(f"There is no model folder {folder}. Give the folder of a checkpoint or of an export.")
    if named:
        return LanguagePair(named[1], named[2], str(folder))
    languages = _languages_of_card(folder)
    if len(languages) != 2:
        raise ValueError(f"{folder} does not say which two languages it translates. Pass --model en-de={folder}.")
    return LanguagePair(*languages, str(folder))


def _languages_of_card(folder: Path) -> list[str]:
    """Source and target as the metadata of the folder's `README.md` name them, in this order."""
    path = folder / "README.md"
    if not path.is_file():
        return []
    metadata = re.match(r"---\n.*?^language:\n((?:- \S+\n)+).*?^---\n", path.read_text(encoding="utf-8"), re.S | re.M)
    return re.findall(r"- (\S+)", metadata[1]) if metadata else []


def check_address(host: str, port: int) -> None:
    """
    Refuses an address that nobody can listen on, before a model is loaded.

    Args:
        host (`str`): name or address of this machine.
        port (`int`): 0 for any that is free.

    Raises:
        ValueError: the port is taken, or the address is not this machine's.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # as servers do: an address that was let go a moment ago is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ValueError(
            f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port, or another --host."
        ) from None
