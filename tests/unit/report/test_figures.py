"""Figures: what lies where, and that drawing leaves nothing behind."""

import numpy as np
import pytest
import xarray as xr

from epizarr.bands import band_from_square
from epizarr.genome import Assembly
from epizarr.report.figures import (
    MapWindow,
    TrackPanel,
    contact_figure,
    distance_figure,
    figure_png,
    rotate_band,
)
from epizarr.report.variables import variables_figure

N, K = 30, 8


@pytest.fixture
def band() -> np.ndarray:
    rng = np.random.default_rng(0)
    square = rng.gamma(2.0, size=(N, N))
    return band_from_square(square + square.T, K)


@pytest.fixture
def window(band) -> MapWindow:
    return MapWindow(
        region="chr1:100,000-300,000",
        start=100_000,
        end=300_000,
        binsize=10_000,
        margin_bins=4,
        maps=(("Observed", band), ("Predicted", band * 2)),
        tracks=(TrackPanel("CTCF", np.linspace(0, 9, 2000), 5.0), TrackPanel("DNase", np.full(2000, np.nan), 1.0)),
        value_label="value",
    )


def test_rotate_band__each_pixel_is_where_it_belongs(band):
    """Pixel (i, i + k) has its middle at position i + 1/2 + k/2 and distance k."""
    image = rotate_band(band, first=0, n_bins=N, samples_per_bin=8)
    for i, k in [(5, 0), (10, 1), (3, 6), (20, 5)]:
        row, column = round(k * 8), round((i + 0.5 + k / 2) * 8)
        assert image[row, column] == band[i, k]


def test_rotate_band__margin_shifts_rows(band):
    whole = rotate_band(band, 0, N, 2)
    np.testing.assert_array_equal(rotate_band(band, 4, 10, 2), whole[:, 8:28])


def test_rotate_band__corners_without_rows_are_missing(band):
    image = rotate_band(band, 0, N, 2)
    assert np.isnan(image[-1, 0])
    assert np.isnan(image[-1, -1])


def test_contact_figure__maps_share_the_observed_scale(window):
    figure = contact_figure(window)
    limits = {image.get_clim() for axis in figure.axes[:2] for image in axis.images}
    assert len(limits) == 1
    assert limits.pop()[1] <= np.nanmax(window.maps[0][1])


def test_contact_figure__axes_show_the_window(window):
    for axis in contact_figure(window).axes[:4]:
        assert axis.get_xlim() == (0.1, 0.3)


def test_contact_figure__draws_a_window_without_values(window):
    empty = MapWindow(**{**window.__dict__, "maps": (("Observed", np.full((N, K), np.nan)),)})
    assert figure_png(contact_figure(empty)).startswith(b"\x89PNG")


def test_contact_figure__no_text_overlaps(window):
    figure = contact_figure(window)
    figure_png(figure)
    renderer = figure.canvas.get_renderer()
    boxes = []
    for axis in figure.axes:
        texts = [*axis.texts, axis.xaxis.label, axis.yaxis.label, axis.title, axis._left_title]
        for label_axis, (low, high), place in ((axis.xaxis, axis.get_xlim(), 0), (axis.yaxis, axis.get_ylim(), 1)):
            texts += [t for t in label_axis.get_ticklabels() if low <= t.get_position()[place] <= high]
        boxes += [(t.get_text(), t.get_window_extent(renderer)) for t in texts if t.get_text() and t.get_visible()]
    width, height = figure.bbox.width, figure.bbox.height
    for index, (text, box) in enumerate(boxes):
        assert box.x0 >= 0, text
        assert box.x1 <= width, text
        assert box.y0 >= 0, text
        assert box.y1 <= height, text
        for other, other_box in boxes[index + 1 :]:
            assert not box.overlaps(other_box), (text, other)


@pytest.fixture
def scores() -> xr.Dataset:
    falling = np.array([np.nan, 0.9, 0.8, 0.7])
    lines = np.stack([falling, np.full(4, np.nan), falling + 0.05])
    return xr.Dataset(
        {
            "n_pixels": ("diagonal", [0, 9, 8, 7]),
            "pearson": (("predictor", "diagonal"), lines),
            "spearman": (("predictor", "diagonal"), lines),
        },
        coords={
            "predictor": np.array(["prediction", "training mean", "noise ceiling: x"], dtype=object),
            "diagonal": np.arange(4),
            "distance": ("diagonal", np.arange(4) * 10_000),
        },
    )


def test_distance_figure__undefined_predictor_is_left_out(scores):
    figure = distance_figure(scores)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["prediction", "noise ceiling: x"]


def test_distance_figure__starts_where_pixels_count(scores):
    line = distance_figure(scores).axes[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), [0.01, 0.02, 0.03])


def test_distance_figure__ceiling_is_dashed(scores):
    assert [line.get_linestyle() for line in distance_figure(scores).axes[0].lines[:2]] == ["-", "--"]


def test_figure_png__equal_figures_give_equal_bytes(window):
    assert figure_png(contact_figure(window)) == figure_png(contact_figure(window))


def test_variables_figure__gives_each_variable_its_own_scale():
    rng = np.random.default_rng(0)
    assembly = Assembly.from_table("toy", [("chr1", 400_000), ("chr2", 900_000)])
    grid = assembly.bins(10_000)
    shape = (grid.n_bins, 30)
    contacts = xr.Dataset(
        {
            "ice": (("bin", "diagonal"), rng.gamma(1.0, 0.01, shape)),
            "hicdcplus_oe": (("bin", "diagonal"), rng.gamma(1.0, 1.0, shape)),
            "akita": (("bin", "diagonal"), rng.normal(size=shape)),
            "chrom_name": ("chroms", np.array(assembly.chrom_names, dtype=object)),
            "chrom_length": ("chroms", np.array(assembly.chrom_lengths)),
        },
        attrs={"assembly": "toy", "binsize": 10_000},
    )
    figure = variables_figure(contacts, "chr2", 100_000, 600_000, reach_bp=200_000)
    drawn = [axis for axis in figure.axes if axis.images]
    assert [axis.texts[0].get_text() for axis in drawn] == ["ice", "hicdcplus_oe", "akita"]
    contact, ratio, score = (axis.images[0].norm for axis in drawn)
    assert (contact.vmax < 1, ratio.vmin, score.vmin) == (True, 0.0, -score.vmax)
    assert drawn[0].get_xlim() == (0.1, 0.6)
    assert drawn[0].get_ylim() == (0, 0.2)
    # The picture's left corner is drawn from bins before the region, not left empty.
    assert np.isfinite(drawn[2].images[0].get_array()[:, 0]).mean() > 0.3
    with pytest.raises(ValueError, match=r"\['kr'\] are not in this group"):
        variables_figure(contacts, "chr2", 100_000, 600_000, ["kr"])
