import numpy as np
import pytest

from epizarr.bands import mirror_band
from epizarr.metrics.realism_synthetic import DISTANCE_MEAN, LOCAL_MEAN, LOCAL_MEAN_PER_DISTANCE, synthetic_maps

RNG = np.random.default_rng(3)


def observed() -> np.ndarray:
    band = RNG.normal(size=(80, 12))
    band[30:33] = np.nan
    band[np.arange(80)[:, None] + np.arange(12) >= 80] = np.nan
    band[:, 0] = np.nan
    return band


def test_synthetic_maps__agree_with_means_over_neighbours():
    band = observed()
    i, k = np.indices(band.shape)
    position = i + (k + 1) // 2  # of the stripe
    maps = synthetic_maps(band, half_width=2)
    for row, diagonal in ((20, 5), (40, 4), (29, 3), (0, 1), (68, 11), (34, 7)):
        near = np.abs(position - position[row, diagonal]) <= 2
        box = near & (np.abs(k - diagonal) <= 2)
        assert maps[LOCAL_MEAN][row, diagonal] == pytest.approx(np.nanmean(band[box]))
        assert maps[LOCAL_MEAN_PER_DISTANCE][row, diagonal] == pytest.approx(np.nanmean(band[near & (k == diagonal)]))
        assert maps[DISTANCE_MEAN][row, diagonal] == pytest.approx(np.nanmean(band[:, diagonal]))


def test_synthetic_maps__are_missing_where_the_observed_map_is():
    band = observed()
    for made in synthetic_maps(band).values():
        np.testing.assert_array_equal(np.isnan(made), np.isnan(band))


def test_synthetic_maps__without_a_neighbourhood_are_the_map_itself():
    band = observed().astype(np.float32)
    maps = synthetic_maps(band, half_width=0)
    for name in (LOCAL_MEAN, LOCAL_MEAN_PER_DISTANCE):
        assert maps[name].dtype == np.float32
        np.testing.assert_allclose(maps[name], band, rtol=1e-6)


def test_synthetic_maps__per_distance_do_not_depend_on_the_direction_of_reading():
    band = observed()
    forward, backward = (synthetic_maps(b)[LOCAL_MEAN_PER_DISTANCE] for b in (band, mirror_band(band)))
    np.testing.assert_allclose(mirror_band(backward), forward)


def test_synthetic_maps__refuse_a_negative_width():
    with pytest.raises(ValueError, match="half_width"):
        synthetic_maps(observed(), half_width=-1)
