# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A page on which people type a sentence and watch it being translated, pass by pass."""

from dims_hf.serving.viewer.tracing import Candidate, Step, TracedModel, TracedToken, TracedTranslation


__all__ = ["Candidate", "Step", "TracedModel", "TracedToken", "TracedTranslation"]
