"""The symmetric map of one chromosome, built up from pieces of its upper triangle and multiplied without its lower one."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from epizarr.errors import BalancingError


@dataclass(frozen=True)
class CisMap:
    """Raw counts of one chromosome: the symmetric matrix A, of which only the upper triangle is kept.

    Takes 12 bytes a pixel. Made by :class:`CisMapBuilder`.

    Parameters
    ----------
    chrom
        The chromosome, for messages.
    above
        Pixels above the main diagonal: ``scipy.sparse.csr_array``, float64 with int32 indices, (bins, bins).
    diagonal
        The main diagonal, float64 (bins).
    """

    chrom: str
    above: Any
    diagonal: np.ndarray

    @property
    def n_bins(self) -> int:
        """Number of bins of the chromosome."""
        return len(self.diagonal)

    @property
    def n_pixels(self) -> int:
        """Number of pixels kept, those on the main diagonal included."""
        return int(self.above.nnz + np.count_nonzero(self.diagonal))

    def multiply(self, x: np.ndarray) -> np.ndarray:
        """Return A x, float64 (bins): each pixel above the diagonal acts at both of its bins."""
        return self.above @ x + self.above.T @ x + self.diagonal * x

    def row_sums(self) -> np.ndarray:
        """Sum of each bin's counts, float64 (bins); a pixel on the main diagonal counts once."""
        return self.multiply(np.ones(self.n_bins))

    def balanced_row_sums(self, weights: np.ndarray) -> np.ndarray:
        """Sums over j of count × w_i × w_j, float64 (bins); NaN for a dropped bin, which counts nowhere else."""
        return weights * self.multiply(np.nan_to_num(weights))


class CisMapBuilder:
    """Collects pieces of a chromosome's upper triangle and makes a :class:`CisMap` of them.

    While pieces come in, holds 8 bytes and one count a pixel; :meth:`build` takes about 45 bytes a pixel at its peak, which
    is 1.8 GB for 40 million pixels.

    Parameters
    ----------
    chrom
        The chromosome, for messages.
    n_bins
        Its number of bins.
    """

    def __init__(self, chrom: str, n_bins: int) -> None:
        self.chrom = chrom
        self._diagonal = np.zeros(n_bins)
        self._bin1: list[np.ndarray] = []
        self._bin2: list[np.ndarray] = []
        self._count: list[np.ndarray] = []

    def add(self, bin1: np.ndarray, bin2: np.ndarray, count: np.ndarray) -> None:
        """Add some pixels, in any order; what is added twice adds up.

        Parameters
        ----------
        bin1, bin2
            Bins, counted from the chromosome's first one, ``bin1 <= bin2``.
        count
            Raw counts, finite and not negative.

        Raises
        ------
        BalancingError
            If a count is negative, infinite or NaN: no matrix with such an entry can be balanced.
        ValueError
            If a pixel is off the chromosome or below the main diagonal.
        """
        bin1, bin2, count = np.asarray(bin1), np.asarray(bin2), np.asarray(count)
        n_bins = len(self._diagonal)
        if len(bin1) and not (bin1.min() >= 0 and bin2.max() < n_bins and (bin1 <= bin2).all()):
            raise ValueError(f"pixels of {self.chrom} need 0 <= bin1 <= bin2 < {n_bins}.")
        bad = np.flatnonzero(~((count >= 0) & (count < np.inf)))
        if len(bad):
            at = bad[0]
            raise BalancingError(
                f"{self.chrom}: pixel ({bin1[at]}, {bin2[at]}) holds {count[at]}; balancing needs raw counts, finite and "
                "not negative. Give the file of raw counts."
            )
        on = bin1 == bin2
        self._diagonal += np.bincount(bin1[on], weights=count[on], minlength=n_bins)
        # A pixel without a count is no pixel.
        kept = ~on & (count > 0)
        self._bin1.append(bin1[kept].astype(np.int32))
        self._bin2.append(bin2[kept].astype(np.int32))
        self._count.append(count[kept])

    def build(self) -> CisMap:
        """Make the map; the pieces are let go, so that the builder is empty afterwards."""
        n_bins = len(self._diagonal)
        # One column after another, each piece let go as soon as its column is whole.
        bin1, bin2 = _joined(self._bin1, np.int32), _joined(self._bin2, np.int32)
        count = _joined(self._count, np.float64)
        above = scipy.sparse.coo_array((count, (bin1, bin2)), shape=(n_bins, n_bins)).tocsr()
        diagonal, self._diagonal = self._diagonal, np.zeros(n_bins)
        return CisMap(self.chrom, above, diagonal)


def _joined(pieces: list[np.ndarray], dtype: type) -> np.ndarray:
    whole: np.ndarray = np.empty(sum(len(piece) for piece in pieces), dtype=dtype)
    end = len(whole)
    while pieces:
        piece = pieces.pop()
        whole[end - len(piece) : end] = piece
        end -= len(piece)
    return whole
