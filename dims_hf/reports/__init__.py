# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""What is written: results files, tables, figures, model and dataset cards, provenance."""

from typing import TYPE_CHECKING

from dims_hf._lazy import lazy_exports

# At once, since a module of the same name would take the function's place whenever it is imported later.
from .provenance import (
    hardware as hardware,
    provenance as provenance,
    public as public,
    weights_checksum as weights_checksum,
)


if TYPE_CHECKING:
    from .evaluation import (
        run_evaluation as run_evaluation,
        subsets_from_columns as subsets_from_columns,
        write_evaluation as write_evaluation,
    )
    from .figures import (
        plot_quality_versus_iterations as plot_quality_versus_iterations,
        plot_training as plot_training,
    )
    from .files import read_yaml as read_yaml, write_json as write_json, write_text as write_text
    from .leaderboard import (
        create_leaderboard_card as create_leaderboard_card,
        leaderboard_markdown as leaderboard_markdown,
    )
    from .model_card import create_model_card as create_model_card, save_model_card as save_model_card
    from .results import load_results as load_results, make_results as make_results, save_results as save_results
    from .table import (
        markdown_table as markdown_table,
        plain_table as plain_table,
        results_table as results_table,
        write_table as write_table,
    )


__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "evaluation": (
            "run_evaluation",
            "subsets_from_columns",
            "write_evaluation",
        ),
        "figures": (
            "plot_quality_versus_iterations",
            "plot_training",
        ),
        "files": (
            "read_yaml",
            "write_json",
            "write_text",
        ),
        "leaderboard": (
            "create_leaderboard_card",
            "leaderboard_markdown",
        ),
        "model_card": (
            "create_model_card",
            "save_model_card",
        ),
        "provenance": (
            "hardware",
            "provenance",
            "public",
            "weights_checksum",
        ),
        "results": (
            "load_results",
            "make_results",
            "save_results",
        ),
        "table": (
            "markdown_table",
            "plain_table",
            "results_table",
            "write_table",
        ),
    },
)
