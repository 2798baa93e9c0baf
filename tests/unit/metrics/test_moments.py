"""Moments by block: pooled in any chunking they are those of the whole, and weighted they are those of the rows repeated."""

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from epizarr.metrics.correlation import as_published, score_by_chromosome, score_by_distance, scores_of
from epizarr.metrics.moments import PairMoments, RankMoments

N_ROWS, N_BLOCKS = 400, 8
BLOCK = np.arange(N_ROWS) // (N_ROWS // N_BLOCKS)


@pytest.fixture
def bands() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    observed = rng.gamma(2.0, 1.0, (N_ROWS, 5)).round(1)  # rounded: ties
    prediction = (observed + rng.normal(0, 1, observed.shape)).round(1)
    observed[rng.random(observed.shape) < 0.2] = np.nan
    return prediction, observed


def _repeated(bands, weights):
    rows = np.concatenate([np.repeat(np.flatnonzero(b == BLOCK), int(w)) for b, w in enumerate(weights)])
    return tuple(band[rows] for band in bands)


def test_pair_moments__weighted_are_those_of_repeated_rows(bands):
    weights = np.array([0, 1, 3, 0, 2, 1, 1, 0])
    pooled = PairMoments.of_rows(*bands, BLOCK, N_BLOCKS).weighted(weights[None].astype(float))
    expected = score_by_distance(*_repeated(bands, weights))
    np.testing.assert_allclose(pooled.pearson()[0], expected.pearson, rtol=1e-12)
    np.testing.assert_allclose(pooled.squared_error[0], expected.squared_error, rtol=1e-12)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(1, N_ROWS - 1), max_size=6), width=st.integers(1, 5))
def test_pair_moments__any_chunking_and_width_give_the_same(seed, cuts, width):
    rng = np.random.default_rng(seed)
    bands = [1e3 + rng.normal(size=(N_ROWS, 5)) for _ in range(2)]
    bands[1][rng.random((N_ROWS, 5)) < 0.3] = np.nan
    edges = [0, *sorted(set(cuts)), N_ROWS]
    chunks = [slice(a, b) for a, b in zip(edges, edges[1:], strict=False)]
    chunks = [
        chunks[i] for i in rng.permutation(len(chunks))
    ]  # in any order, as other orders of chromosomes would give
    make = dask.delayed(PairMoments.of_rows)
    parts = [make(*(band[c, :width] for band in bands), BLOCK[c], N_BLOCKS) for c in chunks]
    total = dask.delayed(PairMoments.total)(parts).compute(scheduler="synchronous")
    whole = PairMoments.of_rows(*bands, BLOCK, N_BLOCKS)
    every = np.ones((1, N_BLOCKS))
    np.testing.assert_allclose(
        total.weighted(every).pearson()[0], whole.weighted(every).pearson()[0, :width], rtol=0, atol=1e-12
    )
    np.testing.assert_allclose(total.squared_error, whole.squared_error[:, :width], rtol=1e-12)


def test_pair_moments__constant_map_has_no_correlation_in_any_chunking():
    observed = np.random.default_rng(0).normal(size=(N_ROWS, 1))
    constant = np.full_like(observed, 0.1)
    parts = [PairMoments.of_rows(constant[c], observed[c], BLOCK[c], N_BLOCKS) for c in (slice(0, 7), slice(7, N_ROWS))]
    pooled = PairMoments.total(parts).weighted(np.array([[1.0, 3, 0, 2, 1, 1, 5, 1]]))
    assert pooled.xx[0, 0] == 0
    assert np.isnan(pooled.pearson()).all()


def test_pair_moments__far_from_zero_keep_their_digits():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, N_ROWS, 1))
    y += x
    near = score_by_distance(x, y).pearson
    np.testing.assert_allclose(score_by_distance(x + 1e6, y - 1e7).pearson, near, rtol=1e-7)


def test_rank_moments__equal_weights_are_exact(bands):
    ranks = RankMoments.of_columns(*bands, BLOCK, N_BLOCKS)
    known = [~np.isnan(bands[1][:, k]) for k in range(5)]
    expected = [stats.spearmanr(bands[0][v, k], bands[1][v, k]).statistic for k, v in enumerate(known)]
    np.testing.assert_allclose(ranks.spearman(np.full((1, N_BLOCKS), 2.0))[0], expected, rtol=1e-12)


