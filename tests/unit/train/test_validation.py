import numpy as np
import pytest
from scipy.stats import pearsonr

from epizarr.train.validation import DistanceSums


@pytest.fixture
def maps():
    rng = np.random.default_rng(0)
    truth = rng.gamma(2.0, size=(60, 5)).astype(np.float32)
    predicted = (truth + rng.normal(size=truth.shape)).astype(np.float32)
    valid = rng.random(truth.shape) < 0.8
    return predicted, np.where(valid, truth, np.nan), valid


def test_distance_sums__agrees_with_scipy_at_each_distance(maps):
    predicted, truth, valid = maps
    sums = DistanceSums(5)
    for rows in (slice(0, 25), slice(25, 60)):
        sums.add(predicted[rows], truth[rows], valid[rows])
    wanted = np.mean([pearsonr(predicted[valid[:, k], k], truth[valid[:, k], k]).statistic for k in range(5)])
    assert sums.scores().mean_pearson == pytest.approx(wanted, abs=1e-9)


def test_distance_sums__loss_is_the_mean_over_valid_pixels(maps):
    predicted, truth, valid = maps
    sums = DistanceSums(5)
    sums.add(predicted, truth, valid)
    assert sums.scores().loss == pytest.approx(np.mean((predicted[valid] - truth[valid]) ** 2), rel=1e-6)


def test_distance_sums__leaves_out_distances_without_spread(maps):
    predicted, truth, valid = maps
    with_constant = DistanceSums(5)
    with_constant.add(np.where(np.arange(5) == 2, np.float32(0.1), predicted), truth, valid)
    without = DistanceSums(4)
    without.add(*(np.delete(values, 2, axis=1) for values in maps))
    assert with_constant.scores().mean_pearson == pytest.approx(without.scores().mean_pearson)


def test_distance_sums__without_a_pixel_is_not_a_number():
    sums = DistanceSums(2)
    sums.add(np.zeros((3, 2)), np.full((3, 2), np.nan), np.zeros((3, 2), dtype=bool))
    assert np.isnan(sums.scores().loss)
