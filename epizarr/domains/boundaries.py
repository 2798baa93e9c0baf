"""How well boundaries and domains of one map agree with another's.

Boundaries are matched one to one. Domains are compared as partitions of the bins that lie in a domain of both maps.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import rankdata

from epizarr.errors import RegionError
from epizarr.genome import BinGrid, Region


@dataclass(frozen=True)
class BoundaryAgreement:
    """Boundaries that were found and those that are true.

    Parameters
    ----------
    n_found, n_true, n_matched
        Numbers; a boundary is in one match at most.
    """

    n_found: int
    n_true: int
    n_matched: int

    @property
    def precision(self) -> float:
        """Share of the found boundaries that match a true one; NaN if none was found."""
        return self.n_matched / self.n_found if self.n_found else float("nan")

    @property
    def recall(self) -> float:
        """Share of the true boundaries that were found; NaN if there are none."""
        return self.n_matched / self.n_true if self.n_true else float("nan")

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN if there are no boundaries at all."""
        total = self.n_found + self.n_true
        return 2 * self.n_matched / total if total else float("nan")


@dataclass(frozen=True)
class DomainAgreement:
    """Two partitions of the same bins.

    Parameters
    ----------
    n_bins
        Bins in a domain of both.
    n_pairs, n_pairs_either
        Pairs of bins that share a domain in both, and in at least one; they add up over regions.
    variation_of_information
        Bits by which either partition is uncertain given the other, 0 if they are equal; NaN without bins. Of several regions:
        the mean, weighted with their bins.
    """

    n_bins: int
    n_pairs: float
    n_pairs_either: float
    variation_of_information: float

    @property
    def jaccard(self) -> float:
        """Share of the pairs that share a domain in at least one that do in both; NaN if there are none.

        A domain has as many pairs as the square of its length, so that the longest weigh most.
        """
        return self.n_pairs / self.n_pairs_either if self.n_pairs_either else float("nan")


def boundary_agreement(
    found: pd.DataFrame, true: pd.DataFrame, *, binsize: int, tolerance_bins: int = 1
) -> BoundaryAgreement:
    """Match the boundaries of two tables, each with one at most, as many as possible.

    Parameters
    ----------
    found, true
        Tables with columns ``chrom`` and ``start`` (bp): a boundary a row, as from :func:`epizarr.insulation_boundaries`. Both
        from the same caller, since callers place a boundary differently within its bin.
    binsize
        Bin width in bp.
    tolerance_bins
        Two boundaries may match if they are not more than this apart.
    """
    if tolerance_bins < 0:
        raise ValueError(f"tolerance_bins is {tolerance_bins}; 0 or more is needed.")
    n_matched = 0
    true_starts = {
        chrom: group["start"].to_numpy() for chrom, group in true.groupby("chrom", sort=False, observed=True)
    }
    for chrom, group in found.groupby("chrom", sort=False, observed=True):
        if chrom in true_starts:
            n_matched += count_matches(group["start"].to_numpy(), true_starts[chrom], tolerance_bins * binsize)
    return BoundaryAgreement(len(found), len(true), n_matched)


def count_matches(found: np.ndarray, true: np.ndarray, tolerance: float) -> int:
    """Largest number of one-to-one pairs of two sets of places that are at most ``tolerance`` apart."""
    found, true = np.sort(found), np.sort(true)
    i = j = n = 0
    # On a line, pairing the leftmost two that may be paired never costs a pair.
    while i < len(found) and j < len(true):
        if abs(found[i] - true[j]) <= tolerance:
            i, j, n = i + 1, j + 1, n + 1
        elif found[i] < true[j]:
            i += 1
        else:
            j += 1
    return n


