"""Loops planted in a map: their scores by definition, calls, controls, pile-ups."""

import numpy as np
import pandas as pd
import pytest

from epizarr.genome import Assembly
from epizarr.metrics.interactions import ranking_scores
from epizarr.metrics.loops import (
    Footprint,
    PileUp,
    Pixels,
    call_loops,
    distance_matched_controls,
    largest_near,
    loop_pixels,
    match_loops,
    score_loops,
)
from epizarr.metrics.neighbourhoods import gather_squares
from epizarr.transforms import diagonal_sums, mean_of_sums

FOOTPRINT = Footprint(2, 5)
N_ROWS, N_DIAGONALS = 400, 60
LOOPS = Pixels(np.array([40, 100, 180, 260, 300]), np.array([20, 35, 15, 40, 25]))


def _tell_apart(z, loops, controls):
    """Rank loops and controls by the largest z near them."""
    values = [largest_near(z, pixels) for pixels in (loops, controls)]
    return ranking_scores(np.concatenate(values), np.repeat([1.0, 0.0], [len(each) for each in values]), 1.0)


def _decay() -> np.ndarray:
    return 100 / (1 + np.arange(N_DIAGONALS)) ** 0.8


@pytest.fixture
def band() -> np.ndarray:
    """Noisy decay with five loops of 3 × 3 bins and a few missing bins; not counts."""
    rng = np.random.default_rng(1)
    band = _decay() * rng.gamma(40, 1 / 40, (N_ROWS, N_DIAGONALS))
    for i, k in zip(*LOOPS, strict=True):
        for a in (-1, 0, 1):
            for b in (-1, 0, 1):
                band[i + a, k + b - a] *= 3.0 if a == b == 0 else 2.2
    for bad in (70, 71, 220):
        band[bad] = np.nan
        k = np.arange(N_DIAGONALS)
        band[bad - k[bad - k >= 0], k[bad - k >= 0]] = np.nan
    rows = np.arange(N_ROWS)[:, None]
    return np.where(rows + np.arange(N_DIAGONALS) < N_ROWS, band, np.nan)


def test_score_loops__compares_the_peak_with_its_backgrounds(band):
    expected = _decay()
    scores = score_loops(band, expected, FOOTPRINT)
    a, b = np.mgrid[-5:6, -5:6]
    inner = (np.abs(a) <= 2) & (np.abs(b) <= 2)
    donut = ~inner & (a != 0) & (b != 0)
    masks = [
        donut,
        (a >= 1) & (b <= -1) & ~inner,
        (np.abs(a) <= 1) & (np.abs(b) > 2),
        (np.abs(b) <= 1) & (np.abs(a) > 2),
    ]
    for i, k in [(40, 20), (150, 30), (67, 12), (300, 48)]:
        ratio = gather_squares(band, np.array([i]), np.array([k]), 5)[0] / expected[k + b - a]
        peak = np.sort(ratio[4:7, 4:7][~np.isnan(ratio[4:7, 4:7])])[:-1]
        around = ratio[donut][~np.isnan(ratio[donut])]
        z = (peak.mean() - around.mean()) / around.std(ddof=1) * np.sqrt(len(peak))
        assert scores.enrichment[i, k] == pytest.approx(peak.mean() / max(np.nanmean(ratio[m]) for m in masks))
        assert scores.z[i, k] == pytest.approx(z)


def test_score_loops__needs_its_footprint_in_the_band(band):
    z = score_loops(band, _decay(), FOOTPRINT).z
    assert np.isnan(z[:, :11]).all()
    assert np.isnan(z[:, N_DIAGONALS - 10 :]).all()
    assert not np.isnan(z[100:150, 11 : N_DIAGONALS - 10]).all()


def test_score_loops__are_the_same_at_any_band_width(band):
    narrow, wide = (score_loops(band[:, :k], _decay()[:k], FOOTPRINT) for k in (50, 60))
    np.testing.assert_allclose(narrow.z[:, :40], wide.z[:, :40], rtol=1e-9)
    np.testing.assert_allclose(narrow.enrichment[:, :40], wide.enrichment[:, :40], rtol=1e-9)


def test_score_loops__know_no_units(band):
    scores, scaled = score_loops(band, _decay(), FOOTPRINT), score_loops(band * 1e-4, _decay() * 1e-4, FOOTPRINT)
    np.testing.assert_allclose(scores.z, scaled.z, rtol=1e-9)


def test_call_loops__finds_what_was_planted(band):
    called, z = call_loops(score_loops(band, mean_of_sums(*diagonal_sums(band)), FOOTPRINT))
    match = match_loops(called, LOOPS, 1)
    assert (match.recall, match.precision) == (1.0, 1.0)
    assert match.n_called == 5
    assert (np.diff(z) <= 0).all()


def test_call_loops__a_single_pixel_is_no_loop(band):
    band[150, 30] *= 100
    called, _ = call_loops(score_loops(band, _decay(), FOOTPRINT))
    assert match_loops(called, Pixels(np.array([150]), np.array([30])), 3).recall == 0


