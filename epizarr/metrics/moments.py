"""Block sums of two bands, from which correlations and errors follow for any weighting of the blocks.

Rows of a band are cut into *blocks* (:mod:`epizarr.metrics.bootstrap` says which). For each block and diagonal a few numbers are
kept, and everything else is worked out from them: the scores of all blocks together, those of a chromosome, and those of
thousands of resamples, without going back to the pixels. A pixel belongs to the block of its first bin.

- :class:`PairMoments` hold counts, means and central moments. They can be made chunk by chunk, in any chunking of rows, and
  pooled (Chan, Golub & LeVeque 1983, doi:10.1080/00031305.1983.10483115): no large numbers are subtracted, and a constant map has
  a variance of exactly 0.
- :class:`RankMoments` do the same for Spearman's coefficient. Ranks need all pixels of a diagonal at once, so they are made a few
  diagonals at a time. Under other weights the ranks change too; that is followed to first order (see there).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True)
class PairMoments:
    """What a block's pixels of two maps, x and y, come to; all arrays (block, diagonal), float64.

    Parameters
    ----------
    n
        Pixels where both maps have a value.
    x, y
        Means over them, 0 where there is none.
    xx, yy, xy
        Sums of the squared deviations from the block's means, and of their products.
    squared_error
        Sum of (x - y)².
    """

    n: np.ndarray
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    yy: np.ndarray
    xy: np.ndarray
    squared_error: np.ndarray

    @classmethod
    def of_rows(cls, prediction: np.ndarray, observed: np.ndarray, block: np.ndarray, n_blocks: int) -> "PairMoments":
        """Take the moments of some rows of two bands.

        Parameters
        ----------
        prediction, observed
            x and y: bands of equal shape (row, diagonal), NaN where a pixel does not count.
        block
            Block of each row, int (row), each in ``[0, n_blocks)``.
        n_blocks
            Number of blocks; those that have no row here are empty.

        Raises
        ------
        ValueError
            If the shapes do not fit.
        """
        _check_shapes(prediction, observed, block)
        made = {f.name: np.zeros((n_blocks, observed.shape[1])) for f in fields(cls)}
        for k in range(observed.shape[1]):
            x, y, here = _common_pixels(prediction[:, k], observed[:, k], block)
            if not len(x):
                continue
            n = np.bincount(here, minlength=n_blocks).astype(np.float64)
            # Deviations from a value close to all: from the constant itself where a map is constant, so that they are exactly 0.
            origin_x, origin_y = _origin(x), _origin(y)
            sums = [np.bincount(here, d, n_blocks) for d in _products(x - origin_x, y - origin_y)]
            per = np.maximum(n, 1)
            mean_x, mean_y = sums[0] / per, sums[1] / per
            made["n"][:, k] = n
            made["x"][:, k] = np.where(n > 0, origin_x + mean_x, 0.0)
            made["y"][:, k] = np.where(n > 0, origin_y + mean_y, 0.0)
            made["xx"][:, k] = np.maximum(sums[2] - n * mean_x**2, 0.0)
            made["yy"][:, k] = np.maximum(sums[3] - n * mean_y**2, 0.0)
            made["xy"][:, k] = sums[4] - n * mean_x * mean_y
            made["squared_error"][:, k] = np.bincount(here, np.square(x - y), n_blocks)
        return cls(**made)

    @classmethod
    def total(cls, parts: Sequence["PairMoments"]) -> "PairMoments":
        """Pool the moments of the same blocks from different rows, in the order given; at least one part."""
        shape = parts[0].n.shape
        flat = cls(**{f.name: np.stack([getattr(p, f.name).ravel() for p in parts]) for f in fields(cls)})
        pooled = flat.weighted(np.ones((1, len(parts))))
        return cls(**{f.name: getattr(pooled, f.name).reshape(shape) for f in fields(cls)})

    def weighted(self, weights: np.ndarray) -> "PairMoments":
        """Pool the blocks, each counted so many times.

        Parameters
        ----------
        weights
            How often each block counts, (resample, block). Ones pool all; ones and zeros those of a chromosome.

        Returns
        -------
        Moments, all arrays (resample, diagonal).
        """
        has = self.n > 0
        first = has.argmax(axis=0)
        columns = np.arange(self.n.shape[1])
        # Means are taken from that of the first block that has any, so that equal means differ by exactly 0.
        reference_x, reference_y = self.x[first, columns], self.y[first, columns]
        dx, dy = (np.where(has, m - ref, 0.0) for m, ref in ((self.x, reference_x), (self.y, reference_y)))
        n = weights @ self.n
        per = np.where(n > 0, n, 1.0)
        mean_x, mean_y = (weights @ (self.n * d) / per for d in (dx, dy))
        return PairMoments(
            n=n,
            x=np.where(n > 0, reference_x + mean_x, 0.0),
            y=np.where(n > 0, reference_y + mean_y, 0.0),
            xx=np.maximum(weights @ (self.xx + self.n * dx**2) - n * mean_x**2, 0.0),
            yy=np.maximum(weights @ (self.yy + self.n * dy**2) - n * mean_y**2, 0.0),
            xy=weights @ (self.xy + self.n * dx * dy) - n * mean_x * mean_y,
            squared_error=weights @ self.squared_error,
        )

    def pearson(self, min_pixels: int = 2) -> np.ndarray:
        """Pearson's coefficient in each row of the arrays; NaN with fewer pixels than that, or where a map is constant."""
        return _correlation(self.xy, self.xx, self.yy, self.n >= max(min_pixels, 2))


