# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Ways in and out: checkpoints of other toolkits, folders ready for the Hub, and ONNX."""

from typing import TYPE_CHECKING

from dims_hf._lazy import lazy_exports


if TYPE_CHECKING:
    from .bundle import write_hub_folder as write_hub_folder
    from .fairseq import (
        ImportedCheckpoint as ImportedCheckpoint,
        import_fairseq_checkpoint as import_fairseq_checkpoint,
        model_from_fairseq_state_dict as model_from_fairseq_state_dict,
    )
    from .onnx_export import (
        check_output_dir as check_output_dir,
        export_onnx as export_onnx,
        write_graphs as write_graphs,
    )
    from .onnx_translator import OnnxTranslator as OnnxTranslator
    from .shortlist import (
        Shortlist as Shortlist,
        build_shortlist as build_shortlist,
        corpus_shortlist as corpus_shortlist,
    )


__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "bundle": ("write_hub_folder",),
        "fairseq": ("ImportedCheckpoint", "import_fairseq_checkpoint", "model_from_fairseq_state_dict"),
        "onnx_export": ("check_output_dir", "export_onnx", "write_graphs"),
        "onnx_translator": ("OnnxTranslator",),
        "shortlist": ("Shortlist", "build_shortlist", "corpus_shortlist"),
    },
)
