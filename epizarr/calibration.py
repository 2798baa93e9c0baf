"""Calibration: by what a predicted standard deviation has to be multiplied so that intervals hold what they promise.

Split conformal prediction, distance by distance. A pixel's *score* is its error in units of its predicted standard deviation,
``|truth - mean| / sd``. Of validation regions, which the network was not trained on, the factor of a coverage c is the score that
a share c of the pixels does not exceed, raised a little because a finite sample was looked at: intervals
``mean ± factor · sd`` then hold the truth of a NEW pixel with probability c or more, whatever the errors' distribution, if new
pixels come like those that were looked at.

What this does not promise:

- Pixels are not independent: neighbours err alike, so n of them tell less than n. The correction therefore counts *effective*
  pixels, n over the autocorrelation time of the scores along the bins (:func:`effective_pixels`). This is an approximation; the
  theorem itself holds for exchangeable pixels.
- Coverage is an average over pixels, not of each: an unusual locus may be missed more often. Neither are the pixels of one map
  covered independently: they miss together.
- Other chromosomes, and above all other cell types and assays, may err more than the validation regions did.

Factors are fitted on validation regions and never on test regions. Validation regions also chose the checkpoint, which may make
factors a little too small; coverage measured on test regions (:mod:`epizarr.metrics.uncertainty`) tells.

Everything is in units of the transformed target. Transforms of targets are increasing, so the interval's ends, transformed
back, are an interval of the same coverage in the target's own units.

Sources: Lei et al. 2018, J. Am. Stat. Assoc. 113:1094 (split conformal prediction with locally weighted residuals); Angelopoulos
and Bates 2023, Found. Trends Mach. Learn. 16:494, section 2 (finite-sample quantile).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xarray as xr

from epizarr.errors import CalibrationError
from epizarr.schema import SIGNED_VARIABLES
from epizarr.transforms import Transform

#: Coverages that factors are fitted for unless told.
COVERAGES = (0.5, 0.8, 0.9, 0.95)
#: Scores farther apart, in bins, count as independent; the autocorrelation of neighbouring diagonals is taken together.
MAX_LAG, LAG_DIAGONALS = 100, 5
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Calibration:
    """Factors of the standard deviation, by coverage and distance.

    Parameters
    ----------
    predictor
        Hash of what made the predictions: factors are of one predictor only.
    coverages
        Wanted shares of pixels within an interval, ascending, between 0 and 1.
    factors
        Factor of the standard deviation, float64 (coverage, diagonal). Infinite where there are too few pixels for the coverage:
        no finite interval is then known to hold it. NaN where there is no pixel.
    n_pixels
        Pixels that were looked at, int64 (diagonal).
    n_effective
        As many independent ones, float64 (diagonal); 0 where there is none.
    fitted_on
        Cell type and regions, for people to read.
    """

    predictor: str
    coverages: tuple[float, ...]
    factors: np.ndarray
    n_pixels: np.ndarray
    n_effective: np.ndarray
    fitted_on: str

    def to_json(self) -> str:
        """Text of a file; :meth:`from_json` reads it back exactly."""
        document = {
            "calibration_format": _FORMAT,
            "predictor": self.predictor,
            "fitted_on": self.fitted_on,
            "coverages": list(self.coverages),
            # JSON has neither NaN nor infinity.
            "factors": [[_written(float(value)) for value in row] for row in self.factors],
            "n_pixels": self.n_pixels.tolist(),
            "n_effective": [round(float(n), 2) for n in self.n_effective],
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, origin: str) -> Self:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        CalibrationError
            If it is something else, or of another format; names ``origin``.
        """
        try:
            raw = json.loads(text)
            if raw["calibration_format"] != _FORMAT:
                raise ValueError(f"format {raw['calibration_format']}, this epizarr reads {_FORMAT}")
            read = cls(
                predictor=str(raw["predictor"]),
                coverages=tuple(float(c) for c in raw["coverages"]),
                factors=np.array([[float(value) for value in row] for row in raw["factors"]], dtype=np.float64),
                n_pixels=np.array(raw["n_pixels"], dtype=np.int64),
                n_effective=np.array(raw["n_effective"], dtype=np.float64),
                fitted_on=str(raw["fitted_on"]),
            )
            if read.factors.shape != (len(read.coverages), len(read.n_pixels)):
                raise ValueError(f"factors have shape {read.factors.shape}")
        except (KeyError, TypeError, ValueError) as error:
            raise CalibrationError(
                f"calibration {origin}: cannot be read ({type(error).__name__}: {error}). Write it again with "
                "`epizarr calibrate`."
            ) from error
        return read