@dataclass(frozen=True)
class RankMoments:
    """What a block contributes to Spearman's coefficient; all arrays (block, diagonal), float64.

    Let u and v be the mid-ranks of a diagonal's pixels in the two maps, divided by their number and centred. Spearman's
    coefficient is c(u, v) / sqrt(c(u, u) c(v, v)), c the covariance. If blocks are weighted, pixels enter with other weights AND
    the ranks of all others move. Both are linear in the weights to first order: c changes by the weighted mean of

        z_i = u_i v_i + A_i + B_i,    A_i = mean over j of K(x_i, x_j) v_j,    B_i = mean over j of K(y_i, y_j) u_j,

    with K(a, b) = 1 if a < b, 1/2 if equal, 0 otherwise (the influence function of a rank statistic: Hampel 1974,
    doi:10.1080/01621459.1974.10482962). The mean of z over all pixels is 3 c, so that equal weights give the exact coefficient.

    Parameters
    ----------
    n
        Pixels.
    uv, uu, vv
        Sums of z for c(u, v), c(u, u) and c(v, v).
    """

    n: np.ndarray
    uv: np.ndarray
    uu: np.ndarray
    vv: np.ndarray

    @classmethod
    def of_columns(
        cls, prediction: np.ndarray, observed: np.ndarray, block: np.ndarray, n_blocks: int
    ) -> "RankMoments":
        """Take the moments of some diagonals of two bands, with ALL of their rows; parameters as :meth:`PairMoments.of_rows`."""
        _check_shapes(prediction, observed, block)
        made = {f.name: np.zeros((n_blocks, observed.shape[1])) for f in fields(cls)}
        for k in range(observed.shape[1]):
            x, y, here = _common_pixels(prediction[:, k], observed[:, k], block)
            if not len(x):
                continue
            ranks_x, ranks_y = _Ranks.of(x), _Ranks.of(y)
            u, v = ranks_x.centred, ranks_y.centred
            above = {"uv": ranks_x.mean_above(v) + ranks_y.mean_above(u)}
            above |= {"uu": 2 * ranks_x.mean_above(u), "vv": 2 * ranks_y.mean_above(v)}
            made["n"][:, k] = np.bincount(here, minlength=n_blocks)
            for name, product in (("uv", u * v), ("uu", u * u), ("vv", v * v)):
                made[name][:, k] = np.bincount(here, product + above[name], n_blocks)
        return cls(**made)

    def spearman(self, weights: np.ndarray, min_pixels: int = 2) -> np.ndarray:
        """Spearman's coefficient with each block counted so many times; exact for equal weights, else to first order.

        Parameters
        ----------
        weights
            How often each block counts, (resample, block).
        min_pixels
            Fewer pixels make it undefined.

        Returns
        -------
        Coefficients (resample, diagonal), NaN where undefined.
        """
        n, total = weights @ self.n, np.maximum(self.n.sum(axis=0), 1)
        per = np.where(n > 0, n, 1.0)
        uv, uu, vv = (weights @ z / per - 2 / 3 * z.sum(axis=0) / total for z in (self.uv, self.uu, self.vv))
        return _correlation(uv, uu, vv, n >= max(min_pixels, 2))


@dataclass(frozen=True)
class _Ranks:
    """Mid-ranks of some values, divided by their number and centred; and what is needed to sum over larger values."""

    order: np.ndarray
    first: np.ndarray
    last: np.ndarray
    centred: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "_Ranks":
        n = len(values)
        order = np.argsort(values)
        in_order = values[order]
        is_new = np.concatenate([[True], in_order[1:] != in_order[:-1]])
        group = np.cumsum(is_new) - 1
        edges = np.append(np.flatnonzero(is_new), n)
        first, last = edges[group], edges[group + 1]  # in order: half-open range of the equal values
        centred = np.empty(n)
        centred[order] = ((first + last) / 2 - n / 2) / n
        return cls(order, first, last, centred)

    def mean_above(self, v: np.ndarray) -> np.ndarray:
        """For each value, the mean over all of ``v`` where the value is larger; equal ones count half."""
        n = len(v)
        sums = np.concatenate([[0.0], np.cumsum(v[self.order])])
        out = np.empty(n)
        out[self.order] = (sums[n] - (sums[self.first] + sums[self.last]) / 2) / n
        return out


def _check_shapes(prediction: np.ndarray, observed: np.ndarray, block: np.ndarray) -> None:
    """Refuse two bands and blocks of rows that do not fit together."""
    if prediction.shape != observed.shape or block.shape != observed.shape[:1]:
        raise ValueError(
            f"prediction has shape {prediction.shape}, observed {observed.shape} and block {block.shape}; both bands need one "
            "shape (row, diagonal), and block a number a row."
        )


def _common_pixels(x: np.ndarray, y: np.ndarray, block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values of both maps as float64, and the block, of the rows where both have a value."""
    both = ~(np.isnan(x) | np.isnan(y))
    return x[both].astype(np.float64), y[both].astype(np.float64), block[both]


def _origin(values: np.ndarray) -> float:
    return float(values[0]) if np.ptp(values) == 0 else float(values.mean())


def _products(dx: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, ...]:
    return dx, dy, dx * dx, dy * dy, dx * dy


def _correlation(xy: np.ndarray, xx: np.ndarray, yy: np.ndarray, is_defined: np.ndarray) -> np.ndarray:
    is_defined = is_defined & (xx > 0) & (yy > 0)
    below = np.sqrt(np.where(is_defined, xx, 1.0)) * np.sqrt(np.where(is_defined, yy, 1.0))
    return np.where(is_defined, np.clip(xy / below, -1.0, 1.0), np.nan)
