"""Knight-Ruiz balancing of one chromosome's cis map as Juicer does it, and its vanilla coverage.

Knight and Ruiz, "A fast algorithm for matrix balancing", IMA Journal of Numerical Analysis 33 (2013) 1029-1047: find x > 0
with x_i (A x)_i = 1 for all bins by Newton's method, each step solved roughly by conjugate gradients. The main diagonal
takes part. For given bins the solution is unique (unless they fall into two sets with contacts only between them), so that
any solver that converges gives the same numbers; which bins Juicer drops, and how it scales, is part of the definition of its
"KR" and is followed here to the letter.

Two conventions are in use for the result. Everything here *multiplies*: balanced = count × w_i × w_j. Juicer stores
*divisive* vectors, balanced = count / (k_i × k_j): k = 1 / w.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from epizarr.errors import BalancingError
from epizarr.normalize.cis_map import CisMap
from epizarr.normalize.scales import scale_to_raw_sum

#: A bin whose divisive value, scaled, falls below this is dropped and the fit repeated.
_MIN_DIVISIVE = 0.01
#: If a fit fails: percentiles of the positive row sums, up to which bins are dropped for the next one.
_PERCENTILES = (1, 2, 3, 4)
_LAST_PERCENTILE = 10
#: A fit has failed after so many Newton steps that changed the squared residual by less than this.
_MAX_IDLE_STEPS = 100
_IDLE = 1e-6
#: The first linear systems are solved to this, relative to the residual.
_ETA_MAX = 0.1


@dataclass(frozen=True)
class KrBalancing:
    """Knight-Ruiz weights of one chromosome.

    Parameters
    ----------
    weights
        Multiplicative weights on Juicer's scale, float64 (bins): the balanced map's sum over valid bins is the raw map's.
        NaN for a dropped bin.
    n_dropped
        Number of dropped bins, those without any contact included.
    n_rounds
        Number of fits, each on fewer bins than the one before.
    n_iterations
        Newton steps of the last fit.
    n_products
        Products of the map with a vector, of all fits: what the time goes into.
    residual
        Norm of 1 − (row sums) over valid bins, before Juicer's scale.
    tol
        Residual that was asked for.
    """

    weights: np.ndarray
    n_dropped: int
    n_rounds: int
    n_iterations: int
    n_products: int
    residual: float
    tol: float

    @property
    def divisive(self) -> np.ndarray:
        """The vector as Juicer stores it: balanced = count / (k_i × k_j); NaN for a dropped bin."""
        return 1 / self.weights

    @property
    def converged(self) -> bool:
        """Whether the residual that was asked for was reached."""
        return self.residual <= self.tol


def balance_kr(cis_map: CisMap, *, tol: float = 1e-6, max_products: int = 5_000) -> KrBalancing:
    """Balance a chromosome's cis map by Knight and Ruiz's method, with Juicer's bins and scale.

    Bins without contacts are dropped. Then, as Juicer does: if a fit fails, the bins whose row sums are at or below the
    1st, 2nd, 3rd, 4th percentile of the positive ones are dropped; if it succeeds, bins whose divisive value on Juicer's
    scale is below 0.01 are dropped and it is repeated; after four fits without an end, the lowest 10 % are dropped and the
    last fit is made. Weights are scaled such that the balanced map's sum over valid bins equals the raw map's.

    Beyond the map, memory for about ten vectors of bins is needed.

    Parameters
    ----------
    cis_map
        Raw counts of the whole chromosome.
    tol
        Norm of the residual 1 − (row sums) at which a fit has converged. Juicer's is 1e-6.
    max_products
        Products of the map with a vector after which a fit has failed. Deep maps take about 50, sparse ones some hundreds.

    Returns
    -------
    The weights and what it took. On a chromosome without any contact every bin is dropped, and that is no error.

    Raises
    ------
    BalancingError
        If no fit converges: the map has no balanced form on these bins, or is too sparse.

    Examples
    --------
    >>> builder = CisMapBuilder("chr1", 3)
    >>> builder.add(np.array([0, 0, 2]), np.array([0, 2, 2]), np.array([4.0, 2.0, 4.0]))
    >>> balance_kr(builder.build()).weights
    array([ 1., nan,  1.])
    """
    sums = cis_map.row_sums()
    valid = sums > 0
    n_contacts = int(valid.sum())
    if n_contacts == 0:
        return KrBalancing(np.full(cis_map.n_bins, np.nan), cis_map.n_bins, 0, 0, 0, 0.0, tol)
    n_products = 0
    best = np.inf
    for n_rounds, percentile in enumerate((*_PERCENTILES, None), start=1):
        if percentile is None:
            # Juicer makes a fifth fit, drops the lowest 10 % whatever comes of it, and makes a sixth: the fifth is left out.
            valid = sums > _row_sum_percentile(sums, _LAST_PERCENTILE)
        fit = _fit(_restricted(cis_map, valid), int(valid.sum()), tol, max_products)
        n_products += fit.n_products
        best = min(best, fit.residual)
        if fit.converged and valid.any():
            x = np.full(cis_map.n_bins, np.nan)
            x[valid] = fit.x
            weights = scale_to_raw_sum(cis_map, x)
            is_small = 1 / weights < _MIN_DIVISIVE
            if not is_small.any():
                n_dropped = cis_map.n_bins - int(valid.sum())
                return KrBalancing(weights, n_dropped, n_rounds, fit.n_iterations, n_products, fit.residual, tol)
            valid = valid & ~is_small
        elif percentile is not None:
            valid = sums > _row_sum_percentile(sums, percentile)
    came = (
        f"came no closer than a residual of {best:.2g} ({tol:.2g} was needed)"
        if best < np.inf
        else "all ran away from it"
    )
    raise BalancingError(
        f"{cis_map.chrom} has no Knight-Ruiz balancing: {cis_map.n_pixels:,} pixels between the {n_contacts:,} of "
        f"{cis_map.n_bins:,} bins that have contacts; {n_rounds} fits, each on fewer bins, {came} or left bins with vanishing "
        "values. The map is too sparse for these bins. Use coarser bins, another normalisation, or leave this chromosome out."
    )


def balance_vc(cis_map: CisMap, *, sqrt: bool = False) -> np.ndarray:
    """Vanilla coverage of a chromosome's cis map: each count divided by both of its bins' row sums, on Juicer's scale.

    Parameters
    ----------
    cis_map
        Raw counts of the whole chromosome.
    sqrt
        Divide by the roots of the row sums (Juicer's ``VC_SQRT``) and not by the sums (``VC``).

    Returns
    -------
    Multiplicative weights, float64 (bins): the balanced map's sum is the raw map's. NaN for a bin without contacts.
    """
    sums = cis_map.row_sums()
    sums[sums == 0] = np.nan
    return scale_to_raw_sum(cis_map, 1 / (np.sqrt(sums) if sqrt else sums))


def _row_sum_percentile(sums: np.ndarray, percent: int) -> float:
    """Percentile of the positive row sums, as Apache Commons Math (and so Juicer) interpolates it."""
    return float(np.percentile(sums[sums > 0], percent, method="weibull"))


def _restricted(cis_map: CisMap, valid: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Multiplication by the rows and columns of the valid bins, without a copy of the map."""
    whole = np.zeros(cis_map.n_bins)

    def multiply(x: np.ndarray) -> np.ndarray:
        whole[valid] = x
        return cis_map.multiply(whole)[valid]

    return multiply


@dataclass(frozen=True)
class _Fit:
    x: np.ndarray
    residual: float
    n_iterations: int
    n_products: int
    converged: bool


def _fit(multiply: Callable[[np.ndarray], np.ndarray], n: int, tol: float, max_products: int) -> _Fit:
    """Solve x (A x) = 1 for n bins by Knight and Ruiz's inexact Newton method, from x = 1."""
    x = np.ones(n)
    v = multiply(x)
    squared = float(((1 - v) ** 2).sum())
    n_products, n_iterations, n_idle, eta = 1, 0, 0, _ETA_MAX
    # Where there is no solution, x runs off to zero and infinity; the residual tells, warnings would add nothing.
    with np.errstate(all="ignore"):
        while tol**2 < squared < np.inf and n_idle < _MAX_IDLE_STEPS and n_products < max_products:
            inner_tol = max(eta**2 * squared, tol**2)
            step, n_inner = _newton_step(multiply, x, v, inner_tol, max_products - n_products)
            x = x * step
            v = x * multiply(x)
            before, squared = squared, float(((1 - v) ** 2).sum())
            n_iterations += 1
            n_products += n_inner + 1
            n_idle += abs(squared - before) < _IDLE
            eta = _forcing_term(eta, squared, before, tol)
    return _Fit(x, float(np.sqrt(squared)), n_iterations, n_products, squared <= tol**2)


def _forcing_term(eta: float, squared: float, before: float, tol: float) -> float:
    """How far the next step's linear system is solved, relative to the residual: the paper's rule and constants."""
    gain = 0.9
    next_eta = gain * squared / before
    if gain * eta**2 > _ETA_MAX:
        next_eta = max(next_eta, gain * eta**2)
    # Solving further than the tolerance would be wasted; at residual 0 there is no next step.
    return max(min(next_eta, _ETA_MAX), 0.5 * tol / max(np.sqrt(squared), tol))


def _newton_step(
    multiply: Callable[[np.ndarray], np.ndarray], x: np.ndarray, v: np.ndarray, inner_tol: float, max_products: int
) -> tuple[np.ndarray, int]:
    """Factor by which a Newton step changes x, and the number of products it took.

    Conjugate gradients on (diag(v) + X A X) p = 1 - v with diag(v) as preconditioner. The factor stays above 0.1: where it
    would fall below, the step ends at that border, so that x remains positive.
    """
    border = 0.1
    step = np.ones_like(x)
    residual = 1 - v
    z = residual / v
    direction = z
    # NumPy's scalars and not Python's: a singular system must end in NaN, not in a ZeroDivisionError.
    rho = residual @ z
    n_products = 0
    # The first test is on the plain norm, as in the paper; later ones on the preconditioned norm.
    size = residual @ residual
    while size > inner_tol and n_products < max_products:
        image = x * multiply(x * direction) + v * direction
        n_products += 1
        alpha = rho / (direction @ image)
        change = alpha * direction
        if (step + change).min() <= border:
            inwards = change < 0
            return step + change * ((border - step[inwards]) / change[inwards]).min(), n_products
        step = step + change
        residual = residual - alpha * image
        z = residual / v
        before, rho = rho, residual @ z
        size = rho
        direction = z + (rho / before) * direction
    return step, n_products
