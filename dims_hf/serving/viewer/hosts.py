# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Keeps a page to its own host: tags that name another are taken out, and the browser is told to refuse the rest."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any


Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' ws: wss:; worker-src 'self' blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
"""Content security policy: the page's own scripts are inline, in Gradio's way."""

_OUTSIDE = re.compile(
    r"""<(?:link|meta|img|iframe)\b[^<>]*?\b(?:href|src|content)\s*=\s*["'](?:https?:)?//[^<>]*>
    |<script\b[^<>]*?\bsrc\s*=\s*["'](?:https?:)?//[^<>]*>\s*</script>""",
    re.IGNORECASE | re.VERBOSE,
)


def without_outside_hosts(page: str) -> str:
    """
    A page without scripts, links, images and metadata that name a host.

    ```python
    >>> without_outside_hosts('<link href="https://a.b/c.css"><link href="./d.css"><script src="//e.f/g.js"></script>')
    '<link href="./d.css">'

    ```"""
    return _OUTSIDE.sub("", page)


class OwnHostOnly:
    """
    ASGI middleware over a whole application; streams that are no HTML pass through as they come.

    Args:
        app (`Callable`): the application.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Callable, send: Send) -> None:
        """Answers one request."""
        await self.app(scope, receive, _Rewriting(send) if scope["type"] == "http" else send)


class _Rewriting:
    """Sends an answer on; of HTML, only once it is complete, since a tag may be cut in two."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message["headers"], (b"content-security-policy", POLICY.encode())]
            kind = dict(message["headers"]).get(b"content-type", b"")
            self._start = {**message, "headers": headers}
            if kind.startswith(b"text/html"):
                return
            start, self._start = self._start, None
            await self._send(start)
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish()

    async def _finish(self) -> None:
        body = without_outside_hosts(self._body.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        start = self._start or {}
        headers = [(name, value) for name, value in start["headers"] if name != b"content-length"]
        await self._send({**start, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
        await self._send({"type": "http.response.body", "body": body})
        self._start, self._body = None, b""
