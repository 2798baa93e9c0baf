"""Akita's target: contacts of one window as the log of observed over expected, coarse-grained where counts are few.

The stages are those of ``akita_data_read.py`` (calico/basenji) and of the functions of cooltools that it calls, one function
each; :func:`akita_square` runs them on one window. :func:`akita_band_rows` tiles a chromosome with windows and gives band rows:

- The band stores K diagonals. Windows are 2K bins long and start every K bins, so that each pixel of the band lies whole in
  the window whose centre is nearest to the pixel's midpoint, and takes that window's value. Of two windows equally near it
  takes the one that starts first.
- A window is a full square: **its corners hold pixels up to diagonal 2K − 1**, all of which enter clipping, coarse-graining and
  the expected curve. Counts and balanced contacts must be read with 2K diagonals, twice what is stored. A window made from K
  diagonals would be half missing, which the original's interpolation refuses.
- The last window is shifted back to end at the chromosome's end, so it may overlap the one before by more than K bins. A
  chromosome shorter than 2K bins is one window of its own length.
- A window that cannot be computed gives NaN. The original writes a target of zeros there, or stops; zero would mean "as
  expected at this distance".

Reading a chromosome backwards gives the mirrored band only where windows and stages are symmetric: K divides the number of
bins, 2K is a power of two (coarse-graining pads at the end of the window), and the pixel is no tie.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.ndimage import correlate1d

from epizarr.bands import square_from_band
from epizarr.errors import TransformError

#: A 2 × 2 block with a pixel below this many raw counts is replaced by its mean (the original's ``cutoff``).
COARSEGRAIN_CUTOFF = 2
#: Coarse-graining halves at most this often, and stops at this many bins.
_MAX_LEVELS = 8
_MIN_BINS = 8
#: Ratio of the two ends of a class of distances.
_CLASS_RATIO = 1.03
#: What the original multiplies balanced contacts by when it does not take observed over expected.
BALANCED_SCALE = 100_000


@dataclass(frozen=True)
class AkitaParameters:
    """Settings of the transform; the defaults are those of Akita's tutorial.

    Parameters
    ----------
    as_obsexp
        Divide by what is expected at each distance. False: balanced contacts × 100,000, clipped at the median of diagonal
        ``diagonal_offset``; ``log`` and ``clip`` must then be switched off.
    log
        Take the natural logarithm of observed over expected.
    clip
        Limit of the result: [−clip, clip] of a logarithm, [0, clip] without. None: no limit; a window with a pixel of 0 then
        has no finite logarithm and cannot be computed.
    diagonal_offset
        First diagonal that counts; those below are set to a constant.
    smoothing_sd_bins
        Standard deviation of the Gaussian that smooths the result, in bins; 0 for none.
    max_bad_fraction
        A window with a greater share of bins without any balanced contact is not computed. The original prints a warning
        above one half; 1 computes whatever can be.

    Raises
    ------
    TransformError
        If a value is out of range or contradicts another.
    """

    as_obsexp: bool = True
    log: bool = True
    clip: float | None = 2.0
    diagonal_offset: int = 2
    smoothing_sd_bins: int = 0
    max_bad_fraction: float = 0.5

    def __post_init__(self) -> None:
        if not self.as_obsexp and (self.log or self.clip is not None):
            raise TransformError(
                "Akita's transform with as_obsexp = False takes no logarithm and clips at the median of its first "
                f"diagonal; it has log = {self.log}, clip = {self.clip}. Set log = False and clip = None."
            )
        if self.clip is not None and not self.clip > 0:
            raise TransformError(f"Akita's transform: clip must be positive or None, not {self.clip}.")
        if self.diagonal_offset < 0 or self.smoothing_sd_bins < 0:
            raise TransformError(
                f"Akita's transform: diagonal_offset = {self.diagonal_offset} and smoothing_sd_bins = "
                f"{self.smoothing_sd_bins} must not be negative."
            )
        if not 0 <= self.max_bad_fraction <= 1:
            raise TransformError(f"Akita's transform: max_bad_fraction = {self.max_bad_fraction} is not in [0, 1].")


class ObsOverExp(NamedTuple):
    """Observed over expected, and the expected curve it was made with.

    ``square`` (n, n); ``edges`` int64, class c holding diagonals ``edges[c] … edges[c + 1] - 1``; ``total`` and ``number``, sum
    of contacts and number of valid pixels of each class, over one triangle and the main diagonal.
    """

    square: np.ndarray
    edges: np.ndarray
    total: np.ndarray
    number: np.ndarray


def set_near_diagonals(square: np.ndarray, value: float, diagonal_offset: int) -> None:
    """Set all pixels with ``|i - j| < diagonal_offset`` to ``value``, in place."""
    n = len(square)
    for k in range(min(diagonal_offset, n)):
        i = np.arange(n - k)
        square[i, i + k] = square[i + k, i] = value


def clip_contacts(balanced: np.ndarray, diagonal_offset: int = 2) -> tuple[np.ndarray, float]:
    """Stage 1: give the nearest diagonals and every higher pixel the median of the first diagonal that counts.

    Parameters
    ----------
    balanced
        Balanced contacts (n, n), symmetric, NaN where missing: rows and columns of bad bins. Diagonals below
        ``diagonal_offset`` may be missing as a whole, as they are where the weights ignore them.
    diagonal_offset
        First diagonal that counts.

    Returns
    -------
    Clipped contacts, float64 (n, n), NaN where ``balanced`` is missing; and the median.

    Raises
    ------
    TransformError
        If the median is missing, or 0, which would make every pixel 0: most of that diagonal is empty.
    """
    n = len(balanced)
    diagonal = np.diagonal(balanced, diagonal_offset) if diagonal_offset < n else np.empty(0)
    known = diagonal[~np.isnan(diagonal)]
    median = float(np.median(known)) if known.size else np.nan
    if not median > 0:
        raise TransformError(
            f"Akita's transform: the median of diagonal {diagonal_offset} is {median:g} in a window of {n} bins, and it is "
            "what contacts are clipped at. The map is too sparse here; take wider bins."
        )
    missing = np.isnan(balanced)
    is_bad = missing.all(axis=1)
    for k in range(diagonal_offset):
        if np.isnan(np.diagonal(balanced, k)).all():
            i = np.arange(n - k)
            missing[i, i + k] = missing[i + k, i] = is_bad[: n - k] | is_bad[k:]
    clipped = np.array(balanced, dtype=np.float64)
    set_near_diagonals(clipped, median, diagonal_offset)
    np.clip(clipped, 0, median, out=clipped)
    clipped[missing] = np.nan
    return clipped, median


def coarsegrain(contacts: np.ndarray, counts: np.ndarray, cutoff: float = COARSEGRAIN_CUTOFF) -> np.ndarray:
    """Stage 2: replace blocks with few counts by their mean, from the coarsest to the finest.

    Of each 2 × 2 block the smallest raw count decides, at each level; a missing pixel has a count of 0, so a block that touches
    one is always replaced (in the original a mask for these is made and not used).

    Parameters
    ----------
    contacts
        Clipped contacts (n, n), NaN where missing.
    counts
        Raw counts (n, n); what they hold where ``contacts`` is missing does not matter.
    cutoff
        Least number of counts of a pixel that is left as it is.

    Returns
    -------
    Contacts, float64 (n, n), NaN where ``contacts`` is missing. Zeros remain only where a wide area is empty.

    Raises
    ------
    TransformError
        If there are fewer than 9 bins: nothing can be halved.
    ValueError
        If a count of a pixel that is not missing is NaN or infinite.
    """
    n = len(contacts)
    if n <= _MIN_BINS:
        raise TransformError(f"Akita's transform needs windows of more than {_MIN_BINS} bins; this one has {n}.")
    size = 1 << (n - 1).bit_length()
    is_valid = np.zeros((size, size), dtype=bool)
    is_valid[:n, :n] = np.isfinite(contacts)
    values = np.zeros((size, size))
    values[:n, :n] = np.where(is_valid[:n, :n], contacts, 0.0)
    reads = np.zeros((size, size))
    reads[:n, :n] = np.where(is_valid[:n, :n], counts, 0.0)
    if not np.isfinite(reads).all():
        raise ValueError("counts: NaN or infinite where the balanced contact is not missing; both must be of one map.")

    levels = [(values, reads, is_valid.astype(np.float64))]
    while len(levels) <= _MAX_LEVELS and len(levels[-1][0]) > _MIN_BINS:
        value, read, valid = levels[-1]
        levels.append((_halve(value), _halve(read), _halve(valid)))

    current, _, n_current = levels.pop()
    for value, read, n_valid in reversed(levels):
        with np.errstate(invalid="ignore"):
            mean = np.where(n_current > 0, current / n_current, 0.0)
        quarters = [(slice(a, None, 2), slice(b, None, 2)) for a in (0, 1) for b in (0, 1)]
        fewest = np.minimum.reduce([read[q] for q in quarters])
        is_poor = fewest < cutoff
        for q in quarters:
            value[q] = np.where(is_poor, mean * n_valid[q], value[q])
        current, n_current = value, n_valid
    current[~is_valid] = np.nan
    return current[:n, :n]


def _halve(square: np.ndarray) -> np.ndarray:
    """Sums of 2 × 2 blocks."""
    rows = square[::2] + square[1::2]
    return rows[:, ::2] + rows[:, 1::2]


def distance_class_edges(n_bins: int) -> np.ndarray:
    """Classes of diagonals in a window: 0, then spaced by a factor of about 1.03; int64, from 0 to ``n_bins``."""
    n_edges = int(np.log(n_bins) / np.log(_CLASS_RATIO))
    edges = np.unique(np.rint(10 ** np.linspace(0.0, np.log10(n_bins), n_edges))).astype(np.int64)
    return np.concatenate([[0], edges])


@lru_cache(maxsize=8)
def _classes_of_pixels(n_bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the classes, and the class of each pixel of a window, int64 (n, n); shared, so read-only."""
    edges = distance_class_edges(n_bins)
    of_diagonal = np.searchsorted(edges, np.arange(n_bins), side="right") - 1
    classes = of_diagonal[np.abs(np.subtract.outer(np.arange(n_bins), np.arange(n_bins)))]
    edges.setflags(write=False)
    classes.setflags(write=False)
    return edges, classes


