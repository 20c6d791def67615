# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Ways in and out: checkpoints of other toolkits, and folders ready for the Hub."""

from .bundle import write_hub_folder
from .fairseq import ImportedCheckpoint, import_fairseq_checkpoint, model_from_fairseq_state_dict


__all__ = ["ImportedCheckpoint", "import_fairseq_checkpoint", "model_from_fairseq_state_dict", "write_hub_folder"]
