"""Binding of track transforms to the tracks that are read: training, prediction and evaluation all do it here.

A transform with the step ``match`` gives a file the distribution of the training tracks. For that it must know the file's own
distribution, over its whole genome, whatever part is read: :func:`bind_transforms` fits it on the store's track. It is a
function of the stored values alone, so a resumed run binds as the one before did.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import xarray as xr

from epizarr.errors import TransformError
from epizarr.io.layout import TRACK_SHARD
from epizarr.quantiles import QuantileFunction, fit_quantiles
from epizarr.transforms import Transform

#: At most so many bins of a track enter a fit: of longer ones, each s-th bin (32 Mi bins are 134 MB).
FIT_MAX_BINS = 1 << 25


def fit_own_quantiles(signal: xr.DataArray, blacklisted: xr.DataArray) -> QuantileFunction:
    """Fit the quantile function of a whole track, read a shard at a time.

    Holds at most :data:`FIT_MAX_BINS` values twice (268 MB; a human genome in 100-bp bins is within that and exact) and, while
    they are sorted, a byte for each.

    Parameters
    ----------
    signal
        One track, dims (bin), lazy, NaN where not measured.
    blacklisted
        Bool, dims (bin): bins that are left out.

    Raises
    ------
    TransformError
        If no bin has a value, or one is infinite.
    """
    n_bins = signal.sizes["bin"]
    thin = max(1, -(-n_bins // FIT_MAX_BINS))
    starts = range(0, n_bins, TRACK_SHARD)
    kept = np.empty(sum(-(-min(TRACK_SHARD, n_bins - lo) // thin) for lo in starts), dtype=signal.dtype)
    filled = 0
    for lo in starts:
        part = {"bin": slice(lo, min(lo + TRACK_SHARD, n_bins))}
        # No scheduler below this: it may run beside other work.
        values, listed = (
            array.isel(part).data.compute(scheduler="synchronous")[::thin] for array in (signal, blacklisted)
        )
        kept[filled : filled + len(values)] = np.where(listed, np.nan, values)
        filled += len(values)
    return fit_quantiles(kept)


def bind_transforms(
    transforms: Sequence[Transform],
    names: Sequence[str],
    own: Sequence[Callable[[], QuantileFunction] | None],
) -> tuple[Transform, ...]:
    """Bind the transforms of a cell type's tracks to these tracks.

    Those that match nothing are returned as they are and nothing is read for them. The others' tracks are read whole, one
    after the other; memory as for :func:`fit_own_quantiles`. A track of a human genome in 100-bp bins takes some seconds.

    Parameters
    ----------
    transforms
        Fitted transforms.
    names
        Name of the track that each is for.
    own
        What gives the quantile function of the whole track (:func:`own_fits`); it is called where the transform matches. The
        transform of a track that is None, missing as a whole, stays unbound.

    Raises
    ------
    TransformError
        If a track has no value, or cannot be matched; says which.
    """
    bound = []
    for transform, name, fit in zip(transforms, names, own, strict=True):
        with naming_track(name):
            bound.append(transform.bind(fit()) if transform.is_matched and fit is not None else transform)
    return tuple(bound)


def own_fits(
    signal: Sequence[xr.DataArray | None], blacklisted: xr.DataArray
) -> list[Callable[[], QuantileFunction] | None]:
    """What fits each track's own quantiles when it is called; None for a track that is None."""
    return [None if values is None else partial(fit_own_quantiles, values, blacklisted) for values in signal]


def match_record(names: Sequence[str], transforms: Sequence[Transform]) -> dict[str, dict[str, str]]:
    """What a prediction records of matching, by track: which match, and a hash of the map that it came to for this track.

    Only tracks that are matched. The map is made of the reference, which the checkpoint keeps, and of the track's own values.
    """
    return {
        name: {"match": str(t.params["match"]["match"]), "map": hashlib.sha256(t.match_map.to_bytes()).hexdigest()[:16]}
        for name, t in zip(names, transforms, strict=True)
        if t.match_map is not None
    }


@contextmanager
def naming_track(name: str) -> Iterator[None]:
    """Put the track's name before the message of a transform's error."""
    try:
        yield
    except TransformError as error:
        raise TransformError(f"track {name!r}: {error}") from error
