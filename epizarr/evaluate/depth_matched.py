"""A replicate to read scores of realism beside: two measured maps of equal depth, which differ by chance alone.

What any score says of such a pair is what it says of a perfect predictor of noisy maps. Where the replicate comes from:

- of a simulated cell type, whose noise-free contacts are known: new counts are drawn at the observed depth, and compared with the
  observed map;
- of contacts merged from replicates (``count_replicate``): the first two, the deeper one thinned to the other's depth;
- else two halves of the contacts, each contact put into one of them at random (:mod:`epizarr.thinning`).

Of the latter two each has about half of the depth, so that they are compared with each other, and not with the observed map.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from epizarr.bands import balance_band
from epizarr.evaluate.ceilings import common_sums, depth_scale
from epizarr.evaluate.maps import Maps, Rows, check_truth, read_truth, value_per_count
from epizarr.io.store import group_path, open_contacts, read_region
from epizarr.schema import PROPORTIONAL_VARIABLES, WEIGHTED_VARIABLES
from epizarr.thinning import named_seed, thin_counts

Bands = list[np.ndarray]


def depth_matched_pair(
    maps: Maps, regions: Sequence[Rows], truth: str | Path | None, seed: int
) -> tuple[tuple[Bands, Bands] | None, str]:
    """Two maps of equal depth in some regions, and a sentence on what they are.

    Parameters
    ----------
    maps
        The contacts.
    regions
        Whole regions, not blocks of them.
    truth
        Place of a simulated cell type's noise-free contacts, as of :func:`epizarr.evaluate.evaluate_run`.
    seed
        Of the draws.

    Returns
    -------
    Replicate and what it is compared with: bands (row, diagonal), a region each, in the variable's own units, float32, NaN where
    the observed map is. None where neither can be made, and why.

    Raises
    ------
    StoreNotFoundError, AssemblyMismatchError
        If the truth is missing or belongs to another genome.
    """
    if truth is not None and maps.variable in ("count", *WEIGHTED_VARIABLES):
        check_truth(Path(truth), maps)
        return _drawn(
            maps, regions, str(truth), seed
        ), "new counts drawn from the noise-free contacts at the observed depth"
    if maps.variable not in PROPORTIONAL_VARIABLES:
        return (
            None,
            f"no replicate: {maps.variable} is not proportional to the counts, so that a share of them has none",
        )
    contacts = open_contacts(maps.store, maps.cell_type, maps.binsize)
    names = [str(name) for name in contacts["replicate"].values] if "count_replicate" in contacts else []
    pair = _split(maps, regions, len(names) > 1, seed)
    if pair is None:
        return None, "no replicate: there is no contact in these regions, or in one of the replicates"
    if len(names) > 1:
        return pair, f"replicates {names[1]} and {names[0]} with each other, thinned to one depth"
    return pair, "two halves of the contacts with each other, drawn at random: each has half of the observed depth"


def _drawn(maps: Maps, regions: Sequence[Rows], truth: str, seed: int) -> tuple[Bands, Bands]:
    observed = [maps.observed(rows) for rows in regions]
    expected = [read_truth(truth, rows, maps.n_diagonals).astype(np.float64) for rows in regions]
    scale = depth_scale(*np.sum([common_sums(*pair) for pair in zip(observed, expected, strict=True)], axis=0))
    replicate = []
    for rows, own, mean in zip(regions, observed, expected, strict=True):
        weight = _weights(maps, rows)
        count = balance_band(mean * scale, 1 / weight)
        rng = np.random.default_rng([seed, rows.lo])
        drawn = rng.poisson(np.where(np.isnan(count), 0, count))
        band = balance_band(drawn, weight)
        replicate.append(np.where(np.isnan(own) | np.isnan(count), np.nan, band).astype(np.float32))
    return replicate, observed


def _weights(maps: Maps, rows: Rows) -> np.ndarray:
    """Balancing weights of a whole region's bins and of as many behind it as a band reaches, NaN there; 1 for raw counts."""
    weight = np.full(rows.hi - rows.lo + maps.n_diagonals - 1, np.nan)
    n = rows.hi - rows.lo
    if maps.variable == "count":
        weight[:n] = 1.0
    else:
        group = group_path("contacts", maps.cell_type, maps.binsize)
        weight[:n] = read_region(maps.store, group, f"weight_{maps.variable}", {"bin": slice(rows.lo, rows.hi)})
    return weight


def _split(maps: Maps, regions: Sequence[Rows], has_replicates: bool, seed: int) -> tuple[Bands, Bands] | None:
    """Shares of two groups of contacts in the observed map, each scaled to the whole."""
    count = [_counts(maps.contacts(rows, "count")) for rows in regions]
    if has_replicates:
        pair = [[_counts(maps.replicate_count(rows, index)) for rows in regions] for index in (1, 0)]
        depths = [sum(int(band.sum()) for band in bands) for bands in pair]
        if min(depths) == 0:
            return None
        pair = [
            [_thinned(maps, rows, band, min(depths) / depth, seed) for rows, band in zip(regions, bands, strict=True)]
            for bands, depth in zip(pair, depths, strict=True)
        ]
    else:
        half = [_thinned(maps, rows, band, 0.5, seed) for rows, band in zip(regions, count, strict=True)]
        pair = [half, [band - kept for band, kept in zip(count, half, strict=True)]]
    totals = [sum(int(band.sum()) for band in bands) for bands in (count, *pair)]
    if min(totals) == 0:
        return None
    shares: list[Bands] = [[], []]
    for index, rows in enumerate(regions):
        per_count = value_per_count(maps.observed(rows), count[index])
        for share, bands, total in zip(shares, pair, totals[1:], strict=True):
            share.append((per_count * bands[index] * (totals[0] / total)).astype(np.float32))
    return shares[0], shares[1]


def _counts(band: np.ndarray) -> np.ndarray:
    return np.nan_to_num(band, nan=0.0).astype(np.int64)


def _thinned(maps: Maps, rows: Rows, count: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    chrom = maps.grid.extent_region(rows.lo, rows.lo + 1).chrom
    first = rows.lo - maps.grid.chrom_extent(chrom)[0]
    row, diagonal = np.nonzero(count)
    kept = np.zeros_like(count)
    kept[row, diagonal] = thin_counts(
        first + row,
        first + row + diagonal,
        count[row, diagonal],
        fraction=fraction,
        seed=named_seed(seed, "halves"),
        chrom=chrom,
    )
    return kept
