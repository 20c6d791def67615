# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""CTC: a one-pass model that learns the target's alignments from masks alone."""

from __future__ import annotations

from dims_hf.methods.alignments import AlignmentOptions, Alignments


class CTC(Alignments):
    """
    Connectionist temporal classification over upsampled sources, everything masked.

    Source: Libovický and Helcl 2018 (arXiv 1811.04719).
    """

    paper = "Libovický and Helcl 2018 (arXiv 1811.04719)"
    families = ("imputer",)
    one_pass = True
    masks_alone = True
    Options = AlignmentOptions
