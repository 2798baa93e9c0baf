"""Values of maps and tracks for pictures: coarsened to what a screen or a page can show, in bounded memory.

Contacts are read as stripes, whose rows are positions along the genome (:mod:`epizarr.bands`), and coarsened along the genome
only: distances stay as fine as they are. Positions are bins of one chromosome, from its start.
"""

import numpy as np

from epizarr.bands import gather_stripes, mean_of_runs, stripe_margins
from epizarr.genome import BinGrid
from epizarr.io.places import Place
from epizarr.io.store import read_region
from epizarr.transforms import diagonal_sums, mean_of_sums
from epizarr.view.sources import MapSource, TrackSource

#: Values that one read takes: 16 MB of float32; what is made of them on the way is some times as much.
BLOCK_VALUES = 1 << 22


def read_stripes(
    store: Place,
    source: MapSource,
    grid: BinGrid,
    chrom: str,
    lo: int,
    hi: int,
    factor: int = 1,
    n_offsets: int | None = None,
) -> np.ndarray:
    """Read contacts at bins ``[lo, hi)`` of a chromosome, averaged over runs of ``factor`` bins.

    Parameters
    ----------
    store, source, grid
        The map and its bins.
    chrom, lo, hi
        Bins of the chromosome, from its start.
    factor
        Bins of a run, see :func:`epizarr.bands.mean_of_runs`; runs begin at ``lo``.
    n_offsets
        Distances wanted, in bins; all that are stored by default.

    Returns
    -------
    float32 (run, offset): the mean of what is known of ``stripes[m, k]``, pixel (m - ceil(k/2), m + floor(k/2)); NaN where
    nothing is, off the chromosome, and below the first diagonal of a prediction. Memory: the result and 100 MB.
    """
    n = source.n_diagonals if n_offsets is None else min(n_offsets, source.n_diagonals)
    first, _ = grid.chrom_extent(chrom)
    step = max(1, BLOCK_VALUES // n // factor) * factor
    parts = [np.empty((0, n), dtype=np.float32)]
    for start in range(lo, hi, step):
        stop = min(start + step, hi)
        margin = min(start, stripe_margins(n)[0])
        rows = {"bin": slice(first + start - margin, first + stop), "diagonal": slice(0, n)}
        band = read_region(store, source.group, source.variable, rows).astype(np.float32, copy=False)
        parts.append(mean_of_runs(gather_stripes(band, margin, stop - start, n), factor))
    stripes = np.concatenate(parts)
    stripes[:, : source.min_diagonal] = np.nan
    return stripes


def read_expected(store: Place, source: MapSource, grid: BinGrid, chrom: str) -> np.ndarray:
    """Mean of the known pixels of each diagonal over a chromosome, float64 (diagonal); NaN where there is none."""
    first, last = grid.chrom_extent(chrom)
    step = max(1, BLOCK_VALUES // source.n_diagonals)
    total, number = np.zeros(source.n_diagonals), np.zeros(source.n_diagonals, dtype=np.int64)
    for lo in range(first, last, step):
        band = read_region(store, source.group, source.variable, {"bin": slice(lo, min(lo + step, last))})
        sums = diagonal_sums(band)
        total, number = total + sums[0], number + sums[1]
    return mean_of_sums(total, number)


def read_signal(
    store: Place, source: TrackSource, grid: BinGrid, chrom: str, lo: int, hi: int, factor: int = 1
) -> np.ndarray:
    """Read a track at bins ``[lo, hi)`` of a chromosome on its own grid, averaged over runs of ``factor`` bins.

    Returns
    -------
    float32 (run), the mean of what was measured; NaN where nothing was. Memory: the result and 100 MB.
    """
    first, _ = grid.chrom_extent(chrom)
    step = max(1, BLOCK_VALUES // factor) * factor
    parts = [np.empty(0, dtype=np.float32)]
    for start in range(lo, hi, step):
        part = {
            "track": slice(source.row, source.row + 1),
            "bin": slice(first + start, first + min(start + step, hi)),
        }
        parts.append(mean_of_runs(read_region(store, source.group, "signal", part)[0], factor))
    return np.concatenate(parts)
