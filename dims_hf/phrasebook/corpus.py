# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Samples the train, valid and test splits of the phrasebook."""

from __future__ import annotations

import random

from .grammar import draw_pair


PHRASEBOOK_LANGUAGES = ("en", "de")
# Held-out splits are drawn before the training split, so that its size never changes them.
_SPLITS = ("test", "valid", "train")


def phrasebook_corpus(
    *, train: int = 30000, valid: int = 500, test: int = 500, seed: int = 0
) -> dict[str, list[tuple[str, str]]]:
    """Draws pairs of an English source and one valid German target.

    No source occurs twice, within a split or across splits. The same arguments give the same pairs on every
    supported Python, and the valid and test splits do not depend on the size of the training split.

    Args:
        train: Number of training pairs.
        valid: Number of validation pairs.
        test: Number of test pairs.
        seed: Seeds the drawing of sources and of targets.

    Returns:
        `{"train": [(source, target), …], "valid": […], "test": […]}`.

    Raises:
        ValueError: a size is negative.
    """
    sizes = {"train": train, "valid": valid, "test": test}
    for name, size in sizes.items():
        if size < 0:
            raise ValueError(f"The {name} split cannot have {size} pairs. Ask for 0 or more.")
    seen: set[str] = set()
    corpus: dict[str, list[tuple[str, str]]] = {name: [] for name in sizes}
    for position, name in enumerate(_SPLITS):
        rng = random.Random(seed * len(_SPLITS) + position)
        while len(corpus[name]) < sizes[name]:
            source, target = draw_pair(rng)
            if source not in seen:
                seen.add(source)
                corpus[name].append((source, target))
    return corpus
