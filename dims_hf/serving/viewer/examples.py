# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Sentences to begin with: such as small models translate well, and such as they fail at, by what goes wrong."""

from __future__ import annotations


WELL = (
    "Where did you buy that book?",
    "I would like to have a cup of coffee.",
    "She opened the window because it was too hot in the room.",
    "My brother has been living in Berlin for three years.",
    "Do you know how to get to the station?",
    "If it rains tomorrow, we will stay at home.",
    "The children are playing in the garden behind the house.",
)

FAILURES = (
    ("Mixture", "Thank you."),
    ("Number", "It costs 1,250.50 euros."),
    ("Two sentences", "The meeting starts at 14:35. Please be on time."),
    ("Unseen words", "The European Commission has proposed a new regulation on artificial intelligence."),
    ("Loop", "He said that she said that he had said that she was not the one who had said it."),
)
"""What goes wrong, and a sentence."""
