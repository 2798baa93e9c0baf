"""Two cell types that share most of their structure: what a copy and a good prediction score."""

import numpy as np
import pytest

from epizarr.metrics.specificity import (
    difference_ceiling,
    identify,
    insulation_agreement,
    mean_map,
    rank_by_difference,
    score_differences,
)

N_ROWS, N_DIAGONALS, N_BINS = 400, 4, 40
EXTENTS = [(0, N_ROWS)]


@pytest.fixture
def true() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(N_ROWS, N_DIAGONALS))
    a, b = (shared + 0.5 * rng.normal(size=shared.shape) for _ in range(2))
    b[80:120] += 2.0  # the region that differs most
    a[5, 1] = np.nan
    return a, b


def test_score_differences__copies_predict_none(true):
    assert np.isnan(score_differences((true[0], true[0]), true).mean_pearson)


def test_score_differences__the_truth_is_perfect(true):
    scores = score_differences(true, true)
    assert scores.mean_pearson == pytest.approx(1.0)
    assert scores.n_pixels[1] == N_ROWS - 1


def test_difference_ceiling__is_the_score_of_the_noise_free_difference():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 40_000, 1))
    replicates = [tuple(m + rng.normal(size=m.shape) for m in (a, b)) for _ in range(2)]
    merged = tuple(np.mean([pair[i] for pair in replicates], axis=0) for i in range(2))
    ceiling = difference_ceiling(replicates).mean_pearson
    assert score_differences((a, b), merged).mean_pearson == pytest.approx(ceiling, abs=0.01)


def test_identify__a_good_prediction_is_nearer_to_its_own(true):
    rng = np.random.default_rng(2)
    good = true[0] + 0.3 * rng.normal(size=true[0].shape)
    found = identify(good, *true, EXTENTS, N_BINS)
    assert found.share_right == 1.0
    assert identify(good, true[1], true[0], EXTENTS, N_BINS).share_right == 0.0
    assert found.own[3] == pytest.approx(np.mean(np.square(good - true[0])[120:160]))


def test_identify__equal_truths_are_a_toss(true):
    assert identify(true[1], true[0], true[0], EXTENTS, N_BINS).share_right == 0.5


def test_rank_by_difference__puts_the_true_difference_first(true):
    lo, hi, difference = rank_by_difference(true, EXTENTS, N_BINS)
    assert (lo[0], hi[0]) == (80, 120)
    assert (np.diff(difference) <= 0).all()
    assert sorted(lo) == list(range(0, N_ROWS, N_BINS))


def test_insulation_agreement__is_low_where_cell_types_differ():
    rng = np.random.default_rng(3)
    a = rng.normal(size=N_ROWS)
    b = a + 0.1 * rng.normal(size=N_ROWS)
    b[80:120] = rng.normal(size=40)
    assert insulation_agreement(a, b, EXTENTS, N_BINS).argmin() == 2
    np.testing.assert_allclose(insulation_agreement(a, a, EXTENTS, N_BINS), 1.0)


def test_mean_map__is_of_the_maps_that_have_a_value():
    maps = [np.array([[1.0, np.nan, np.nan]]), np.array([[3.0, 5.0, np.nan]])]
    np.testing.assert_array_equal(mean_map(maps), [[2.0, 5.0, np.nan]])
