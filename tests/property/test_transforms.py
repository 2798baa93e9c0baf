"""Transforms keep missing values missing, undo themselves, and learn from training values only."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epizarr import transforms
from epizarr.errors import TransformError
from epizarr.quantiles import fit_quantiles
from tests.strategies import float_arrays

N = 6
EXPECTED = np.array([0.0, 4.0, 2.0, 1.0, 0.5, 0.25])


@given(st.sampled_from(sorted(transforms.TARGET_TRANSFORMS)), float_arrays((5, N)))
def test_invert__undoes_apply(name, values):
    transform = transforms.fit_target_transform(name, EXPECTED)
    again = transform.invert(transform.apply(values))
    known = slice(1, None) if "obs_over_exp" in transform.steps else slice(None)
    np.testing.assert_allclose(again[:, known], values[:, known], rtol=1e-9, atol=1e-9)


@given(st.sampled_from(sorted(transforms.TARGET_TRANSFORMS)), float_arrays((5, N)), st.integers(0, 2**31))
def test_apply__missing_stays_missing(name, values, seed):
    holes = np.random.default_rng(seed).random(values.shape) < 0.3
    values[holes] = np.nan
    out = transforms.fit_target_transform(name, EXPECTED).apply(values)
    assert np.isnan(out[holes]).all()
    assert not np.isnan(out[:, 1:][~holes[:, 1:]]).any()


def test_apply__diagonal_without_expected_is_missing():
    transform = transforms.fit_target_transform("obs_over_exp_log1p", EXPECTED)
    assert np.isnan(transform.apply(np.ones((2, N)))[:, 0]).all()
    assert np.isnan(transform.invert(np.ones((2, N)))[:, 0]).all()


@given(st.sampled_from(sorted(transforms.TARGET_TRANSFORMS)), float_arrays((3, N)))
def test_from_json__gives_the_same_transform(name, values):
    transform = transforms.fit_target_transform(name, EXPECTED / 3)
    again = transforms.Transform.from_json(transform.to_json())
    assert again == transform
    np.testing.assert_array_equal(again.apply(values), transform.apply(values))


def test_log1p__is_exact_to_single_precision_from_tiny_to_huge_values():
    magnitude = np.concatenate([10.0 ** np.linspace(-30, 38, 5001), [0.0, np.inf]]).astype(np.float32)
    for values in (magnitude, -magnitude[magnitude < 0.999], np.float32([np.nan, 1e-8])):
        transform = transforms.Transform("log1p", ("log1p",))
        exact = np.log1p(values.astype(np.float64))
        np.testing.assert_allclose(transform.apply(values), exact, rtol=3e-7, atol=0)


def test_apply__writes_into_the_array_it_is_given():
    values, blacklisted = np.arange(200_000, dtype=np.float32), np.arange(200_000) % 7 == 0
    transform = transforms.fit_track_transform("blacklist_clip_log1p_standardise", [values])
    wanted = transform.apply(values, blacklisted)
    kept = values.copy()
    assert transform.apply(values, blacklisted, out=values) is values
    np.testing.assert_array_equal(values, wanted)
    np.testing.assert_array_equal(transform.apply(kept[:77_777], blacklisted[:77_777]), wanted[:77_777])


def test_track_transform__clips_at_the_training_percentile_and_masks_the_blacklist():
    training = np.concatenate([np.arange(1000.0), [np.nan] * 10])
    transform = transforms.fit_track_transform("blacklist_clip_log1p", [training])
    upper = np.percentile(np.arange(1000.0), 99.9)
    out = transform.apply(np.array([1.0, 1e6, np.nan, 3.0]), np.array([False, False, False, True]))
    np.testing.assert_allclose(out[:2], np.log1p([1.0, upper]))
    assert np.isnan(out[2:]).all()


def test_track_transform__sparse_track_is_not_erased():
    sparse = np.zeros(10_000)
    sparse[3] = 8.0
    transform = transforms.fit_track_transform("clip_log1p", [sparse])
    assert transform.apply(sparse)[3] == np.log1p(8.0)


def test_track_transform__has_no_inverse():
    transform = transforms.fit_track_transform("clip_log1p", [np.arange(5.0)])
    assert not transform.has_inverse
    with pytest.raises(TransformError, match="clip"):
        transform.invert(np.ones(3))


def test_track_transform__unmeasured_track_is_refused():
    with pytest.raises(TransformError, match="no measured bin"):
        transforms.fit_track_transform("clip_log1p", [np.full(5, np.nan)])


def test_blacklist__must_be_given():
    with pytest.raises(TransformError, match="blacklisted"):
        transforms.fit_track_transform("blacklist", []).apply(np.ones(3))


def test_transform__unfitted_step_is_refused():
    with pytest.raises(TransformError, match="not fitted"):
        transforms.Transform("clip_log1p", ("clip", "log1p")).apply(np.ones(3))


def test_transform__unknown_name_lists_those_there_are():
    with pytest.raises(TransformError, match="Did you mean 'log1p'"):
        transforms.fit_target_transform("log1", EXPECTED)


@given(float_arrays((7, N)), st.integers(1, 6))
def test_diagonal_sums__add_up_over_blocks(band, cut):
    band[::3, 1] = np.nan
    whole = transforms.diagonal_sums(band)
    parts = [transforms.diagonal_sums(b) for b in (band[:cut], band[cut:])]
    np.testing.assert_allclose(sum(p[0] for p in parts), whole[0], rtol=1e-12)
    np.testing.assert_array_equal(sum(p[1] for p in parts), whole[1])
    np.testing.assert_allclose(transforms.mean_of_sums(*whole), np.nanmean(band, axis=0), rtol=1e-12)


def test_network_input__fills_with_zero_and_says_where():
    signal = np.array([[[1.0, np.nan]], [[np.nan, 2.0]]], dtype=np.float32)
    out = transforms.network_input(signal, mask_channels=True)
    np.testing.assert_array_equal(out, [[[1, 0], [1, 0]], [[0, 2], [0, 1]]])
    np.testing.assert_array_equal(transforms.network_input(signal, mask_channels=False), [[[1, 0]], [[0, 2]]])


@pytest.mark.parametrize(
    ("variable", "name"),
    [("ice", "obs_over_exp_log1p"), ("kr", "obs_over_exp_log1p"), ("hicdcplus_oe", "log1p"), ("akita", "linear")],
)
def test_default_target_transform__is_that_of_the_design(variable, name):
    assert transforms.default_target_transform(variable) == name


@pytest.mark.parametrize("name", ["log1p", "clip_log1p", "blacklist_clip_log1p"])
def test_track_transform__refuses_the_logarithm_of_a_log_ratio(name):
    with pytest.raises(TransformError, match=r"a value is -1\.5"):
        transforms.fit_track_transform(name, [np.array([0.5, np.nan]), np.array([-1.5, 2.0])])


@given(st.sampled_from(sorted(transforms.TRACK_TRANSFORMS)), st.integers(0, 99))
def test_slope__is_the_derivative(name, seed):
    values = np.random.default_rng(seed).gamma(1.0, 5.0, 400)
    transform = transforms.fit_track_transform(name, [values])
    kinks = np.abs(values - transform.params.get("clip", {}).get("upper", np.inf)) < 1e-3
    listed, step = np.zeros(400, dtype=bool), 1e-5
    rise = transform.apply(values + step, listed) - transform.apply(values - step, listed)
    np.testing.assert_allclose(transform.slope(values)[~kinks], (rise / (2 * step))[~kinks], rtol=1e-5, atol=1e-8)


def test_slope__of_a_match_adds_up_over_ties():
    """The map of a file of whole numbers jumps at each of them; the slopes between share what it rises."""
    rng = np.random.default_rng(0)
    own = rng.poisson(3.0, 5000).astype(float)
    transform = transforms.fit_track_transform(
        "linear", [rng.gamma(2.0, 4.0, 5000)], match="quantile", own=[fit_quantiles(own)]
    ).bind(fit_quantiles(own))
    path = np.linspace(0, 6, 6001)
    area = ((transform.slope(path)[:-1] + transform.slope(path)[1:]) / 2 * np.diff(path)).sum()
    first, last = transform.apply(np.array([0.0, 6.0]))
    assert area == pytest.approx(last - first, rel=0.01)


def test_slope__missing_stays_missing_and_contacts_have_one_a_diagonal():
    transform = transforms.fit_target_transform("obs_over_exp", EXPECTED)
    slope = transform.slope(np.array([[1.0, 2.0, np.nan, 1.0, 1.0, 1.0]]))
    np.testing.assert_allclose(slope[0, [1, 3, 4, 5]], 1 / EXPECTED[[1, 3, 4, 5]])
    assert np.isnan(slope[0, [0, 2]]).all()
