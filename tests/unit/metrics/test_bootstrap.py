"""Block bootstrap: how spans are cut, what is drawn, and whether intervals cover what they claim to."""

import numpy as np
import pytest
from scipy.signal import lfilter

from epizarr.metrics.bootstrap import (
    FEW_BLOCKS,
    BlockPlan,
    ResampledScores,
    interval,
    plan_blocks,
    resample_weights,
)
from epizarr.metrics.moments import PairMoments, RankMoments
from epizarr.metrics.similarity import shuffle_diagonals

BINSIZE = 50_000


@pytest.mark.parametrize(
    ("span_bp", "block_bp", "n_blocks", "label"),
    [
        (50_000_000, 5_000_000, 10, ""),
        (49_999_999, 1_000_000, 49, FEW_BLOCKS),
        (5_000_000, 1_000_000, 5, FEW_BLOCKS),
        (4_999_999, 0, 4, "n/a: fewer than 5 blocks of 1 Mb"),
    ],
)
def test_plan_blocks__follows_the_span(span_bp, block_bp, n_blocks, label):
    plan = plan_blocks(span_bp, 10_000)
    assert (plan.block_bp, plan.n_blocks, plan.label) == (block_bp, n_blocks, label)


def test_plan_blocks__wide_bins_are_cells_of_their_own():
    assert plan_blocks(6_000_000, 500_000) == BlockPlan(1_000_000, 6, 1, 2)


def test_cells__never_reach_into_the_next_region():
    plan = BlockPlan(1_000_000, 10, 4, 5)
    assert plan.cells([(3, 9), (100, 104), (200, 201)]).tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3]


def test_resample_weights__draw_runs_of_cells_that_have_pixels():
    has_pixels = np.array([True] * 6 + [False] + [True] * 6)
    weights = resample_weights(has_pixels, 3, 4000, seed=1)
    assert (weights[:, 6] == 0).all()
    assert (weights.sum(axis=1) == 12).all()
    np.testing.assert_allclose(
        np.delete(weights, 6, axis=1).mean(axis=0), 1.0, atol=0.06
    )  # a ring: no end is drawn less
    used = np.delete(weights, 6, axis=1)
    assert np.corrcoef(used[:, 3], used[:, 4])[0, 1] > 0.4  # neighbours are drawn together
    assert np.corrcoef(used[:, 0], used[:, 6])[0, 1] < 0.1


def test_resample_weights__equal_seeds_draw_alike():
    has_pixels = np.ones(7, dtype=bool)
    np.testing.assert_array_equal(resample_weights(has_pixels, 5, 10, 3), resample_weights(has_pixels, 5, 10, 3))


def test_interval__few_blocks_are_wider():
    values = np.random.default_rng(0).normal(size=20_000)
    widths = [np.subtract(*interval(values, n)[::-1]) for n in (5, 10, 1000)]
    assert widths[0] > widths[1] > widths[2]
    assert widths[2] == pytest.approx(2 * 1.96, rel=0.03)


def test_interval__undefined_where_resamples_are():
    assert np.isnan(interval(np.array([np.nan, 1.0, 2.0]), 20)).all()


def _fields(rng: np.random.Generator, n: int, n_diagonals: int) -> np.ndarray:
    """Gaussian field of variance 1, alike over about 1 Mb and, by half, from one diagonal to the next."""
    phi = np.exp(-BINSIZE / 500_000)
    noise = rng.normal(size=(n, n_diagonals + 1)) * np.sqrt(1 - phi**2)
    noise[0] /= np.sqrt(1 - phi**2)
    drawn = lfilter([1.0], [1.0, -phi], noise, axis=0)
    return (drawn[:, :1] + drawn[:, 1:]) / np.sqrt(2)


def _resampled(bands, observed, plan, n_resamples, seed):
    cells = plan.cells([(0, len(observed))])
    n_cells = int(cells[-1]) + 1
    weights = resample_weights(np.ones(n_cells, bool), plan.cells_per_block, n_resamples, seed)
    return [
        ResampledScores.of(
            PairMoments.of_rows(band, observed, cells, n_cells),
            RankMoments.of_columns(band, observed, cells, n_cells),
            weights,
        )
        for band in bands
    ]


