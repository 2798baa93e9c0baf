"""Negative-binomial regression by maximum likelihood, safeguarded so that it converges or says that it did not.

Counts ``y`` with mean ``mu = exp(X beta)`` and variance ``mu + alpha mu**2``; R calls ``1 / alpha`` theta. R's ``glm.nb``
alternates between beta and theta, and on contacts with covariates it often diverges (HiC-DC+ then falls back to a Poisson model
without telling). Here both are found together: Newton steps on (beta, log alpha) with exact derivatives and a line search.
Where ``glm.nb`` converges, this is the same maximum.

Everything is written in ``alpha``, not theta, because the limit without overdispersion is then the plain number ``alpha = 0``,
and ``lgamma(y + theta) - lgamma(theta)`` becomes a sum of ``log(1 + alpha j)`` over j < y, exact for every alpha. Summed over
the rows this needs only how many counts exceed each j.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import special
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from epizarr.errors import FitError
from epizarr.normalize.grouped_design import GroupedDesign

#: Largest count that can be fitted: sums over j < count take 8 bytes per j.
MAX_COUNT = 2**24
#: Newton stops when the step, in units of the standard errors, is below the root of this …
TOLERANCE = 1e-14
#: … and no coefficient moves by this much: where only ever smaller means fit rows without counts, the gain vanishes but the
#: coefficients run away.
_LARGEST_LAST_STEP = 1e-3
MAX_ITERATIONS = 100
#: A step of log(alpha) is at most this.
_MAX_LOG_STEP = 2.0
#: Below this alpha * (typical mean) the fit asks whether the maximum lies at alpha = 0.
_NEARLY_POISSON = 1e-3
#: log(1 + t) - t / (1 + t) loses digits for small t: a series replaces it below this.
_SMALL = 0.02


@dataclass(frozen=True)
class NegativeBinomialFit:
    """A converged fit.

    Parameters
    ----------
    beta
        Coefficients, in the order of the design's columns.
    alpha
        Overdispersion, 1 / theta. 0 where the likelihood is highest without overdispersion, that is for Poisson counts.
    log_likelihood
        With all constants, as R's ``logLik``.
    n_iterations
        Newton steps taken.
    """

    beta: np.ndarray
    alpha: float
    log_likelihood: float
    n_iterations: int

    @property
    def theta(self) -> float:
        """R's theta, ``1 / alpha``; infinite without overdispersion."""
        return 1 / self.alpha if self.alpha > 0 else float("inf")


class _Derivatives(NamedTuple):
    value: float  # log-likelihood without the terms that depend on the counts alone
    gradient: np.ndarray  # by (beta, alpha)
    hessian: np.ndarray
    typical_mean: float  # of the counts' expectation, weighted by itself


class _Likelihood:
    """Log-likelihood of counts under a design, and its derivatives by (beta, alpha)."""

    def __init__(self, counts: np.ndarray, design: GroupedDesign) -> None:
        histogram = np.bincount(counts.astype(np.int64))
        #: How many counts exceed j, for j = 0 … largest count - 1.
        self.n_above = (len(counts) - np.cumsum(histogram)[:-1]).astype(np.float64)
        self.constant = -float(histogram @ special.gammaln(np.arange(len(histogram)) + 1.0))
        self.counts = counts.astype(np.float64)
        self.design = design

    def at(self, beta: np.ndarray, alpha: float) -> _Derivatives:
        n = len(beta)
        j = np.arange(len(self.n_above), dtype=np.float64)
        ratio = j / (1 + alpha * j)
        value = float(self.n_above @ np.log1p(alpha * j))
        gradient, hessian = np.zeros(n + 1), np.zeros((n + 1, n + 1))
        gradient[n], hessian[n, n] = self.n_above @ ratio, -self.n_above @ ratio**2
        cross, gram = np.zeros(n), np.zeros((n, n))
        total, total_squared = 0.0, 0.0
        with np.errstate(over="ignore", invalid="ignore"):  # a step too long gives inf or NaN and is shortened
            for groups, rows, eta in self.design.predictors(beta):
                y = self.counts[rows]
                mu = np.exp(eta)
                t = alpha * mu
                shrink = 1 / (1 + t)
                log_t = np.log1p(t)
                phi, phi_slope = _excess(t, log_t, shrink)
                log_over_t = np.divide(log_t, t, out=np.ones_like(t), where=t > 0)
                squared = mu * mu
                value += float(y @ eta - y @ log_t - mu @ log_over_t)
                gradient[n] += squared @ phi - y @ (mu * shrink)
                hessian[n, n] += (squared * mu) @ phi_slope + y @ (squared * shrink**2)
                residual = (y - mu) * shrink
                self.design.add_gradient(gradient[:n], groups, rows, residual)
                self.design.add_gradient(cross, groups, rows, residual * mu * shrink)
                self.design.add_gram(gram, groups, rows, mu * (1 + alpha * y) * shrink**2)
                total += float(mu.sum())
                total_squared += float(squared.sum())
        hessian[:n, :n] = -gram
        hessian[:n, n] = hessian[n, :n] = -cross
        return _Derivatives(value, gradient, hessian, total_squared / total if total > 0 else 0.0)


