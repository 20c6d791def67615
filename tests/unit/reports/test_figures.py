# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 The dims_hf authors
"""The figure is a file of its format, and draws the records it should."""

from __future__ import annotations

import sys

import pytest

from dims_hf.reports import plot_quality_versus_iterations
from dims_hf.reports.figures import _curves, new_figure, save_figure


pytest.importorskip("matplotlib")


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG\r\n"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_plot_quality_versus_iterations_writes_the_format_of_the_suffix(results, tmp_path, suffix, start):
    path = plot_quality_versus_iterations(results, tmp_path / "new" / f"figure{suffix}")
    assert path.read_bytes().startswith(start)
    assert path.stat().st_size > 5000
    assert [file.name for file in path.parent.iterdir()] == [f"figure{suffix}"]


def test_plot_quality_versus_iterations_svg_names_systems_axes_and_task(results, tmp_path):
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        text = plot_quality_versus_iterations(results, tmp_path / "figure.svg").read_text(encoding="utf-8")
    wanted = (
        "teacher",
        "student",
        "level of student at 1 iteration",
        "decoder iterations",
        "BLEU",
        "valid outputs (%)",
        "en→de",
    )
    assert [word for word in wanted if word not in text] == []


def test_logarithmic_axes_have_plain_numbers_and_a_dollar_sign_is_one(tmp_path):
    import matplotlib

    figure, panels = new_figure(1, 1)
    axes = panels[0][0]
    axes.plot([3, 40], [1, 2], label="$5")
    axes.set_xscale("log")
    axes.legend()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        text = save_figure(figure, tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert "mathdefault" not in text and ">$5<" in text
    assert all(f">{number}<" in text for number in (5, 10, 20))


def test_plot_quality_versus_iterations_does_not_touch_pyplot(results, tmp_path):
    before = "matplotlib.pyplot" in sys.modules
    plot_quality_versus_iterations(results, tmp_path / "figure.png")
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_curves_leave_out_reference_lengths_and_other_beams(results):
    results["systems"][1]["records"].append(
        {**results["systems"][1]["records"][0], "length_beam_size": 5, "bleu": 99.0}
    )
    curves = _curves(results, None)
    points = {name: [(r["num_iterations"], r["bleu"]) for r in records] for name, records in curves.items()}
    assert points == {"teacher": [(1, 20.0), (2, 25.0), (4, 28.0), (10, 30.0)], "student": [(1, 28.0)]}
    assert [record["bleu"] for record in _curves(results, 5)["student"]] == [99.0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["speed"]}, r"Cannot draw \['speed'\]. Choose from bleu"),
        ({"metrics": []}, "Cannot draw nothing"),
        ({"length_beam_size": 7}, r"No record has length_beam_size=7. There are \[1\]"),
    ],
)
def test_plot_quality_versus_iterations_impossible_requests_are_refused(results, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        plot_quality_versus_iterations(results, tmp_path / "figure.png", **options)
    assert list(tmp_path.iterdir()) == []
