"""Genome-wide bands as the store opens them, from NumPy arrays, and the square matrices that slow checks use."""

import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

from epizarr.bands import band_from_pixels, band_from_square
from epizarr.genome import BinGrid


def band_array(values: np.ndarray, grid: BinGrid, name: str = "ice") -> xr.DataArray:
    """Band of a whole genome with the attribute by which its bins are known."""
    text = {
        "assembly": grid.assembly.name,
        "binsize": int(grid.binsize),
        "chroms": {c: int(n) for c, n in grid.assembly},
    }
    return xr.DataArray(values, dims=("bin", "diagonal"), name=name, attrs={"bin_grid": json.dumps(text)})


def band_from_squares(squares: Mapping[str, np.ndarray], n_diagonals: int) -> np.ndarray:
    """Band of a genome from a square a chromosome, NaN off the chromosomes."""
    return np.concatenate([band_from_square(square, n_diagonals) for square in squares.values()])


def chrom_band(i: np.ndarray, j: np.ndarray, value: np.ndarray, n_bins: int, n_diagonals: int) -> np.ndarray:
    """Band of one chromosome from its pixels: absent pixels are 0, NaN off the chromosome."""
    band = band_from_pixels(i, j, value, n_bins=n_bins, n_diagonals=n_diagonals)
    band[np.arange(n_diagonals) >= np.arange(n_bins, 0, -1)[:, None]] = np.nan
    return band


def random_square(rng: np.random.Generator, n: int, bad_share: float = 0.1) -> np.ndarray:
    """Contacts of one chromosome that fall with distance, some 0, with missing bins."""
    i = np.arange(n)
    upper = np.triu(rng.poisson(20.0 / (1 + np.abs(i[:, None] - i))) * rng.gamma(4.0, 0.25, (n, n)))
    square = upper + np.triu(upper, 1).T
    bad = rng.random(n) < bad_share
    square[bad], square[:, bad] = np.nan, np.nan
    return square
