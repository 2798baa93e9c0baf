"""Figures of a store's quality: what is drawn where."""

import numpy as np
import pytest

from epizarr.report.figures import figure_png
from epizarr.report.qc_figures import (
    GenomeAxis,
    decay_figure,
    depth_figure,
    marginal_figure,
    signal_figure,
    value_figure,
)

CHROMS = (("chr1", 1_000_000), ("chr2", 450_000), ("chrM", 5_000))
START = np.array([*range(0, 1_000_000, 100_000), *range(1_000_000, 1_450_000, 100_000), 1_450_000])
END = np.append(START[1:], 1_455_000)


@pytest.fixture
def axis() -> GenomeAxis:
    return GenomeAxis(CHROMS, START, END)


def test_signal_figure__has_a_row_for_each_track_and_names_wide_chromosomes(axis):
    figure = signal_figure(axis, {"CTCF": np.arange(16.0), "DNase": np.full(16, np.nan)})
    assert len(figure.axes) == 2
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["chr1", "chr2"]
    assert figure.axes[0].get_xlim() == (0, 1.455)


def test_signal_figure__no_outline_crosses_a_chromosome_end(axis):
    figure = signal_figure(axis, {"CTCF": np.ones(16)})
    spans = {tuple(np.round(p.get_data().edges[[0, -1]], 4)) for p in figure.axes[0].patches if hasattr(p, "get_data")}
    assert spans == {(0.0, 1.0), (1.0, 1.45), (1.45, 1.455)}


def test_signal_figure__of_one_chromosome_has_positions(axis):
    alone = GenomeAxis(CHROMS[:1], START[:10], END[:10])
    assert signal_figure(alone, {"CTCF": np.ones(10)}).axes[0].get_xlabel() == "chr1 (Mb)"


def test_marginal_figure__rows_share_one_axis_with_no_change_in_the_middle(axis):
    figure = marginal_figure(axis, {"count": np.geomspace(0.1, 10, 16), "ice": np.ones(16)})
    low, high = figure.axes[0].get_ylim()
    assert low == -high
    assert figure.axes[1].get_ylim() == (low, high)
    assert "1×" in [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_value_figure__draws_the_share_of_bins_above_each_value():
    edges = np.array([1.0, 10.0, 100.0, 1000.0])
    figure = value_figure(edges, {"CTCF": np.array([6, 3, 1])}, {"CTCF": 20})
    line = figure.axes[0].get_lines()[0]
    np.testing.assert_allclose(line.get_xdata(), [1, 10, 100])
    np.testing.assert_allclose(line.get_ydata(), [0.5, 0.2, 0.05])


def test_decay_figure__leaves_out_the_main_diagonal_and_empty_chromosomes():
    distance = np.arange(5) * 10_000
    curves = np.array([[9.0, 4, 3, 2, 0], np.full(5, np.nan)])
    figure = decay_figure(distance, {"count": curves}, ["chr1", "chr2"])
    np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_xdata(), [0.01, 0.02, 0.03])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["chr1"]


def test_depth_figure__marks_the_supported_bin_size():
    figure = depth_figure(np.array([10_000, 20_000]), np.array([0.4, 0.9]), 20_000, 0.8, 1000)
    assert "20 kb" in [text.get_text() for text in figure.axes[0].texts]
    unmarked = depth_figure(np.array([10_000, 20_000]), np.array([0.4, np.nan]), None, 0.8, 1000)
    assert len(unmarked.axes[0].texts) == 1


@pytest.mark.parametrize("name", ["signal", "marginal", "value", "decay"])
def test_figures__can_be_drawn_without_a_value(axis, name):
    """A store whose only track is empty still has a page."""
    nan = np.full(16, np.nan)
    figure = {
        "signal": lambda: signal_figure(axis, {"t": nan}),
        "marginal": lambda: marginal_figure(axis, {"t": nan}),
        "value": lambda: value_figure(np.array([1.0, 2.0]), {"t": np.zeros(1)}, {"t": 0}),
        "decay": lambda: decay_figure(np.arange(3) * 10, {"t": np.full((1, 3), np.nan)}, ["chr1"]),
    }[name]()
    assert figure_png(figure).startswith(b"\x89PNG")
