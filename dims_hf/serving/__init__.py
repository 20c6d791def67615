# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""A translation server that clients of LibreTranslate speak to."""

from dims_hf.serving.settings import LanguagePair, ServerSettings, parse_pair


__all__ = ["LanguagePair", "ServerSettings", "parse_pair"]