def _covered(n_blocks: int, n_repeats: int, n_diagonals: int = 4, n_resamples: int = 1000) -> dict[str, float]:
    """Share of simulated experiments whose interval covers the truth."""
    r = 0.6
    truth = {
        "pearson": r,
        "spearman": 6 / np.pi * np.arcsin(r / 2),
        "mse": 2 - 2 * r,
        "skill": 2 * r - 1,
        "paired": 0.0,
    }
    plan = plan_blocks(n_blocks * 5_000_000, BINSIZE)
    hits = dict.fromkeys(truth, 0)
    for repeat in range(n_repeats):
        rng = np.random.default_rng([n_blocks, repeat])
        observed, *noise = (_fields(rng, n_blocks * 5_000_000 // BINSIZE, n_diagonals) for _ in range(3))
        maps = [r * observed + np.sqrt(1 - r**2) * own for own in noise]
        one, other, mean = _resampled([*maps, np.zeros_like(observed)], observed, plan, n_resamples, repeat)
        values = {
            "pearson": one.mean_pearson,
            "spearman": one.mean_spearman,
            "mse": one.mse,
            "skill": one.skill(mean),
            "paired": one.mean_pearson - other.mean_pearson,
        }
        for name, found in values.items():
            low, high = interval(found, plan.n_blocks)
            hits[name] += low <= truth[name] <= high
    return {name: count / n_repeats for name, count in hits.items()}


def test_interval__covers_the_truth_in_most_repeats():
    """A quick look; the shares are measured in the slow test."""
    assert min(_covered(20, 30, n_resamples=300).values()) >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("n_blocks", [10, 40])
def test_interval__covers_the_truth_in_about_95_percent_of_repeats(n_blocks):
    shares = _covered(n_blocks, 400)
    # The sampling error of a share of 400 is 0.011; ten blocks cover a little less than they claim.
    assert 0.91 <= min(shares.values()) <= max(shares.values()) <= 0.985, shares


def test_interval__of_a_shuffled_map_holds_zero():
    rng = np.random.default_rng(5)
    observed = _fields(rng, 2000, 4)
    plan = plan_blocks(2000 * BINSIZE, BINSIZE)
    shuffled = [shuffle_diagonals(observed, seed) for seed in range(10)]
    held = 0
    for scores in _resampled(shuffled, observed, plan, 500, 0):
        low, high = interval(scores.mean_pearson, plan.n_blocks)
        held += low <= 0 <= high
    assert held >= 8


def test_interval__of_the_truth_itself_is_a_point():
    observed = _fields(np.random.default_rng(6), 2000, 3)
    plan = plan_blocks(2000 * BINSIZE, BINSIZE)
    (scores,) = _resampled([observed], observed, plan, 200, 0)
    np.testing.assert_allclose(interval(scores.mean_pearson, plan.n_blocks), 1.0, rtol=1e-12)
    np.testing.assert_allclose(interval(scores.mean_spearman, plan.n_blocks), 1.0, rtol=1e-12)
    assert interval(scores.mse, plan.n_blocks) == (0.0, 0.0)


def test_resampled_scores__paired_differences_are_narrower():
    """Two predictors that fail in the same places are told apart, though their own intervals overlap."""
    rng = np.random.default_rng(7)
    observed, shared = _fields(rng, 3000, 4), _fields(rng, 3000, 4)
    maps = [observed + 1.5 * shared + 0.1 * rng.normal(size=observed.shape), observed + 1.55 * shared]
    plan = plan_blocks(3000 * BINSIZE, BINSIZE)
    one, other = _resampled(maps, observed, plan, 500, 0)
    own = np.subtract(*interval(one.mean_pearson, plan.n_blocks)[::-1])
    paired = np.subtract(*interval(one.mean_pearson - other.mean_pearson, plan.n_blocks)[::-1])
    assert paired < own / 4
