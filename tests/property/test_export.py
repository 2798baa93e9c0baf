"""What the writers are given is the band, whatever the blocks."""

from unittest.mock import patch

import numpy as np
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from epizarr.bands import band_from_pixels, band_on_chromosome, pixels_from_band
from epizarr.io import export_source
from epizarr.io.export_source import ExportSource
from tests.strategies import grids


@given(grids(), st.integers(1, 8), st.integers(1, 5), st.integers(1, 60), st.data())
def test_iter_blocks__pixels_of_all_blocks_are_the_band(grid, n_diagonals, factor, block_values, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    band = rng.random((grid.n_bins, n_diagonals)).astype(np.float32)
    band[rng.random(band.shape) < 0.3] = np.nan
    whole = tuple((lo, hi) for _, lo, hi in grid.extents())
    source = ExportSource("band", xr.DataArray(band, dims=("bin", "diagonal")), grid, whole, "ice", None, {})
    with patch.object(export_source, "BLOCK_VALUES", block_values):
        blocks = list(source.iter_blocks(factor))
        assert len(blocks) == source.n_blocks(factor)
    bin1, bin2, value = (
        np.concatenate(parts) for parts in zip(*(pixels_from_band(b, lo) for lo, b in blocks), strict=True)
    )
    assert (np.diff(bin1 * grid.n_bins + bin2) > 0).all()
    wanted = np.where(band_on_chromosome(grid, 0, grid.n_bins, n_diagonals), band, np.nan)
    size = {"n_bins": grid.n_bins, "n_diagonals": n_diagonals}
    there = band_from_pixels(bin1, bin2, np.ones(len(bin1)), **size) == 1
    found = np.where(there, band_from_pixels(bin1, bin2, value, **size), np.nan)
    np.testing.assert_array_equal(found, wanted)
    for lo, _ in blocks:
        assert (lo - grid.chrom_offset[grid.chrom_code(np.array(lo))]) % factor == 0
