"""Domains whose contacts differ between two maps: the rank-sum tests of HiCExplorer's hicDifferentialTAD, with effect sizes.

Three sets of pixels of a domain are compared: within it, and between it and everything back to the start of the domain before it
("left") or up to the end of the domain after it ("right"). Both maps need the same depth or normalisation.

Source: documentation of hicDifferentialTAD (HiCExplorer 3.7); Epiphany's Additional file 1, Fig. S12 (p > 0.01: conserved).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr

from epizarr.domains.rank_test import rank_sums
from epizarr.domains.regions import read_regions
from epizarr.errors import AssemblyMismatchError
from epizarr.genome import BinGrid, Region, grid_of

Part = Literal["left", "right", "intra"]
_PARTS: tuple[Part, ...] = ("left", "right", "intra")


def differential_domains(
    target: xr.DataArray,
    control: xr.DataArray,
    domains: pd.DataFrame,
    *,
    significance: float = 0.01,
    parts: Sequence[Part] = ("left", "right"),
    reject: Literal["any", "all"] = "any",
) -> pd.DataFrame:
    """Test every domain of one map for different contacts in another.

    Parameters
    ----------
    target, control
        Linear contacts of a whole genome, dims ``("bin", "diagonal")``, on the same bins. A pixel counts where both have a value.
    domains
        Domains of ``target``: table with columns ``chrom``, ``start``, ``end`` (bp), such as :func:`epizarr.tad_domains` gives.
        Rows are taken in order of their starts; with a column ``tag``, those other than ``"domain"`` are left out.
    significance
        Largest p-value at which a domain is differential.
    parts
        Tests that decide. The two inter-domain tests by default, as in the paper.
    reject
        Whether any or all of them must be significant.

    Returns
    -------
    The table's rows with columns ``n_PART`` (pixels), ``statistic_PART``, ``pvalue_PART`` (two-sided rank-sum test, as the
    original without correction for ties), ``effect_PART`` (chance that a pixel of the target is larger than one of the control,
    less the chance that it is smaller: -1 to 1) and ``log2_ratio_PART`` (of the means), for PART ``left``, ``right``, ``intra``;
    then ``pvalue`` (of the tests that decide) and ``is_differential``. NaN where there is no domain on that side or no pixel.

    Raises
    ------
    AssemblyMismatchError
        If the maps are not on the same bins.
    SchemaError, ValueError, RegionError
        If bands or domains cannot be used.

    Notes
    -----
    Pixels that the bands do not hold are missing, so that of domains larger than the band only the part near the diagonal is
    compared. Within a domain, every pixel off the diagonal counts twice, as in the original, which tests the whole square: its
    p-values are too small. Not kept from the original: of files in cooler format it leaves out the last bin on the right.
    """
    grid = grid_of(target)
    if grid_of(control) != grid:
        other = grid_of(control)
        raise AssemblyMismatchError(
            f"target is on {grid.assembly.name!r} in bins of {grid.binsize:,} bp, control on {other.assembly.name!r} in bins of "
            f"{other.binsize:,} bp; both must have the same bins."
        )
    if not parts or set(parts) - set(_PARTS) or reject not in ("any", "all"):
        raise ValueError(f"parts {tuple(parts)} and reject {reject!r}; give some of {_PARTS}, and 'any' or 'all'.")
    kept = domains[domains["tag"] == "domain"] if "tag" in domains else domains
    kept = kept.sort_values(["chrom", "start"], key=lambda c: c.map(grid.assembly.index) if c.name == "chrom" else c)
    kept = kept.reset_index(drop=True)
    n_diagonals = min(target.sizes["diagonal"], control.sizes["diagonal"])
    rows = []
    for chrom, group in kept.groupby("chrom", sort=False, observed=True):
        extent = [(str(chrom), *grid.chrom_extent(str(chrom)))]
        maps = [next(read_regions(band, extent, n_diagonals)).values for band in (target, control)]
        rows += _tested(maps[0], maps[1], _bins(group, grid))
    table = pd.concat([kept, pd.DataFrame(rows, columns=_columns())], axis=1)
    decisive = table[[f"pvalue_{part}" for part in parts]]
    # A test that could not be made decides nothing, and rejects nothing where all must.
    table["pvalue"] = decisive.min(axis=1) if reject == "any" else decisive.max(axis=1, skipna=False)
    table["is_differential"] = table["pvalue"] <= significance
    return table


def split_conserved(tested: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Conserved and non-conserved domains of :func:`differential_domains`, most conserved and most different first.

    Domains without a p-value are in neither table.
    """
    known = tested[tested["pvalue"].notna()]
    conserved = known[~known["is_differential"]].sort_values("pvalue", ascending=False, kind="stable")
    different = known[known["is_differential"]].sort_values("pvalue", kind="stable")
    return conserved.reset_index(drop=True), different.reset_index(drop=True)


def _columns() -> list[str]:
    return [f"{name}_{part}" for part in _PARTS for name in ("n", "statistic", "pvalue", "effect", "log2_ratio")]


def _bins(domains: pd.DataFrame, grid: BinGrid) -> list[tuple[int, int]]:
    """Bins of each domain, counted from its chromosome's first: those that it overlaps."""
    found = []
    for chrom, start, end in domains[["chrom", "start", "end"]].itertuples(index=False):
        lo, hi = grid.region_extent(Region(str(chrom), int(start), int(end)))
        first = grid.chrom_extent(str(chrom))[0]
        found.append((lo - first, hi - first))
    return found


def _tested(target: np.ndarray, control: np.ndarray, bins: list[tuple[int, int]]) -> list[list[float]]:
    """Results of each domain of one chromosome, in the order of :func:`_columns`."""
    rows = []
    for i, (lo, hi) in enumerate(bins):
        places = {
            "left": (bins[i - 1][0], lo, lo, hi) if i else None,
            "right": (lo, hi, hi, bins[i + 1][1]) if i + 1 < len(bins) else None,
            "intra": (lo, hi, lo, hi),
        }
        row: list[float] = []
        for part in _PARTS:
            place = places[part]
            row += [0, *[np.nan] * 4] if place is None else _compare(*(_block(m, *place) for m in (target, control)))
        rows.append(row)
    return rows


def _block(band: np.ndarray, row_lo: int, row_hi: int, lo: int, hi: int) -> np.ndarray:
    """Pixels of a rectangle of the symmetric map; NaN where the band does not hold them."""
    i, j = np.arange(row_lo, row_hi)[:, None], np.arange(lo, hi)[None, :]
    k = np.abs(j - i)
    return np.where(k < band.shape[1], band[np.minimum(i, j), np.minimum(k, band.shape[1] - 1)], np.nan).ravel()


def _compare(target: np.ndarray, control: np.ndarray) -> list[float]:
    """Number of pixels, statistic, p-value, effect and log2 ratio of the means, of the pixels that both maps have."""
    both = ~(np.isnan(target) | np.isnan(control))
    x, y = target[both], control[both]
    n = len(x)
    if not n:
        return [0, *[np.nan] * 4]
    statistic, pvalue = rank_sums(x, y)
    effect = 2 * statistic * np.sqrt(n * n * (2 * n + 1) / 12) / (n * n)
    ratio = np.log2(x.mean() / y.mean()) if x.mean() > 0 and y.mean() > 0 else np.nan
    return [n, statistic, pvalue, float(effect), float(ratio)]