def test_rank_moments__follow_other_weights_to_first_order(bands):
    """Weights 1 ± e: the error is of order e², far below what keeping the ranks as they are would make."""
    ranks = RankMoments.of_columns(*bands, BLOCK, N_BLOCKS)
    times = 10
    change = np.random.default_rng(3).permutation(np.repeat([-1, 1], N_BLOCKS // 2))
    exact = score_by_distance(*_repeated(bands, times + change)).spearman
    before = score_by_distance(*bands).spearman
    got = ranks.spearman(((times + change) / times)[None])[0]
    assert np.abs(exact - before).max() > 3e-3
    np.testing.assert_allclose(got, exact, atol=5e-4)


@pytest.mark.parametrize("kind", [PairMoments.of_rows, RankMoments.of_columns])
def test_moments__refuse_unequal_shapes(kind):
    with pytest.raises(ValueError, match="one"):
        kind(np.zeros((3, 2)), np.zeros((3, 3)), np.zeros(3, int), 1)


def test_scores_of__masked_pixels_change_nothing(bands):
    prediction, observed = bands
    scores = score_by_distance(prediction, observed)
    prediction = np.where(np.isnan(observed), 1e6, prediction)
    other = score_by_distance(prediction, observed)
    np.testing.assert_array_equal(scores.pearson, other.pearson)
    np.testing.assert_array_equal(scores.spearman, other.spearman)
    assert scores.mse == other.mse


def test_scores_of__chromosomes_in_any_order(bands):
    order = np.concatenate([np.arange(150, N_ROWS), np.arange(150)])
    scores, other = score_by_distance(*bands), score_by_distance(*(band[order] for band in bands))
    np.testing.assert_allclose(scores.pearson, other.pearson, rtol=1e-12)
    np.testing.assert_allclose(scores.spearman, other.spearman, rtol=1e-12)
    assert scores.mse == pytest.approx(other.mse, rel=1e-12)


def test_scores_of__a_map_agrees_with_itself(bands):
    scores = score_by_distance(bands[1], bands[1])
    np.testing.assert_allclose(scores.pearson, 1.0, rtol=1e-12)
    np.testing.assert_allclose(scores.spearman, 1.0, rtol=1e-12)
    assert scores.mse == 0


def test_scores_of__too_few_pixels_have_no_correlation_but_an_error(bands):
    pairs, ranks = (made(*bands, BLOCK, N_BLOCKS) for made in (PairMoments.of_rows, RankMoments.of_columns))
    n = scores_of(pairs, ranks).n_pixels
    scores = scores_of(pairs, ranks, min_pixels=int(n.max()))
    assert (np.isnan(scores.pearson) == (n < n.max())).all()
    assert (np.isnan(scores.spearman) == (n < n.max())).all()
    assert scores.mse == score_by_distance(*bands).mse


def test_score_by_chromosome__is_that_of_its_rows(bands):
    chrom = np.repeat([3, 0], [150, N_ROWS - 150])
    scores = score_by_chromosome(*bands, chrom, min_pixels=2)
    assert list(scores) == [0, 3]
    np.testing.assert_allclose(
        scores[3].spearman, score_by_distance(bands[0][:150], bands[1][:150]).spearman, rtol=1e-12
    )


def test_as_published__missing_contacts_are_zeros_on_the_chromosome_alone():
    observed = np.array([[1.0, 4.0], [np.nan, 3.0], [2.0, np.nan], [3.0, np.nan]])
    on_chromosome = np.array([[True, True], [True, True], [True, True], [True, False]])
    prediction = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 9.0]])
    scores = score_by_distance(*as_published(prediction, observed, on_chromosome))
    assert scores.n_pixels.tolist() == [4, 3]
    assert scores.pearson[0] == pytest.approx(np.corrcoef([1, 2, 3, 4], [1, 0, 2, 3])[0, 1])
    assert scores.pearson[1] == pytest.approx(np.corrcoef([1, 2, 3], [4, 3, 0])[0, 1])
