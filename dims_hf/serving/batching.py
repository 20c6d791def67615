# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Dynamic batching: sentences of requests that arrive together are translated together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar


Translated = TypeVar("Translated")


class QueueFull(Exception):
    """More sentences wait than the server was told to keep."""


class _Waiting(NamedTuple):
    texts: list[str]
    result: asyncio.Future[list]


class Batcher(Generic[Translated]):
    """
    Translates texts of concurrent requests in common batches, in the order they came.

    A request that is given up (its future is cancelled) before its batch starts is left out of it. One thread
    translates; models are not asked twice at a time.

    Args:
        translate (`Callable`): texts to translations, one each; what it raises reaches the requests of its batch.
        max_batch (`int`): texts of a batch; a request with more is a batch of its own.
        max_wait (`float`): seconds that a batch waits for more, once it has begun.
        max_waiting (`int`): texts that may wait.
    """

    def __init__(
        self, translate: Callable[[list[str]], list[Translated]], *, max_batch: int, max_wait: float, max_waiting: int
    ) -> None:
        self._translate, self._max_batch, self._max_wait, self._max_waiting = (
            translate,
            max_batch,
            max_wait,
            max_waiting,
        )
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._held: _Waiting | None = None
        # one thread: models are not made to be called by several
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="translate")
        self._task: asyncio.Task[None] | None = None
        self.num_waiting = 0

    def start(self) -> None:
        """Begins to work, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Ends after the batch at hand; requests that still wait are cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        waiting = [self._held] if self._held else []
        while not self._queue.empty():
            waiting.append(self._queue.get_nowait())
        for request in waiting:
            request.result.cancel()
        self._executor.shutdown(wait=True)

    async def translate(self, texts: Sequence[str]) -> list[Translated]:
        """
        Translations of `texts`, in their order.

        Raises:
            QueueFull: too many texts wait.
        """
        if not texts:
            return []
        # a request longer than the queue is taken when the queue is empty, else it could never be
        if self.num_waiting + len(texts) > max(self._max_waiting, len(texts)):
            raise QueueFull
        request = _Waiting(list(texts), asyncio.get_running_loop().create_future())
        self.num_waiting += len(texts)
        self._queue.put_nowait(request)
        return await request.result

    async def _work(self) -> None:
        while True:
            batch = await self._next_batch()
            if batch:
                await self._run(batch)

    async def _next_batch(self) -> list[_Waiting]:
        """The next requests that fit into one batch and are still wanted."""
        # what did not fit into the last batch comes first
        batch = [self._held or await self._queue.get()]
        self._held = None
        size, deadline = len(batch[0].texts), asyncio.get_running_loop().time() + self._max_wait
        while size < self._max_batch:
            try:
                left = max(deadline - asyncio.get_running_loop().time(), 0)
                # without a wait, what is there already still joins
                request = self._queue.get_nowait() if left == 0 else await asyncio.wait_for(self._queue.get(), left)
            except (asyncio.QueueEmpty, asyncio.TimeoutError):
                break
            if size + len(request.texts) > self._max_batch:
                # order matters more than filling the gap with a smaller one
                self._held = request
                break
            batch.append(request)
            size += len(request.texts)
        self.num_waiting -= size
        # done: cancelled by a client that went away
        return [request for request in batch if not request.result.done()]

    async def _run(self, batch: list[_Waiting]) -> None:
        texts = [text for request in batch for text in request.texts]
        loop = asyncio.get_running_loop()
        try:
            translations = iter(await loop.run_in_executor(self._executor, self._translate, texts))
        except Exception as error:  # whatever it is, those who wait must hear of it
            for request in batch:
                if not request.result.done():
                    request.result.set_exception(error)
            return
        for request in batch:
            part = [next(translations) for _ in request.texts]
            # it may have been cancelled while its texts were translated
            if not request.result.done():
                request.result.set_result(part)
