import numpy as np
import pytest
import torch

from epizarr.metrics.uncertainty import coverage_by_distance, gaussian_factor, gaussian_nll, reliability_curve

NAN = np.nan


def test_gaussian_factor__covers_a_normal_distribution():
    drawn = np.abs(np.random.default_rng(0).normal(size=200_000))
    for coverage in (0.5, 0.8, 0.95):
        assert np.mean(drawn <= gaussian_factor(coverage)) == pytest.approx(coverage, abs=0.005)


def test_coverage_by_distance__counts_what_lies_inside():
    scores = np.array([[0.5, 3.0, NAN], [1.0, 1.0, NAN], [2.0, np.inf, NAN]])
    factors = np.array([[1.0, 2.0, 1.0], [np.inf, np.inf, np.inf], [NAN, NAN, NAN]])
    inside, n_pixels = coverage_by_distance(scores, factors)
    assert inside.tolist() == [[2, 1, 0], [3, 3, 0], [0, 0, 0]]
    assert n_pixels.tolist() == [3, 3, 0]


def test_reliability_curve__of_honest_deviations_is_the_diagonal():
    rng = np.random.default_rng(1)
    sd = rng.uniform(0.1, 2.0, (400, 100))
    truth = rng.normal(0.0, sd)
    curve = reliability_curve([truth[:100], truth[100:]], [0 * truth[:100], 0 * truth[100:]], [sd[:100], sd[100:]])
    np.testing.assert_allclose(curve.error, curve.predicted_sd, rtol=0.06)
    assert curve.n_pixels.sum() == sd.size
    assert np.ptp(curve.n_pixels) <= 1
    halved = reliability_curve([truth], [0 * truth], [sd / 2])
    np.testing.assert_allclose(halved.error, 2 * halved.predicted_sd, rtol=0.06)


def test_reliability_curve__leaves_out_what_is_missing():
    truth = np.array([[1.0, NAN, 2.0]])
    curve = reliability_curve([truth], [np.zeros((1, 3))], [np.array([[1.0, 1.0, NAN]])])
    assert (curve.error.tolist(), curve.n_pixels.tolist()) == ([1.0], [1])
    assert len(reliability_curve([truth * NAN], [truth], [truth]).n_pixels) == 0


def test_gaussian_nll__is_that_of_torch():
    rng = np.random.default_rng(2)
    truth, mean, sd = rng.normal(size=(3, 6, 5))
    sd = np.abs(sd) + 0.1
    truth[0, 0] = NAN
    total, n = gaussian_nll(truth, mean, sd)
    known = ~np.isnan(truth)
    wanted = torch.nn.functional.gaussian_nll_loss(
        *(torch.from_numpy(values[known]) for values in (mean, truth)),
        torch.from_numpy(np.square(sd[known])),
        reduction="sum",
    )
    assert total == pytest.approx(float(wanted))
    assert n == 29
