"""Simple predictors of contacts that a network has to beat, fitted on training regions.

All are linear in features of a pixel (i, i + k) that come from the tracks' means per contact bin, and all work on the
transformed target:

- *training mean*: the mean of each diagonal over the training regions. Its skill is 0 by definition.
- *CTCF insulation*: contact falls with the CTCF signal that lies between the two bins. One line a diagonal, slope and
  intercept by least squares.
- *ridge*: each track at the left bin, at the right bin, and its mean between the two, with an intercept a diagonal and
  coefficients that vary with the distance. How freely they vary, and the penalty, are chosen on the validation regions.

Fitting needs only sums over pixels (:class:`PixelMoments`), kept apart by diagonal. They add up over blocks, so memory does
not grow with the genome, and every variant is fitted and validated without going back to the pixels.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

#: Penalties that are tried, relative to the number of pixels (features are scaled to variance 1).
RELATIVE_PENALTIES = tuple(10.0**e for e in range(-7, 1))
#: Powers of the log distance that the ridge's coefficients may follow; None gives each diagonal coefficients of its own.
DISTANCE_DEGREES: tuple[int | None, ...] = (0, 1, 2, 3, None)


def pixel_features(tracks: np.ndarray, n_rows: int, n_diagonals: int) -> np.ndarray:
    """Features of the pixels of a few band rows.

    Parameters
    ----------
    tracks
        Mean signal per contact bin, (track, bin), of the bins from the first row on; ``n_rows + n_diagonals - 1`` bins. NaN
        where not measured or off the chromosome.
    n_rows, n_diagonals
        Shape of the band.

    Returns
    -------
    float64 (n_rows, n_diagonals, 3 · track): all tracks at the left bin, at the right bin, and between them. "Between" is the
    mean from the middle of the left bin to the middle of the right bin over what was measured there; at k = 0 the bin's
    own signal. NaN where nothing was measured.

    Raises
    ------
    ValueError
        If the number of bins does not fit the shape.
    """
    n_bins = n_rows + n_diagonals - 1
    if tracks.shape[-1] != n_bins:
        raise ValueError(
            f"tracks: {tracks.shape[-1]} bins given, {n_rows} rows of {n_diagonals} diagonals need {n_bins}."
        )
    signal = np.asarray(tracks, dtype=np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(signal, n_diagonals, axis=1)  # (track, row, diagonal)
    left = np.broadcast_to(windows[:, :, :1], windows.shape)
    between = _sum_to_middles(np.nan_to_num(signal), n_diagonals)
    measured = _sum_to_middles((~np.isnan(signal)).astype(np.float64), n_diagonals)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.where(measured > 0, between / measured, np.nan)
    between[:, :, 0] = windows[:, :, 0]
    return np.moveaxis(np.concatenate([left, windows, between]), 0, -1)


def _sum_to_middles(values: np.ndarray, n_diagonals: int) -> np.ndarray:
    """Sum from the middle of bin i to the middle of bin i + k, (track, row, diagonal): both end bins count half."""
    to_middle = np.cumsum(values, axis=1) - values / 2
    windows = np.lib.stride_tricks.sliding_window_view(to_middle, n_diagonals, axis=1)
    return windows - windows[:, :, :1]


@dataclass(frozen=True)
class PixelMoments:
    """Sums over pixels, one set a diagonal: all that a linear fit needs.

    Parameters
    ----------
    n
        Number of pixels with a target and all features, (K).
    y, yy
        Sum of the target and of its square over them, (K).
    x, xy, xx
        Sums of the features (K, F), features times target (K, F), and features times features (K, F, F).
    n_target, y_target
        Number of pixels with a target, whether or not the tracks were measured, and the target's sum over them, (K).
    """

    n: np.ndarray
    y: np.ndarray
    yy: np.ndarray
    x: np.ndarray
    xy: np.ndarray
    xx: np.ndarray
    n_target: np.ndarray
    y_target: np.ndarray

    @classmethod
    def of_block(cls, features: np.ndarray, target: np.ndarray) -> "PixelMoments":
        """Sum over one block: features (rows, K, F) and target (rows, K), NaN where a pixel does not count."""
        has_target = ~np.isnan(target)
        counts = has_target & ~np.isnan(features).any(axis=-1)
        y = np.where(counts, target, 0.0).astype(np.float64)
        x = np.where(counts[..., None], features, 0.0).transpose(1, 0, 2)
        return cls(
            n=counts.sum(axis=0),
            y=y.sum(axis=0),
            yy=np.square(y).sum(axis=0),
            x=x.sum(axis=1),
            xy=np.einsum("knf,nk->kf", x, y),
            xx=x.transpose(0, 2, 1) @ x,
            n_target=has_target.sum(axis=0),
            y_target=np.where(has_target, target, 0.0).sum(axis=0, dtype=np.float64),
        )

    @classmethod
    def total(cls, parts: Iterable["PixelMoments"]) -> "PixelMoments":
        """Add up the sums of at least one block, in the order given."""
        listed = list(parts)
        return cls(**{f.name: np.sum([getattr(part, f.name) for part in listed], axis=0) for f in fields(cls)})

    def centred(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Means of features (K, F) and target (K), centred xx (K, F, F) and xy (K, F); 0 where a diagonal has no pixel."""
        n = np.maximum(self.n, 1)
        x_mean, y_mean = self.x / n[:, None], self.y / n
        xx = self.xx - self.x[:, :, None] * x_mean[:, None, :]
        return x_mean, y_mean, xx, self.xy - self.x * y_mean[:, None]

    def squared_error(self, slope: np.ndarray, intercept: np.ndarray) -> float:
        """Sum of squared errors of ``intercept_k + slope_k · x`` over all pixels, from the sums alone."""
        per_diagonal = (
            self.yy
            - 2 * intercept * self.y
            - 2 * (slope * self.xy).sum(axis=1)
            + self.n * intercept**2
            + 2 * intercept * (slope * self.x).sum(axis=1)
            + np.einsum("kf,kfg,kg->k", slope, self.xx, slope)
        )
        return float(per_diagonal.sum())


