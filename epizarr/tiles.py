"""Overlapping tiles of a chromosome: where they lie, how they blend, and which of them a range of bins needs.

The network's LSTMs see one tile at a time. Tiles are anchored to the CHROMOSOME: tile ``j`` covers ``tile_bins`` bins from
``j * (tile_bins - overlap_bins)`` on, and the last one ends with the chromosome. Whatever range is asked for, a bin is made of
the same tiles with the same weights. A *phase* moves the tiles between the first and the last to the left, to see what a
prediction owes to where its tiles lie.

All bins here are local to one chromosome, 0-based and half-open. Plain numbers and NumPy only, so that both the networks and
the stages can use it.
"""

import numpy as np

from epizarr.errors import ConfigError


def tile_starts(n_chrom_bins: int, tile_bins: int, overlap_bins: int, phase_bins: int = 0) -> np.ndarray:
    """Place tiles on a chromosome.

    Parameters
    ----------
    n_chrom_bins
        Length of the chromosome in bins.
    tile_bins
        Length of a tile in bins. A shorter chromosome is one tile of its own length; otherwise all tiles are this
        long.
    overlap_bins
        Bins shared by two neighbours, at most half a tile. The last two may share more, because the last ends with
        the chromosome; the first two too where there is a phase.
    phase_bins
        Bins by which all tiles but the first and the last are moved to the left, less than from one tile to the next.

    Returns
    -------
    First bin of each tile, int64, ascending from 0.

    Raises
    ------
    ConfigError
        If the chromosome is empty, the overlap is negative or longer than half a tile, or the phase is out of range.

    Examples
    --------
    >>> tile_starts(1000, tile_bins=400, overlap_bins=100)
    array([  0, 300, 600])
    >>> tile_starts(1050, tile_bins=400, overlap_bins=100)
    array([  0, 300, 600, 650])
    >>> tile_starts(1000, tile_bins=400, overlap_bins=100, phase_bins=200)
    array([  0, 100, 400, 600])
    """
    if n_chrom_bins < 1 or tile_bins < 1 or not 0 <= 2 * overlap_bins <= tile_bins:
        raise ConfigError(
            f"tiles of {tile_bins} bins with an overlap of {overlap_bins} on a chromosome of {n_chrom_bins} bins: "
            "needs at least one bin, and an overlap from 0 to half a tile."
        )
    step = tile_bins - overlap_bins
    if not 0 <= phase_bins < step:
        raise ConfigError(f"tiles {step} bins apart with a phase of {phase_bins}: needs 0 to {step - 1}.")
    last = max(n_chrom_bins - tile_bins, 0)
    return np.unique(np.append(np.arange(step - phase_bins, last, step, dtype=np.int64), [0, last]))


def blend_weights(n_chrom_bins: int, tile_bins: int, overlap_bins: int, phase_bins: int = 0) -> np.ndarray:
    """Weigh the tiles of a chromosome: a crossfade between neighbours that all but forgets the ends of a tile.

    Along the bins that two neighbours share, weights rise and fall as the fourth power of a sine: what the network says at
    the ends of a tile, where it has seen one side only, then hardly counts (``pipelines/seams.py`` shows the seams).

    Parameters
    ----------
    n_chrom_bins, tile_bins, overlap_bins, phase_bins
        As in :func:`tile_starts`.

    Returns
    -------
    Weights, shape (tile, bin of the tile), float64, positive. Over the tiles that hold a bin they sum to 1.

    Raises
    ------
    ConfigError
        As :func:`tile_starts`.

    Examples
    --------
    >>> blend_weights(6, tile_bins=4, overlap_bins=2).round(2)
    array([[1. , 1. , 0.9, 0.1],
           [0.1, 0.9, 1. , 1. ]])
    """
    return crossfade(tile_starts(n_chrom_bins, tile_bins, overlap_bins, phase_bins), min(tile_bins, n_chrom_bins))


def crossfade(starts: np.ndarray, length: int) -> np.ndarray:
    """Weigh tiles of one length that cover a chromosome from its first bin to its last, wherever they begin.

    Parameters
    ----------
    starts
        First bin of each tile, ascending from 0, no two further apart than ``length``.
    length
        Length of the tiles in bins.

    Returns
    -------
    As :func:`blend_weights`.
    """
    n_bins = int(starts[-1]) + length
    n_shared = starts[:-1] + length - starts[1:]  # between each two neighbours
    place = np.arange(length)
    weights = np.ones((len(starts), length))
    weights[1:] = np.minimum(weights[1:], (place + 1) / (n_shared[:, None] + 1))
    weights[:-1] = np.minimum(weights[:-1], (length - place) / (n_shared[:, None] + 1))
    weights = np.sin(np.pi / 2 * weights) ** 4
    total = np.zeros(n_bins)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + length] += weight
    return weights / total[starts[:, None] + place]


