# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Ways in and out: checkpoints of other toolkits, folders ready for the Hub, and ONNX."""

from .bundle import write_hub_folder
from .fairseq import ImportedCheckpoint, import_fairseq_checkpoint, model_from_fairseq_state_dict
from .onnx_export import check_output_dir, export_onnx, write_graphs
from .onnx_translator import OnnxTranslator
from .shortlist import Shortlist, build_shortlist, corpus_shortlist


__all__ = [
    "ImportedCheckpoint",
    "OnnxTranslator",
    "Shortlist",
    "build_shortlist",
    "check_output_dir",
    "corpus_shortlist",
    "export_onnx",
    "import_fairseq_checkpoint",
    "model_from_fairseq_state_dict",
    "write_graphs",
    "write_hub_folder",
]
