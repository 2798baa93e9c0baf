"""Insulation, boundaries and domains of a predicted map against those of the true one, as one dataset."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from epizarr.domains.boundaries import boundary_agreement, domain_agreement, insulation_correlation
from epizarr.domains.insulation import insulation, insulation_boundaries
from epizarr.domains.regions import Regions
from epizarr.domains.topdom import topdom, topdom_boundaries, topdom_domains
from epizarr.errors import AssemblyMismatchError
from epizarr.genome import BinGrid, grid_of

#: The paper's windows of TopDom, 10 to 50 bins of 10 kb.
WINDOWS_BP = (100_000, 200_000, 300_000, 400_000, 500_000)


def domain_scores(
    truth: xr.DataArray,
    prediction: xr.DataArray,
    *,
    windows_bp: int | Sequence[int] = WINDOWS_BP,
    tolerance_bins: int = 2,
    min_diagonal: int = 2,
    regions: Regions = None,
) -> xr.Dataset:
    """Score a predicted map's insulation, boundaries and domains against the true map's, for several windows.

    Parameters
    ----------
    truth, prediction
        Linear contacts of a whole genome, dims ``("bin", "diagonal")``, on the same bins. Only pixels that both have count, and
        only diagonals that both store.
    windows_bp
        Windows of the insulation score and of TopDom, multiples of the bin size.
    tolerance_bins
        A boundary matches one that is not farther away.
    min_diagonal
        First diagonal that counts for insulation.
    regions
        Regions, each on its own. Default: every chromosome.

    Returns
    -------
    Dataset with dim ``window`` (bp).

    ``insulation_pearson``, ``insulation_spearman``, ``insulation_bins``
        Correlation of the scores over the bins where both maps have one.
    ``insulation_precision``, ``insulation_recall``, ``insulation_f1``, and the same of ``topdom_``
        Boundaries, matched one to one; NaN where undefined.
    ``topdom_jaccard``, ``topdom_variation``
        Agreement of TopDom's domains: Jaccard index of the pairs of bins in one domain, variation of information in bits.
    ``insulation_found``, ``insulation_true``, and the same of ``topdom_``
        Numbers of boundaries.

    Raises
    ------
    AssemblyMismatchError
        If the maps are not on the same bins.
    BandReachError
        If a window is larger than the bands allow.
    SchemaError, ValueError, RegionError
        If bands, windows or regions cannot be used.

    Notes
    -----
    Computed when called, region by region; memory as of :func:`epizarr.topdom`.
    """
    grid = grid_of(truth)
    if grid_of(prediction) != grid:
        raise AssemblyMismatchError(
            f"truth {truth.name!r} and prediction {prediction.name!r} are not on the same bins: {grid.binsize:,} and "
            f"{grid_of(prediction).binsize:,} bp of {grid.assembly.name!r} and {grid_of(prediction).assembly.name!r}."
        )
    truth, prediction = _common_pixels(truth, prediction)
    insulated = [
        insulation(band, windows_bp, regions=regions, min_diagonal=min_diagonal) for band in (prediction, truth)
    ]
    windows = insulated[0]["window"].values
    called = [topdom(band, (windows // grid.binsize).tolist(), regions=regions) for band in (prediction, truth)]
    correlation = insulation_correlation(*insulated)
    found = {f"insulation_{name}": correlation[name].values for name in ("pearson", "spearman")}
    found["insulation_bins"] = correlation["n_bins"].values
    borders = [insulation_boundaries(each) for each in insulated]
    found |= _agreement("insulation", borders, windows, grid, tolerance_bins)
    borders = [topdom_boundaries(each) for each in called]
    found |= _agreement("topdom", borders, windows // grid.binsize, grid, tolerance_bins)
    domains, true_domains = (topdom_domains(each) for each in called)
    partitions = [
        domain_agreement(domains[domains["window"] == window], true_domains[true_domains["window"] == window], grid)
        for window in windows // grid.binsize
    ]
    found["topdom_jaccard"] = np.array([each.jaccard for each in partitions])
    found["topdom_variation"] = np.array([each.variation_of_information for each in partitions])
    return xr.Dataset(
        {name: ("window", values) for name, values in found.items()},
        coords={"window": ("window", windows, {"units": "bp"})},
        attrs={"tolerance_bins": tolerance_bins, "min_diagonal": min_diagonal},
    )


def _common_pixels(*bands: xr.DataArray) -> list[xr.DataArray]:
    """Bands cut to the diagonals that all store, with every pixel missing that one of them lacks. Lazy."""
    n_diagonals = min(band.sizes["diagonal"] for band in bands)
    cut = [
        band.transpose("bin", "diagonal").isel(diagonal=slice(0, n_diagonals)).drop_vars(band.coords) for band in bands
    ]
    known = cut[0].notnull()
    for band in cut[1:]:
        known = known & band.notnull()
    return [band.where(known).assign_attrs(band.attrs) for band in cut]


def _agreement(
    caller: str, borders: Sequence[pd.DataFrame], windows: np.ndarray, grid: BinGrid, tolerance_bins: int
) -> dict[str, np.ndarray]:
    """Agreement of found and true boundaries at each window."""
    each = [
        boundary_agreement(
            *(table[table["window"] == window] for table in borders),
            binsize=grid.binsize,
            tolerance_bins=tolerance_bins,
        )
        for window in windows
    ]
    return {
        f"{caller}_precision": np.array([agreement.precision for agreement in each]),
        f"{caller}_recall": np.array([agreement.recall for agreement in each]),
        f"{caller}_f1": np.array([agreement.f1 for agreement in each]),
        f"{caller}_found": np.array([agreement.n_found for agreement in each]),
        f"{caller}_true": np.array([agreement.n_true for agreement in each]),
    }
