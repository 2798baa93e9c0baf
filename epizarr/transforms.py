"""Named transforms of contacts and tracks: fitted on training regions, recorded as JSON, inverted by name.

A transform is a short list of named steps. What a step learns (an expected curve, a clip limit) comes from training regions
only and travels with the checkpoint, so that a cell type without Hi-C is treated alike. Missing stays NaN in every step.

One step, ``match``, also needs to know the very file that is read: a transform that has it is *bound* to each file
(:meth:`Transform.bind`), and what it is bound to never enters a checkpoint.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from epizarr.errors import TransformError, nearest_match
from epizarr.quantiles import MATCHES, MatchTable, QuantileFunction, Rescale, fit_quantiles, match_to

#: Values that a step works on at a time: few enough to stay in a processor's cache from one step to the next.
_BLOCK_VALUES = 1 << 16


@dataclass(frozen=True)
class Step:
    """One step: how it is applied and undone, and what it has to learn first.

    Parameters
    ----------
    apply
        ``(values, params)``: changes float values in place.
    invert
        The inverse of ``apply``; None where there is none.
    slope
        ``(values, params)``: derivative of ``apply`` at these values, of their shape or one that broadcasts to it.
    learns
        Name of the parameter that fitting finds; None for a step that learns nothing.
    """

    apply: Callable[[np.ndarray, dict[str, Any]], None]
    invert: Callable[[np.ndarray, dict[str, Any]], None] | None
    slope: Callable[[np.ndarray, dict[str, Any]], np.ndarray | float]
    learns: str | None = None


def _expected(params: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """Return the expected curve in the dtype of the values, NaN where it is not positive."""
    expected = np.asarray(params["expected"], dtype=np.float64)
    n_diagonals = values.shape[-1]
    if len(expected) < n_diagonals:
        raise TransformError(f"obs_over_exp was fitted on {len(expected)} diagonals and is asked for {n_diagonals}.")
    expected = expected[:n_diagonals]
    return np.where(expected > 0, expected, np.nan)


def _divide_expected(values: np.ndarray, params: dict[str, Any]) -> None:
    np.divide(values, _expected(params, values), out=values, casting="same_kind")


def _times_expected(values: np.ndarray, params: dict[str, Any]) -> None:
    np.multiply(values, _expected(params, values), out=values, casting="same_kind")


def _log1p(values: np.ndarray, _: dict[str, Any]) -> None:
    lowest = np.fmin.reduce(values, axis=None, initial=0.0)
    if lowest <= -1:
        raise TransformError(
            f"log1p takes log(1 + value), and a value is {lowest:g}: a log ratio has no such logarithm. Give this track "
            "'linear' or 'blacklist' in data.track_transforms, or a signal that is not a log ratio."
        )
    if np.isposinf(np.fmax.reduce(values, axis=None, initial=0.0)):
        np.log1p(values, out=values)
        return
    # NumPy has a vector unit's log for float32, but not its log1p: a third of the time. 1 + x rounds to u; what is lost
    # is put back to first order, which leaves an error below one unit in the last place.
    one = values.dtype.type(1)
    u = values + one
    lost = values - (u - one)
    lost /= u
    np.log(u, out=values)
    values += lost


def _undo_log1p(values: np.ndarray, _: dict[str, Any]) -> None:
    np.expm1(values, out=values)


def _standardise(values: np.ndarray, params: dict[str, Any]) -> None:
    values -= params["mean"]
    values /= params["sd"]


def _undo_standardise(values: np.ndarray, params: dict[str, Any]) -> None:
    values *= params["sd"]
    values += params["mean"]


def _clip(values: np.ndarray, params: dict[str, Any]) -> None:
    np.minimum(values, values.dtype.type(params["upper"]), out=values)


def _match(values: np.ndarray, params: dict[str, Any]) -> None:
    params["map"].apply_in_place(values)


def _below_limit(values: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    return values < values.dtype.type(params["upper"])


#: Steps of contacts (last axis: diagonal or offset) and tracks (last axis: bin).
STEPS: dict[str, Step] = {
    "obs_over_exp": Step(_divide_expected, _times_expected, lambda v, p: 1 / _expected(p, v), learns="expected"),
    "log1p": Step(_log1p, _undo_log1p, lambda v, p: 1 / (1 + v)),
    "match": Step(_match, None, lambda v, p: p["map"].slope(v), learns="reference"),
    "clip": Step(_clip, None, _below_limit, learns="upper"),
    "standardise": Step(_standardise, _undo_standardise, lambda v, p: 1 / p["sd"], learns="mean, sd"),
}

#: Named transforms of a target. ``default_target_transform`` says which one a variable gets unasked.
TARGET_TRANSFORMS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "log1p": ("log1p",),
    "obs_over_exp": ("obs_over_exp",),
    "obs_over_exp_log1p": ("obs_over_exp", "log1p"),
}
#: Named transforms of a track. ``blacklist`` sets blacklisted bins to NaN and needs the store's ``blacklisted``.
TRACK_TRANSFORMS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "blacklist": ("blacklist",),
    "log1p": ("log1p",),
    "clip_log1p": ("clip", "log1p"),
    "blacklist_clip_log1p": ("blacklist", "clip", "log1p"),
    "blacklist_clip_log1p_standardise": ("blacklist", "clip", "log1p", "standardise"),
}
DEFAULT_TRACK_TRANSFORM = "blacklist_clip_log1p"
#: How a track's file may be matched to the training distribution (:data:`epizarr.quantiles.MATCHES`) before all else.
NO_MATCH = "none"
TRACK_MATCHES: tuple[str, ...] = (NO_MATCH, *MATCHES)
#: Tracks are clipped at this percentile of the training bins (DESIGN: 99.9).
CLIP_PERCENTILE = 99.9


def default_target_transform(variable: str) -> str:
    """Transform that a target variable gets unless the configuration names one.

    Balanced counts average 0.036 at k = 1 and 0.0008 at k = 99 on real data, so a linear MSE would learn the first diagonals
    only; they become observed over expected, then log1p. Observed over expected of HiC-DC+ gets log1p; scores that are
    signed (Z-scores, Akita's transform) stay linear.
    """
    return {"hicdcplus_oe": "log1p", "hicdcplus_zscore": "linear", "akita": "linear"}.get(
        variable, "obs_over_exp_log1p"
    )


@dataclass(frozen=True)
class Transform:
    """A named transform with its fitted parameters.

    Parameters
    ----------
    name
        Key of :data:`TARGET_TRANSFORMS` or :data:`TRACK_TRANSFORMS`.
    steps
        Names of its steps, in order.
    params
        What each step learned: ``{"obs_over_exp": {"expected": [...]}, "clip": {"upper": 3.2}}``.
    match_map
        Map of the file that the transform is bound to; None before :meth:`bind`. Not part of :meth:`to_json`.
    """

    name: str
    steps: tuple[str, ...]
    params: dict[str, dict[str, Any]] = field(default_factory=dict)
    match_map: MatchTable | Rescale | None = field(default=None, compare=False, repr=False)

    @property
    def is_matched(self) -> bool:
        """Whether it matches each file to a reference, and so has to be bound to the file first."""
        return "match" in self.steps

    def bind(self, own: QuantileFunction) -> "Transform":
        """Return the transform of one file.

        Parameters
        ----------
        own
            Quantile function of the file, fitted on its whole genome without the blacklist.

        Raises
        ------
        TransformError
            If the step ``match`` was not fitted, or the file cannot be matched to the reference.
        """
        if not self.is_matched:
            return self
        return replace(self, match_map=match_to(self.params.get("match", {}), own))

    def apply(
        self, values: np.ndarray, blacklisted: np.ndarray | None = None, *, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Transform values; NaN stays NaN. Returns ``out``, or a new array of the same shape and dtype.

        Parameters
        ----------
        values
            Float contacts (..., diagonal) or one track (bin).
        blacklisted
            Bool per track bin; needed by the step ``blacklist``.
        out
            Array of the shape and dtype of ``values`` to write into; it may be ``values`` itself.

        Raises
        ------
        TransformError
            If a step was not fitted, the transform is to be bound to a file and is not, or ``blacklisted`` is needed and not
            given.
        """
        out = _copied(values, out)
        if "blacklist" in self.steps:
            if blacklisted is None:
                raise TransformError(f"transform {self.name!r} masks the blacklist; give `blacklisted` for each bin.")
            # Every other step takes values one by one: it does not matter which of them are masked before.
            out[..., blacklisted] = np.nan
        steps = [(STEPS[step].apply, self._learned(step)) for step in self.steps if step != "blacklist"]
        return _in_blocks(out, steps)

    def invert(self, values: np.ndarray) -> np.ndarray:
        """Undo :meth:`apply`.

        Raises
        ------
        TransformError
            If a step has no inverse (``clip``, ``blacklist``) or was not fitted.
        """
        steps = []
        for step in reversed(self.steps):
            undo = STEPS[step].invert if step in STEPS else None
            if undo is None:
                raise TransformError(f"transform {self.name!r} has no inverse: step {step!r} cannot be undone.")
            steps.append((undo, self._learned(step)))
        return _in_blocks(_copied(values, None), steps)

    def slope(self, values: np.ndarray) -> np.ndarray:
        """Derivative of :meth:`apply` at each value: a new array of the same shape and dtype; NaN where the value is.

        The derivative is 0 at and above a clip limit; that of a match is of the straight lines through its knots. The blacklist
        is not looked at.

        Raises
        ------
        TransformError
            As :meth:`apply`.
        """
        now = _copied(values, None)
        slope = np.where(np.isnan(now), now, now.dtype.type(1))
        for step in self.steps:
            if step == "blacklist":
                continue
            params = self._learned(step)
            np.multiply(slope, STEPS[step].slope(now, params), out=slope, casting="same_kind")
            STEPS[step].apply(now, params)
        return slope

    @property
    def has_inverse(self) -> bool:
        """Whether :meth:`invert` works."""
        return all(step in STEPS and STEPS[step].invert is not None for step in self.steps)

    def _learned(self, step: str) -> dict[str, Any]:
        if STEPS[step].learns is not None and step not in self.params:
            raise TransformError(
                f"transform {self.name!r}: step {step!r} was not fitted; fit it on training regions first."
            )
        if step == "match":
            if self.match_map is None:
                raise TransformError(
                    f"transform {self.name!r} matches each file to a reference and was not bound to a file: bind it to the "
                    "quantiles of the whole track that is read (epizarr.io.track_binding.bind_transforms)."
                )
            return {"map": self.match_map}
        return self.params.get(step, {})

    def to_json(self) -> str:
        """Text for attributes and checkpoints; :meth:`from_json` reads it back exactly."""
        return json.dumps({"name": self.name, "steps": list(self.steps), "params": self.params}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Transform":
        """Read what :meth:`to_json` wrote; an unknown step raises :class:`TransformError`."""
        raw = json.loads(text)
        unknown = [s for s in raw["steps"] if s not in STEPS and s != "blacklist"]
        if unknown:
            raise TransformError(f"transform {raw['name']!r} has steps {unknown} that this epizarr does not know.")
        return cls(raw["name"], tuple(raw["steps"]), raw["params"])


def _copied(values: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    if out is None:
        return np.array(values, copy=True)
    if out is not values:
        np.copyto(out, values, casting="no")
    return out


def _in_blocks(
    values: np.ndarray, steps: Sequence[tuple[Callable[[np.ndarray, dict[str, Any]], None], dict[str, Any]]]
) -> np.ndarray:
    """Do all steps on one block of rows (of a track: bins) after the other, in place."""
    n_rows = max(1, _BLOCK_VALUES // max(1, int(np.prod(values.shape[1:]))))
    for lo in range(0, len(values), n_rows):
        for do, params in steps:
            do(values[lo : lo + n_rows], params)
    return values


def steps_of(name: str, known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Steps of a named transform.

    Raises
    ------
    TransformError
        If there is no such transform; lists those there are.
    """
    if name not in known:
        raise TransformError(f"no transform {name!r}; there are {sorted(known)}.{nearest_match(name, list(known))}")
    return known[name]


def track_steps(name: str, match: str = NO_MATCH) -> tuple[str, ...]:
    """Steps of a track's transform; matching comes before every step but ``blacklist``, so that these see matched values.

    Raises
    ------
    TransformError
        If there is no such transform or match; lists those there are.
    """
    steps = steps_of(name, TRACK_TRANSFORMS)
    if match not in TRACK_MATCHES:
        raise TransformError(
            f"no match {match!r}; there are {list(TRACK_MATCHES)}.{nearest_match(match, list(TRACK_MATCHES))}"
        )
    if match == NO_MATCH:
        return steps
    n_before = steps.count("blacklist")
    return (*steps[:n_before], "match", *steps[n_before:])


def fit_target_transform(name: str, expected: np.ndarray) -> Transform:
    """Fit a target's transform.

    Parameters
    ----------
    name
        Key of :data:`TARGET_TRANSFORMS`.
    expected
        Mean of the target over the valid pixels of the training regions, per diagonal, NaN where there are none: what
        :func:`diagonal_sums` gives, sums over counts.
    """
    steps = steps_of(name, TARGET_TRANSFORMS)
    params = (
        {"obs_over_exp": {"expected": [float(x) for x in np.nan_to_num(expected)]}} if "obs_over_exp" in steps else {}
    )
    return Transform(name, steps, params)


def fit_track_transform(
    name: str, values: Sequence[np.ndarray], *, match: str = NO_MATCH, own: Sequence[QuantileFunction] = ()
) -> Transform:
    """Fit a track's transform on the training regions' bins.

    Holds the known values once more, and twice more while a reference is fitted.

    Parameters
    ----------
    name
        Key of :data:`TRACK_TRANSFORMS`.
    values
        Signal of the track in each training region (blacklisted bins already NaN), NaN ignored. The clip limit is their
        99.9th percentile; for a track so sparse that this is 0, the largest value, since clipping at 0 would erase it.
    match
        Entry of :data:`TRACK_MATCHES`. The reference is the distribution of all ``values``; what later steps learn is learned
        from the matched values.
    own
        For each array of ``values``, the quantile function of the whole track that it was cut from; needed to match.

    Returns
    -------
    The transform, bound to no file.

    Raises
    ------
    TransformError
        If a limit is needed and no bin of the training regions has a value; or if one is -1 or less and its logarithm is
        asked for (a log ratio, say), which :meth:`Transform.apply` refuses too; or if the tracks cannot be matched.
    """
    steps = track_steps(name, match)
    is_known = [~np.isnan(v) for v in values]
    known = np.concatenate([v[k] for v, k in zip(values, is_known, strict=True)]) if values else np.empty(0)
    ends = np.cumsum([np.count_nonzero(k) for k in is_known])
    del is_known
    params: dict[str, dict[str, Any]] = {}
    for step in steps:
        if step == "blacklist":
            continue
        if STEPS[step].learns is not None and known.size == 0:
            raise TransformError(
                f"transform {name!r} cannot be fitted: the training regions have no measured bin of this track."
            )
        if step == "match":
            params[step] = {"match": match, "reference": fit_quantiles(known).to_params()}
            for part, of_file in zip(np.split(known, ends[:-1]), own, strict=True):
                match_to(params[step], of_file).apply_in_place(part)
            continue
        if step == "clip":
            upper = float(np.percentile(known, CLIP_PERCENTILE))
            params[step] = {"upper": upper if upper > 0 else float(known.max())}
        elif step == "standardise":
            params[step] = {
                "mean": float(known.mean(dtype=np.float64)),
                "sd": float(known.std(dtype=np.float64)) or 1.0,
            }
        STEPS[step].apply(known, params.get(step, {}))
    return Transform(name, steps, params)


def diagonal_sums(band: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum (float64) and number (int64) of the valid pixels of each diagonal of a band (rows, K).

    Sums over blocks add up, so an expected curve over many regions is the sum of sums over the sum of numbers.
    """
    valid = ~np.isnan(band)
    return np.where(valid, band, 0.0).sum(axis=0, dtype=np.float64), valid.sum(axis=0, dtype=np.int64)


def mean_of_sums(total: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Means from :func:`diagonal_sums`; NaN where there is no valid pixel."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def network_input(signal: np.ndarray, *, mask_channels: bool, in_place: bool = False) -> np.ndarray:
    """Make what the network reads from transformed tracks: NaN becomes 0 and, if wanted, the mask channels say where.

    The one place where missing signal is filled; training, prediction and attribution call it.

    Parameters
    ----------
    signal
        Transformed tracks, (..., track, bin), NaN where not measured or off the chromosome.
    mask_channels
        Append one channel a track: 1 where the signal is known, 0 where it is missing.
    in_place
        Fill ``signal`` itself, which must be float32, instead of a copy.

    Returns
    -------
    float32, (..., track or 2 · track, bin), without NaN.
    """
    missing = np.isnan(signal)
    filled = signal if in_place else np.array(signal, dtype=np.float32)
    np.copyto(filled, 0, where=missing)
    if not mask_channels:
        return filled
    return np.concatenate([filled, (~missing).astype(np.float32)], axis=-2)
