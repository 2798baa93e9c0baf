"""Compact quantile functions of tracks, and the map that gives one file the distribution of another.

A file's units depend on its depth, on its normalisation and on its background; the order of its bins hardly does. Each file
is therefore described by its own quantile function, fitted on its own bins, and every value is replaced by what stands at
the same rank in a reference: the track that the network was trained on. The alternative, ``background``, divides by one
number and keeps the shape, for files whose share of peaks really differs from the reference's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epizarr.errors import TransformError, nearest_match

#: Knots of a quantile function: steps of 0.4 % in the bulk, and as many again towards the largest values.
N_KNOTS = 512
#: The background of a track is the mean of its values up to this quantile: peaks are above it in every assay we take.
BACKGROUND_QUANTILE = 0.75
#: A step of the distribution below this probability is taken as a point: its mean would be a difference of rounding errors.
_LEAST_STEP = 1e-9


@dataclass(frozen=True)
class QuantileFunction:
    """A distribution by its steps and the straight lines between them.

    Parameters
    ----------
    values
        Knots, increasing, float64 (knot).
    below, upto
        Share of the bins below each knot, and up to and including it, float64 (knot): where many bins have one value
        (zeros, the whole numbers of a coverage), the two differ. ``below[0]`` is 0, ``upto[-1]`` is 1. Between two knots
        the share grows in proportion to the value.
    n_bins
        Number of known bins that it was fitted on.
    """

    values: np.ndarray
    below: np.ndarray
    upto: np.ndarray
    n_bins: int

    def quantile(self, share: np.ndarray | float) -> np.ndarray:
        """Value at a share in [0, 1], float64, non-decreasing."""
        shares = np.stack([self.below, self.upto], axis=1).ravel()
        return np.interp(share, shares, np.repeat(self.values, 2))

    def mean_between(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Mean of the quantile function over the shares [low, high]; its value where the two are (nearly) equal."""
        shares = np.stack([self.below, self.upto], axis=1).ravel()
        heights = np.repeat(self.values, 2)
        pieces = np.diff(shares) * (heights[1:] + heights[:-1]) / 2
        area = np.concatenate([[0.0], np.cumsum(pieces)])
        first, last = self._area(low, shares, heights, area), self._area(high, shares, heights, area)
        step = high - low
        bottom, top = self.quantile(low), self.quantile(high)
        mean = np.divide(last - first, step, out=(bottom + top) / 2, where=step > _LEAST_STEP)
        # Rounding must not take a mean out of what it is a mean of: the map would not be monotone.
        return np.clip(mean, bottom, top)

    def _area(self, share: np.ndarray, shares: np.ndarray, heights: np.ndarray, area: np.ndarray) -> np.ndarray:
        """Integral of the quantile function from 0 to a share."""
        piece = np.clip(np.searchsorted(shares, share, side="right") - 1, 0, len(shares) - 2)
        return area[piece] + (share - shares[piece]) * (heights[piece] + self.quantile(share)) / 2

    @property
    def background(self) -> float:
        """Mean of the values up to :data:`BACKGROUND_QUANTILE`: the level away from peaks, whatever the units."""
        return float(self.mean_between(np.zeros(1), np.full(1, BACKGROUND_QUANTILE))[0])

    def to_params(self) -> dict[str, Any]:
        """Plain lists for JSON; :meth:`from_params` reads them back exactly."""
        return {
            "values": self.values.tolist(),
            "below": self.below.tolist(),
            "upto": self.upto.tolist(),
            "n_bins": self.n_bins,
        }

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> "QuantileFunction":
        """Read what :meth:`to_params` gave.

        Raises
        ------
        TransformError
            If it is not a quantile function: a list is missing, lengths differ, or it does not increase.
        """
        try:
            arrays = [np.asarray(params[key], dtype=np.float64) for key in ("values", "below", "upto")]
            n_bins = int(params["n_bins"])
        except (KeyError, TypeError, ValueError) as error:
            raise TransformError(f"a quantile function has values, below, upto and n_bins; {error!r}.") from error
        values, below, upto = arrays
        shares = np.stack([below, upto], axis=1).ravel() if below.shape == upto.shape else np.empty(0)
        if (
            not values.size
            or values.shape != below.shape
            or values.ndim != 1
            or len(shares) != 2 * len(values)
            or not np.isfinite(values).all()
            or not (np.diff(values) > 0).all()
            or not (np.diff(shares) >= 0).all()
            or (shares[0], shares[-1]) != (0, 1)
        ):
            raise TransformError(
                "a quantile function needs increasing values and shares that rise from 0 to 1; these do not."
            )
        return cls(values, below, upto, n_bins)


