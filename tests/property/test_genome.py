"""Bins tile every chromosome exactly, and regions and bins name the same places."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from epizarr.genome import Region
from tests.strategies import grids


@given(grids())
def test_bin_grid__bins_tile_every_chromosome(grid):
    table = grid.table()
    assert len(table) == grid.n_bins
    for chrom, length in grid.assembly:
        rows = table[table["chrom"] == chrom]
        assert rows["start"].iloc[0] == 0
        assert rows["end"].iloc[-1] == length
        np.testing.assert_array_equal(rows["start"].to_numpy()[1:], rows["end"].to_numpy()[:-1])
        assert (rows["end"] - rows["start"]).to_numpy()[:-1].tolist() == [grid.binsize] * (len(rows) - 1)


@given(grids(), st.data())
def test_region_extent__overlapping_and_contained_bracket_the_region(grid, data):
    chrom = data.draw(st.sampled_from(grid.assembly.chrom_names))
    length = grid.assembly.length(chrom)
    start = data.draw(st.integers(0, length - 1))
    region = Region(chrom, start, data.draw(st.integers(start + 1, length)))
    table = grid.table()
    on = (table["chrom"] == chrom).to_numpy()
    overlapping = on & (table["start"] < region.end).to_numpy() & (table["end"] > region.start).to_numpy()
    contained = on & (table["start"] >= region.start).to_numpy() & (table["end"] <= region.end).to_numpy()
    for keep, wanted in (("overlapping", overlapping), ("contained", contained)):
        lo, hi = grid.region_extent(region, keep)
        np.testing.assert_array_equal(np.arange(lo, hi), np.flatnonzero(wanted))


@given(grids(), st.data())
def test_extent_region__undoes_region_extent(grid, data):
    chrom = data.draw(st.sampled_from(grid.assembly.chrom_names))
    first, last = grid.chrom_extent(chrom)
    lo = data.draw(st.integers(first, last - 1))
    hi = data.draw(st.integers(lo + 1, last))
    region = grid.extent_region(lo, hi)
    assert grid.region_extent(region, "contained") == (lo, hi)
    assert grid.region_extent(region, "overlapping") == (lo, hi)
    assert grid.assembly.region(str(region)) == region


@given(grids(), st.data())
def test_extents__pieces_join_up_and_stay_on_one_chromosome(grid, data):
    lo = data.draw(st.integers(0, grid.n_bins - 1))
    hi = data.draw(st.integers(lo + 1, grid.n_bins))
    pieces = grid.extents(lo, hi)
    joined = np.concatenate([np.arange(a, b) for _, a, b in pieces])
    np.testing.assert_array_equal(joined, np.arange(lo, hi))
    names = np.array(grid.assembly.chrom_names)
    for chrom, a, b in pieces:
        assert (names[grid.chrom_code(np.arange(a, b))] == chrom).all()


@given(st.integers(1, 5), st.lists(st.integers(1, 500), min_size=1, max_size=4), st.data())
def test_finer_start__starts_at_the_same_base(factor, lengths, data):
    from epizarr.genome import Assembly

    assembly = Assembly.from_table("t", [(f"c{i}", n) for i, n in enumerate(lengths)])
    coarse, fine = assembly.bins(7 * factor), assembly.bins(7)
    bin_id = data.draw(st.integers(0, coarse.n_bins - 1))
    fine_id, first, last = coarse.finer_start(bin_id, fine)
    code, start, _ = coarse.locate(np.array(bin_id))
    fine_code, fine_begin, _ = fine.locate(np.array(fine_id))
    assert (code, start) == (fine_code, fine_begin)
    assert (first, last) == fine.chrom_extent(assembly.chrom_names[int(code)])
