"""What kind of signal a track holds, told from its values alone: coverage, fold change, −log10 p, peaks, or signed.

A network trained on one kind must not be given another under the same name, and a bigWig does not say what it is. The
rules are few and look at four things, each of which a person can check in a histogram:

1. *sign*: only ratios and differences have negative values;
2. *empty bins*: called peaks leave nine bins in ten at zero or without a value, and broad ones repeat the same few values;
   sequencing does neither;
3. *steps*: reads are counted in whole numbers, so that a coverage's values are multiples of one step, whatever it was
   multiplied by. A fold change divides by a control that varies, a −log10 p is not linear: neither has a step;
4. *level*: −log10 p is in absolute units. Without enrichment half of the p-values are below 1/2, so that half of the bins
   lie below log10(2) = 0.30, and some lie above 1. A fold change away from peaks is somewhat below 1.

The answer comes with the figures that it rests on and with a confidence. It is meant for a message and for comparing
tracks of one name, never for changing values unasked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

Kind = Literal["coverage", "fold change", "-log10 p", "peaks", "signed", "unknown"]
Confidence = Literal["high", "medium", "low"]

#: Fewer measured bins than this say nothing.
MIN_BINS = 1_000
#: A sample of a genome: so many whole stretches, evenly spaced, of so many bins each.
N_STRETCHES, STRETCH_BINS = 20, 5_000
#: Share of bins at zero or without a value from which a track is one of peaks.
_EMPTY_IN_PEAKS = 0.9
#: Share of the measured bins at zero, or of all bins without a value or at zero, from which it may be one of broad peaks.
_ZERO_IN_BROAD_PEAKS, _EMPTY_IN_BROAD_PEAKS = 0.3, 0.6
#: Share of the positive bins whose very value is there three times or more, in broad peaks.
_REPEATED = 0.6
#: Share of the positive bins that must lie on multiples of one step (a tenth of a step off at most; by chance: 0.2).
_ON_STEPS = 0.9
#: Decimals from which a step of 1, 1/2, 1/3 or 1/4 of a power of ten is the rounding of numbers and not a read.
_ROUNDED_DECIMALS = 3
#: Median of −log10 p without enrichment, and what its 99th percentile reaches at least.
_P_MEDIAN, _P_TOP = float(np.log10(2)), 1.0
#: Median of the bins above zero of a fold change.
_FOLD_MEDIAN = (0.3, 3.0)


@dataclass(frozen=True)
class SignalKind:
    """What a track seems to hold.

    Parameters
    ----------
    kind
        The kind; ``"unknown"`` if the values do not tell.
    confidence
        ``"high"``: a property that only this kind has. ``"medium"``: its usual shape. ``"low"``: nothing speaks against
        it, and another kind looks alike.
    evidence
        The figures, in words.
    """

    kind: Kind
    confidence: Confidence
    evidence: str

    @property
    def is_told(self) -> bool:
        """Whether the values tell the kind well enough to say of two tracks that they differ.

        Not with low confidence: that means that another kind looks alike (a fold change and a smoothed coverage at 1x, the
        −log10 p of a deep and of a shallow experiment), and a warning at each of those would be wrong too often.
        """
        return self.kind != "unknown" and self.confidence != "low"

    def __str__(self) -> str:
        return f"{self.kind} ({self.confidence} confidence): {self.evidence}"


def sample_extents(n_bins: int) -> list[tuple[int, int]]:
    """Bins ``[lo, hi)`` of a genome-wide grid to look at: all of a small genome, of a large one :data:`N_STRETCHES` stretches.

    The same for every track on a grid, so that a file and what a store holds of it give the same answer.
    """
    if n_bins <= N_STRETCHES * STRETCH_BINS:
        return [(0, n_bins)]
    starts = np.linspace(0, n_bins - STRETCH_BINS, N_STRETCHES).astype(np.int64)
    return [(int(lo), int(lo) + STRETCH_BINS) for lo in starts]


def told_kinds(kinds: Mapping[str, SignalKind]) -> dict[Kind, list[str]]:
    """Group names by kind, without those whose kind is not told (:attr:`SignalKind.is_told`): two keys mean that they differ."""
    groups: dict[Kind, list[str]] = {}
    for name, found in kinds.items():
        if found.is_told:
            groups.setdefault(found.kind, []).append(name)
    return groups


def detect_signal_kind(values: np.ndarray) -> SignalKind:
    """Tell what kind of signal a sample of bins holds.

    Takes some 50 bytes a bin; a sample of 100,000 bins is plenty.

    Parameters
    ----------
    values
        Means of bins (100 bp, say), NaN where not measured. A fair sample of the genome: whole stretches of several
        chromosomes rather than the surroundings of peaks. The order does not matter.

    Returns
    -------
    Kind, confidence and evidence. Signed, peaks and a coverage with steps are told in any units; fold change and −log10 p
    by theirs.
    """
    values = np.asarray(values, dtype=np.float64).ravel()
    known = values[np.isfinite(values)]
    few = SignalKind("unknown", "low", f"{len(known):,} measured bins; {MIN_BINS:,} are needed")
    # Peaks without zeros around them are mostly unmeasured: their bins count in all.
    if len(values) < MIN_BINS or (len(known) < MIN_BINS and len(known) > (1 - _EMPTY_IN_PEAKS) * len(values)):
        return few
    n_negative = int(np.count_nonzero(known < 0))
    if n_negative:
        share = n_negative / len(known)
        return SignalKind(
            "signed",
            "high" if share > 0.01 else "medium",
            f"{share:.1%} of the bins are negative, down to {known.min():.3g}: a log ratio, a difference or a score",
        )
    positive = known[known > 0]
    empty = 1 - len(positive) / len(values)
    if len(positive) < 50:
        return SignalKind("unknown", "low", f"{len(positive)} of {len(values):,} bins are above zero")
    return _peaks(positive, empty, known) or _steps(positive) or _level(positive)


def _peaks(positive: np.ndarray, empty: float, known: np.ndarray) -> SignalKind | None:
    repeated = _repeated(positive)
    zero = 1 - len(positive) / len(known)
    if empty >= _EMPTY_IN_PEAKS:
        told = f"{empty:.1%} of the bins are zero or have no value"
        if zero >= _EMPTY_IN_PEAKS or repeated >= _REPEATED:
            return SignalKind("peaks", "high", told)
        return SignalKind("peaks", "low", f"{told}; a file that covers a small part of the genome looks alike")
    is_gappy = zero >= _ZERO_IN_BROAD_PEAKS or empty >= _EMPTY_IN_BROAD_PEAKS
    if is_gappy and repeated >= _REPEATED and not _are_multiples(positive):
        return SignalKind(
            "peaks",
            "medium",
            f"{empty:.1%} of the bins are zero or have no value, and {repeated:.1%} of the others share their very value with "
            "others, though not in multiples of one step",
        )
    return None


def _steps(positive: np.ndarray) -> SignalKind | None:
    step, share = _step(positive)
    decimals = -np.log10(step * np.arange(1, 5))
    is_rounding = bool((np.abs(decimals - np.rint(decimals)) < 1e-3)[decimals > _ROUNDED_DECIMALS - 0.5].any())
    if share >= _ON_STEPS and not is_rounding:
        return SignalKind("coverage", "high", f"{share:.1%} of the bins above zero are multiples of {step:.4g}")
    return None


def _level(positive: np.ndarray) -> SignalKind:
    quartile, median, top = (float(q) for q in np.quantile(positive, [0.25, 0.5, 0.99]))
    told = (
        f"the bins above zero have lower quartile {quartile:.3g}, median {median:.3g} and 99th percentile {top:.3g}, and no "
        "common step"
    )
    if median < _P_MEDIAN and top >= _P_TOP:
        if quartile < median / 2:
            return SignalKind(
                "-log10 p", "medium", f"{told}: they fall off from zero, and half are below {_P_MEDIAN:.2f}"
            )
        return SignalKind(
            "-log10 p", "low", f"{told}: half are below {_P_MEDIAN:.2f}; a coverage in small units looks alike"
        )
    if _FOLD_MEDIAN[0] <= median <= _FOLD_MEDIAN[1]:
        return SignalKind(
            "fold change", "low", f"{told}: the background is near 1; a smoothed coverage at 1x looks alike"
        )
    return SignalKind("coverage", "low", f"{told}; no other kind has such a level")


def _step(positive: np.ndarray) -> tuple[float, float]:
    """Common divisor of the positive values, and the share of them that are multiples of it."""
    # Of the lower half, where a value is few steps high and its rounding does not matter.
    low = np.unique(positive[positive <= np.median(positive)])
    low = low[np.append(True, np.diff(low) > 1e-5 * low[1:])]
    gaps = np.diff(np.append(0.0, low))
    step = float(gaps.min())
    for reach in (20, 200, 2_000):
        near = low[low <= reach * step]
        count = np.rint(near / step)
        if count.sum() == 0:
            break
        # Least squares through the origin: longer values tell the step more exactly.
        step = float((near * count).sum() / (count * count).sum())
    within = positive[positive <= 2_000 * step]
    if len(within) < len(positive) / 2:
        return step, 0.0
    off = np.abs(within / step - np.rint(within / step))
    return step, float(np.mean(off < 0.1))


def _repeated(positive: np.ndarray) -> float:
    """Share of the positive bins whose value (to five digits) three bins or more have."""
    number = np.unique(_to_digits(positive), return_counts=True)[1]
    return float(number[number >= 3].sum() / len(positive))


def _to_digits(positive: np.ndarray) -> np.ndarray:
    scale = 10.0 ** (4 - np.floor(np.log10(positive)))
    return np.rint(positive * scale) / scale


def _are_multiples(positive: np.ndarray) -> bool:
    """Whether the commonest values are multiples of one of them or of its half, third or quarter."""
    value, number = np.unique(_to_digits(positive), return_counts=True)
    order = np.argsort(-number, kind="stable")[:12]
    order = order[number[order] >= max(3, 2e-4 * len(positive))]
    if len(order) < 3:
        return False
    first, others, weight = value[order[0]], value[order[1:]], number[order[1:]]
    for part in (1, 2, 3, 4):
        count = others * part / first
        fits = (np.abs(count - np.rint(count)) < 0.003 * np.maximum(count, 1)) & (np.rint(count) >= 1) & (count < 60)
        if weight[fits].sum() >= 0.8 * weight.sum():
            return True
    return False