def fit_quantiles(values: Sequence[np.ndarray] | np.ndarray, *, n_knots: int = N_KNOTS) -> QuantileFunction:
    """Fit the quantile function of a track.

    With ``n_knots`` different values or fewer it is exact. Otherwise half of the knots are spread evenly over the ranks
    and half ever more densely towards the largest values, down to single bins; a value that has more than 2 / ``n_knots``
    of the bins is always a knot with its exact share.

    Holds the known values once more, sorted, and while several blocks are joined twice: 125 to 250 MB for a human genome in
    100-bp bins of float32.

    Parameters
    ----------
    values
        Signal of the file's bins, as one array or several: the whole genome, or a sample of it. Blacklisted bins should be
        NaN already; NaN is left out.
    n_knots
        Most knots to keep.

    Raises
    ------
    TransformError
        If no bin has a value, or one is infinite.
    """
    blocks = [values] if isinstance(values, np.ndarray) else list(values)
    parts = [block[~np.isnan(block)] for block in blocks]
    known = parts[0] if len(parts) == 1 else np.concatenate([*parts, np.empty(0, dtype=np.float32)])
    del parts
    if known.size == 0:
        raise TransformError("quantiles cannot be fitted: no bin of this track was measured.")
    if np.isinf(known[[known.argmin(), known.argmax()]]).any():
        raise TransformError("quantiles cannot be fitted: a value of this track is infinite.")
    known.sort()
    n = len(known)
    is_first = np.empty(n, dtype=bool)
    is_first[0] = True
    np.not_equal(known[1:], known[:-1], out=is_first[1:])
    if int(np.count_nonzero(is_first)) <= n_knots:
        knots = known[is_first]
    else:
        half = n_knots // 2
        even = np.linspace(0, n - 1, half)
        tail = n - np.geomspace(1, n, n_knots - half)
        ranks = np.unique(np.rint(np.concatenate([even, tail])).astype(np.int64).clip(0, n - 1))
        knots = np.unique(known[ranks])
    below = np.searchsorted(known, knots, side="left") / n
    upto = np.searchsorted(known, knots, side="right") / n
    return QuantileFunction(knots.astype(np.float64), below, upto, n)


@dataclass(frozen=True)
class MatchTable:
    """A monotone map of values, linear between its points and constant past its ends.

    Parameters
    ----------
    source, target
        Points, float64; ``source`` increases, ``target`` does not fall.
    """

    source: np.ndarray
    target: np.ndarray

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Map values; a new array of the same shape and dtype, NaN kept. Takes 16 more bytes a value meanwhile."""
        return np.interp(values, self.source, self.target).astype(values.dtype, copy=False)

    def apply_in_place(self, values: np.ndarray) -> None:
        """Map values where they are."""
        values[...] = np.interp(values, self.source, self.target)

    def slope(self, values: np.ndarray) -> np.ndarray:
        """Slope of the lines through the map's points at each value, float64; 0 past its ends.

        A tie is three points a rounding error apart; the lines go through the middle one, so that what the map rises between two
        ties is shared by what lies between them.
        """
        apart = np.diff(self.source) > 4 * np.spacing(np.abs(self.source[1:]))
        group = np.concatenate([[0], np.cumsum(apart)])
        sizes = np.bincount(group)
        middle = np.concatenate([[0], np.cumsum(sizes)[:-1]]) + sizes // 2
        source, target = self.source[middle], self.target[middle]
        if len(source) < 2:
            return np.zeros(np.shape(values))
        slopes = np.concatenate([[0.0], np.diff(target) / np.diff(source), [0.0]])
        return slopes[np.searchsorted(source, values, side="right")]

    def to_bytes(self) -> bytes:
        """The map as bytes, to be hashed."""
        return np.stack([self.source, self.target]).tobytes()


@dataclass(frozen=True)
class Rescale:
    """A map that multiplies by one number.

    Parameters
    ----------
    factor
        The number.
    """

    factor: float

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Map values; a new array of the same shape and dtype, NaN kept."""
        return (values * self.factor).astype(values.dtype, copy=False)

    def apply_in_place(self, values: np.ndarray) -> None:
        """Map values where they are."""
        values *= self.factor

    def slope(self, values: np.ndarray) -> np.ndarray:
        """Slope at each value, float64: the factor."""
        return np.full(np.shape(values), self.factor)

    def to_bytes(self) -> bytes:
        """The map as bytes, to be hashed."""
        return np.float64(self.factor).tobytes()


