import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epizarr.bands import gather_stripes
from epizarr.metrics.realism import (
    ColumnScale,
    cut_windows,
    score_windows,
    sd_ratio,
    two_sample_scores,
    window_starts_of,
)

RNG = np.random.default_rng(4)


def test_two_sample_scores__of_a_perfect_and_of_a_blind_classifier():
    assert two_sample_scores(np.array([3.0, 1.0]), np.array([-2.0, -1.0])) == (1.0, 1.0)
    assert two_sample_scores(np.zeros(5), np.zeros(5)) == (0.5, 0.5)
    same = RNG.normal(size=50)
    assert two_sample_scores(same, same) == (pytest.approx(0.5), pytest.approx(0.5))


def test_two_sample_scores__auc_needs_no_threshold():
    accuracy, auc = two_sample_scores(np.array([9.0, 8.0]), np.array([6.0, 7.0]))
    assert (accuracy[0], auc[0]) == (0.5, 1.0)


@given(st.integers(0, 2**32 - 1))
def test_two_sample_scores__weights_are_repeats(seed):
    rng = np.random.default_rng(seed)
    real, fake = rng.integers(-2, 3, (2, 6)).astype(float)
    weights = rng.integers(0, 4, 6)
    if not weights.sum():
        weights[0] = 1
    weighted = two_sample_scores(real, fake, weights[None, :].astype(float))
    np.testing.assert_allclose(weighted, two_sample_scores(np.repeat(real, weights), np.repeat(fake, weights)))


def test_two_sample_scores__without_a_window_is_nan():
    assert np.isnan(two_sample_scores(np.zeros(0), np.zeros(0))).all()


def test_two_sample_scores__refuses_unequal_numbers():
    with pytest.raises(ValueError, match="show the same windows"):
        two_sample_scores(np.zeros(3), np.zeros(2))


def test_sd_ratio__is_the_contrast_of_each_distance():
    reference = RNG.normal(size=(500, 3))
    np.testing.assert_allclose(sd_ratio(reference * [1, 2, 0.5] + [0, 3, 9], reference), [1, 2, 0.5])


def test_sd_ratio__is_undefined_for_a_constant_reference_and_counts_common_pixels():
    reference = np.column_stack([np.full(50, 0.1), RNG.normal(size=50)])
    band = RNG.normal(size=(50, 2))
    band[:48, 1] = np.nan
    found = sd_ratio(band, reference)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(band[48:, 1].std() / reference[48:, 1].std())


def test_window_starts__leave_out_windows_with_few_valid_pixels():
    stripes = np.ones((50, 4))
    stripes[10:16] = np.nan
    assert window_starts_of(stripes, 10, 10).tolist() == [0, 20, 30, 40]
    assert window_starts_of(stripes, 12, 10, min_valid=0.5).tolist() == [0, 10, 20, 30]
    assert window_starts_of(stripes[:5], 10, 10).tolist() == []


def test_score_windows__shows_each_submatrix_once_with_its_mask():
    band = RNG.normal(size=(47, 6))
    band[:3] = np.nan
    stripes = gather_stripes(band, 0, 47, 6)
    seen = []

    def judge(maps, valid):
        seen.extend(maps)
        np.testing.assert_array_equal(valid, ~np.isnan(maps))
        return np.where(valid.all(axis=(1, 2)), maps.mean(axis=(1, 2)), np.nan)

    starts, scores = score_windows(stripes, 10, judge, batch=3)
    assert starts.tolist() == [0, 10, 20, 30]
    np.testing.assert_array_equal(np.concatenate(seen), stripes[:40])
    np.testing.assert_allclose(scores[1:], [stripes[s : s + 10].mean() for s in (10, 20, 30)])
    assert np.isnan(scores[0])


def test_column_scale__standardises_and_fills_with_the_mean():
    stripes = RNG.normal([1, 5], [2, 3], (200, 2))
    stripes[3, 0] = np.nan
    scaled = ColumnScale.of([stripes[:80], stripes[80:]]).apply(stripes)
    assert scaled[3, 0] == 0
    np.testing.assert_allclose(np.delete(scaled[:, 0], 3).std(), 1, rtol=1e-5)
    np.testing.assert_allclose(scaled[:, 1].mean(), 0, atol=1e-6)
    constant = np.full((9, 1), 0.3)
    assert (np.abs(ColumnScale.of([constant]).apply(constant)) < 1e-6).all()


def test_cut_windows__are_copies():
    stripes = np.zeros((20, 2))
    cut_windows(stripes, np.array([0, 5]), 10)[0] = 1
    assert not stripes.any()