def predictor_id(attrs: Mapping[str, Any]) -> str:
    """Hash of what made a prediction's standard deviations, from its attributes: checkpoints and draws of dropout."""
    content = [str(attrs["checkpoint_sha256"]), str(attrs.get("members", ""))]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _written(value: float) -> float | str:
    return value if np.isfinite(value) else str(value)


def error_scores(truth: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """Error of each pixel in predicted standard deviations, ``|truth - mean| / sd``.

    Parameters
    ----------
    truth, mean, sd
        Bands (row, diagonal) in units of the transformed target, NaN where a pixel does not count.

    Returns
    -------
    float64, NaN where one of the three is. A standard deviation of 0 gives infinity, or 0 where there is no error either.
    """
    error = np.abs(np.subtract(truth, mean, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error == 0, np.where(np.isnan(sd), np.nan, 0.0), error / sd)


def conformal_level(coverage: float, n: float) -> float:
    """Share of ``n`` scores that a quantile must not be exceeded by, ``ceil((n + 1) c) / n``; above 1 there is no such quantile.

    Examples
    --------
    >>> conformal_level(0.9, 99)
    0.9090909090909091
    """
    return float(np.ceil(round((n + 1) * coverage, 9)) / n)


def conformal_factor(scores: np.ndarray, coverage: float, n_effective: float | None = None) -> float:
    """Score that a new one exceeds with probability ``1 - coverage`` at most.

    Parameters
    ----------
    scores
        Scores without NaN, any shape.
    coverage
        Between 0 and 1.
    n_effective
        How many independent scores they are worth; by default all.

    Returns
    -------
    One of the scores. Infinity if there are too few of them, NaN if there is none.
    """
    ordered = np.sort(scores, axis=None)
    n = len(ordered)
    if n == 0:
        return float("nan")
    level = conformal_level(coverage, n if n_effective is None else n_effective)
    rank = int(np.ceil(round(level * n, 9)))
    return float(ordered[rank - 1]) if rank <= n else float("inf")


def effective_pixels(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Count how many independent pixels the pixels of each diagonal are worth.

    n over the autocorrelation time 1 + 2 Σ ρ(lag), of whether a score lies above its diagonal's median, along the bins. The sum
    ends before the first lag at which ρ is not positive, and at :data:`MAX_LAG`; ρ is that of a few neighbouring diagonals
    together.

    Parameters
    ----------
    scores
        Scores (row, diagonal) of each region, rows in the genome's order, NaN where a pixel does not count.

    Returns
    -------
    float64 (diagonal), between 1 and the number of pixels; 0 where there is no pixel.
    """
    n_diagonals = scores[0].shape[1] if scores else 0
    medians = _column_medians(scores, n_diagonals)
    products, pairs = np.zeros((2, MAX_LAG + 1, n_diagonals))
    for region in scores:
        known = ~np.isnan(region)
        side = np.where(known, np.where(region > medians, 1.0, -1.0), 0.0)
        for lag in range(min(MAX_LAG, len(region) - 1) + 1):
            products[lag] += (side[: len(side) - lag] * side[lag:]).sum(axis=0)
            pairs[lag] += (known[: len(side) - lag] & known[lag:]).sum(axis=0)
    n_pixels = pairs[0].copy()
    products, pairs = (_sums_around(sums, LAG_DIAGONALS) for sums in (products, pairs))
    correlation = np.divide(products, pairs, out=np.zeros_like(products), where=pairs > 0)
    counted = np.logical_and.accumulate(correlation[1:] > 0, axis=0)
    time = 1 + 2 * np.where(counted, correlation[1:], 0.0).sum(axis=0)
    return np.where(n_pixels > 0, np.maximum(n_pixels / time, 1.0), 0.0)


def _column_medians(scores: Sequence[np.ndarray], n_diagonals: int) -> np.ndarray:
    medians = np.full(n_diagonals, np.nan)
    for k in range(n_diagonals):
        column = np.concatenate([region[:, k] for region in scores])
        known = column[~np.isnan(column)]
        if len(known):
            medians[k] = np.median(known)
    return medians


def _sums_around(values: np.ndarray, reach: int) -> np.ndarray:
    """Sum of each column and up to ``reach`` to either side."""
    total = np.concatenate([np.zeros((len(values), 1)), np.cumsum(values, axis=1)], axis=1)
    n = values.shape[1]
    columns = np.arange(n)
    return total[:, np.minimum(columns + reach + 1, n)] - total[:, np.maximum(columns - reach, 0)]


def fit_calibration(
    scores: Sequence[np.ndarray], *, predictor: str, fitted_on: str, coverages: Sequence[float] = COVERAGES
) -> Calibration:
    """Fit the factors of each diagonal.

    Parameters
    ----------
    scores
        :func:`error_scores` of each validation region (row, diagonal), rows in the genome's order.
    predictor, fitted_on
        See :class:`Calibration`.
    coverages
        Wanted coverages, ascending, each between 0 and 1.

    Raises
    ------
    CalibrationError
        If the coverages are not so, or no pixel has a score.
    """
    if not coverages or sorted(set(coverages)) != list(coverages) or not 0 < coverages[0] <= coverages[-1] < 1:
        raise CalibrationError(f"calibration: coverages are {list(coverages)}, need ascending numbers between 0 and 1.")
    n_effective = effective_pixels(scores)
    columns = [np.concatenate([region[:, k] for region in scores]) for k in range(len(n_effective))]
    known = [column[~np.isnan(column)] for column in columns]
    if not any(len(column) for column in known):
        raise CalibrationError(
            f"calibration on {fitted_on}: no pixel has a truth, a prediction and a standard deviation. Predict the validation "
            "regions with an uncertainty (--mc-dropout, --ensemble, or a network with network.head = 'variance')."
        )
    factors = [
        [conformal_factor(c, coverage, n) for c, n in zip(known, n_effective, strict=True)] for coverage in coverages
    ]
    n_pixels = np.array([len(column) for column in known], dtype=np.int64)
    return Calibration(predictor, tuple(coverages), np.array(factors), n_pixels, n_effective, fitted_on)


def contact_interval(prediction: xr.Dataset, coverage: float, calibration: Calibration | None = None) -> xr.Dataset:
    """Intervals that hold the contacts of a share of the pixels, lazily, in the target's own units.

    Parameters
    ----------
    prediction
        A prediction with ``transformed_sd`` (:data:`epizarr.schema.PREDICTIONS`), whole or a part.
    coverage
        One of the coverages that factors were fitted for.
    calibration
        The factors. Default: those kept with the prediction (``epizarr predict --calibration``).

    Returns
    -------
    ``lower`` and ``upper`` (bin, diagonal), float32, NaN where ``contact`` is. Of contacts, ``lower`` is at least 0. Where there
    were too few pixels for the coverage, ``upper`` is infinite and ``lower`` 0, or minus infinity of signed values.

    Raises
    ------
    CalibrationError
        If the prediction has no standard deviation or no factors, those given are of another predictor, or there are none for
        the coverage.
    """
    attrs = prediction.attrs
    if "transformed_sd" not in prediction:
        raise CalibrationError(
            "interval: the prediction has no transformed_sd. Predict with --mc-dropout, --ensemble, or a network with "
            "network.head = 'variance'."
        )
    if calibration is not None:
        if calibration.predictor != predictor_id(attrs):
            raise CalibrationError(
                f"interval: the calibration is of another predictor ({calibration.fitted_on}). Calibrate this one."
            )
        coverages, factors = np.array(calibration.coverages), calibration.factors[:, prediction["diagonal"].values]
    elif "interval_factor" in prediction:
        coverages, factors = prediction["coverage"].values, prediction["interval_factor"].values
    else:
        raise CalibrationError(
            "interval: the prediction has no interval_factor. Give a calibration (`epizarr calibrate`), here or to "
            "`epizarr predict --calibration`."
        )
    places = np.flatnonzero(np.isclose(coverages, coverage))
    if not len(places):
        raise CalibrationError(f"interval: there are factors for coverages {coverages.tolist()}, not for {coverage}.")
    transform = Transform.from_json(str(attrs["transform"]))
    lowest = -np.inf if attrs["target"] in SIGNED_VARIABLES else 0.0
    factor = xr.DataArray(factors[places[0]], dims="diagonal")
    ends = {
        name: xr.apply_ufunc(
            _interval_end,
            prediction["contact"],
            prediction["transformed_sd"],
            side * factor,
            kwargs={"transform": transform, "lowest": lowest},
            dask="parallelized",
            output_dtypes=[np.float32],
        )
        for name, side in (("lower", -1.0), ("upper", 1.0))
    }
    long_name = f"end of the interval that holds {coverage:.0%} of the pixels"
    return xr.Dataset({name: end.assign_attrs(long_name=f"{name} {long_name}") for name, end in ends.items()})


def _interval_end(
    contact: np.ndarray, sd: np.ndarray, factor: np.ndarray, *, transform: Transform, lowest: float
) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        mean = transform.apply(contact.astype(np.float64))
        end = transform.invert(mean + factor * sd)
    # Where no factor could be fitted it is infinite, and the end of the transform's range may be a NaN.
    return np.where(np.isnan(contact), np.nan, np.maximum(end, lowest)).astype(np.float32)
