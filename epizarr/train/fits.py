"""What a run fits on its training regions, and on nothing else: transforms, the target's mean, distributions of tracks.

Each cell type and region weighs by its size. All of it goes with the checkpoint.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from epizarr.errors import StoreError
from epizarr.io.track_binding import FIT_MAX_BINS, bind_transforms, naming_track
from epizarr.io.track_distributions import sample_values
from epizarr.quantiles import QuantileFunction
from epizarr.track_shift import TrackDistribution
from epizarr.train.config import TrainConfig
from epizarr.train.sources import Source, TrainingData, read_masked_band, read_signal
from epizarr.transforms import (
    NO_MATCH,
    Transform,
    diagonal_sums,
    fit_target_transform,
    fit_track_transform,
    mean_of_sums,
    track_steps,
)
from epizarr.windows import Segment

#: Rows of a band, and bins of the tracks, that are read at a time while transforms are fitted.
FIT_ROWS = 4096
FIT_TRACK_BINS = 1 << 20


def fit_transforms(data: TrainingData) -> tuple[Transform, dict[str, Transform]]:
    """Fit the target's and the tracks' transforms on the training regions of all cell types.

    Reads each training bin once, in blocks. Memory: one block of every track, and at most :data:`FIT_MAX_BINS` values of
    each track (thinned evenly beyond that).

    Returns
    -------
    Transform of the target, and of each track by name.

    Raises
    ------
    TransformError
        If a track has no value in the training regions.
    StoreError
        If the target has no valid pixel in the training or the validation regions.
    """
    return _fit_target(data), _fit_tracks(data)


def _fit_target(data: TrainingData) -> Transform:
    for split in ("validation", "train"):
        total, number = _target_sums(data, split)
        if not number.any():
            raise StoreError(
                f"target {data.config.target.variable!r} has no valid pixel in the {split} regions of "
                f"{list(data.config.data.cell_types)}: all bins are bad or missing there. Look at `epizarr check`, or choose "
                "other regions."
            )
    return fit_target_transform(data.config.target.transform, mean_of_sums(total, number))


def transformed_mean(data: TrainingData, transform: Transform) -> np.ndarray:
    """Mean of the transformed target over the training regions' valid pixels, by diagonal; 0 where there are none."""
    return np.nan_to_num(mean_of_sums(*_target_sums(data, "train", transform.apply)))


def transformed_sd(data: TrainingData, transform: Transform, mean: np.ndarray) -> np.ndarray:
    """Standard deviation around ``mean`` of what :func:`transformed_mean` averages, by diagonal; 0 where there are no pixels."""

    def squares(band: np.ndarray) -> np.ndarray:
        return np.square(transform.apply(band) - mean.astype(band.dtype))

    return np.sqrt(np.nan_to_num(mean_of_sums(*_target_sums(data, "train", squares))))