def obs_over_exp(contacts: np.ndarray) -> ObsOverExp:
    """Stage 3: divide each class of diagonals by its mean over valid pixels.

    Parameters
    ----------
    contacts
        Coarse-grained contacts (n, n), NaN where missing.

    Returns
    -------
    Observed over expected, NaN where missing. A class without a valid pixel, or whose mean is 0, is left as it is.
    """
    edges, classes = _classes_of_pixels(len(contacts))
    n_classes = len(edges) - 1
    is_counted = np.tril(~np.isnan(contacts))
    total = np.bincount(classes[is_counted], weights=contacts[is_counted], minlength=n_classes)
    number = np.bincount(classes[is_counted], minlength=n_classes)
    mean = total / np.maximum(number, 1)
    return ObsOverExp(contacts / np.where(mean == 0, 1.0, mean)[classes], edges, total, number)


def log_and_clip(square: np.ndarray, *, log: bool = True, clip: float | None = 2.0) -> np.ndarray:
    """Stage 4: natural logarithm (of 0: −inf, which ``clip`` makes finite) and limits; NaN stays NaN."""
    with np.errstate(divide="ignore"):
        out = np.log(square) if log else np.array(square)
    return out if clip is None else np.clip(out, -clip if log else 0.0, clip)


def interpolate_missing(square: np.ndarray) -> np.ndarray:
    """Stage 5: fill the rows and columns of bad bins linearly from the good ones beside them.

    Bad rows are those with the most missing pixels. Beyond its edges the window counts as 0.

    Parameters
    ----------
    square
        (n, n), NaN where missing.

    Returns
    -------
    (n, n) without NaN; a new array.

    Raises
    ------
    TransformError
        If pixels are missing besides those of the bad rows and columns (the original stops here).
    """
    padded = np.pad(np.asarray(square, dtype=np.float64), 1)
    missing = np.isnan(padded)
    if not missing.any():
        return np.array(square, dtype=np.float64)
    per_row, per_column = missing.sum(axis=1), missing.sum(axis=0)
    rows = np.flatnonzero(per_row < per_row.max())
    columns = np.flatnonzero(per_column < per_column.max())
    known = padded[np.ix_(rows, columns)]
    n_left = int(np.isnan(known).sum())
    if n_left:
        raise TransformError(
            f"Akita's transform: {n_left} pixels are missing outside the {len(padded) - len(rows)} rows with the most "
            "missing pixels, and only whole bins can be filled."
        )
    row_lo, row_hi, row_part = _neighbours(rows, len(padded))
    col_lo, col_hi, col_part = _neighbours(columns, len(padded))
    along_rows = known[row_lo] * (1 - row_part)[:, None] + known[row_hi] * row_part[:, None]
    both = along_rows[:, col_lo] * (1 - col_part) + along_rows[:, col_hi] * col_part
    return np.where(missing, both, padded)[1:-1, 1:-1]


