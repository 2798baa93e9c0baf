"""HiC-DC+: expected counts of pairs within 2 Mb from distance and covariates, and how far the counts lie from them.

One negative-binomial model a chromosome: log mean = intercept + covariates + a cubic spline of distance, fitted to a sample of
the pairs, twice, the second time without the outliers of the first (Carty et al. 2017; Sahin et al. 2021). The steps, defaults
and numbers are those of the R package HiCDCPlus 0.99.17 with ``model_distribution="nb"``, with one difference on purpose: the
fit is a safeguarded maximum-likelihood fit. Where the package's ``glm.nb`` diverges, it puts a Poisson model in its place
without saying so; here the fit converges, or a :class:`~epizarr.errors.FitError` names the chromosome.

Use: :class:`~epizarr.normalize.hicdcplus_pairs.PairRows` of a whole chromosome -> :func:`fit_hicdcplus` -> a small
:class:`HicdcplusFit`, with which :func:`evaluate` works on any block of rows of the band on its own.
"""

from typing import NamedTuple

import numpy as np

from epizarr.errors import FitError, NormalizationError
from epizarr.normalize.distance_basis import DEGREE, count_based_knots, uniform_knots
from epizarr.normalize.grouped_design import GroupedDesign
from epizarr.normalize.hicdcplus_model import (
    Evaluation,
    HicdcplusFit,
    HicdcplusSettings,
    distance_columns,
    evaluate,
    expected_counts,
    p_values,
    q_values,
)
from epizarr.normalize.hicdcplus_pairs import PairGeometry, PairRows, draw_sample, pair_covariate
from epizarr.normalize.negative_binomial import NegativeBinomialFit, fit_negative_binomial, upper_tail

__all__ = [
    "Evaluation",
    "HicdcplusFit",
    "HicdcplusSettings",
    "PairGeometry",
    "PairRows",
    "evaluate",
    "expected_counts",
    "fit_hicdcplus",
    "p_values",
    "q_values",
]

#: A sampled count is an outlier if a count as large or larger has at most this probability.
OUTLIER_P = 0.025


def fit_hicdcplus(
    rows: PairRows,
    settings: HicdcplusSettings | None = None,
    *,
    sample: np.ndarray | None = None,
    seed: int = 0,
) -> tuple[HicdcplusFit, np.ndarray]:
    """Fit the model of one chromosome.

    Parameters
    ----------
    rows
        The whole chromosome, its geometry up to ``settings.max_distance``.
    settings
        Epiphany's by default.
    sample
        Rows to fit, bool (bin, diagonal) as ``rows.geometry`` has them; ``settings.sample_fraction`` is then not used. By
        default they are drawn, see :func:`~epizarr.normalize.hicdcplus_pairs.draw_sample`.
    seed
        Of that draw, together with the chromosome's name.

    Returns
    -------
    The model, and which sampled rows the second fit left out as outliers, bool (bin, diagonal).

    Raises
    ------
    FitError
        If the chromosome has no rows, no counts, too few distances, or a fit does not converge; names the chromosome. The
        second fit of a very sparse map cannot converge, where every count at long range is an outlier.
    NormalizationError
        If the sample marks what is no row, or shapes or settings do not fit.

    Notes
    -----
    Memory, besides the rows: about 75 + 8 x covariates bytes a sampled row and 2 bytes a cell of the band; measured for
    chromosome 1 at 10 kb with two covariates: 47 MB for a tenth of the rows, 425 MB for all.
    """
    settings = HicdcplusSettings() if settings is None else settings
    geometry, what = rows.geometry, f"chromosome {rows.chrom}"
    if geometry.max_distance != settings.max_distance:
        raise NormalizationError(
            f"{what}: its rows reach {geometry.max_distance:,} bp and the settings ask for {settings.max_distance:,} bp; "
            "make both alike."
        )
    spline, n_rows = _survey(rows, settings)
    if sample is None:
        sample = draw_sample(
            rows, settings.sample_fraction, seed, settings.min_result_distance, settings.max_result_distance
        )
    elif sample.shape != (geometry.n_bins, geometry.n_diagonals):
        raise NormalizationError(
            f"{what}: the sample has shape {sample.shape}; a bool for each of {geometry.n_bins:,} bins and "
            f"{geometry.n_diagonals} diagonals is needed."
        )
    drawn = _Sample.gather(rows, sample)
    design, _ = spline.design(drawn, what)
    first = fit_negative_binomial(drawn.counts, design, what=what)
    outlier = _outliers(drawn.counts, design, first)
    kept = drawn.subset(~outlier)
    design, interior_knots = spline.design(kept, what)
    try:
        second = fit_negative_binomial(kept.counts, design, what=what, start=first)
    except FitError as error:
        n_emptied = drawn.n_counted_groups() - kept.n_counted_groups()
        if not n_emptied:
            raise
        raise FitError(
            f"{error} The first fit converged, but its {int(outlier.sum()):,} outliers are all the counts there are at "
            f"{n_emptied} distances: where less than about 1 count in {1 / OUTLIER_P:.0f} pairs is expected, any count is an "
            "outlier to HiC-DC+. The map is too sparse for these bins at this range."
        ) from error
    is_outlier = np.zeros(sample.shape, dtype=bool)
    is_outlier.reshape(-1)[drawn.cell[outlier]] = True
    n_distance = len(second.beta) - len(drawn.names)
    beta = dict(zip(drawn.names, second.beta[n_distance:].tolist(), strict=True))
    model = HicdcplusFit(
        chrom=rows.chrom,
        length=geometry.length,
        binsize=geometry.binsize,
        settings=settings,
        covariates=rows.covariates,
        covariate_mean=tuple(rows.scaling[name][0] for name in rows.covariates),
        covariate_sd=tuple(rows.scaling[name][1] for name in rows.covariates),
        intercept=float(second.beta[0]),
        covariate_beta=tuple(beta.get(name, 0.0) for name in rows.covariates),
        distance_beta=tuple(second.beta[1:n_distance].tolist()),
        boundary=spline.boundary,
        interior_knots=tuple(interior_knots.tolist()),
        alpha=second.alpha,
        first_alpha=first.alpha,
        log_likelihood=second.log_likelihood,
        n_rows=n_rows,
        n_sample=len(drawn.counts),
        n_outliers=int(outlier.sum()),
        n_iterations=(first.n_iterations, second.n_iterations),
    )
    return model, is_outlier