def domain_labels(domains: pd.DataFrame, grid: BinGrid) -> np.ndarray:
    """Number of the domain that each bin of the genome belongs to, int64 (bin): the row of the table, -1 where there is none.

    A border within a bin, as TAD separation places them behind gaps that it closes, is taken for the nearer end of the bin.

    Parameters
    ----------
    domains
        Table with columns ``chrom``, ``start``, ``end`` (bp).
    grid
        Bins.

    Raises
    ------
    RegionError
        If a domain is off the assembly or two share a bin: of a hierarchy, choose one level first.
    """
    labels = np.full(grid.n_bins, -1, dtype=np.int64)
    for row, (chrom, start, end) in enumerate(domains[["chrom", "start", "end"]].itertuples(index=False)):
        place = grid.assembly.check(Region(str(chrom), int(start), int(end)))
        first, last = grid.chrom_extent(place.chrom)
        lo, hi = (first + (bp + grid.binsize // 2) // grid.binsize for bp in (place.start, place.end))
        if place.end == grid.assembly.length(place.chrom):
            hi = last
        if (labels[lo:hi] >= 0).any():
            raise RegionError(
                f"domain {Region(str(chrom), int(start), int(end))} shares a bin with another; a partition is needed, so choose "
                "one level of a hierarchy of domains, or one window."
            )
        labels[lo:hi] = row
    return labels


def domain_agreement(found: pd.DataFrame, true: pd.DataFrame, grid: BinGrid) -> DomainAgreement:
    """Compare two tables of domains as partitions of the bins that both have in a domain.

    Parameters
    ----------
    found, true
        Tables with columns ``chrom``, ``start``, ``end`` (bp); with a column ``tag``, rows other than ``"domain"`` are left out.
    grid
        Bins of both.

    Raises
    ------
    RegionError
        See :func:`domain_labels`.

    References
    ----------
    Meilă 2003, Learning Theory and Kernel Machines, 173 (variation of information).
    """
    a, b = (
        domain_labels(table[table["tag"] == "domain"] if "tag" in table else table, grid) for table in (found, true)
    )
    both = (a >= 0) & (b >= 0)
    n = int(both.sum())
    if not n:
        return DomainAgreement(0, 0.0, 0.0, float("nan"))
    cells = np.unique(np.stack([a[both], b[both]]), axis=1, return_counts=True)[1].astype(np.float64)
    sizes_a, sizes_b = (np.unique(x[both], return_counts=True)[1].astype(np.float64) for x in (a, b))
    pairs, pairs_a, pairs_b = ((sizes * (sizes - 1)).sum() for sizes in (cells, sizes_a, sizes_b))
    either = pairs_a + pairs_b - pairs
    variation = 2 * _entropy(cells / n) - _entropy(sizes_a / n) - _entropy(sizes_b / n)
    return DomainAgreement(n, float(pairs), float(either), max(0.0, variation))


def _entropy(share: np.ndarray) -> float:
    """Entropy in bits of shares above 0."""
    return float(-(share * np.log2(share)).sum())


def score_correlation(a: xr.DataArray, b: xr.DataArray) -> xr.Dataset:
    """Correlation of two maps' scores over the bins where both are defined.

    Parameters
    ----------
    a, b
        Scores with dim ``bin`` and perhaps others, of the same bins and windows: ``score`` of :func:`epizarr.insulation` or
        :func:`epizarr.tad_separation`, ``signal`` of :func:`epizarr.topdom`.

    Returns
    -------
    Dataset with the dims but ``bin``: ``pearson`` and ``spearman``, NaN where undefined, and ``n_bins``.

    Raises
    ------
    ValueError
        If bins or windows differ.
    """
    if a.dims != b.dims or any(not np.array_equal(a[dim].values, b[dim].values) for dim in a.dims):
        raise ValueError(
            f"score_correlation: one score has {dict(a.sizes)}, the other {dict(b.sizes)}, or their bins or windows differ; "
            "compute both with the same regions and windows."
        )
    rest = [dim for dim in a.dims if dim != "bin"]
    a, b = a.transpose(*rest, "bin"), b.transpose(*rest, "bin")
    shape = a.shape[:-1]
    pearson, spearman, n_bins = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
    for at in np.ndindex(shape):
        x, y = a.values[at], b.values[at]
        both = ~(np.isnan(x) | np.isnan(y))
        x, y = x[both], y[both]
        n_bins[at] = len(x)
        if len(x) > 1 and np.ptp(x) > 0 and np.ptp(y) > 0:
            pearson[at] = np.corrcoef(x, y)[0, 1]
            spearman[at] = np.corrcoef(rankdata(x), rankdata(y))[0, 1]
    return xr.Dataset(
        {"pearson": (rest, pearson), "spearman": (rest, spearman), "n_bins": (rest, n_bins)},
        coords={dim: a[dim].values for dim in rest},
    )
