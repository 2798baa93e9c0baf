"""The rows of the HiC-DC+ regression, all pairs of a chromosome within 2 Mb, as a band of counts and features of bins.

There are 57 million rows in a human genome at 10 kb, so they are never listed: counts are an array (bin, diagonal), where
``counts[i, k]`` is the pair (i, i + k), and what belongs to a pair (distance, covariates, whether it is a row) is worked out
diagonal by diagonal from one value a bin.

Row rules of HiC-DC+ (Carty et al. 2017; Sahin et al. 2021): pairs without a contact are rows too; a pair's covariate is the
standardised logarithm of the product of its bins' features, and the average (0) where that product is 0; but pairs with a bin
without effective length (features ``len`` and ``width``) are no rows.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from epizarr.errors import NormalizationError, nearest_match

#: Pairs with a bin where one of these features is 0 are left out.
FILTER_FEATURES = ("len", "width")


@dataclass(frozen=True)
class PairGeometry:
    """Distances of the pairs of one chromosome.

    Parameters
    ----------
    length
        Of the chromosome in bp.
    binsize
        Bin width in bp; the last bin may be shorter.
    max_distance
        Pairs farther apart, in bp, are no rows.
    """

    length: int
    binsize: int
    max_distance: int

    @property
    def n_bins(self) -> int:
        """Number of bins of the chromosome."""
        return -(-self.length // self.binsize)

    @property
    def n_diagonals(self) -> int:
        """Number of diagonals that hold rows: 201 at 10 kb and 2 Mb, unless the chromosome is shorter."""
        return min(round(self.max_distance / self.binsize) + 1, self.n_bins)

    @cached_property
    def distance(self) -> np.ndarray:
        """Distance in bp between the midpoints of two full bins, for each diagonal, int64."""
        return np.arange(self.n_diagonals, dtype=np.int64) * self.binsize

    @cached_property
    def distance_to_last(self) -> np.ndarray:
        """The same for the pair with the chromosome's last bin, which may be shorter: half its shortfall less, rounded down."""
        shortfall = self.n_bins * self.binsize - self.length
        out = self.distance - (shortfall + 1) // 2
        out[0] = 0
        return out


@dataclass(frozen=True)
class PairRows:
    """Counts and features of one chromosome, checked.

    Parameters
    ----------
    chrom
        Its name, for messages and for the seed of the sample.
    geometry
        Its length, bins and range of distances.
    counts
        Raw counts (bin, diagonal), at least ``geometry.n_diagonals`` diagonals, any numeric dtype. NaN off the chromosome,
        and for pairs that shall be no rows (a bin not covered by the source, or left out).
    features
        One value a bin and covariate, not negative: what is here is a covariate. NaN where a bin has none: its pairs are no
        rows.

    Raises
    ------
    NormalizationError
        If shapes do not fit, a count is negative or not whole, or a feature is negative or infinite.
    """

    chrom: str
    geometry: PairGeometry
    counts: np.ndarray
    features: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n_bins, n_diagonals = self.geometry.n_bins, self.geometry.n_diagonals
        shape = self.counts.shape
        if len(shape) != 2 or shape[0] != n_bins or shape[1] < n_diagonals:
            raise NormalizationError(
                f"chromosome {self.chrom}: counts have shape {shape}; a band of {n_bins:,} bins and at least "
                f"{n_diagonals} diagonals (0 to {self.geometry.max_distance:,} bp, both included) is needed."
            )
        check_features(self.chrom, self.features, n_bins)
        for k in range(n_diagonals):
            values = self.counts[: n_bins - k, k]
            with np.errstate(invalid="ignore"):
                wrong = (values < 0) | (np.floor(values) != values) & ~np.isnan(values) | np.isinf(values)
            if wrong.any():
                i = int(np.argmax(wrong))
                raise NormalizationError(
                    f"chromosome {self.chrom}: the count of bins {i} and {i + k} is {values[i]!s}; HiC-DC+ models raw counts, "
                    "which are whole numbers and not negative. Give it the unbalanced map."
                )

    @property
    def covariates(self) -> tuple[str, ...]:
        """Names of the features, in alphabetical order."""
        return tuple(sorted(self.features))

    @cached_property
    def log_features(self) -> dict[str, np.ndarray]:
        """Natural logarithms of the features, -inf for 0."""
        return {name: log_feature(self.features[name]) for name in self.covariates}

    @cached_property
    def usable_bin(self) -> np.ndarray:
        """Bool per bin: whether it has every covariate and is not left out by one."""
        return usable_bins(self.features, self.geometry.n_bins)

    def is_row(self, k: int) -> np.ndarray:
        """Bool for each pair (i, i + k) of a diagonal, shape (n_bins - k,): whether it is a row."""
        n = self.geometry.n_bins - k
        out = self.usable_bin[:n] & self.usable_bin[k:] & ~np.isnan(self.counts[:n, k])
        limit = self.geometry.max_distance
        if self.geometry.distance[k] > limit:
            out[: n - 1] = False
        if self.geometry.distance_to_last[k] > limit:
            out[n - 1] = False
        return out

    @cached_property
    def scaling(self) -> dict[str, tuple[float, float]]:
        """Mean and sd (n - 1) of ``log(f_i f_j)`` for each covariate, over all pairs in range where it is finite.

        As in HiC-DC+, before any row is left out. sd 0 where the logarithms are all alike, mean 0 and sd 0 where there are
        none.
        """
        return {name: self._scaling(log) for name, log in self.log_features.items()}

    def _scaling(self, log: np.ndarray) -> tuple[float, float]:
        finite = np.isfinite(log)
        total, n = 0.0, 0
        for values in self._pair_logs(log, finite):
            total += float(values.sum())
            n += len(values)
        if n < 2:
            return (total, 0.0)
        mean = total / n
        squares = sum(float(np.square(values - mean).sum()) for values in self._pair_logs(log, finite))
        sd = float(np.sqrt(squares / (n - 1)))
        # Rounding leaves logarithms that are all alike with an sd of about 1e-16 of their size.
        return mean, sd if sd > 1e-12 * max(1.0, abs(mean)) else 0.0

    def _pair_logs(self, log: np.ndarray, finite: np.ndarray) -> Iterator[np.ndarray]:
        n_bins, limit = self.geometry.n_bins, self.geometry.max_distance
        for k in range(self.geometry.n_diagonals):
            first = 0 if self.geometry.distance[k] <= limit else n_bins - k - 1
            last = n_bins - k if self.geometry.distance_to_last[k] <= limit else n_bins - k - 1
            keep = finite[first:last] & finite[first + k : last + k]
            yield (log[first:last] + log[first + k : last + k])[keep]


