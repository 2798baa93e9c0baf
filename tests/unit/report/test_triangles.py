"""Triangles for print: what lies where, scales, and files."""

import numpy as np
import pytest

from epizarr.bands import band_from_square, gather_stripes
from epizarr.errors import FigureError
from epizarr.genes import Gene
from epizarr.genome import Region
from epizarr.report.figures import rotate_band
from epizarr.report.scales import ColourScale, fit_scale, scale_kind
from epizarr.report.triangles import (
    SignalPanel,
    TrianglePanel,
    check_figure_path,
    render_figure,
    rotate_stripes,
    triangle_figure,
)

N, K = 30, 8
REGION = Region("chr1", 100_000, 400_000)


@pytest.fixture
def band() -> np.ndarray:
    rng = np.random.default_rng(0)
    square = rng.gamma(2.0, size=(N, N))
    return band_from_square(square + square.T, K)


def panel(stripes, title="map", scale=None):
    scale = scale or fit_scale("log", [stripes], "contacts")
    return TrianglePanel(title, stripes, 10_000, 1, N, 100_000, scale)


def test_rotate_stripes__equals_the_rotated_band_inside_the_region(band):
    values, inside = rotate_stripes(gather_stripes(band, 0, N, K), N, N * 4, K * 4, K)
    wanted = rotate_band(band, 0, N, 4)
    np.testing.assert_array_equal(values[inside], wanted[inside])
    assert np.isnan(values[~inside]).all()


def test_rotate_stripes__a_mean_of_bins_covers_its_bins(band):
    from epizarr.bands import mean_of_runs

    stripes = gather_stripes(band, 0, N, K)
    coarse = mean_of_runs(stripes, 4)
    values, inside = rotate_stripes(coarse, N, N * 4, K * 4, K, factor=4)
    repeated, _ = rotate_stripes(np.repeat(coarse, 4, axis=0)[:N], N, N * 4, K * 4, K)
    np.testing.assert_array_equal(values[inside], repeated[inside])


def test_rotate_stripes__nothing_beyond_the_region_or_the_band(band):
    _, inside = rotate_stripes(gather_stripes(band, 0, N, K), N, N, 4 * K, 2 * K)
    assert not inside[-1].any()  # above the last diagonal
    assert not inside[2 * K - 1, 0]  # the left corner


def test_colour_scale__zero_contacts_are_not_missing(band):
    scale = fit_scale("log", [band], "contacts")
    drawn = scale.drawn(np.array([0.0, np.nan]))
    colours = scale.colours()(scale.norm()(np.ma.masked_invalid(drawn)))
    assert drawn[0] == scale.low
    assert tuple(colours[0]) != tuple(colours[1])


def test_fit_scale__differences_are_centred_at_zero():
    scale = fit_scale("diverging", [np.array([-1.0, 5.0, np.nan])], "difference")
    assert scale.low == -scale.high < 0
    np.testing.assert_allclose(scale.colours()(scale.norm()(0.0))[:3], (0.97, 0.97, 0.97), atol=0.02)


@pytest.mark.parametrize("kind", ["log", "linear", "diverging"])
def test_fit_scale__nothing_known_still_gives_a_scale(kind):
    scale = fit_scale(kind, [np.full((3, 3), np.nan)], "x")
    assert scale.low < scale.high


def test_scale_kind__by_variable():
    assert [scale_kind(v) for v in ("count", "ice", "hicdcplus_oe", "akita")] == ["log", "log", "linear", "diverging"]


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_render_figure__equal_figures_give_equal_bytes(band, suffix):
    def draw():
        stripes = gather_stripes(band, 0, N, K)
        genes = [Gene("chr1", 150_000, 200_000, "ALPHA", "+", ((150_000, 160_000),), True)]
        signals = [SignalPanel("CTCF", np.linspace(0, 9, 3000), 100_000, 400_000)]
        return triangle_figure(REGION, [panel(stripes), panel(stripes, "other")], signals, genes)

    first = render_figure(draw(), suffix)
    assert first == render_figure(draw(), suffix)
    assert len(first) < 700_000


def test_render_figure__text_of_a_vector_file_is_text(band):
    figure = triangle_figure(REGION, [panel(gather_stripes(band, 0, N, K), "GM12878 · ice")])
    svg = render_figure(figure, ".svg").decode()
    assert "GM12878 · ice" in svg
    assert svg.count("<image") == 2  # the map and its colour bar


def test_triangle_figure__maps_with_one_scale_share_a_colour_bar(band):
    stripes = gather_stripes(band, 0, N, K)
    signed = ColourScale("diverging", -1.0, 1.0, "difference")
    shared = triangle_figure(REGION, [panel(stripes), panel(stripes)])
    apart = triangle_figure(REGION, [panel(stripes), panel(stripes, scale=signed)])
    assert (len(shared.axes), len(apart.axes)) == (3, 4)


def test_triangle_figure__signed_and_missing_signals(band):
    values = np.array([-2.0, np.nan, 3.0, 1.0])
    figure = triangle_figure(REGION, [], [SignalPanel("attribution", values, 100_000, 400_000, limit=4.0)])
    assert figure.axes[0].get_ylim() == (-4.0, 4.0)


def test_triangle_figure__refuses_nothing():
    with pytest.raises(FigureError, match="needs a map or a track"):
        triangle_figure(REGION, [])


def test_check_figure_path__refuses_other_formats():
    with pytest.raises(FigureError, match=r"a\.jpg: the format is told by the name"):
        check_figure_path("a.jpg")
