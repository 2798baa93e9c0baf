"""Windows cover a region once, cuts are exact, splits keep their distance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epizarr import windows
from epizarr.errors import SplitError
from epizarr.genome import Assembly, Region


@given(st.integers(0, 50), st.integers(1, 400), st.integers(1, 60), st.data())
def test_window_starts__cover_every_bin_of_the_segment_once(lo, length, n_bins, data):
    phase = data.draw(st.integers(0, n_bins - 1))
    segment = windows.Segment("c", lo, lo + length, lo + length + 10)
    starts = windows.window_starts(segment, n_bins, phase)
    covered = (starts[:, None] + np.arange(n_bins)).ravel()
    inside = covered[(covered >= lo) & (covered < lo + length)]
    np.testing.assert_array_equal(inside, np.arange(lo, lo + length))
    assert starts[0] == lo - phase
    assert ((starts + n_bins > lo) & (starts < lo + length)).all()


@given(st.integers(-30, 60), st.integers(1, 60), st.integers(-20, 20), st.integers(1, 40))
def test_cut_padded__is_nan_exactly_outside(lo, length, first, n):
    values = np.arange(first, first + n, dtype=np.float64)
    cut = windows.cut_padded(values[None], first, lo, lo + length)[0]
    wanted = np.arange(lo, lo + length, dtype=np.float64)
    wanted[(wanted < first) | (wanted >= first + n)] = np.nan
    np.testing.assert_array_equal(cut, wanted)


def test_track_extent__is_34000_bins_at_10_kb():
    assert windows.track_extent(3, 200, 100, 7000) == (300 - 7000, 20_300 + 7000)


GRID = Assembly.from_table("t", [("chr21", 48_129_895), ("chr22", 51_304_566)]).bins(10_000)
LEGAL = {
    "train": ["chr21:15,400,000-34,000,000"],
    "validation": ["chr21:35,200,000-38,200,000"],
    "test": ["chr21:39,400,000-48,100,000"],
}


def test_splits__exactly_the_margin_is_allowed():
    windows.Splits.parse(GRID.assembly, LEGAL).check(GRID, margin_bp=1_200_000)


@given(st.integers(1, 1_200_000))
def test_splits__one_base_closer_is_refused_with_the_nearest_legal_border(too_close):
    texts = LEGAL | {"validation": [f"chr21:{35_200_000 - too_close}-38,200,000"]}
    with pytest.raises(SplitError, match="start validation at 35,200,000 or later"):
        windows.Splits.parse(GRID.assembly, texts).check(GRID, margin_bp=1_200_000)


def test_splits__overlap_is_refused():
    texts = LEGAL | {"test": ["chr21"]}
    with pytest.raises(SplitError, match="overlap"):
        windows.Splits.parse(GRID.assembly, texts).check(GRID, margin_bp=1_200_000)


def test_splits__other_chromosomes_need_no_margin():
    texts = {"train": ["chr21"], "validation": ["chr22"]}
    assert windows.Splits.parse(GRID.assembly, texts).check(GRID, margin_bp=1_200_000).test == ()


def test_splits__unreadable_regions_are_all_named():
    with pytest.raises(SplitError, match=r"(?s)train.*chr99.*validation.*chr21:5-2"):
        windows.Splits.parse(GRID.assembly, {"train": ["chr99"], "validation": ["chr21:5-2"]})


def test_segment__keeps_whole_bins():
    segment = windows.Segment.from_region(GRID, Region("chr22", 5_000, 45_000))
    assert (segment.lo, segment.hi, segment.n_chrom_bins) == (1, 4, 5131)
