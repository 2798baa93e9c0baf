"""Scores of 2-Mb stretches against plain NumPy."""

import numpy as np
import pytest

from epizarr.metrics.submatrices import correlate, cut_rows, score_submatrices

EXTENTS = [(0, 90), (100, 205)]


def test_cut_rows__leaves_no_stretch_across_regions():
    lo, hi = cut_rows(EXTENTS, 40)
    assert lo.tolist() == [0, 40, 100, 140]
    assert (hi - lo == 40).all()


def test_cut_rows__of_regions_shorter_than_one_is_empty():
    assert len(cut_rows([(0, 39)], 40)[0]) == 0


def test_score_submatrices__are_those_of_their_rows():
    rng = np.random.default_rng(0)
    observed, prediction = rng.normal(size=(2, 205, 7))
    observed[rng.random(observed.shape) < 0.2] = np.nan
    true, predicted = rng.normal(size=(2, 205))
    predicted += true
    true[150:175] = np.nan
    scores = score_submatrices(prediction, observed, (predicted, true), EXTENTS, 40)
    assert scores.mse[2] == pytest.approx(np.nanmean(np.square(prediction - observed)[100:140]))
    assert scores.insulation[1] == pytest.approx(np.corrcoef(predicted[40:80], true[40:80])[0, 1])
    assert np.isnan(scores.insulation[3])  # 15 bins are too few


def test_score_submatrices__the_truth_is_perfect_and_nothing_is_undefined():
    rng = np.random.default_rng(0)
    observed, insulation = rng.normal(size=(80, 3)), rng.normal(size=80)
    observed[40:] = np.nan
    scores = score_submatrices(observed, observed, (insulation, insulation), [(0, 80)], 40)
    assert scores.mse[0] == 0
    assert np.isnan(scores.mse[1])
    np.testing.assert_allclose(scores.insulation, 1.0)


def test_correlate__infinite_scores_do_not_count():
    x, y = np.random.default_rng(1).normal(size=(2, 50))
    spoilt = np.append(x, [-np.inf, np.nan])
    assert correlate(spoilt, np.append(y, [0.0, 0.0])) == correlate(x, y)
