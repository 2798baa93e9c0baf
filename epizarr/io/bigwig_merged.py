"""Replicates of a track: the mean of several bigWigs, bin by bin."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from epizarr.io.bigwig import read_bin_means


def read_merged_bin_means(
    paths: Sequence[str | Path],
    *,
    chrom: str,
    start: int,
    end: int,
    binsize: int,
    uncovered: Literal["nan", "zero"],
    file_chroms: Sequence[str | None] | None = None,
) -> np.ndarray:
    """Mean over replicates of their bin means (:func:`~epizarr.io.bigwig.read_bin_means`).

    Each replicate measured in a bin counts the same there, whatever its depth and however much of the bin it covers: give files
    of one unit, such as fold change over control. A bin that only some replicates measured has the mean over those.

    Files are read one after another, each as ``read_bin_means`` does; held besides are about 30 bytes a bin.

    Parameters
    ----------
    paths
        The replicates' bigWigs; one is allowed and gives its own means.
    chrom, start, end, binsize, uncovered
        As in ``read_bin_means``. Under ``"zero"`` a base without a value is 0 in its own replicate, and so the bin counts as
        measured there.
    file_chroms
        The chromosome as each file names it, None where that is ``chrom``. By default None for all.

    Returns
    -------
    Means, float32 (bins). NaN where no replicate was measured: none covers the bin under ``"nan"``, or none lists the chromosome
    under either rule.

    Raises
    ------
    RegionError, InputFileError, InputNotFoundError
        As ``read_bin_means``, for the first file that it refuses.
    """
    if not paths:
        raise ValueError("read_merged_bin_means needs at least one file.")
    names = [None] * len(paths) if file_chroms is None else list(file_chroms)
    if len(names) != len(paths):
        raise ValueError(f"{len(names)} chromosome names were given for {len(paths)} files.")
    total: np.ndarray | float = 0.0
    n_measured: np.ndarray | int = 0
    for path, name in zip(paths, names, strict=True):
        means = read_bin_means(
            path, chrom=chrom, start=start, end=end, binsize=binsize, uncovered=uncovered, file_chrom=name
        )
        is_measured = ~np.isnan(means)
        # float64, so that one replicate alone comes out as it is and many add up without loss.
        total = total + np.where(is_measured, means, 0).astype(np.float64)
        n_measured = n_measured + is_measured
    return np.where(n_measured > 0, total / np.maximum(n_measured, 1), np.nan).astype(np.float32)
