# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Ways in and out: checkpoints of other toolkits, folders ready for the Hub, ONNX, and the native runtime."""

from typing import TYPE_CHECKING

from dims_hf._lazy import lazy_exports


if TYPE_CHECKING:
    from .bundle import write_hub_folder as write_hub_folder, write_leaderboard_folder as write_leaderboard_folder
    from .fairseq import (
        ImportedCheckpoint as ImportedCheckpoint,
        import_fairseq_checkpoint as import_fairseq_checkpoint,
        model_from_fairseq_state_dict as model_from_fairseq_state_dict,
    )
    from .folders import check_output_dir as check_output_dir
    from .native_export import export_native as export_native
    from .onnx_export import (
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
        "bundle": ("write_hub_folder", "write_leaderboard_folder"),
        "fairseq": ("ImportedCheckpoint", "import_fairseq_checkpoint", "model_from_fairseq_state_dict"),
        "folders": ("check_output_dir",),
        "native_export": ("export_native",),
        "onnx_export": ("export_onnx", "write_graphs"),
        "onnx_translator": ("OnnxTranslator",),
        "shortlist": ("Shortlist", "build_shortlist", "corpus_shortlist"),
    },
)