def _neighbours(known: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of n places: which entries of ``known`` enclose it, and how far it is from the first to the second."""
    hi = np.searchsorted(known, np.arange(n))
    is_known = known[hi] == np.arange(n)
    lo = np.where(is_known, hi, hi - 1)
    part = (np.arange(n) - known[lo]) / np.where(is_known, 1, known[hi] - known[lo])
    return lo, hi, part


def gaussian_kernel(sd_bins: int) -> np.ndarray:
    """One axis of the Gaussian that smooths: 8 sd + 1 bins long, sum 1."""
    x = np.arange(-4 * sd_bins, 4 * sd_bins + 1)
    kernel = np.exp(-(x**2) / (2 * sd_bins**2))
    return kernel / kernel.sum()


def smooth(square: np.ndarray, sd_bins: int) -> np.ndarray:
    """Stage 6: convolve with a Gaussian; beyond its edges the window counts as 0 (borders fade). No NaN may be left."""
    kernel = gaussian_kernel(sd_bins)
    along_rows = correlate1d(square, kernel, axis=0, mode="constant")
    return correlate1d(along_rows, kernel, axis=1, mode="constant")


def akita_square(counts: np.ndarray, balanced: np.ndarray, parameters: AkitaParameters | None = None) -> np.ndarray:
    """Akita's target of one window.

    Parameters
    ----------
    counts
        Raw counts (n, n), symmetric.
    balanced
        Balanced contacts (n, n), symmetric, NaN in the rows and columns of bad bins. Blacklisted bins are the caller's: make
        their weights NaN.
    parameters
        Settings; those of Akita's tutorial by default.

    Returns
    -------
    The target, float64 (n, n), without NaN: bad bins are interpolated. Akita uses its upper triangle from
    ``diagonal_offset`` on, as float16; what it holds on nearer diagonals is a constant, or smoothed from it.

    Raises
    ------
    TransformError
        If the window cannot be computed: too many bad bins, no contact on half of the first diagonal, missing pixels that
        are not those of whole bins, an infinite logarithm, or 8 bins or fewer.
    ValueError
        If the two squares differ in shape, or counts are missing where ``balanced`` is not.
    """
    p = AkitaParameters() if parameters is None else parameters
    if counts.shape != balanced.shape or counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"counts {counts.shape} and balanced {balanced.shape} must be squares of one shape.")
    n_bad = int(np.isnan(balanced).all(axis=1).sum())
    if n_bad > p.max_bad_fraction * len(balanced):
        raise TransformError(
            f"Akita's transform: {n_bad} of {len(balanced)} bins have no balanced contact, more than the "
            f"{p.max_bad_fraction:.0%} that are allowed (max_bad_fraction)."
        )
    clipped, _ = clip_contacts(balanced, p.diagonal_offset)
    coarse = coarsegrain(clipped, counts)
    if p.as_obsexp:
        target = interpolate_missing(log_and_clip(obs_over_exp(coarse).square, log=p.log, clip=p.clip))
        set_near_diagonals(target, 0.0 if p.log else 1.0, p.diagonal_offset)
    else:
        target, _ = clip_contacts(BALANCED_SCALE * interpolate_missing(coarse), p.diagonal_offset)
    if not np.isfinite(target).all():
        raise TransformError(
            "Akita's transform: a pixel stayed 0 after coarse-graining, and has no finite logarithm. Set `clip`."
        )
    return smooth(target, p.smoothing_sd_bins) if p.smoothing_sd_bins else target


def window_length(n_bins: int, n_diagonals: int) -> int:
    """Bins of a window, and the number of diagonals to read: 2K, or the whole chromosome where that is shorter."""
    return min(2 * n_diagonals, n_bins)


def window_starts(n_bins: int, n_diagonals: int) -> np.ndarray:
    """First bins of the windows of a chromosome, int64, ascending: every K bins, the last ending with the chromosome."""
    last = n_bins - window_length(n_bins, n_diagonals)
    starts = np.arange(0, last + 1, n_diagonals)
    return starts if starts[-1] == last else np.append(starts, last)


def _windows_of_pixels(lo: int, hi: int, n_bins: int, n_diagonals: int) -> np.ndarray:
    """Which window each pixel of band rows ``[lo, hi)`` takes, int64 (hi − lo, K); −1 off the chromosome."""
    starts = window_starts(n_bins, n_diagonals)
    # All in quarter bins, so that halves of halves stay whole numbers: midpoint i + k/2 + 1/2, centre start + length/2.
    row = np.arange(lo, hi)[:, None]
    k = np.arange(n_diagonals)[None, :]
    midpoint = 4 * row + 2 * k + 2
    centre = 4 * starts + 2 * window_length(n_bins, n_diagonals)
    window = np.searchsorted((centre[:-1] + centre[1:]) // 2, midpoint, side="left")
    return np.where(row + k < n_bins, window, -1)


def rows_needed(lo: int, hi: int, n_bins: int, n_diagonals: int) -> tuple[int, int]:
    """Rows of counts and balanced contacts that :func:`akita_band_rows` reads for rows ``[lo, hi)``.

    Parameters
    ----------
    lo, hi
        Rows to be computed, counted from the chromosome's first bin.
    n_bins
        Bins of the chromosome.
    n_diagonals
        Diagonals K of the band that is stored.

    Returns
    -------
    First and one past the last row; they hold whole windows, and reach at most 2K bins beyond ``[lo, hi)`` on each side.
    """
    if not 0 <= lo < hi <= n_bins:
        raise ValueError(f"rows [{lo}, {hi}): 0 <= lo < hi <= {n_bins} is needed.")
    windows = _windows_of_pixels(lo, hi, n_bins, n_diagonals)
    starts = window_starts(n_bins, n_diagonals)
    first = starts[windows[windows >= 0].min()]
    last = starts[windows.max()] + window_length(n_bins, n_diagonals)
    return int(first), int(last)


def akita_band_rows(
    counts: np.ndarray,
    balanced: np.ndarray,
    lo: int,
    hi: int,
    *,
    n_bins: int,
    n_diagonals: int,
    parameters: AkitaParameters | None = None,
) -> np.ndarray:
    """Akita's target of band rows ``[lo, hi)`` of one chromosome; the same values for any cut of the chromosome into rows.

    Each window is computed whole, so neighbouring calls repeat the windows at their border: rows should be several K long.
    Holds one window's square at a time, about 12 arrays of (2K)² float64 (15 MB at K = 200), besides what it is given.

    Parameters
    ----------
    counts, balanced
        Raw and balanced contacts of the rows that :func:`rows_needed` names, with
        ``window_length(n_bins, n_diagonals)`` diagonals (2K: twice what is stored) or more. Balanced contacts are NaN at bad
        bins; whole diagonals below ``diagonal_offset`` may be NaN. Both are NaN off the chromosome.
    lo, hi
        Rows to compute, counted from the chromosome's first bin.
    n_bins
        Bins of the chromosome.
    n_diagonals
        Diagonals K to give.
    parameters
        Settings; those of Akita's tutorial by default.

    Returns
    -------
    float64 (hi − lo, K). Diagonals below ``diagonal_offset`` are 0. Bad bins of a window that was computed are interpolated, as
    in the original. NaN off the chromosome, and in every pixel of a window that could not be computed.

    Raises
    ------
    ValueError
        If the rows or diagonals given are not those needed, or counts are missing where ``balanced`` is not.
    """
    p = AkitaParameters() if parameters is None else parameters
    length = window_length(n_bins, n_diagonals)
    first, last = rows_needed(lo, hi, n_bins, n_diagonals)
    for name, band in (("counts", counts), ("balanced", balanced)):
        if band.shape[0] != last - first or band.shape[1] < length:
            raise ValueError(
                f"{name}: a band {band.shape} was given; rows [{lo}, {hi}) of {n_bins} bins need rows [{first}, {last}) and "
                f"{length} diagonals (see rows_needed, window_length)."
            )
    windows = _windows_of_pixels(lo, hi, n_bins, n_diagonals)
    starts = window_starts(n_bins, n_diagonals)
    out = np.full((hi - lo, n_diagonals), np.nan)
    for window in np.unique(windows[windows >= 0]).tolist():
        start = int(starts[window])
        rows = slice(start - first, start - first + length)
        try:
            square = akita_square(square_from_band(counts[rows, :length]), square_from_band(balanced[rows, :length]), p)
        except TransformError:
            continue  # could not be computed: NaN, never zeros
        row, k = np.nonzero(windows == window)
        i = row + lo - start
        out[row, k] = square[i, i + k]
    near = out[:, : p.diagonal_offset]
    near[~np.isnan(near)] = 0.0
    return out
