# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What a server counts, for Prometheus; of all worker processes together where they share a folder."""

from __future__ import annotations

import os
import re


class ServerMetrics:
    """Requests, texts, characters, and the time that answers took."""

    def __init__(self) -> None:
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram

        self.media_type = CONTENT_TYPE_LATEST
        self._registry = CollectorRegistry()
        made = {"registry": self._registry}
        self._requests = Counter("dims_hf_requests", "Translation requests that were answered.", **made)
        self._texts = Counter("dims_hf_texts", "Texts that were translated.", **made)
        self._characters = Counter("dims_hf_characters", "Characters of these texts.", **made)
        self._seconds = Histogram("dims_hf_request_seconds", "Seconds until a request was answered.", **made)
        self._waiting = Gauge(
            "dims_hf_waiting_texts", "Texts that wait for a batch.", multiprocess_mode="livesum", **made
        )

    def observe(self, num_texts: int, num_characters: int, seconds: float) -> None:
        """Counts an answered request."""
        self._requests.inc()
        self._texts.inc(num_texts)
        self._characters.inc(num_characters)
        self._seconds.observe(seconds)

    def page(self, num_waiting: int) -> bytes:
        """The text that Prometheus reads."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        self._waiting.set(num_waiting)
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        _forget_dead_processes(os.environ["PROMETHEUS_MULTIPROC_DIR"])
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)


def _forget_dead_processes(folder: str) -> None:
    """What a killed worker said of its present state holds no longer; its counts stay."""
    from prometheus_client.multiprocess import mark_process_dead

    for name in os.listdir(folder):
        match = re.fullmatch(r"gauge_live\w+_(\d+)\.db", name)
        if match and not _is_alive(int(match[1])):
            mark_process_dead(int(match[1]), folder)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # alive, and somebody else's by now
        return True
    return True