def _excess(t: np.ndarray, log_t: np.ndarray, shrink: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(log(1 + t) - t / (1 + t)) / t**2`` and its derivative, without loss of digits for small t."""
    small = t < _SMALL
    safe = np.where(small, 1.0, t)
    phi = (log_t - t * shrink) / safe**2
    slope = (shrink**2 - 2 * phi) / safe
    if small.any():
        tiny = t[small]
        n = np.arange(12)
        coefficients = (-1.0) ** n * (n + 1) / (n + 2)
        phi[small] = np.polynomial.polynomial.polyval(tiny, coefficients)
        slope[small] = np.polynomial.polynomial.polyval(tiny, coefficients[1:] * n[1:])
    return phi, slope


def fit_negative_binomial(
    counts: np.ndarray, design: GroupedDesign, *, what: str, start: NegativeBinomialFit | None = None
) -> NegativeBinomialFit:
    """Fit counts by maximum likelihood.

    Parameters
    ----------
    counts
        Whole numbers, 0 to :data:`MAX_COUNT`, one a row of the design; none missing.
    design
        The columns; the first is the intercept.
    what
        What is fitted, for messages: ``"chromosome chr7"``.
    start
        A fit of similar rows with the same columns to start from. It changes the time, not the result.

    Returns
    -------
    The maximum-likelihood fit. Counts that vary no more than Poisson counts do (the likelihood falls with alpha from alpha = 0
    on, at the best beta) have ``alpha = 0``: that is their maximum, and theta is infinite.

    Raises
    ------
    FitError
        If there are no counts above 0 or fewer rows than coefficients, columns are collinear, a count is too large, or the
        steps do not converge, as where all counts beyond some distance are 0 and no finite coefficient is best.

    Notes
    -----
    Memory: about 20 bytes a row besides the arguments, and 30 bytes for each whole number up to the largest count.
    """
    _check_counts(counts, design, what)
    likelihood = _Likelihood(counts, design)
    if start is None:
        beta = _start_beta(likelihood.counts, design)
        alpha = _start_alpha(likelihood.counts, design, beta)
    else:
        beta, alpha = start.beta, max(start.alpha, 1e-3)
    steps = _Steps(likelihood, what)
    beta, alpha, found = steps.run(beta, alpha, ask_below=_NEARLY_POISSON)
    if alpha * found.typical_mean < _NEARLY_POISSON:
        beta, alpha, found = steps.near_poisson(beta, alpha)
    return NegativeBinomialFit(beta, float(alpha), found.value + likelihood.constant, steps.n_iterations)


class _Steps:
    """Newton steps with a line search; counts them."""

    def __init__(self, likelihood: _Likelihood, what: str) -> None:
        self.likelihood = likelihood
        self.what = what
        self.n_iterations = 0

    def near_poisson(self, beta: np.ndarray, alpha: float) -> tuple[np.ndarray, float, _Derivatives]:
        """Decide between alpha = 0 and a maximum at a very small alpha."""
        n = len(beta)
        beta, _, found = self.run(beta, 0.0)
        slope, curvature = found.gradient[n], found.hessian[n, n]
        if slope <= 0:
            return beta, 0.0, found
        return self.run(beta, -slope / curvature if curvature < 0 else alpha)

    def run(self, beta: np.ndarray, alpha: float, ask_below: float = 0.0) -> tuple[np.ndarray, float, _Derivatives]:
        """Maximise over (beta, log alpha), or over beta alone if alpha is 0, until the step is negligible.

        Stops early, not converged, once ``alpha * typical mean`` is below ``ask_below``.
        """
        found = self.likelihood.at(beta, alpha)
        for _ in range(MAX_ITERATIONS):
            self.n_iterations += 1
            gradient, step, exact = _direction(found, alpha)
            gain = float(gradient @ step)
            if not np.isfinite(gain):
                break
            # Gains below the rounding of the log-likelihood cannot be searched along; Newton is then at its best.
            negligible = exact and gain < 1e-10 * (1 + abs(found.value))
            length = 1.0
            while True:
                new_beta = beta + length * step[: len(beta)]
                new_alpha = alpha * float(np.exp(length * step[-1])) if alpha > 0 else 0.0
                new = self.likelihood.at(new_beta, new_alpha)
                if new.value >= found.value + 1e-4 * length * gain or (negligible and np.isfinite(new.value)):
                    break
                length /= 2
                if length < 1e-10:
                    raise self.failure()
            beta, alpha, found = new_beta, new_alpha, new
            if exact and gain < TOLERANCE and np.abs(step).max() < _LARGEST_LAST_STEP:
                return beta, alpha, found
            if alpha * found.typical_mean < ask_below:
                return beta, alpha, found
        raise self.failure()

    def failure(self) -> FitError:
        design, counts = self.likelihood.design, self.likelihood.counts
        sums = np.concatenate([design.group_sums(groups, counts[rows]) for groups, rows in design.blocks])
        n_empty = int((sums == 0).sum())
        hint = (
            f" {n_empty:,} of its {len(sums):,} groups of rows (distances) hold no count at all, so that no finite "
            "coefficient may be best: fit a shorter range of distances, larger bins or a larger sample."
            if n_empty
            else " Fit a larger sample, or leave out a covariate."
        )
        return FitError(
            f"{self.what}: the negative-binomial fit of {len(counts):,} rows did not converge in "
            f"{self.n_iterations} steps.{hint}"
        )


def _direction(found: _Derivatives, alpha: float) -> tuple[np.ndarray, np.ndarray, bool]:
    """Gradient and step by (beta, log alpha), and whether it is the exact Newton step."""
    n = len(found.gradient) - 1
    gradient, curvature = found.gradient.copy(), -found.hessian
    if alpha == 0:
        curvature[n, :] = curvature[:, n] = 0
        curvature[n, n], gradient[n] = 1, 0
    else:
        curvature[n, :] *= alpha
        curvature[:, n] *= alpha
        gradient[n] *= alpha
        curvature[n, n] -= gradient[n]
    if not (np.isfinite(gradient).all() and np.isfinite(curvature).all()):
        return gradient, np.full(n + 1, np.nan), False
    step = _solve(curvature, gradient)
    exact = step is not None
    if step is None:
        # Far from the maximum the likelihood is not concave in log(alpha); in beta it always is.
        curvature[n, :n] = curvature[:n, n] = 0
        curvature[n, n] = max(abs(curvature[n, n]), 1e-3 * abs(gradient[n]), 1e-300)
        step = _solve(curvature, gradient)
    if step is None:
        return gradient, np.full(n + 1, np.nan), False
    if abs(step[n]) > _MAX_LOG_STEP:
        return gradient, step * (_MAX_LOG_STEP / abs(step[n])), False
    return gradient, step, exact


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray | None:
    """Solve with a positive definite matrix; None if it is not."""
    diagonal = np.diag(matrix)
    if not (diagonal > 0).all():
        return None
    scale = 1 / np.sqrt(diagonal)
    try:
        factor = cho_factor(matrix * scale[:, None] * scale)
    except LinAlgError:
        return None
    solution: np.ndarray = cho_solve(factor, right * scale) * scale
    return solution


def _check_counts(counts: np.ndarray, design: GroupedDesign, what: str) -> None:
    n_columns = len(design.names)
    if len(counts) <= n_columns:
        raise FitError(
            f"{what}: {len(counts)} rows cannot determine {n_columns} coefficients and a dispersion; fit a larger sample."
        )
    largest = int(counts.max())
    if largest == 0:
        raise FitError(f"{what}: all {len(counts):,} counts are 0; there is nothing to fit.")
    if largest > MAX_COUNT:
        raise FitError(
            f"{what}: the largest count is {largest:,}, and {MAX_COUNT:,} can be fitted. Use raw counts of smaller bins."
        )
    gram = np.zeros((n_columns, n_columns))
    for groups, rows in design.blocks:
        design.add_gram(gram, groups, rows, np.ones(rows.stop - rows.start))
    diagonal = np.diag(gram)
    empty = [name for name, d in zip(design.names, diagonal, strict=True) if d == 0]
    if empty:
        raise FitError(f"{what}: columns {empty} are 0 in all {len(counts):,} rows; leave them out.")
    values, vectors = np.linalg.eigh(gram / np.sqrt(np.outer(diagonal, diagonal)))
    if values[0] < 1e-12:
        involved = _involved(design.names, vectors[:, 0])
        raise FitError(f"{what}: columns {involved} are collinear in the {len(counts):,} rows; leave one out.")


def _involved(names: Sequence[str], vector: np.ndarray) -> list[str]:
    return [name for name, v in zip(names, vector, strict=True) if abs(v) > 0.1]


def _start_beta(counts: np.ndarray, design: GroupedDesign) -> np.ndarray:
    """Weighted least squares of the log of each group's mean; columns that differ within groups start at 0."""
    sums = np.concatenate([design.group_sums(groups, counts[rows]) for groups, rows in design.blocks]) + 0.5
    root = np.sqrt(sums)
    fitted = np.linalg.lstsq(design.table * root[:, None], np.log(sums / design.sizes) * root, rcond=None)[0]
    return np.concatenate([fitted, np.zeros(len(design.columns))])


def _start_alpha(counts: np.ndarray, design: GroupedDesign, beta: np.ndarray) -> float:
    """Overdispersion from the moments, at least a little."""
    excess, squares = 0.0, 0.0
    for _, rows, eta in design.predictors(beta):
        mu = np.exp(eta)
        excess += float(np.square(counts[rows] - mu).sum() - mu.sum())
        squares += float(mu @ mu)
    return float(np.clip(excess / squares, 1e-2, 1e2)) if squares > 0 else 1.0


def upper_tail(counts: np.ndarray, mu: np.ndarray, alpha: float) -> np.ndarray:
    """Probability of a count at least as large, P(Y >= count), float64; exactly 1 for 0, NaN where either is NaN.

    Parameters
    ----------
    counts, mu
        Arrays of one shape; ``mu`` is positive.
    alpha
        Overdispersion; 0 is Poisson.
    """
    counts = np.asarray(counts)
    out = np.where(np.isnan(counts) | np.isnan(mu), np.nan, 1.0)
    seen = ~np.isnan(out) & (counts > 0)
    y, mean = counts[seen].astype(np.float64), mu[seen]
    if alpha == 0:
        out[seen] = special.gammainc(y, mean)
    else:
        t = alpha * mean
        out[seen] = special.betainc(y, 1 / alpha, t / (1 + t))
    return out
