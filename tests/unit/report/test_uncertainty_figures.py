"""The figure of predicted uncertainty: what is drawn where."""

import numpy as np
import pytest
import xarray as xr

from epizarr.report.figures import figure_png
from epizarr.report.uncertainty_figures import uncertainty_figure


def found(coverage: float) -> xr.Dataset:
    """What ``assess_uncertainty`` may return: standard deviations half the errors."""
    wanted, n_diagonals = [0.5, 0.9], 6
    by_distance = np.full((2, 2, n_diagonals), coverage)
    by_distance[..., 0] = np.nan
    return xr.Dataset(
        {
            "coverage": (("kind", "wanted", "diagonal"), by_distance),
            "mean_coverage": (("kind", "wanted"), np.full((2, 2), coverage)),
            "predicted_sd": ("sd_bin", [0.1, 0.2]),
            "error": ("sd_bin", [0.2, 0.4]),
        },
        coords={
            "kind": ["normal", "conformal"],
            "wanted": wanted,
            "diagonal": np.arange(n_diagonals),
            "distance": ("diagonal", np.arange(n_diagonals) * 10_000),
        },
    )


def test_uncertainty_figure__draws_each_predictor_as_predicted_and_conformal():
    figure = uncertainty_figure({"one": found(0.6), "two": found(0.8)}, title="TITLE")
    reliability, overall, by_distance = figure.axes
    assert len(reliability.lines) == 2 + 1
    assert len(overall.lines) == len(by_distance.lines) == 4 + 1
    np.testing.assert_array_equal(reliability.lines[0].get_xydata(), [[0.1, 0.2], [0.2, 0.4]])
    assert [line.get_linestyle() for line in overall.lines[:2]] == ["--", "-"]
    np.testing.assert_array_equal(by_distance.lines[2].get_ydata()[1:], 0.8)
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["one", "two", "as predicted, taken for normal", "conformal"]
    assert figure_png(figure).startswith(b"\x89PNG")


def test_uncertainty_figure__asks_for_a_coverage_that_was_measured():
    with pytest.raises(KeyError):
        uncertainty_figure({"one": found(0.6)}, coverage=0.7)
