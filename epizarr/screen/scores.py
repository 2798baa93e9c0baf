"""What one perturbation changes, as numbers, and how likely random intervals change as much."""

import numpy as np

from epizarr.bands import stripe_on_chromosome
from epizarr.domains.insulation import diamond_means, minima_prominence
from epizarr.normalize.hicdcplus_model import q_values
from epizarr.perturbed.changes import LEAST_STRENGTH, SAME_BINS, insulation_window

#: What is scored, in the order of the dim ``score``.
SCORES = ("mean_abs_change", "max_abs_change", "insulation_change", "boundary_change")


def view_margin(n_diagonals: int) -> int:
    """Bins on each side of an interval that are looked at: a band, and the insulation score's window."""
    return n_diagonals + insulation_window(n_diagonals)


def stripe_change(
    change: np.ndarray, first: int, site: tuple[int, int], *, n_chrom_bins: int, min_diagonal: int
) -> tuple[float, float, np.ndarray]:
    """Mean and largest size of a change, and its mean size at each distance, on the network's scale.

    Counted are the pixels of the stripes within half a band of the interval, which are all that lie across it.

    Parameters
    ----------
    change
        Stripes after minus before, (bin, offset).
    first
        Their first bin, local to the chromosome.
    site
        Bins that the interval covers, first and last (exclusive), local to the chromosome.
    n_chrom_bins, min_diagonal
        Length of the chromosome, and first diagonal that counts.

    Returns
    -------
    Mean, maximum, and mean at each diagonal (diagonal), NaN where there is no pixel.
    """
    n, n_diagonals = change.shape
    bins = np.arange(first, first + n)
    counts = stripe_on_chromosome(first, n, n_chrom_bins, n_diagonals)
    counts &= ((bins >= site[0] - n_diagonals // 2) & (bins < site[1] + n_diagonals // 2))[:, None]
    counts[:, :min_diagonal] = False
    size = np.where(counts, np.abs(change.astype(np.float64)), 0.0)
    number = counts.sum(axis=0)
    by_distance = np.divide(size.sum(axis=0), number, out=np.full(n_diagonals, np.nan), where=number > 0)
    mean = float(size.sum() / number.sum()) if number.sum() else float("nan")
    return mean, float(size.max()) if number.sum() else float("nan"), by_distance


def boundary_scores(
    before: np.ndarray, after: np.ndarray, first: int, site: tuple[int, int], *, min_diagonal: int
) -> tuple[float, float]:
    """Change of the insulation at an interval, and whether a boundary is lost (-1) or gained (1) there.

    The change is that of log2 of the mean contact across a bin (not divided by a median), at the bin of the interval where it is
    largest; up is a weaker boundary. A boundary is a minimum of :data:`~epizarr.perturbed.changes.LEAST_STRENGTH` or more
    within :data:`~epizarr.perturbed.changes.SAME_BINS` of the interval.

    Parameters
    ----------
    before, after
        Band rows in the target's units, (bin, diagonal), NaN where missing.
    first, site
        As for :func:`stripe_change`.
    min_diagonal
        First diagonal that counts.

    Returns
    -------
    Both numbers; NaN where there is no contact across the interval.
    """
    window = insulation_window(before.shape[1])
    at = slice(max(site[0] - first, 0), site[1] - first)
    near = slice(max(at.start - SAME_BINS, 0), at.stop + SAME_BINS)
    scores, has = [], []
    for band in (before, after):
        means = diamond_means(band, [window], min_diagonal=min_diagonal)[0][0]
        score = np.log2(means, out=np.full(len(means), np.nan), where=means > 0)
        scores.append(score)
        usable = np.flatnonzero(~np.isnan(score))
        strength = np.full(len(score), np.nan)
        strength[usable] = minima_prominence(score[usable])
        has.append(bool((strength[near] >= LEAST_STRENGTH).any()))
    change = (scores[1] - scores[0])[at]
    if np.isnan(change).all():
        return float("nan"), float("nan")
    return float(change[np.nanargmax(np.abs(change))]), float(has[1]) - float(has[0])


def empirical_p(effect: np.ndarray, null: np.ndarray) -> np.ndarray:
    """Share of null effects at least as large in size, the observed one counted among them: (1 + n) / (1 + N).

    Effects that tie with null ones count those, so that an edit that changes nothing has p = 1 where null edits may do so too.

    Parameters
    ----------
    effect, null
        Effects (perturbation) and those of random intervals (null); NaN is left out.

    Returns
    -------
    p-values; NaN where the effect is, or where there is no null effect.

    References
    ----------
    Phipson and Smyth 2010, Stat Appl Genet Mol Biol 9:39.
    """
    known = np.sort(np.abs(null[~np.isnan(null)]))
    if not len(known):
        return np.full(len(effect), np.nan)
    as_large = len(known) - np.searchsorted(known, np.abs(effect), side="left")
    return np.where(np.isnan(effect), np.nan, (1 + as_large) / (1 + len(known)))


def significance(effect: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p-values and Benjamini-Hochberg q-values of each score, both (perturbation, score)."""
    p = np.stack([empirical_p(effect[:, k], null[:, k]) for k in range(effect.shape[1])], axis=1)
    return p, np.stack([q_values(p[:, k]) for k in range(p.shape[1])], axis=1)
