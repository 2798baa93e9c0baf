"""What is explained: one number made of a prediction's pixels.

- ``pixel:chr8:A-B``: the contact between the bins that hold the interval's first and last base.
- ``stripe:chr8:A-B``: the network's stripes at the bins of the interval, averaged: a vertical line in a map that is drawn as a
  triangle, as in the paper's Fig. 6B.
- ``rectangle:chr8:A-B:chr8:C-D``: all contacts between two intervals.
- ``boundary:chr8:A-B``: the insulation score at the bin in the interval's middle: log2 of the mean LINEAR contact across it
  within :data:`~epizarr.perturbed.changes.WINDOW_BINS` bins. What makes the boundary has a negative attribution.

The first three are means on the network's own scale, that of the target variable after its transform.
"""

from dataclasses import dataclass

import numpy as np

from epizarr.errors import AttributionError, RegionError, nearest_match
from epizarr.genome import BinGrid
from epizarr.perturbed.changes import insulation_window

KINDS = ("pixel", "stripe", "rectangle", "boundary")
EXAMPLES = (
    "pixel:chr8:54,165,000-54,600,000, stripe:chr8:54,160,000-54,170,000, "
    "rectangle:chr8:54,000,000-54,100,000:chr8:54,500,000-54,600,000, boundary:chr8:54,160,000-54,170,000"
)


@dataclass(frozen=True, eq=False)
class Target:
    """Weighted pixels of one chromosome.

    Parameters
    ----------
    text
        What was asked for.
    chrom
        Chromosome.
    lo
        First stripe, a bin local to the chromosome.
    weights
        Weight of each entry of the stripes ``[lo, lo + n)``, float64 (bin, offset), with sum 1.
    is_log
        Whether the number is log2 of the weighted mean of linear contacts; else it is the mean on the network's scale.
    intervals
        The intervals in bp.
    """

    text: str
    chrom: str
    lo: int
    weights: np.ndarray
    is_log: bool
    intervals: tuple[tuple[int, int], ...]

    @property
    def hi(self) -> int:
        """One past the last stripe."""
        return self.lo + len(self.weights)


def parse_target(text: str, grid: BinGrid, n_offsets: int, min_diagonal: int) -> Target:
    """Read a target.

    Parameters
    ----------
    text
        See the module's text and :data:`EXAMPLES`.
    grid
        Bins of the contacts.
    n_offsets, min_diagonal
        Length of the network's stripes, and its first diagonal that counts.

    Raises
    ------
    AttributionError
        If the text cannot be read, or the target has no pixel that the network predicts.
    """
    kind, *parts = (part.strip() for part in text.split(":"))
    if kind not in KINDS:
        raise AttributionError(
            f"target {text!r}: {kind!r} is no kind of target; there are {', '.join(KINDS)}.{nearest_match(kind, KINDS)} "
            f"Examples: {EXAMPLES}."
        )
    wanted = 4 if kind == "rectangle" else 2
    if len(parts) != wanted:
        raise AttributionError(
            f"target {text!r}: needs {'two regions' if wanted == 4 else 'one region'}, as in {EXAMPLES}."
        )
    regions = []
    for chrom, place in zip(parts[::2], parts[1::2], strict=True):
        try:
            regions.append(grid.assembly.region(f"{chrom}:{place}"))
        except RegionError as error:
            raise AttributionError(f"target {text!r}: {error}") from error
    if len({region.chrom for region in regions}) > 1:
        raise AttributionError(
            f"target {text!r}: both regions must lie on one chromosome; the map has contacts near its diagonal."
        )
    first, end = grid.chrom_extent(regions[0].chrom)
    extents = [tuple(b - first for b in grid.region_extent(region)) for region in regions]
    pairs = _pairs(kind, extents, n_offsets)
    i, j = np.minimum(*pairs), np.maximum(*pairs)
    k = j - i
    counts = (i >= 0) & (j < end - first) & (k >= min_diagonal) & (k < n_offsets)
    if not counts.any():
        raise AttributionError(
            f"target {text!r}: it has no pixel on the chromosome whose bins are {min_diagonal} to {n_offsets - 1} bins of "
            f"{grid.binsize:,} bp apart, as this network predicts."
        )
    pixels = np.unique(np.stack([i[counts], k[counts]], axis=1), axis=0)
    stripe = pixels[:, 0] + (pixels[:, 1] + 1) // 2
    lo, hi = int(stripe.min()), int(stripe.max()) + 1
    weights = np.zeros((hi - lo, n_offsets))
    weights[stripe - lo, pixels[:, 1]] = 1 / len(pixels)
    return Target(text, regions[0].chrom, lo, weights, kind == "boundary", tuple((r.start, r.end) for r in regions))


def _pairs(kind: str, extents: list[tuple[int, ...]], n_offsets: int) -> tuple[np.ndarray, np.ndarray]:
    """Bins (i, j) of the pixels, off the chromosome and the band as well."""
    lo, hi = extents[0]
    if kind == "pixel":
        return np.array([lo]), np.array([hi - 1])
    if kind == "stripe":
        bins, k = np.meshgrid(np.arange(lo, hi), np.arange(n_offsets), indexing="ij")
        return (bins - (k + 1) // 2).ravel(), (bins + k // 2).ravel()
    if kind == "rectangle":
        i, j = np.meshgrid(np.arange(lo, hi), np.arange(*extents[1]), indexing="ij")
        return i.ravel(), j.ravel()
    x, window = (lo + hi - 1) // 2, insulation_window(n_offsets)
    i, j = np.meshgrid(np.arange(x - window + 1, x + 1), np.arange(x, x + window), indexing="ij")
    return i.ravel(), j.ravel()