@dataclass(frozen=True)
class LinearFit:
    """A fitted baseline: ``mean_k + slope_k · (x - x_mean_k)``.

    Parameters
    ----------
    name
        What the report calls it.
    mean
        Mean of the transformed target at each diagonal, (K); NaN where the training regions have no pixel.
    slope, x_mean
        Coefficients and the features' means, (K, F).
    about
        How it was fitted, for the report.
    """

    name: str
    mean: np.ndarray
    slope: np.ndarray
    x_mean: np.ndarray
    about: str

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predict the transformed target, float32 (rows, K), from features (rows, K, F).

        A feature that was not measured takes the training mean of its diagonal.
        """
        # A feature that is not used must not spoil the others: NaN times a slope of 0 is NaN.
        deviation = np.where(np.isnan(features), 0.0, features - self.x_mean)
        return (self.mean + np.einsum("nkf,kf->nk", deviation, self.slope)).astype(np.float32)


def fit_training_mean(train: PixelMoments) -> LinearFit:
    """Fit the mean of each diagonal over all training pixels."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(train.n_target > 0, train.y_target / train.n_target, np.nan)
    zero = np.zeros_like(train.x)
    return LinearFit("training mean", mean, zero, zero, "mean of each diagonal over the training regions")


def fit_insulation(train: PixelMoments, track: int, n_tracks: int) -> LinearFit:
    """Fit the insulation heuristic: a line a diagonal in the mean signal of one track between the two bins.

    Parameters
    ----------
    train
        Sums over the training regions.
    track
        Position of the CTCF track among the ``n_tracks`` tracks of :func:`pixel_features`.
    n_tracks
        Number of tracks.
    """
    x_mean, y_mean, xx, xy = train.centred()
    place = 2 * n_tracks + track
    spread = xx[:, place, place]
    slope = np.zeros_like(xy)
    slope[:, place] = np.where(spread > 0, xy[:, place] / np.where(spread > 0, spread, 1.0), 0.0)
    about = "least-squares line a diagonal in the mean CTCF signal between the two bins, fitted on the training regions"
    return LinearFit("CTCF insulation", _known(y_mean, train), slope, x_mean, about)


