"""HiC-DC+'s fitted model of a chromosome: a small table of numbers, and what it says of any block of the band.

:mod:`~epizarr.normalize.hicdcplus` fits it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from epizarr.errors import NormalizationError
from epizarr.normalize.distance_basis import DEGREE, log_column, spline_columns
from epizarr.normalize.hicdcplus_pairs import PairGeometry, check_features, log_feature, pair_covariate, usable_bins
from epizarr.normalize.negative_binomial import upper_tail


@dataclass(frozen=True)
class HicdcplusSettings:
    """What Epiphany's script leaves at, or sets from, HiC-DC+'s defaults.

    Parameters
    ----------
    max_distance
        Pairs up to this distance in bp are rows of the fit (``Dthreshold``); it is included.
    min_result_distance, max_result_distance
        Pairs within this range, both ends included, get results (``Dmin``, ``Dmax``). Rows outside are fitted all the same.
    sample_fraction
        Share of the rows that is fitted, in (0, 1] (``ssize``). Epiphany: 0.1.
    distance
        ``"spline"`` of D, or ``"log"``: one column log2(D + 1).
    df
        Columns of the spline, at least 4.
    knots
        ``"uniform"``: interior knots at quantiles of the distances of the rows in the fit; ``"count-based"``: of the counts'
        distances.

    Raises
    ------
    NormalizationError
        If one of them is out of range.
    """

    max_distance: int = 2_000_000
    min_result_distance: int = 0
    max_result_distance: int = 2_000_000
    sample_fraction: float = 0.1
    distance: Literal["spline", "log"] = "spline"
    df: int = 6
    knots: Literal["uniform", "count-based"] = "uniform"

    def __post_init__(self) -> None:
        for wrong, problem in (
            (not 0 < self.sample_fraction <= 1, f"sample_fraction must lie in (0, 1], not {self.sample_fraction:g}"),
            (self.max_distance <= 0, f"max_distance must be a positive number of bp, not {self.max_distance}"),
            (
                not 0 <= self.min_result_distance < self.max_result_distance,
                f"results need 0 <= min_result_distance < max_result_distance, not {self.min_result_distance} and "
                f"{self.max_result_distance}",
            ),
            (self.distance not in ("spline", "log"), f"distance must be 'spline' or 'log', not {self.distance!r}"),
            (self.df <= DEGREE, f"df must be at least {DEGREE + 1}, not {self.df}"),
            (
                self.knots not in ("uniform", "count-based"),
                f"knots must be 'uniform' or 'count-based', not {self.knots!r}",
            ),
        ):
            if wrong:
                raise NormalizationError(f"HiC-DC+: {problem}.")


@dataclass(frozen=True)
class HicdcplusFit:
    """The fitted model of one chromosome; everything :func:`evaluate` needs besides counts and covariates.

    Parameters
    ----------
    chrom, length, binsize, settings
        What was fitted, and how.
    covariates
        Names, in alphabetical order.
    covariate_mean, covariate_sd
        Of ``log(f_i f_j)`` over the chromosome's pairs. A constant covariate has sd 0 and no effect.
    intercept, covariate_beta, distance_beta
        Coefficients of the second fit, per covariate and per column of distance.
    boundary
        Least and largest distance of the chromosome's rows, bp.
    interior_knots
        Of the second fit's spline, bp; none for ``distance="log"``.
    alpha
        Overdispersion: the variance is ``mu + alpha mu**2``. 0 where the counts vary no more than Poisson counts do.
    first_alpha
        That of the fit with the outliers.
    log_likelihood
        Of the second fit's rows.
    n_rows, n_sample, n_outliers
        Rows of the chromosome, those drawn, and those of them that the second fit left out.
    n_iterations
        Newton steps of both fits. Both have converged: a fit that does not is an error.
    """

    chrom: str
    length: int
    binsize: int
    settings: HicdcplusSettings
    covariates: tuple[str, ...]
    covariate_mean: tuple[float, ...]
    covariate_sd: tuple[float, ...]
    intercept: float
    covariate_beta: tuple[float, ...]
    distance_beta: tuple[float, ...]
    boundary: tuple[float, float]
    interior_knots: tuple[float, ...]
    alpha: float
    first_alpha: float
    log_likelihood: float
    n_rows: int
    n_sample: int
    n_outliers: int
    n_iterations: tuple[int, int]

    @property
    def theta(self) -> float:
        """The package's theta, 1 / alpha; infinite without overdispersion."""
        return 1 / self.alpha if self.alpha > 0 else float("inf")

    @property
    def geometry(self) -> PairGeometry:
        """Distances of the chromosome's pairs."""
        return PairGeometry(self.length, self.binsize, self.settings.max_distance)

    def log_mean_of_distance(self, distance: np.ndarray) -> np.ndarray:
        """Intercept and distance part of log mu; NaN outside the boundary."""
        lo, hi = self.boundary
        inside = (distance >= lo) & (distance <= hi)
        out = np.full(len(distance), np.nan)
        columns = distance_columns(self.settings, distance[inside], np.asarray(self.interior_knots), self.boundary)
        out[inside] = self.intercept + columns @ np.asarray(self.distance_beta)
        return out

    def to_json(self) -> str:
        """Text for attributes; :meth:`from_json` reads it back exactly."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "HicdcplusFit":
        """Read what :meth:`to_json` wrote."""
        raw: dict[str, Any] = json.loads(text)
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in raw.items()}
        values["settings"] = HicdcplusSettings(**raw["settings"])
        return cls(**values)


class Evaluation(NamedTuple):
    """HiC-DC+'s results for a block of the band, float64 (bin, diagonal).

    ``mu`` and ``sdev`` are NaN off the chromosome, for pairs with an unusable bin and outside the range of the results;
    ``oe`` = count / mu and ``zscore`` = (count - mu) / sdev besides where the count is NaN. The package's files call these
    ``mu``, ``sdev``, ``normcounts`` and ``zvalue``.
    """

    mu: np.ndarray
    sdev: np.ndarray
    oe: np.ndarray
    zscore: np.ndarray


def expected_counts(
    model: HicdcplusFit,
    features: Mapping[str, np.ndarray],
    *,
    first: int = 0,
    n_rows: int | None = None,
    n_diagonals: int | None = None,
) -> np.ndarray:
    """Expected counts ``mu`` of a block of the band, float64 (bin, diagonal), NaN where there is no result.

    Parameters
    ----------
    model
        Of the chromosome.
    features
        Those the model was fitted with, for all bins of the chromosome.
    first, n_rows
        Which bins of the chromosome; all after ``first`` by default.
    n_diagonals
        How many diagonals; those of the fit by default. Beyond them all is NaN.

    Raises
    ------
    NormalizationError
        If features are missing, too many or of the wrong length, or the block is off the chromosome.

    Notes
    -----
    Memory: about 5 float64 a cell of the block, the result included.
    """
    geometry = model.geometry
    n_bins = geometry.n_bins
    n_rows = n_bins - first if n_rows is None else n_rows
    n_diagonals = geometry.n_diagonals if n_diagonals is None else n_diagonals
    if not (0 <= first and n_rows >= 0 and first + n_rows <= n_bins):
        raise NormalizationError(
            f"chromosome {model.chrom}: bins {first} to {first + n_rows} are asked of the {n_bins:,} it has."
        )
    check_features(model.chrom, features, n_bins, model.covariates)
    n_fitted = min(n_diagonals, geometry.n_diagonals)
    log_mu = np.repeat(_distance_part(model, geometry.distance[:n_fitted])[None], n_rows, axis=0)
    # Pairs with the chromosome's last bin, which may be short, lie on one anti-diagonal of the band.
    rows = np.arange(max(first, n_bins - n_fitted), first + n_rows)
    k = n_bins - 1 - rows
    log_mu[rows - first, k] = _distance_part(model, geometry.distance_to_last[:n_fitted])[k]
    for name, mean, sd, beta in zip(
        model.covariates, model.covariate_mean, model.covariate_sd, model.covariate_beta, strict=True
    ):
        if beta != 0:
            log_i, log_j = _ends(log_feature(features[name]), first, n_rows, n_fitted)
            log_mu += beta * pair_covariate(log_i, log_j, mean, sd)
    usable_i, usable_j = _ends(usable_bins(features, n_bins).astype(np.float64), first, n_rows, n_fitted)
    out = np.full((n_rows, n_diagonals), np.nan)
    out[:, :n_fitted] = np.where(usable_i * usable_j == 1, np.exp(log_mu), np.nan)
    return out


def evaluate(
    model: HicdcplusFit, counts: np.ndarray, features: Mapping[str, np.ndarray], *, first: int = 0
) -> Evaluation:
    """Evaluate a block of the band: each value depends on its own count only.

    Parameters
    ----------
    model
        Of the chromosome.
    counts
        Rows ``first`` and following of its band, (bin, diagonal); any number of diagonals.
    features
        Those the model was fitted with, for all bins of the chromosome.
    first
        First bin of the block, counted from the chromosome's start.

    Notes
    -----
    Memory: about 5 float64 a cell of the block, the four results included.
    """
    mu = expected_counts(model, features, first=first, n_rows=counts.shape[0], n_diagonals=counts.shape[1])
    sdev = np.sqrt(mu + model.alpha * mu**2)
    return Evaluation(mu, sdev, counts / mu, (counts - mu) / sdev)


def p_values(model: HicdcplusFit, counts: np.ndarray, mu: np.ndarray) -> np.ndarray:
    """Probability of a count at least as large under the model; 1 for a count of 0, NaN where count or ``mu`` is NaN."""
    return upper_tail(counts, mu, model.alpha)


def q_values(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg q-values of all p-values of ONE chromosome at once, in the shape of ``p``; NaN stays NaN.

    All pairs with a result count, those with p = 1 too: give the whole chromosome's band, not a block. Memory: three float64 a
    value, 120 MB for chromosome 1 at 10 kb.
    """
    flat = np.asarray(p, dtype=np.float64).reshape(-1)
    n = int(np.count_nonzero(~np.isnan(flat)))
    q = np.where(np.isnan(flat), np.nan, 1.0)
    below = np.flatnonzero(flat < 1)
    order = below[np.argsort(flat[below], kind="stable")]
    scaled = flat[order] * n / np.arange(1, len(order) + 1)
    q[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return q.reshape(np.shape(p))


def distance_columns(
    settings: HicdcplusSettings, distance: np.ndarray, knots: np.ndarray, boundary: tuple[float, float]
) -> np.ndarray:
    """Columns of distance in the regression, besides the intercept (distance, column)."""
    return log_column(distance) if settings.distance == "log" else spline_columns(distance, knots, boundary)


def _distance_part(model: HicdcplusFit, distance: np.ndarray) -> np.ndarray:
    """Intercept and distance part of log mu; NaN where there is no result."""
    settings = model.settings
    wanted = (distance >= settings.min_result_distance) & (distance <= settings.max_result_distance)
    return np.where(wanted, model.log_mean_of_distance(distance), np.nan)


def _ends(values: np.ndarray, first: int, n_rows: int, n_diagonals: int) -> tuple[np.ndarray, np.ndarray]:
    """Values of bin i (bin, 1) and of bin i + k (bin, diagonal; a view, NaN off the chromosome) for a block."""
    padded = np.concatenate([values[first:], np.full(n_diagonals, np.nan)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, n_diagonals)[:n_rows]
    return values[first : first + n_rows, None], windows