def tiles_touching(starts: np.ndarray, length: int, lo: int, hi: int) -> np.ndarray:
    """Return the indices of the tiles that hold a bin of [lo, hi)."""
    return np.flatnonzero((starts < hi) & (starts + length > lo))


def bins_needed(
    n_chrom_bins: int, lo: int, hi: int, tile_bins: int, overlap_bins: int, phase_bins: int = 0
) -> tuple[int, int]:
    """Return the extent of the bins whose features the prediction of a range needs.

    Parameters
    ----------
    n_chrom_bins, tile_bins, overlap_bins, phase_bins
        As in :func:`tile_starts`.
    lo, hi
        The range to predict, ``0 <= lo < hi <= n_chrom_bins``.

    Returns
    -------
    First and last (exclusive) bin of the tiles that hold a bin of the range.

    Raises
    ------
    ConfigError
        If the range does not lie on the chromosome, or as :func:`tile_starts`.

    Examples
    --------
    >>> bins_needed(1050, 310, 500, tile_bins=400, overlap_bins=100)
    (0, 700)
    """
    starts = tile_starts(n_chrom_bins, tile_bins, overlap_bins, phase_bins)
    if not 0 <= lo < hi <= n_chrom_bins:
        raise ConfigError(
            f"bins {lo} to {hi} to predict: need a non-empty range within the chromosome's {n_chrom_bins} bins."
        )
    length = min(tile_bins, n_chrom_bins)
    touching = starts[tiles_touching(starts, length, lo, hi)]
    return int(touching[0]), int(touching[-1]) + length


def reading_bins(lo: int, hi: int, *, stride: int, window: int) -> tuple[int, int]:
    """Return the bins whose windows read a track bin of ``[lo, hi)``: first and last (exclusive), not cut at the chromosome.

    Parameters
    ----------
    lo, hi
        Track bins.
    stride, window
        As in :func:`reached_bins`.

    Examples
    --------
    >>> reading_bins(700_000, 700_100, stride=100, window=14_000)
    (6931, 7071)
    """
    left = window // 2
    return (lo - (window - left)) // stride + 1, -(-(hi + left) // stride)


def reached_bins(lo: int, hi: int, *, stride: int, window: int, n_offsets: int) -> tuple[int, int]:
    """Return the bins whose stripes can change of themselves when track bins ``[lo, hi)`` do; the core is left out.

    Parameters
    ----------
    lo, hi
        Changed track bins; ``lo == hi`` is a new junction before bin ``lo``.
    stride, window, n_offsets
        Of the network: track bins in a bin, track bins that a bin reads, half of them left of its start, length of a stripe.

    Returns
    -------
    First and last (exclusive) bin, not cut at the chromosome's ends: those that read one of these track bins, or have a pixel
    whose two bins lie on both sides of them.

    Examples
    --------
    >>> reached_bins(700_000, 700_100, stride=100, window=14_000, n_offsets=100)
    (6931, 7071)
    """
    first, last = reading_bins(lo, hi, stride=stride, window=window)
    margin = n_offsets // 2 + 1
    return min(first, lo // stride - margin), max(last, -(-hi // stride) + margin)


def replaced_tiles(
    n_chrom_bins: int, touched: np.ndarray, shift: int, tile_bins: int, overlap_bins: int
) -> tuple[np.ndarray, int, int, int]:
    """Lay tiles on a chromosome of which a stretch became longer or shorter, so that all others keep what they see.

    Tiles left of the stretch stay, those right of it move with the sequence, and the touched ones are laid anew between.

    Parameters
    ----------
    n_chrom_bins, tile_bins, overlap_bins
        As in :func:`tile_starts`, before the edit.
    touched
        Indices of the tiles that hold a reached bin, ascending; those between them count as touched.
    shift
        Bins by which the chromosome became longer.

    Returns
    -------
    First bin of each tile after the edit, and their length; the first and last (exclusive) bin, before the edit, of what is laid
    anew.

    Examples
    --------
    >>> replaced_tiles(1000, np.array([1]), 50, tile_bins=400, overlap_bins=100)
    (array([  0, 300, 350, 650]), 400, 300, 700)
    """
    starts = tile_starts(n_chrom_bins, tile_bins, overlap_bins)
    length = min(tile_bins, n_chrom_bins)
    first, last = int(touched[0]), int(touched[-1])
    # What is laid anew must hold a tile.
    while starts[last] + length - starts[first] + shift < tile_bins and (first > 0 or last < len(starts) - 1):
        first, last = max(first - 1, 0), min(last + 1, len(starts) - 1)
    lo, hi = int(starts[first]), int(starts[last]) + length
    anew = hi - lo + shift
    between = lo + tile_starts(anew, tile_bins, overlap_bins)
    return np.concatenate([starts[:first], between, starts[last + 1 :] + shift]), min(tile_bins, anew), lo, hi
