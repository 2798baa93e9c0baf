"""How deep a contact map is: contacts that touch each bin, the bin size that they support, and how fast they decay.

Pure functions on one chromosome, or a piece of one, at a time.
"""

from collections.abc import Sequence

import numpy as np

#: A map supports a bin size if this share of its bins has at least so many contacts (Rao et al. 2014, "map resolution").
DEEP_SHARE, DEEP_CONTACTS = 0.8, 1000
#: Bin sizes that are tried, as multiples of the map's own.
MERGED_BINS = (1, 2, 5, 10, 20, 50, 100)
#: A mean over fewer pixels says little about the decay.
_MIN_PIXELS, _MIN_DISTANCES = 30, 3


def touching_sums(band: np.ndarray, *, diagonal_twice: bool = False) -> np.ndarray:
    """Sum of the pixels that touch each bin: the row sums of the symmetric map, as far as the band reaches.

    Parameters
    ----------
    band
        Rows of a band, (n, K). NaN counts as 0.
    diagonal_twice
        Count a pixel of the main diagonal for both of its ends. The sums are then the number of contact ENDS in each bin, which
        add up when bins are merged. False gives what balancing makes equal.

    Returns
    -------
    Sums for bins i, i + 1, … of the first row on, float64 (n + K - 1). Those at the two ends lack what other rows hold: add the
    sums of consecutive pieces where they overlap.

    Examples
    --------
    >>> touching_sums(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([3., 9., 4.])
    """
    n, n_diagonals = band.shape
    known = np.where(np.isnan(band), 0.0, band)
    sums = np.zeros(n + n_diagonals - 1)
    sums[:n] = known.sum(axis=1, dtype=np.float64)
    for k in range(0 if diagonal_twice else 1, n_diagonals):
        sums[k : k + n] += known[:, k]
    return sums


def deep_share(contact_ends: Sequence[np.ndarray], n_merged: int, min_contacts: int = DEEP_CONTACTS) -> float:
    """Share of bins, merged ``n_merged`` at a time, that have at least ``min_contacts`` contact ends.

    Parameters
    ----------
    contact_ends
        Contact ends of each bin, one array a chromosome (:func:`touching_sums`, ``diagonal_twice``).
    n_merged
        Bins that make one; the last of a chromosome may have fewer.
    min_contacts
        What a bin needs.

    Returns
    -------
    Share of the merged bins that have a contact at all: a bin without one is unmappable rather than shallow, and a chromosome
    whose short arm is a gap could otherwise never pass. NaN where no bin has a contact.
    """
    merged = [np.add.reduceat(ends, np.arange(0, len(ends), n_merged)) for ends in contact_ends if len(ends)]
    ends = np.concatenate([np.zeros(0), *merged])
    n_covered = np.count_nonzero(ends > 0)
    return np.count_nonzero(ends >= min_contacts) / n_covered if n_covered else float("nan")


def supported_binsize(contact_ends: Sequence[np.ndarray], binsize: int) -> int | None:
    """Smallest bin size that the depth of a map supports: 80 % of its bins have at least 1000 contacts.

    Parameters
    ----------
    contact_ends
        Contact ends of each bin, one array a chromosome. Where they hold the contacts of a band only, the bin size found is too
        large rather than too small: contacts beyond the band and with other chromosomes would add to them.
    binsize
        Bin width of ``contact_ends`` in bp.

    Returns
    -------
    ``binsize`` times one of :data:`MERGED_BINS`; ``binsize`` itself stands for "this or a finer one". None if not even the
    widest is supported, or there is no contact.

    References
    ----------
    Rao et al. 2014, Cell 159:1665. They count all bins; see :func:`deep_share` for those that are left out here.
    """
    for n_merged in MERGED_BINS:
        if deep_share(contact_ends, n_merged) >= DEEP_SHARE:
            return binsize * n_merged
    return None


def decay_exponent(expected: np.ndarray, n_valid: np.ndarray, min_diagonal: int = 1) -> float:
    """Slope of log(expected contacts) against log(distance), by least squares.

    Parameters
    ----------
    expected, n_valid
        Mean of a diagonal and the pixels behind it, (diagonal).
    min_diagonal
        First diagonal that counts; the main diagonal has no logarithm and never does.

    Returns
    -------
    About -1 for Hi-C of interphase cells. NaN where fewer than three diagonals have a positive mean of at least 30 pixels.
    """
    first = max(min_diagonal, 1)
    usable = np.flatnonzero((n_valid[first:] >= _MIN_PIXELS) & (expected[first:] > 0)) + first
    if len(usable) < _MIN_DISTANCES:
        return float("nan")
    return float(np.polyfit(np.log(usable), np.log(expected[usable]), 1)[0])