def _target_sums(
    data: TrainingData, split: str, change: Callable[[np.ndarray], np.ndarray] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of a split's valid pixels, by diagonal; of what ``change`` makes of bands of them if it is given."""
    config = data.config
    total = np.zeros(config.network.n_offsets)
    number = np.zeros(config.network.n_offsets, dtype=np.int64)
    for source in data.sources:
        for segment in data.segments(split):
            for lo in range(segment.lo, segment.hi, FIT_ROWS):
                band = read_masked_band(source, segment, lo, min(lo + FIT_ROWS, segment.hi), config.target.min_diagonal)
                block_total, block_number = diagonal_sums(band if change is None else change(band))
                total += block_total
                number += block_number
    return total, number


def _fit_tracks(data: TrainingData) -> dict[str, Transform]:
    config = data.config
    names = config.data.tracks
    extents = [
        (number, *_track_extent(source, segment))
        for number, source in enumerate(data.sources)
        for segment in data.segments("train")
    ]
    n_bins = sum(hi - lo for _, lo, hi in extents)
    thin = -(-n_bins // FIT_MAX_BINS)
    leaves_out = [{"blacklist", "match"} & set(_steps(config, name)) for name in names]
    kept: list[list[np.ndarray]] = [[] for _ in names]
    kept_of: list[int] = []
    has = [[array is not None for array in source.signal] for source in data.sources]
    for number, lo, hi in extents:
        for a in range(lo, hi, FIT_TRACK_BINS):
            signal, blacklisted = read_signal(data.sources[number], a, min(a + FIT_TRACK_BINS, hi))
            kept_of.append(number)
            for track, values in enumerate(signal):
                known = np.where(blacklisted, np.nan, values) if leaves_out[track] else values
                kept[track].append(known[::thin])
    transforms = {}
    for track, name in enumerate(names):
        if name in config.data.zeroed_tracks:
            transforms[name] = fit_track_transform("linear", [])  # never applied
            continue
        match = track_match_name(config, name)
        own: list[QuantileFunction] = []
        of_track = [(values, number) for values, number in zip(kept[track], kept_of, strict=True) if has[number][track]]
        with naming_track(name):
            if match != NO_MATCH:
                own = [data.sources[number].own_quantiles(track) for _, number in of_track]
            transforms[name] = fit_track_transform(
                track_transform_name(config, name), [values for values, _ in of_track], match=match, own=own
            )
    return transforms


def fit_distributions(data: TrainingData, transforms: Mapping[str, Transform]) -> dict[str, TrackDistribution]:
    """Describe each track's transformed values over the training regions of all cell types that have it.

    Reads a sample of at most 500,000 bins of each track and cell type (:func:`epizarr.track_shift.sample_bins`), and holds 2 MB
    for each of them.

    Parameters
    ----------
    data
        What the run reads.
    transforms
        Fitted transforms by name, bound to no file.

    Returns
    -------
    By track; none for a track that is fed as missing everywhere, or is known in fewer bins than a distribution needs.
    """
    values: dict[str, list[np.ndarray]] = {name: [] for name in data.config.data.tracks}
    for source, bound in zip(data.sources, bound_transforms(data, transforms), strict=True):
        extents = [_track_extent(source, segment) for segment in data.segments("train")]
        for name, signal, transform in zip(values, source.signal, bound, strict=True):
            if signal is not None:
                values[name] += sample_values(signal, source.blacklisted, transform, extents)
    found = {}
    for name, parts in values.items():
        with naming_track(name):
            found[name] = TrackDistribution.of(parts)
    return {name: distribution for name, distribution in found.items() if distribution is not None}


def bound_transforms(data: TrainingData, transforms: Mapping[str, Transform]) -> list[tuple[Transform, ...]]:
    """Transforms of each source's tracks, bound to the source (:func:`epizarr.io.track_binding.bind_transforms`)."""
    names = data.config.data.tracks
    return [
        bind_transforms(
            [transforms[name] for name in names],
            names,
            [None if signal is None else partial(source.own_quantiles, i) for i, signal in enumerate(source.signal)],
        )
        for source in data.sources
    ]


def track_transform_name(config: TrainConfig, track: str) -> str:
    """Name of the transform that a track gets."""
    return config.data.track_transforms.get(track, config.data.track_transform)


def track_match_name(config: TrainConfig, track: str) -> str:
    """Name of the match that a track gets."""
    return config.data.matches.get(track, config.data.match)


def _steps(config: TrainConfig, track: str) -> tuple[str, ...]:
    return track_steps(track_transform_name(config, track), track_match_name(config, track))


def _track_extent(source: Source, segment: Segment) -> tuple[int, int]:
    """Track bins of a segment, genome-wide ids."""
    stride = source.grid.binsize // source.track_grid.binsize
    first, last = source.track_grid.chrom_extent(segment.chrom)
    return first + segment.lo * stride, min(first + segment.hi * stride, last)