def pair_covariate(log_i: np.ndarray, log_j: np.ndarray, mean: float, sd: float) -> np.ndarray:
    """Standardised ``log(f_i f_j)``; 0, the average, where a feature is 0 or the covariate is constant."""
    total = log_i + log_j
    if sd == 0:
        return np.zeros_like(total)
    return np.where(np.isfinite(total), (total - mean) / sd, 0.0)


def log_feature(values: np.ndarray) -> np.ndarray:
    """Natural logarithm in float64; -inf for 0, NaN for NaN."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(values, dtype=np.float64))


def usable_bins(features: Mapping[str, np.ndarray], n_bins: int) -> np.ndarray:
    """Bool per bin: no feature is missing, and none of :data:`FILTER_FEATURES` is 0."""
    usable = np.ones(n_bins, dtype=bool)
    for name, values in features.items():
        usable &= ~np.isnan(values)
        if name in FILTER_FEATURES:
            usable &= values != 0
    return usable


def check_features(
    chrom: str, features: Mapping[str, np.ndarray], n_bins: int, names: tuple[str, ...] | None = None
) -> None:
    """Refuse features of the wrong length or with impossible values, or whose names are not ``names`` (if given)."""
    if names is not None and set(features) != set(names):
        missing = sorted(set(names) - set(features))
        extra = sorted(set(features) - set(names))
        hint = nearest_match(extra[0], missing) if missing and extra else ""
        raise NormalizationError(
            f"chromosome {chrom}: the model was fitted with covariates {sorted(names)}; missing here are {missing}, and "
            f"{extra} are not among them.{hint}"
        )
    for name, values in features.items():
        if np.shape(values) != (n_bins,):
            raise NormalizationError(
                f"chromosome {chrom}: covariate {name!r} has shape {np.shape(values)}; one value for each of the "
                f"{n_bins:,} bins is needed."
            )
        wrong = (values < 0) | np.isinf(values)
        if wrong.any():
            raise NormalizationError(
                f"chromosome {chrom}: covariate {name!r} is {values[wrong][0]:g} at bin {int(np.argmax(wrong))}; HiC-DC+ takes "
                "logarithms, so covariates must be finite and not negative (0: unknown; NaN: leave the bin out)."
            )


def draw_sample(rows: PairRows, fraction: float, seed: int, min_distance: int, max_distance: int) -> np.ndarray:
    """Draw HiC-DC+'s stratified sample of rows, bool (bin, diagonal).

    A stratum is a class of distance, one a diagonal between the two distances, and whether the count is 0; of each, the
    fraction rounded down is drawn without replacement. The last class also holds the pairs at ``max_distance`` and, as in
    the original, rows nearer than ``min_distance`` and farther than ``max_distance`` are drawn from too, as classes of their
    own.

    Parameters
    ----------
    rows
        The chromosome.
    fraction
        In (0, 1].
    seed
        Together with the chromosome's name it decides the draw; the order of chromosomes does not matter.
    min_distance, max_distance
        First and last edge of the classes, bp.

    Notes
    -----
    Memory: one byte a cell of the band, and one class's rows.
    """
    geometry = rows.geometry
    n_bins, n_diagonals = geometry.n_bins, geometry.n_diagonals
    edges = np.arange(min_distance, max_distance + 1, geometry.binsize)
    classes, classes_of_last = (
        np.searchsorted(edges, d, side="right") - ((d == edges[-1]) & (len(edges) > 1))
        for d in (geometry.distance, geometry.distance_to_last)
    )
    digest = hashlib.sha256(rows.chrom.encode()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
    sample = np.zeros((n_bins, n_diagonals), dtype=bool)
    for stratum in np.unique(np.concatenate([classes, classes_of_last])):
        seen, unseen = [], []
        for k in np.flatnonzero((classes == stratum) | (classes_of_last == stratum)):
            is_row = rows.is_row(int(k))
            if classes[k] != stratum:
                is_row[:-1] = False
            if classes_of_last[k] != stratum:
                is_row[-1] = False
            i = np.flatnonzero(is_row)
            has_count = rows.counts[i, k] > 0
            seen.append(i[has_count] * n_diagonals + k)
            unseen.append(i[~has_count] * n_diagonals + k)
        for part in (np.concatenate(seen), np.concatenate(unseen)):
            n_drawn = int(np.floor(len(part) * fraction))
            sample.reshape(-1)[rng.choice(part, n_drawn, replace=False, shuffle=False)] = True
    return sample
