"""How far a track's values lie from those that a network was trained on.

The distance is that of Wasserstein between the two distributions, behind the track's transform, in units of the training sd:
the mean distance by which the values of one would have to be moved to give the other. On simulated tracks the same assay in
another cell type stays below 0.2, and scaled by 1.5, 3 or 1/3 it lies above 0.35 (tests/unit/test_track_shift.py). Two
assays at the same coverage may lie as near as two cell types, so a small value does not prove the assay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epizarr.errors import TransformError
from epizarr.quantiles import QuantileFunction, fit_quantiles

#: Knots of a distribution that a checkpoint keeps.
N_SHIFT_KNOTS = 101
#: Bins of a track that a distribution is fitted on at most: so many stretches, evenly spaced, of so many bins.
N_STRETCHES, STRETCH_BINS = 250, 2_000
#: A track is spoken of from this distance on.
SHIFT_WARNING = 0.25
#: Fewer known bins than this say nothing.
MIN_BINS = 1_000


@dataclass(frozen=True)
class TrackDistribution:
    """Values of a transformed track over the training regions.

    Parameters
    ----------
    quantiles
        Their quantile function.
    sd
        Their standard deviation; 0 for a constant track.
    """

    quantiles: QuantileFunction
    sd: float

    @classmethod
    def of(cls, values: Sequence[np.ndarray]) -> "TrackDistribution | None":
        """Describe transformed values, NaN where not measured; None if fewer than :data:`MIN_BINS` are."""
        known = np.concatenate([np.empty(0, dtype=np.float32), *(v[~np.isnan(v)] for v in values)])
        if len(known) < MIN_BINS:
            return None
        return cls(fit_quantiles(known, n_knots=N_SHIFT_KNOTS), float(known.std(dtype=np.float64)))

    def to_params(self) -> dict[str, Any]:
        """Plain lists for JSON; :meth:`from_params` reads them back exactly."""
        return {"quantiles": self.quantiles.to_params(), "sd": self.sd}

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> "TrackDistribution":
        """Read what :meth:`to_params` gave.

        Raises
        ------
        TransformError
            If it is no distribution.
        """
        sd = params.get("sd")
        if not isinstance(sd, float | int) or not (np.isfinite(sd) and sd >= 0):
            raise TransformError(f"a track's distribution has an sd of 0 or more, not {sd!r}.")
        return cls(QuantileFunction.from_params(params.get("quantiles", {})), float(sd))


def track_shift(trained: TrackDistribution, found: TrackDistribution) -> tuple[float, float]:
    """Distance of two distributions, and the part of it that is a shift of the mean.

    Both quantile functions are piecewise linear; the integral of their distance is taken by the trapezium rule over both's
    knots and 4,096 even steps, where it is exact but for pieces in which they cross.

    Returns
    -------
    The Wasserstein-1 distance, and the difference of means, found minus trained; both in units of the training sd. Of a track
    that was constant in training, in its own units.
    """
    shares = [q for d in (trained, found) for q in (d.quantiles.below, d.quantiles.upto)]
    grid = np.unique(np.concatenate([*shares, np.linspace(0.0, 1.0, 4_097)]))
    middle = (grid[1:] + grid[:-1]) / 2
    # Where many bins have one value, a quantile function jumps at a knot: it is read inside the pieces.
    apart = found.quantiles.quantile(middle) - trained.quantiles.quantile(middle)
    weight = np.diff(grid) / (trained.sd or 1.0)
    return float(np.abs(apart) @ weight), float(apart @ weight)


def sample_bins(extents: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Bins ``[lo, hi)`` to look at in some extents: all of them, or :data:`N_STRETCHES` evenly spaced stretches.

    Stretches are even in the extents laid end to end; one that crosses an end is cut in two.
    """
    lengths = np.array([hi - lo for lo, hi in extents], dtype=np.int64)
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    if total <= N_STRETCHES * STRETCH_BINS:
        return [(lo, hi) for lo, hi in extents if hi > lo]
    found = []
    for begin in np.linspace(0, total - STRETCH_BINS, N_STRETCHES).astype(np.int64):
        for (lo, hi), end, length in zip(extents, ends, lengths, strict=True):
            a, b = begin - (end - length), begin + STRETCH_BINS - (end - length)
            if max(a, 0) < min(b, length):
                found.append((int(lo + max(a, 0)), int(min(hi, lo + b))))
    return found


def shift_warnings(shifts: Mapping[str, tuple[float, float]], cell_type: str) -> list[str]:
    """Say which tracks look unlike those of training, one sentence each.

    Parameters
    ----------
    shifts
        What :func:`track_shift` gave, by track.
    cell_type
        Whose tracks these are.
    """
    sentences = []
    for name, (distance, mean) in shifts.items():
        if distance >= SHIFT_WARNING:
            where = (
                "mostly higher"
                if mean > distance / 2
                else "mostly lower"
                if mean < -distance / 2
                else "spread otherwise"
            )
            sentences.append(
                f"track {name!r} of {cell_type} does not look like those that the network was trained on: its values are "
                f"{where}, by {distance:.2f} of their spread in training (the same assay in another cell type: up to 0.2; told "
                f"from {SHIFT_WARNING} on). Another assay, other units (fold change, RPKM, raw reads) or a weak experiment do "
                "this; look at the track in `epizarr qc` before you believe the prediction"
            )
    return sentences
