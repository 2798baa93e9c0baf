"""The distribution of stored tracks behind their transforms, told from a sample."""

from collections.abc import Sequence

import dask
import numpy as np
import xarray as xr

from epizarr.track_shift import TrackDistribution, sample_bins
from epizarr.transforms import Transform


def sample_values(
    signal: xr.DataArray, blacklisted: xr.DataArray, transform: Transform, extents: Sequence[tuple[int, int]]
) -> list[np.ndarray]:
    """Read and transform a sample of a track's bins.

    At most 500,000 bins (:func:`epizarr.track_shift.sample_bins`): 2 MB. They lie in at most 250 stretches, and a stretch decodes
    one or two chunks.

    Parameters
    ----------
    signal
        One track, dims (bin), lazy, NaN where not measured.
    blacklisted
        Bool, dims (bin); loaded, where several tracks are sampled.
    transform
        Fitted transform, bound to the track if it is matched.
    extents
        Bins ``[lo, hi)`` to sample.
    """
    stretches = [slice(lo, hi) for lo, hi in sample_bins(extents)]
    # One graph: one for each stretch takes ten times as long. No scheduler below this: it may run beside other work.
    raw, listed = dask.compute(
        [signal.data[part] for part in stretches],
        [blacklisted.data[part] for part in stretches],
        scheduler="synchronous",
    )
    return [transform.apply(*pair) for pair in zip(raw, listed, strict=True)]


def stored_distribution(
    signal: xr.DataArray, blacklisted: xr.DataArray, transform: Transform, extents: Sequence[tuple[int, int]]
) -> TrackDistribution | None:
    """Describe a stored track over some extents or, where it is hardly measured there, over its whole genome.

    Parameters
    ----------
    signal, blacklisted, transform, extents
        As in :func:`sample_values`.

    Returns
    -------
    Its distribution; None if hardly a bin was measured.
    """
    found = TrackDistribution.of(sample_values(signal, blacklisted, transform, extents))
    if found is None:
        found = TrackDistribution.of(sample_values(signal, blacklisted, transform, [(0, signal.sizes["bin"])]))
    return found
