"""Insulation, boundaries and domains of a predicted map against those of the true one, as one dataset."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from epizarr.domains.boundaries import boundary_agreement, domain_agreement, score_correlation
from epizarr.domains.insulation import insulation, insulation_boundaries
from epizarr.domains.regions import Regions
from epizarr.domains.separation import tad_boundaries, tad_domains, tad_separation
from epizarr.domains.topdom import topdom, topdom_boundaries, topdom_domains
from epizarr.errors import AssemblyMismatchError
from epizarr.genome import grid_of

#: The paper's windows of TopDom, 10 to 50 bins of 10 kb.
WINDOWS_BP = (100_000, 200_000, 300_000, 400_000, 500_000)
#: Name of a score -> attribute of what compares two maps' boundaries or domains.
_BOUNDARY_SCORES = {"precision": "precision", "recall": "recall", "f1": "f1", "found": "n_found", "true": "n_true"}
_DOMAIN_SCORES = {"jaccard": "jaccard", "variation": "variation_of_information"}


@dataclass(frozen=True)
class DomainCalls:
    """What the callers make of one map, by their names: scores, and a table a window (separation has no windows, so one)."""

    scores: dict[str, xr.DataArray]
    boundaries: dict[str, list[pd.DataFrame]]
    domains: dict[str, list[pd.DataFrame]]


def call_domains(
    band: xr.DataArray,
    windows_bp: int | Sequence[int],
    *,
    regions: Regions = None,
    min_diagonal: int = 2,
    max_depth_bp: int | None = None,
    separation: bool = True,
) -> DomainCalls:
    """Call insulation, TopDom and, unless it is left out, TAD separation on a map.

    Parameters
    ----------
    band
        Linear contacts of a whole genome, dims ``("bin", "diagonal")``.
    windows_bp, regions, min_diagonal, max_depth_bp
        As for :func:`domain_scores`, which says what is raised.
    separation
        Whether TAD separation is called: a narrow band does not hold it.
    """
    binsize = grid_of(band).binsize
    insulated = insulation(band, windows_bp, regions=regions, min_diagonal=min_diagonal)
    windows = insulated["window"].values
    in_bins = windows // binsize
    called = topdom(band, in_bins.tolist(), regions=regions)
    scores = {"insulation": insulated["score"], "topdom": called["signal"]}
    boundaries = {
        "insulation": _by_window(insulation_boundaries(insulated), windows),
        "topdom": _by_window(topdom_boundaries(called), in_bins),
    }
    domains = {"topdom": _by_window(topdom_domains(called), in_bins)}
    if separation:
        separated = tad_separation(band, max_depth_bp=max_depth_bp, regions=regions)
        scores["separation"] = separated["score"].assign_attrs(windows_bp=separated["window"].values.tolist())
        # Boundaries are compared by their starts: here the border itself, not the centre of the bin before it.
        boundaries["separation"] = [tad_boundaries(separated).assign(start=lambda t: t["position"])]
        domains["separation"] = [tad_domains(separated)]
    return DomainCalls(scores, boundaries, domains)


def domain_scores(
    truth: xr.DataArray,
    prediction: xr.DataArray,
    *,
    windows_bp: int | Sequence[int] = WINDOWS_BP,
    tolerance_bins: int = 2,
    min_diagonal: int = 2,
    max_depth_bp: int | None = None,
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
    max_depth_bp
        Largest window of the TAD-separation score. Default: HiCExplorer's for the bin size.
    regions
        Regions, each on its own. Default: every chromosome.

    Returns
    -------
    Dataset with dim ``window`` (bp). Names begin with ``insulation_``, ``topdom_`` or, without windows, ``separation_``; only
    domains are not defined for insulation.

    ``…_pearson``, ``…_spearman``, ``…_bins``
        Correlation of the scores over the bins where both maps have one, and their number.
    ``…_precision``, ``…_recall``, ``…_f1``, ``…_found``, ``…_true``
        Boundaries, matched one to one, NaN where undefined; and their numbers.
    ``…_jaccard``, ``…_variation``
        Agreement of domains: Jaccard index of the pairs of bins in one domain, variation of information in bits.

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
    own, true = (
        call_domains(band, windows_bp, regions=regions, min_diagonal=min_diagonal, max_depth_bp=max_depth_bp)
        for band in (prediction, truth)
    )
    found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
    for caller, score in own.scores.items():
        correlation = score_correlation(score, true.scores[caller])
        for name in ("pearson", "spearman", "bins"):
            variable = correlation["n_bins" if name == "bins" else name]
            found[f"{caller}_{name}"] = (tuple(str(dim) for dim in variable.dims), variable.values)
    for caller, tables in own.boundaries.items():
        agreed = [
            boundary_agreement(p, t, binsize=grid.binsize, tolerance_bins=tolerance_bins)
            for p, t in zip(tables, true.boundaries[caller], strict=True)
        ]
        for name, attribute in _BOUNDARY_SCORES.items():
            found[f"{caller}_{name}"] = _along(caller, [getattr(each, attribute) for each in agreed])
    for caller, tables in own.domains.items():
        shared = [domain_agreement(p, t, grid) for p, t in zip(tables, true.domains[caller], strict=True)]
        for name, attribute in _DOMAIN_SCORES.items():
            found[f"{caller}_{name}"] = _along(caller, [getattr(each, attribute) for each in shared])
    return xr.Dataset(
        found,
        coords={"window": ("window", own.scores["insulation"]["window"].values, {"units": "bp"})},
        attrs={
            "tolerance_bins": tolerance_bins,
            "min_diagonal": min_diagonal,
            "separation_windows_bp": own.scores["separation"].attrs["windows_bp"],
        },
    )


def _by_window(table: pd.DataFrame, windows: np.ndarray) -> list[pd.DataFrame]:
    """Rows of each window."""
    return [table[table["window"] == window] for window in windows]


def _along(caller: str, values: list[float]) -> tuple[tuple[str, ...], np.ndarray]:
    """Values by window, or the one of a caller without windows."""
    return ((), np.array(values[0])) if caller == "separation" else (("window",), np.array(values))


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
