import numpy as np
import pytest

from epizarr.metrics.spectrum import detail_ratio, power_ranges, radial_power

RNG = np.random.default_rng(1)


def band_of_square(square: np.ndarray, n_diagonals: int) -> np.ndarray:
    band = np.full((len(square), n_diagonals), np.nan)
    for k in range(n_diagonals):
        band[: len(square) - k, k] = np.diagonal(square, k)
    return band


def smoothed(square: np.ndarray, width: int) -> np.ndarray:
    kernel = np.ones(width) / width
    for axis in (0, 1):
        square = np.apply_along_axis(np.convolve, axis, square, kernel, mode="same")
    return square


def test_radial_power__of_white_noise_is_its_variance_at_every_frequency():
    found = radial_power(2 * RNG.normal(size=(40_000, 70)))
    assert found.n_squares == 2499
    np.testing.assert_allclose(found.power, 4, rtol=0.05)
    assert (found.frequency < 0.5).all()


def test_radial_power__of_a_wave_lies_in_its_ring():
    i, j = np.meshgrid(np.arange(600), np.arange(600), indexing="ij")
    found = radial_power(band_of_square(np.cos(2 * np.pi * (6 * i + 8 * j) / 32), 70))
    assert found.frequency[np.argmax(found.power)] == pytest.approx(10 / 32)


def test_radial_power__does_not_see_the_decay():
    band = band_of_square(RNG.normal(size=(600, 600)), 70)
    np.testing.assert_allclose(radial_power(band + 100 / (1 + np.arange(70))).power, radial_power(band).power)


def test_detail_ratio__is_one_for_the_truth_and_grows_with_the_square_of_contrast():
    truth = band_of_square(RNG.normal(size=(600, 600)), 70)
    assert detail_ratio(truth, truth) == 1
    assert detail_ratio(2 * truth, truth) == pytest.approx(4)


def test_detail_ratio__tells_smooth_from_rough():
    square = RNG.normal(size=(600, 600))
    truth = band_of_square(smoothed(square, 2), 70)
    assert detail_ratio(band_of_square(smoothed(square, 5), 70), truth) < 0.5
    assert detail_ratio(band_of_square(square, 70), truth) > 2


def test_detail_ratio__compares_where_both_have_values():
    truth = band_of_square(RNG.normal(size=(900, 900)), 70)
    prediction = truth.copy()
    prediction[RNG.random(truth.shape) < 0.05] = np.nan
    assert detail_ratio(prediction, truth) == pytest.approx(1)


def test_radial_power__without_valid_squares_is_nan():
    assert np.isnan(radial_power(np.full((200, 70), np.nan)).power).all()


def test_radial_power__refuses_a_narrow_band():
    with pytest.raises(ValueError, match="needs 66 diagonals"):
        radial_power(np.zeros((100, 60)))


def test_power_ranges__hold_squares_and_do_not_overlap():
    assert power_ranges(100, 16) == [(3, 34), (34, 65), (65, 96)]
    assert power_ranges(33, 16) == []
    for first, last in power_ranges(100, 16):
        assert radial_power(np.zeros((100, last)), side=16, least_diagonal=first).n_squares
