# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""Start-up: what is imported when, and that transformers knows our models in whatever order things are imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).resolve().parents[2]


def _run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "program",
    [
        "import dims_hf",
        "from dims_hf.cli.main import main; main(['--help'])",
        "from dims_hf.models.source_text import is_blank",
        "from dims_hf.translation import open_runtime; from dims_hf.export import OnnxTranslator",
    ],
)
def test_import_of_what_needs_neither_torch_nor_transformers_imports_neither(program: str):
    shown = _run(f"{program}\nprint([name for name in ('torch', 'transformers') if name in sys.modules])")
    assert shown.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "program",
    [
        "import dims_hf; from transformers import AutoConfig",
        "from transformers import AutoConfig, AutoModelForSeq2SeqLM; import dims_hf",
        "from dims_hf.models.modeling_cmlm import CMLMModel",
        "from dims_hf.models.pipeline_translation import NATTranslationPipeline",
        "import dims_hf; import transformers.generation.utils",
        "import dims_hf; dims_hf.CMLMConfig",
    ],
)
def test_models_and_task_are_known_in_any_order_of_imports(program: str):
    shown = _run(
        f"{program}\n"
        "from transformers import AutoConfig, AutoModelForSeq2SeqLM\n"
        "from transformers.pipelines import PIPELINE_REGISTRY\n"
        "model = AutoModelForSeq2SeqLM._model_mapping[type(AutoConfig.for_model('cmlm'))]\n"
        "print(model.__name__, PIPELINE_REGISTRY.check_task('translation_en_to_de')[1]['impl'].__name__)"
    )
    assert shown == "CMLMForConditionalGeneration NATTranslationPipeline"


def test_watched_import_that_fails_leaves_no_trace():
    shown = _run(
        "import dims_hf\n"
        "try:\n    import dims_hf.models.absent\nexcept ModuleNotFoundError as error:\n    print(error.name)\n"
        "import transformers\n"
        "from transformers import AutoConfig; print(AutoConfig.for_model('imputer').model_type)"
    )
    assert shown.splitlines() == ["dims_hf.models.absent", "imputer"]