class _Sample(NamedTuple):
    """Sampled rows, pairs of one distance next to each other."""

    counts: np.ndarray  # int64 (row)
    cell: np.ndarray  # place in the band, flattened (row)
    distance: np.ndarray  # bp (group)
    sizes: np.ndarray  # rows (group)
    names: tuple[str, ...]  # covariates that have an effect on these rows
    columns: np.ndarray  # their values (covariate, row)

    @classmethod
    def gather(cls, rows: PairRows, sample: np.ndarray) -> "_Sample":
        geometry = rows.geometry
        # Groups: the pairs of two full bins of each diagonal, then each pair with the last bin, whose distance is its own.
        full: list[tuple[int, np.ndarray]] = []
        last: list[tuple[int, np.ndarray]] = []
        n_wrong = 0
        for k in range(geometry.n_diagonals):
            drawn = sample[: geometry.n_bins - k, k]
            n_wrong += int((drawn & ~rows.is_row(k)).sum())
            cell = np.flatnonzero(drawn) * geometry.n_diagonals + k
            if drawn[-1]:
                last.append((int(geometry.distance_to_last[k]), cell[-1:]))
                cell = cell[:-1]
            if len(cell):
                full.append((int(geometry.distance[k]), cell))
        if n_wrong:
            raise NormalizationError(
                f"chromosome {rows.chrom}: the sample marks {n_wrong:,} pairs that are no rows (no count, no covariates, or "
                "too far apart); mark rows only."
            )
        groups = full + last
        if not groups:
            raise FitError(f"chromosome {rows.chrom}: the sample is empty; fit a larger sample.")
        cell = np.concatenate([c for _, c in groups])
        bin_i, diagonal = np.divmod(cell, geometry.n_diagonals)
        bin_j = bin_i + diagonal
        columns = {
            name: pair_covariate(log[bin_i], log[bin_j], *rows.scaling[name]) for name, log in rows.log_features.items()
        }
        # A covariate that is the average throughout has no effect; R gives it the coefficient NA.
        names = tuple(name for name, column in columns.items() if column.any())
        return cls(
            rows.counts[bin_i, diagonal].astype(np.int64),
            cell,
            np.array([d for d, _ in groups], dtype=np.int64),
            np.array([len(c) for _, c in groups], dtype=np.int64),
            names,
            np.array([columns[name] for name in names]).reshape(len(names), len(cell)),
        )

    def n_counted_groups(self) -> int:
        """Number of groups that hold a count."""
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        return int(np.count_nonzero(np.add.reduceat(self.counts, starts)))

    def subset(self, keep: np.ndarray) -> "_Sample":
        sizes = np.add.reduceat(keep.astype(np.int64), np.concatenate([[0], np.cumsum(self.sizes)[:-1]]))
        left = sizes > 0
        return _Sample(
            self.counts[keep], self.cell[keep], self.distance[left], sizes[left], self.names, self.columns[:, keep]
        )


