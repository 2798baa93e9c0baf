"""Pictures of validation maps: what lies where."""

import numpy as np
import pytest

from epizarr.bands import stripe_margins
from epizarr.report.figures import figure_png
from epizarr.report.validation_figures import MapPair, mirrored_maps, validation_figure

N, K, SAMPLES = 30, 8, 4


@pytest.fixture
def stripes() -> tuple[np.ndarray, np.ndarray]:
    """Every pixel has another value; those of the observed map are negative."""
    values = np.arange(1, N * K + 1, dtype=np.float32).reshape(N, K)
    return values, -values


@pytest.mark.parametrize(("m", "k"), [(0, 0), (10, 1), (3, 6), (20, 5), (29, 7)])
def test_mirrored_maps__each_pixel_of_a_stripe_is_over_its_bin_at_its_distance(stripes, m, k):
    image = mirrored_maps(*stripes)
    middle = K * SAMPLES
    # Pixel (m - ceil(k/2), m + floor(k/2)) has its middle at position m + 1/2, or half a bin before for odd k.
    column = round((m + 0.5 - 0.5 * (k % 2)) * SAMPLES)
    assert image[middle + k * SAMPLES, column] == stripes[0][m, k]
    assert image[middle - 1 - k * SAMPLES, column] == stripes[1][m, k]


def test_mirrored_maps__whole_window_is_filled(stripes):
    image = mirrored_maps(*stripes)
    assert image.shape == (2 * K * SAMPLES, N * SAMPLES)
    # Beyond the middle of the last offset, and the last half bin, lie diamonds of pixels that the window does not have.
    edge = (K - 1) * SAMPLES
    assert not np.isnan(image[K * SAMPLES - edge : K * SAMPLES + edge, : -SAMPLES // 2]).any()
    assert stripe_margins(K)[0] > 0  # the left corner would be empty without rows before the window


def test_validation_figure__draws_masked_and_empty_maps(stripes):
    prediction, observed = stripes
    masked = np.where(np.arange(N)[:, None] < 9, np.nan, observed)
    empty = np.full_like(observed, np.nan)
    pairs = [MapPair("A  chr1:0-30,000", 0, 1_000, prediction, o) for o in (masked, empty)]
    figure = validation_figure(pairs, title="epoch 1", value_label="value")
    png = figure_png(figure)
    assert png.startswith(b"\x89PNG")
    assert figure_png(validation_figure(pairs, title="epoch 1", value_label="value")) == png
    assert [axis.get_title(loc="left") for axis in figure.axes[:2]] == ["A  chr1:0-30,000"] * 2


def test_validation_figure__colours_follow_the_observed_maps_only(stripes):
    prediction, observed = stripes
    limits = []
    for factor in (1, 100):
        figure = validation_figure([MapPair("A", 0, 1_000, factor * prediction, observed)], title="", value_label="")
        limits.append(figure.axes[0].images[0].get_clim())
    assert limits[0] == limits[1]