def match_quantiles(own: QuantileFunction, reference: QuantileFunction) -> MatchTable:
    """Map that gives a file the distribution of a reference, rank for rank.

    A value that stands for many bins (a tie) becomes the mean of the reference over the ranks they hold. So the map is
    monotone, keeps the reference's mean, and is the identity where the two distributions are equal. The zeros of a
    shallow file become the reference's mean background where the reference has fewer zeros; they stay 0 where it has as
    many or more. Values past the file's own extremes, as an in-silico edit can make them, become the reference's extremes.

    Parameters
    ----------
    own
        Fitted on the file that is mapped, all of its genome: never on the training track.
    reference
        Fitted on the track that the network learns from, on training regions.
    """
    knots = own.values
    at_knot = reference.mean_between(own.below, own.upto)
    # Between two knots both functions are straight lines; their map bends where the reference has a knot.
    bends = np.unique(np.concatenate([reference.below, reference.upto]))
    shares = np.stack([own.below, own.upto], axis=1).ravel()
    gap = np.clip(np.searchsorted(own.upto, bends, side="right") - 1, 0, max(0, len(knots) - 2))
    if len(knots) > 1:
        low, high = shares[2 * gap + 1], shares[2 * gap + 2]
        inside = (bends > low) & (bends < high)
        gap, bends, low, high = gap[inside], bends[inside], low[inside], high[inside]
        bent = knots[gap] + (bends - low) / (high - low) * (knots[gap + 1] - knots[gap])
        apart = (bent > np.nextafter(knots[gap], np.inf)) & (bent < np.nextafter(knots[gap + 1], -np.inf))
        bends, bent = bends[apart], bent[apart]
    else:
        bends = bent = np.empty(0)
    # A hair to either side of a knot the value is no tie any more.
    source = np.concatenate([np.nextafter(knots, -np.inf), knots, np.nextafter(knots, np.inf), bent])
    target = np.concatenate(
        [reference.quantile(own.below), at_knot, reference.quantile(own.upto), reference.quantile(bends)]
    )
    # Off its ends the map is constant: there the knots' own means hold.
    target[0], target[3 * len(knots) - 1] = at_knot[0], at_knot[-1]
    order = np.lexsort((target, source))
    return MatchTable(source[order], np.maximum.accumulate(target[order]))


def match_background(own: QuantileFunction, reference: QuantileFunction) -> Rescale:
    """Map that multiplies by one number, so that the two backgrounds are equal.

    Raises
    ------
    TransformError
        If either background is not positive: a track of peaks, or one of signed values, has none.
    """
    levels = own.background, reference.background
    if not min(levels) > 0:
        which = "this file" if levels[0] <= 0 else "the reference"
        raise TransformError(
            f"the backgrounds cannot be matched: {which}'s is {min(levels):g}, the mean of the lower "
            f"{BACKGROUND_QUANTILE:.0%} of its bins. A track of peaks has no background; match quantiles instead."
        )
    return Rescale(levels[1] / levels[0])


#: How a track can be matched, by the name that a configuration gives.
MATCHES: dict[str, Callable[[QuantileFunction, QuantileFunction], "MatchTable | Rescale"]] = {
    "quantile": match_quantiles,
    "background": match_background,
}


def match_to(params: dict[str, Any], own: QuantileFunction) -> MatchTable | Rescale:
    """Work out the map of one file, once: it is then applied to block after block.

    Parameters
    ----------
    params
        ``match`` (key of :data:`MATCHES`) and ``reference`` (:meth:`QuantileFunction.to_params`), which belong to a fitted
        transform and go with the checkpoint.
    own
        Quantile function of the very file that is transformed, which never does.

    Raises
    ------
    TransformError
        If one of the parameters is missing or cannot be used, or the two cannot be matched.
    """
    missing = [key for key in ("match", "reference") if key not in params]
    if missing:
        raise TransformError(
            f"matching a track needs {missing}: the `reference` is fitted on the training regions of the track that the "
            "network learns from."
        )
    if params["match"] not in MATCHES:
        known = list(MATCHES)
        raise TransformError(
            f"no match {params['match']!r}; there are {known}.{nearest_match(str(params['match']), known)}"
        )
    return MATCHES[params["match"]](own, QuantileFunction.from_params(params["reference"]))
