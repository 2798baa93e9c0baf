"""How much detail a map has: its radially averaged power, and the share of a true map's fine detail that a prediction shows.

A network trained on the squared error predicts a mean over what it cannot know, which is smoother than any map. Its power falls
short at high frequencies; noise and invented texture exceed there.
"""

from typing import NamedTuple

import numpy as np

#: Side of the squares that are transformed, in bins, and the least distance of a pixel in them from the diagonal.
SIDE = 32
LEAST_DIAGONAL = 3


class RadialPower(NamedTuple):
    """Power by spatial frequency.

    ``frequency`` in cycles/bin, the middle of each ring, below 0.5; ``power`` the mean power of a pixel's wave in that ring, in
    squared units of the map; NaN if no square had enough valid pixels. ``n_squares``: squares averaged.
    """

    frequency: np.ndarray
    power: np.ndarray
    n_squares: int


def radial_power(
    band: np.ndarray, *, side: int = SIDE, least_diagonal: int = LEAST_DIAGONAL, min_valid: float = 0.9
) -> RadialPower:
    """Average the power of the squares of a map that lie within its band.

    The mean of each diagonal is taken off first, so that the decay with distance has no power. Squares step by half their side
    along the chromosome. Missing pixels count as the mean of their diagonal, which lowers the power by their share; compare bands
    with one mask. Squares are weighted with a Hann window, and the power is what it would be without.

    Parameters
    ----------
    band
        Map of one region, dims (bin, diagonal), in the units in which it is to be compared (the transformed target); NaN missing.
    side
        Side of a square in bins.
    least_diagonal
        Least distance of a square's pixels from the diagonal, in bins. The band must have ``least_diagonal + 2 · side - 1``
        diagonals.
    min_valid
        Least share of valid pixels of a square.

    Raises
    ------
    ValueError
        If the band is too narrow for such squares.
    """
    needed = least_diagonal + 2 * side - 1
    if band.ndim != 2 or band.shape[1] < needed:
        raise ValueError(f"a band of shape {band.shape} holds no squares of {side} bins: it needs {needed} diagonals.")
    valid = ~np.isnan(band)
    n_valid = valid.sum(axis=0)
    mean = np.divide(np.where(valid, band, 0.0).sum(axis=0), n_valid, out=np.zeros(band.shape[1]), where=n_valid > 0)
    deviation = np.where(valid, band - mean, 0.0)
    taper = np.hanning(side + 1)[:side]  # periodic: squares that step by half a side count each pixel alike
    window = np.outer(taper, taper)
    frequency = np.fft.fftfreq(side)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    ring = np.floor(radius * side + 0.5).astype(int)
    n_rings = side // 2
    total, n_squares = np.zeros((side, side)), 0
    rows = np.arange(side)
    # Element (r, c) of a square is the pixel of bins i + r and i + least + side - 1 + c: all distances fit into the band.
    diagonal = least_diagonal + side - 1 + rows[None, :] - rows[:, None]
    for first in range(0, len(band) - side + 1, max(side // 2, 1)):
        at = (first + rows[:, None], diagonal)
        if valid[at].mean() < min_valid:
            continue
        total += np.abs(np.fft.fft2(deviation[at] * window)) ** 2
        n_squares += 1
    middle = np.arange(1, n_rings) / side
    if not n_squares:
        return RadialPower(middle, np.full(n_rings - 1, np.nan), 0)
    total /= n_squares * (window**2).sum()
    sums = np.bincount(ring.ravel(), total.ravel())
    counts = np.bincount(ring.ravel())
    return RadialPower(middle, (sums / counts)[1:n_rings], n_squares)


def power_ranges(n_diagonals: int, side: int, least_diagonal: int = LEAST_DIAGONAL) -> list[tuple[int, int]]:
    """Ranges of distance that squares of a side cover one after the other: first and one-past-last diagonal of each.

    None if the band is too narrow for one.
    """
    span = 2 * side - 1
    return [(first, first + span) for first in range(least_diagonal, n_diagonals - span + 1, span)]


def detail_ratio(prediction: np.ndarray, truth: np.ndarray, *, above: float = 0.25, side: int = SIDE) -> float:
    """Power of a prediction's fine detail, relative to the truth's: 1 is right, less too smooth, more too rough.

    Parameters
    ----------
    prediction, truth
        Bands of equal shape (bin, diagonal), in the same units; compared where both have a value.
    above
        Lowest spatial frequency that counts, in cycles/bin.
    side
        As for :func:`radial_power`.

    Returns
    -------
    Ratio of the powers summed over the frequencies above the limit; NaN where no square has enough valid pixels.
    """
    counts = ~np.isnan(prediction) & ~np.isnan(truth)
    powers = [radial_power(np.where(counts, band, np.nan), side=side) for band in (prediction, truth)]
    fine = powers[0].frequency > above
    top, bottom = (float(power.power[fine].sum()) for power in powers)
    return top / bottom if bottom > 0 else float("nan")
