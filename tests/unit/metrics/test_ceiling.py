"""Ceilings from replicates, against Poisson counts whose ceiling is known in closed form."""

import numpy as np
import pytest

from epizarr.metrics.ceiling import replicate_ceiling, spearman_brown
from epizarr.metrics.correlation import score_by_distance

#: Mean and variance of the expected counts of each diagonal.
MEAN, VARIANCE = np.array([20.0, 5.0, 1.0]), np.array([30.0, 5.0, 0.5])
N = 40_000


@pytest.fixture(scope="module")
def maps():
    """Expected counts, gamma distributed, and two replicates, at ends of other diagonals missing."""
    rng = np.random.default_rng(3)
    expected = rng.gamma(MEAN**2 / VARIANCE, VARIANCE / MEAN, (N, 3))
    first, second = rng.poisson(expected).astype(float), rng.poisson(expected).astype(float)
    first[-1, 1], second[-5:, 2] = np.nan, np.nan
    return expected, first, second


# A correlation of N pixels has a standard error below 1 / sqrt(N) = 0.005.
def close(found, wanted):
    np.testing.assert_allclose(found, wanted, atol=0.025)


def reliability(n_fold):
    return VARIANCE / (VARIANCE + MEAN / n_fold)


@pytest.mark.parametrize(("depth", "n_fold"), [("replicate", 1), ("merged", 2)])
def test_replicate_ceiling__of_poisson_counts_has_its_closed_form(maps, depth, n_fold):
    _, first, second = maps
    close(replicate_ceiling(first, second, depth=depth, best="experiment").pearson, reliability(n_fold))
    close(replicate_ceiling(first, second, depth=depth, best="truth").pearson, np.sqrt(reliability(n_fold)))


def test_replicate_ceiling__of_three_replicates_is_that_of_their_joint_depth(maps):
    expected, first, second = maps
    third = np.random.default_rng(5).poisson(expected).astype(float)
    close(replicate_ceiling(first, second, third, best="experiment").pearson, reliability(3))
    close(replicate_ceiling(first, second, third).pearson, score_by_distance(expected, first + second + third).pearson)
    # Pixels that one of them lacks do not count for any pair.
    assert replicate_ceiling(first, second, third).n_pixels.tolist() == [N, N - 1, N - 5]


def test_replicate_ceiling__of_unequal_depths_is_too_low_as_the_closed_form_says(maps):
    expected, first, _ = maps
    deep = np.random.default_rng(6).poisson(3 * expected).astype(float)
    found = replicate_ceiling(first, deep).pearson
    assert (found < score_by_distance(expected, first + deep).pearson).all()
    r = np.sqrt(reliability(1) * reliability(3))
    close(found, np.sqrt(2 * r / (1 + r)))


def test_replicate_ceiling__needs_two_replicates_of_one_shape(maps):
    _, first, second = maps
    with pytest.raises(ValueError, match="at least two replicates, not 1"):
        replicate_ceiling(first)
    with pytest.raises(ValueError, match="all must be equal"):
        replicate_ceiling(first, second[:-1])


@pytest.mark.parametrize("depth", ["replicate", "merged"])
def test_replicate_ceiling__is_what_the_noise_free_map_scores(maps, depth):
    expected, first, second = maps
    observed = first if depth == "replicate" else first + second
    close(
        replicate_ceiling(first, second, depth=depth, best="truth").pearson,
        score_by_distance(expected, observed).pearson,
    )


def test_replicate_ceiling__is_what_another_merged_experiment_scores(maps):
    expected, first, second = maps
    again = np.random.default_rng(4).poisson(2 * expected).astype(float)
    found = replicate_ceiling(first, second, depth="merged", best="experiment")
    close(found.pearson, score_by_distance(again, first + second).pearson)


def test_replicate_ceiling__of_the_rank_correlation_is_near_for_many_contacts(maps):
    expected, first, second = maps
    found = replicate_ceiling(first, second, depth="merged", best="truth").spearman
    # Approximate for ranks: within 0.03 here.
    np.testing.assert_allclose(found, score_by_distance(expected, first + second).spearman, atol=0.03)


def test_replicate_ceiling__without_options_changed_is_the_scores_of_the_replicates(maps):
    _, first, second = maps
    found = replicate_ceiling(first, second, depth="replicate", best="experiment")
    scores = score_by_distance(first, second)
    for name in ("n_pixels", "pearson", "spearman"):
        np.testing.assert_array_equal(getattr(found, name), getattr(scores, name))
    assert found.n_pixels.tolist() == [N, N - 1, N - 5]
    assert found.mean_pearson == pytest.approx(scores.pearson.mean())
    assert found.mean_spearman == pytest.approx(scores.spearman.mean())


def test_replicate_ceiling__is_undefined_where_the_correlation_is():
    constant = np.ones((5, 1))
    found = replicate_ceiling(constant, np.arange(5.0)[:, None])
    assert np.isnan(found.pearson).all()
    assert np.isnan(found.mean_spearman)


def test_replicate_ceiling__of_opposite_replicates_is_zero():
    rising = np.arange(5.0)[:, None]
    assert replicate_ceiling(rising, -rising, best="truth").pearson == [0]
    assert replicate_ceiling(rising, -rising, best="experiment").pearson == [-1]


@pytest.mark.parametrize("option", [{"depth": "both"}, {"best": "model"}])
def test_replicate_ceiling__refuses_an_unknown_option(option):
    with pytest.raises(ValueError, match="must be one of"):
        replicate_ceiling(np.ones((2, 1)), np.ones((2, 1)), **option)


def test_spearman_brown__knows_its_closed_form():
    np.testing.assert_allclose(spearman_brown(np.array([0, 0.5, 1, np.nan]), 2), [0, 2 / 3, 1, np.nan])
    np.testing.assert_allclose(spearman_brown(spearman_brown(np.array([0.1, 0.8]), 3), 1 / 3), [0.1, 0.8])


@pytest.mark.parametrize("n_fold", [2, 3, 10])
def test_spearman_brown__stays_a_correlation(n_fold):
    r = np.linspace(-1, 1, 401)
    stepped = spearman_brown(r, n_fold)
    assert (np.abs(stepped) <= 1).all()
    assert (np.diff(stepped) >= 0).all()


def test_spearman_brown__refuses_no_depth():
    with pytest.raises(ValueError, match="positive"):
        spearman_brown(np.array([0.5]), 0)
