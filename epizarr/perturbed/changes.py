"""What a perturbation changes: boundaries by their insulation, and single contacts."""

import numpy as np
import pandas as pd
import xarray as xr

from epizarr.domains.insulation import insulation_scores, minima_prominence
from epizarr.genome import Region, grid_of
from epizarr.schema import SIGNED_VARIABLES
from epizarr.transforms import Transform

#: Window of the insulation score in bins, where the band has as many diagonals.
WINDOW_BINS = 20
#: Prominence (log2) from which a minimum of insulation is called a boundary here.
LEAST_STRENGTH = 0.1
#: Boundaries before and after that lie no further apart than this are the same one.
SAME_BINS = 2
#: Rows of the table of contacts.
N_CONTACTS = 1000


def insulation_window(n_diagonals: int) -> int:
    """Window of the insulation score in bins, as far as the band allows."""
    return min(WINDOW_BINS, (n_diagonals + 1) // 2)


def changed_boundaries(perturbation: xr.Dataset, region: Region) -> pd.DataFrame:
    """Boundaries of a region before and after the edits, at the bins before them.

    Parameters
    ----------
    perturbation
        A ``perturbations`` group.
    region
        Region that was predicted.

    Returns
    -------
    Table with columns ``chrom``, ``start``, ``end`` (bp; of the minimum before, or after where there is none before), ``before``,
    ``after`` (log2 insulation scores there, each over its own median in the region), ``change`` (after - before; up is a weaker
    boundary), ``strength_before``, ``strength_after`` (prominence of the minimum, NaN where there is none) and ``status``
    (``kept``, ``lost``, ``gained``), the largest change first. Empty for targets of either sign, which have no insulation.
    """
    columns = [
        "chrom",
        "start",
        "end",
        "before",
        "after",
        "change",
        "strength_before",
        "strength_after",
        "status",
    ]
    if perturbation.attrs["target"] in SIGNED_VARIABLES:
        return pd.DataFrame({name: [] for name in columns})
    grid = grid_of(perturbation)
    lo, hi = grid.region_extent(region)
    scores, strengths = {}, {}
    for name in ("before", "after"):
        band = perturbation[name].isel(bin=slice(lo, hi)).values.astype(np.float64)
        window = insulation_window(band.shape[1])
        scores[name] = insulation_scores(band, [window], min_diagonal=int(perturbation.attrs["min_diagonal"]))[0][0]
        usable = np.flatnonzero(~np.isnan(scores[name]))
        strength = np.full(hi - lo, np.nan)
        strength[usable] = minima_prominence(scores[name][usable])
        strengths[name] = np.where(strength >= LEAST_STRENGTH, strength, np.nan)
    places = {name: np.flatnonzero(~np.isnan(s)) for name, s in strengths.items()}
    rows: list[tuple[int, int | None, int | None]] = []
    left = places["after"].tolist()
    for place in places["before"].tolist():
        near = [other for other in left if abs(other - place) <= SAME_BINS]
        twin = min(near, key=lambda other: abs(other - place), default=None)
        if twin is not None:
            left.remove(twin)
        rows.append((place, place, twin))
    rows += [(place, None, place) for place in left]
    table = []
    _, starts, ends = grid.locate(np.arange(lo, hi))
    for place, old, new in rows:
        before, after = scores["before"][place], scores["after"][place]
        table.append(
            (
                region.chrom,
                int(starts[place]),
                int(ends[place]),
                before,
                after,
                after - before,
                np.nan if old is None else strengths["before"][old],
                np.nan if new is None else strengths["after"][new],
                "gained" if old is None else "lost" if new is None else "kept",
            )
        )
    frame = pd.DataFrame(table, columns=columns)
    return frame.sort_values("change", key=lambda c: -c.abs(), kind="stable").reset_index(drop=True)


def changed_contacts(perturbation: xr.Dataset, region: Region, n: int = N_CONTACTS) -> pd.DataFrame:
    """Contacts of a region that change most on the network's scale (its target's transform applied).

    Parameters
    ----------
    perturbation
        A ``perturbations`` group.
    region
        Region that was predicted.
    n
        Most rows.

    Returns
    -------
    Table with columns ``chrom``, ``start1``, ``end1``, ``start2``, ``end2`` (bp, before the edits), ``before``, ``after``,
    ``difference`` (target's units) and ``scaled_difference``, the largest first; contacts that do not change are left out.
    """
    grid = grid_of(perturbation)
    lo, hi = grid.region_extent(region)
    part = {"bin": slice(lo, hi)}
    before, after = (perturbation[name].isel(part).values for name in ("before", "after"))
    transform = Transform.from_json(str(perturbation.attrs["transform"]))
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = transform.apply(after) - transform.apply(before)
    size = np.nan_to_num(np.abs(scaled))
    size[:, : int(perturbation.attrs["min_diagonal"])] = 0
    order = np.argsort(-size, axis=None, kind="stable")[:n]
    row, k = np.unravel_index(order[size.ravel()[order] > 0], size.shape)
    ends = [grid.locate(lo + where)[1:] for where in (row, row + k)]
    return pd.DataFrame(
        {
            "chrom": region.chrom,
            "start1": ends[0][0],
            "end1": ends[0][1],
            "start2": ends[1][0],
            "end2": ends[1][1],
            "before": before[row, k],
            "after": after[row, k],
            "difference": after[row, k] - before[row, k],
            "scaled_difference": scaled[row, k],
        }
    )