def fit_ridge(
    train: PixelMoments,
    validation: PixelMoments,
    *,
    penalties: Sequence[float] = RELATIVE_PENALTIES,
    degrees: Sequence[int | None] = DISTANCE_DEGREES,
) -> LinearFit:
    """Fit the ridge regression; penalty and dependence on distance are those with the least validation error.

    Parameters
    ----------
    train, validation
        Sums over the training and the validation regions.
    penalties
        Candidates, relative to the number of pixels. Intercepts are not penalised.
    degrees
        Candidates for how coefficients follow the distance: polynomials of this degree in log(1 + k), or None for coefficients
        of each diagonal's own.

    Raises
    ------
    ValueError
        If no pixel of the training or of the validation regions has a target and all tracks.
    """
    if not train.n.any() or not validation.n.any():
        raise ValueError(
            "ridge: no pixel of the training or of the validation regions has a target and all tracks measured."
        )
    x_mean, y_mean, xx, xy = train.centred()
    spread = np.sqrt(np.einsum("kff->f", xx) / train.n.sum())
    scale = np.where(spread > 0, spread, 1.0)
    xx, xy = xx / np.multiply.outer(scale, scale), xy / scale
    best: tuple[float, np.ndarray, str] | None = None
    for degree in degrees:
        for penalty in penalties:
            slope = _solve_ridge(xx, xy, train.n, penalty, degree) / scale
            error = validation.squared_error(slope, y_mean - (slope * x_mean).sum(axis=1))
            if best is None or error < best[0]:
                how = "of each diagonal's own" if degree is None else f"of degree {degree} in log(1 + k)"
                best = (error, slope, f"coefficients {how}, relative penalty {penalty:g}")
    if best is None:
        raise ValueError("ridge: give at least one penalty and one degree.")
    about = (
        "ridge regression on each track at the left bin, at the right bin and between them, an intercept a diagonal; "
        f"{best[2]}, both chosen on the validation regions"
    )
    return LinearFit("ridge", _known(y_mean, train), best[1], x_mean, about)


def _solve_ridge(xx: np.ndarray, xy: np.ndarray, n: np.ndarray, penalty: float, degree: int | None) -> np.ndarray:
    """Slopes (K, F) from scaled, centred sums."""
    n_diagonals, n_features = xy.shape
    if degree is None:
        # The same penalty a pixel as below, diagonal by diagonal; one with no pixel gets slopes of 0.
        system = xx + (penalty * np.maximum(n, 1))[:, None, None] * np.eye(n_features)
        return np.linalg.solve(system, xy[:, :, None])[:, :, 0]
    distance = np.log1p(np.arange(n_diagonals))
    mean = np.average(distance, weights=n)
    spread = np.sqrt(np.average(np.square(distance - mean), weights=n)) or 1.0
    basis = np.vander((distance - mean) / spread, degree + 1, increasing=True)
    system = np.einsum("kp,kq,kfg->pfqg", basis, basis, xx, optimize=True)
    size = (degree + 1) * n_features
    right = np.einsum("kp,kf->pf", basis, xy).reshape(size)
    solved = np.linalg.solve(system.reshape(size, size) + penalty * n.sum() * np.eye(size), right)
    return basis @ solved.reshape(degree + 1, n_features)


def _known(y_mean: np.ndarray, train: PixelMoments) -> np.ndarray:
    """Diagonals that training never saw have no prediction."""
    return np.where(train.n > 0, y_mean, np.nan)