def test_call_loops__none_in_a_smooth_map():
    """Nor in one with a ripple far below what a loop is."""
    smooth = _decay() * (1 + 1e-3 * np.sin(np.arange(N_ROWS) / 3)[:, None])
    called, _ = call_loops(score_loops(smooth, _decay(), FOOTPRINT))
    assert len(called.row) == 0
    assert np.isnan(match_loops(called, LOOPS, 1).precision)


def test_match_loops__counts_both_ways():
    called = Pixels(np.array([10, 11, 50]), np.array([20, 20, 20]))
    given = Pixels(np.array([11, 80]), np.array([21, 5]))
    match = match_loops(called, given, 2)
    assert (match.n_called_right, match.n_given_found) == (2, 1)
    assert match.precision == pytest.approx(2 / 3)
    assert match.recall == 0.5


def test_match_loops__tolerance_holds_at_each_end():
    called, given = Pixels(np.array([10]), np.array([20])), Pixels(np.array([12]), np.array([19]))
    assert match_loops(called, given, 2).recall == 1
    assert match_loops(called, given, 1).recall == 0


def test_distance_matched_controls__share_the_distances_and_avoid_the_loops(band):
    usable = ~np.isnan(score_loops(band, _decay(), FOOTPRINT).z)
    controls = distance_matched_controls(LOOPS, usable, per_loop=7)
    assert np.bincount(controls.diagonal)[[20, 35, 15, 40, 25]].tolist() == [7] * 5
    assert usable[controls.row, controls.diagonal].all()
    apart = np.abs(controls.ends()[:, None] - LOOPS.ends()[None]).max(axis=2)
    assert apart.min() > 5


def test_largest_near__tells_loops_from_controls_where_the_map_has_them(band):
    z = score_loops(band, _decay(), FOOTPRINT).z
    controls = distance_matched_controls(LOOPS, ~np.isnan(z), per_loop=20)
    scores = _tell_apart(z, LOOPS, controls)
    assert (scores.n_positive, scores.n_negative) == (5, 100)
    assert (scores.auroc, scores.aupr) == (1.0, 1.0)
    none = _tell_apart(np.zeros_like(z), LOOPS, controls)
    assert (none.auroc, none.aupr) == (0.5, pytest.approx(5 / 105))


def test_largest_near__takes_the_largest_there_is():
    values = np.full((9, 9), np.nan)
    values[4, 5] = 2.0
    pixels = Pixels(np.array([3, 3]), np.array([5, 2]))
    np.testing.assert_array_equal(largest_near(values, pixels), [2.0, np.nan])


def test_pile_up__regions_add_up_and_the_middle_stands_out(band):
    whole = PileUp.of(band, _decay(), LOOPS, half_width=8)
    halves = [Pixels(LOOPS.row[c], LOOPS.diagonal[c]) for c in (slice(0, 2), slice(2, 5))]
    added = PileUp.add([PileUp.of(band, _decay(), half, half_width=8) for half in halves])
    np.testing.assert_allclose(added.mean, whole.mean, rtol=1e-12)
    assert whole.corner_score(3) == pytest.approx(3.0, rel=0.2)


def test_pile_up__of_a_smooth_map_is_1():
    smooth = np.broadcast_to(_decay(), (N_ROWS, N_DIAGONALS))
    assert PileUp.of(smooth, _decay(), LOOPS, half_width=8).corner_score(3) == pytest.approx(1.0)


def test_loops__of_a_region_without_any_are_undefined(band):
    z = score_loops(band, _decay(), FOOTPRINT).z
    none = Pixels(np.zeros(0, np.int64), np.zeros(0, np.int64))
    controls = distance_matched_controls(none, ~np.isnan(z))
    assert len(controls.row) == 0
    assert np.isnan(_tell_apart(z, none, controls).aupr)
    assert np.isnan(PileUp.of(band, _decay(), none).corner_score())
    assert np.isnan(match_loops(none, none, 2).recall)


def test_pile_up__refuses_a_corner_that_reaches_the_middle(band):
    with pytest.raises(ValueError, match="1 to 8"):
        PileUp.of(band, _decay(), LOOPS, half_width=8).corner_score(9)


def test_loop_pixels__of_a_table():
    grid = Assembly.from_table("test", [("chr1", 1_000), ("chr2", 2_000)]).bins(10)
    table = pd.DataFrame(
        [
            ("chr2", 100, 110, "chr2", 300, 320),
            ("chr2", 300, 320, "chr2", 100, 110),  # the same loop, anchors swapped
            ("chr2", 1_990, 2_000, "chr2", 1_000, 1_010),
            ("chr1", 100, 110, "chr1", 300, 320),  # elsewhere
            ("chr1", 100, 110, "chr2", 300, 320),  # between chromosomes
            ("chrX", 100, 110, "chrX", 300, 320),  # not in the assembly
        ],
        columns=["chrom1", "start1", "end1", "chrom2", "start2", "end2"],
    )
    pixels = loop_pixels(table, grid, *grid.chrom_extent("chr2"))
    assert pixels.row.tolist() == [10, 100]
    assert pixels.diagonal.tolist() == [21, 99]


@pytest.mark.parametrize(("binsize", "footprint"), [(5_000, (4, 7)), (10_000, (2, 5)), (40_000, (1, 3))])
def test_footprint__is_hiccups_own(binsize, footprint):
    assert Footprint.of_binsize(binsize) == footprint
