# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The table of decoding strategies; a configuration names its own as `decoding_strategy`."""

from .decoding_alignart import AlignedDecoding
from .decoding_crf import ChainMaskPredict
from .decoding_ctc import CTCDecoding
from .decoding_easy_first import EasyFirst
from .decoding_edits import InsertionDecoding, LevenshteinEditing
from .decoding_imputer import BlockUnmasking
from .decoding_mask_predict import MaskPredict
from .decoding_refine import Refine
from .decoding_strategy import DecodingStrategy
from .strategy_dat import GraphDecoding


# `config.decoding_strategy` -> class; one line per new strategy.
STRATEGIES: dict[str, type[DecodingStrategy]] = {
    "mask_predict": MaskPredict,
    "crf": ChainMaskPredict,
    "ctc": CTCDecoding,
    "easy_first": EasyFirst,
    "alignart": AlignedDecoding,
    "refine": Refine,
    "levenshtein": LevenshteinEditing,
    "insertion": InsertionDecoding,
    "imputer": BlockUnmasking,
    "dat": GraphDecoding,
}

__all__ = ["STRATEGIES"]