class _Spline(NamedTuple):
    """How distance enters the regression."""

    settings: HicdcplusSettings
    boundary: tuple[float, float]
    knots: np.ndarray | None  # None: from the distances of the rows in the fit, anew for each fit

    def design(self, drawn: _Sample, what: str) -> tuple[GroupedDesign, np.ndarray]:
        """Columns for these rows, and the interior knots."""
        knots = self._uniform_knots(drawn, what) if self.knots is None else self.knots
        columns = distance_columns(self.settings, drawn.distance, knots, self.boundary)
        table = np.column_stack([np.ones(len(columns)), columns])
        names = ("intercept", *(f"distance {i + 1}" for i in range(columns.shape[1])), *drawn.names)
        return GroupedDesign(table, drawn.sizes, drawn.columns, names), knots

    def _uniform_knots(self, drawn: _Sample, what: str) -> np.ndarray:
        knots = uniform_knots(drawn.distance, drawn.sizes, self.settings.df - DEGREE)
        if (np.diff([self.boundary[0], *knots, self.boundary[1]]) <= 0).any():
            raise FitError(
                f"{what}: the {len(drawn.counts):,} sampled rows lie at too few distances for a spline with df = "
                f"{self.settings.df}; fit a larger sample or fewer df."
            )
        return knots


def _survey(rows: PairRows, settings: HicdcplusSettings) -> tuple[_Spline, int]:
    """What all rows of the chromosome say: range of distances, knots if these depend on counts; and how many rows there are."""
    geometry, what = rows.geometry, f"chromosome {rows.chrom}"
    n, sums = np.zeros((2, geometry.n_diagonals), dtype=np.int64), np.zeros((2, geometry.n_diagonals))
    for k in range(geometry.n_diagonals):
        is_row = rows.is_row(k)
        counts = np.where(is_row, rows.counts[: len(is_row), k], 0)
        n[:, k] = is_row[:-1].sum(), is_row[-1]
        sums[:, k] = counts[:-1].sum(dtype=np.float64), counts[-1]
    distance = np.stack([geometry.distance, geometry.distance_to_last])
    n_rows = int(n.sum())
    if n_rows == 0:
        raise FitError(
            f"{what}: no pair of its {geometry.n_bins:,} bins is a row: all counts or covariates are missing."
        )
    if sums.sum() == 0:
        raise FitError(f"{what}: all {n_rows:,} counts are 0; there is nothing to fit. Leave the chromosome out.")
    present = distance[n > 0]
    boundary = (float(present.min()), float(present.max()))
    n_columns = (settings.df if settings.distance == "spline" else 1) + 1
    if len(np.unique(present)) < n_columns:
        raise FitError(
            f"{what}: its rows lie at {len(np.unique(present))} distances, and intercept and distance take {n_columns} "
            "columns; fit smaller bins, or leave the chromosome out."
        )
    if settings.distance == "log":
        return _Spline(settings, boundary, np.empty(0)), n_rows
    if settings.knots == "uniform":
        return _Spline(settings, boundary, None), n_rows
    in_results = (distance >= settings.min_result_distance) & (distance <= settings.max_result_distance)
    knots = count_based_knots(distance[in_results], sums[in_results], settings.df - DEGREE)
    return _Spline(settings, boundary, knots[~np.isin(knots, boundary)]), n_rows


def _outliers(counts: np.ndarray, design: GroupedDesign, fit: NegativeBinomialFit) -> np.ndarray:
    """Which counts exceed the 97.5 % quantile of the fit: exactly those with P(Y >= count) <= 2.5 %."""
    out = np.empty(len(counts), dtype=bool)
    for _, rows, eta in design.predictors(fit.beta):
        out[rows] = upper_tail(counts[rows], np.exp(eta), fit.alpha) <= OUTLIER_P
    return out
