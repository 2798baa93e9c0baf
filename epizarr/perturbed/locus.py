"""The raw tracks of a chromosome as a network reads them, and the contacts predicted from them, edited or not.

An edit can change a stripe in two ways: its own window holds the edited bins, or a tile that it lies in has such a bin, which
the core carries on. So the tiles that hold a reached bin are computed anew and no others; everywhere else the contacts after the
edits ARE those before them. Where the edits move sequence, the tiles behind them move with it.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr

from epizarr.bands import mask_band, scatter_stripes
from epizarr.errors import PerturbationError
from epizarr.io.layout import TRACK_SHARD
from epizarr.io.places import Place
from epizarr.io.store import open_tracks, read_region
from epizarr.nn import Epiphany, NetworkConfig, TiledRange, predict_tiles
from epizarr.perturb import ChromTracks, Copy, Edit, EditedTracks, TrackFacts, tracks_needed
from epizarr.predict.blocks import Job, computing, load_model
from epizarr.predict.plan import Plan, plan_prediction
from epizarr.tiles import crossfade, reached_bins, replaced_tiles, tile_starts, tiles_touching
from epizarr.train.checkpoint import Checkpoint
from epizarr.transforms import network_input
from epizarr.windows import cut_padded, track_extent


@dataclass(frozen=True, eq=False)
class Locus:
    """A chromosome of one cell type, to be predicted from its tracks or from edited ones.

    Memory: the raw tracks, 4 bytes a track and track bin (50 MB for five tracks of a human chromosome 1).

    Parameters
    ----------
    job
        What network, transforms and tiles are used; see :func:`epizarr.predict.plan.plan_prediction`.
    tracks
        Raw tracks of the chromosome under the names of the network's.
    """

    job: Job
    tracks: ChromTracks

    @property
    def network(self) -> NetworkConfig:
        """Shape of the network."""
        return self.job.network

    @property
    def model(self) -> Epiphany:
        """The network, loaded once a process."""
        return load_model(self.job, self.job.members[0])

    @property
    def extent(self) -> tuple[int, int]:
        """First and last (exclusive) bin id of the chromosome."""
        return self.job.grid.chrom_extent(self.tracks.chrom)

    @property
    def n_bins(self) -> int:
        """Contact bins of the chromosome."""
        first, end = self.extent
        return end - first

    def tiles(self) -> tuple[np.ndarray, int]:
        """First bin of each tile, and their length."""
        settings = self.job.settings
        starts = tile_starts(self.n_bins, settings.tile_bins, settings.overlap_bins, settings.tile_phase_bins)
        return starts, min(settings.tile_bins, self.n_bins)

    def transformed(self, tracks: ChromTracks, lo: int, hi: int) -> np.ndarray:
        """:func:`transformed_tracks` of this job."""
        return transformed_tracks(self.job, tracks, lo, hi)

    def stripes(self, tracks: ChromTracks, starts: np.ndarray, length: int, lo: int, hi: int) -> np.ndarray:
        """Stripes of the bins ``[lo, hi)`` from these tracks and tiles, float32 (bin, offset), on the network's scale."""
        job, model = self.job, self.model
        touching = tiles_touching(starts, length, lo, hi)
        first, last = int(starts[touching[0]]), int(starts[touching[-1]]) + length
        network = model.config
        signal = self.transformed(tracks, *track_extent(first, last - first, network.stride, network.halo))
        read = torch.from_numpy(network_input(signal, mask_channels=network.mask_channels))
        tiled = TiledRange(read, first, lo, hi, starts, crossfade(starts, length))
        with computing(job.settings):
            (stripes,) = predict_tiles(
                model, [tiled], batch_size=job.settings.batch_size, trunk_bins=job.settings.trunk_bins
            )
        found: np.ndarray = stripes.mean.numpy()
        return found

    def rows(self, stripes: np.ndarray) -> np.ndarray:
        """:func:`target_rows` of this job."""
        return target_rows(self.job, stripes)

    def reached_tiles(self, stretches: Sequence[tuple[int, int]]) -> np.ndarray:
        """Indices of the tiles that hold a bin reached from one of these stretches of track bins, ascending.

        A stretch may be empty, ``lo == hi``: a new junction.
        """
        network = self.network
        starts, length = self.tiles()
        touched: set[int] = set()
        for a, b in stretches:
            lo, hi = reached_bins(a, b, stride=network.stride, window=network.window, n_offsets=network.n_offsets)
            lo, hi = min(max(lo, 0), self.n_bins - 1), max(min(hi, self.n_bins), 1)
            touched.update(tiles_touching(starts, length, lo, hi).tolist())
        return np.array(sorted(touched), dtype=np.int64)

    def facts(self, edits: Sequence[Edit], *, use: Mapping[str, str]) -> TrackFacts:
        """Whole-track means and totals, and other cell types' chromosomes, as far as these edits need them.

        Reads whole tracks, a shard at a time (about a second for a track of a human genome).

        Parameters
        ----------
        edits
            What is to be done.
        use
            Stored track behind a track of the network, where it has another name.
        """
        job = self.job
        means, totals = {}, {}
        for name in tracks_needed(edits, self.tracks.names):
            row = job.track_rows[self.tracks.names.index(name)]
            # A track that the cell type lacks is missing everywhere, and an edit leaves it so.
            means[name], totals[name] = (np.nan, 0.0) if row is None else mean_and_total(job, row)
        others = {}
        for cell_type in sorted({edit.cell_type for edit in edits if isinstance(edit, Copy)}):
            others[cell_type] = read_other(job, cell_type, self.tracks.chrom, self.tracks.names, use)
        return TrackFacts(means, totals, others)


@dataclass(frozen=True, eq=False)
class PerturbedBands:
    """Contacts around edits, band rows ``[lo, lo + n)`` of the chromosome, (row, diagonal), in the target's units.

    Parameters
    ----------
    lo
        First row, counted from the chromosome's start.
    before
        From the tracks as they are.
    after
        From the edited tracks, at the bins before the edits; NaN where there is no counterpart.
    rearranged
        The same at the bins of the edited chromosome.
    reached
        Rows before the edits, local to the chromosome, that were computed anew: [first, last).
    """

    lo: int
    before: np.ndarray
    after: np.ndarray
    rearranged: np.ndarray
    reached: tuple[int, int]


def plan_effects(store: Place, checkpoint: Checkpoint, **options: Any) -> Plan:
    """Plan a prediction whose job serves to edit or to explain it: see :func:`epizarr.predict.plan.plan_prediction`.

    Its blocks are not predicted, so that no bound of a block's memory applies, and the tracks are not compared with those of
    training, which a prediction does once.
    """
    return plan_prediction(store, [checkpoint], max_task_bytes=sys.maxsize, compares_tracks=False, **options)


def open_locus(job: Job, chrom: str, names: Sequence[str]) -> Locus:
    """Read the raw tracks of a chromosome.

    Parameters
    ----------
    job
        A prediction's job.
    chrom
        Chromosome.
    names
        Names of the network's tracks, in its order.
    """
    cell_type = job.tracks_group.split("/")[0]
    return Locus(
        job, read_stretch(job, open_tracks(job.store, cell_type, job.track_binsize), chrom, names, job.track_rows)
    )


def transformed_tracks(job: Job, tracks: ChromTracks, lo: int, hi: int) -> np.ndarray:
    """Transformed tracks at track bins ``[lo, hi)``, float32 (track, bin); NaN off the chromosome or missing."""
    a, b = max(lo, 0), min(hi, tracks.n_bins)
    signal = np.full((len(tracks.names), hi - lo), np.nan, dtype=np.float32)
    for index, (row, transform) in enumerate(zip(job.track_rows, job.track_transforms, strict=True)):
        if row is not None:
            values = transform.apply(tracks.signal[index, a:b], tracks.blacklisted[a:b])
            signal[index] = cut_padded(values, a, lo, hi)
    return signal


def target_rows(job: Job, stripes: np.ndarray) -> np.ndarray:
    """Band rows in the target's units from the stripes of the same bins; NaN for pixels that reach past the last."""
    n, n_diagonals = stripes.shape
    band = scatter_stripes(stripes, 0, n, n_diagonals)
    return job.target_transform.invert(mask_band(band, np.arange(n + n_diagonals - 1) < n))


def perturbed_bands(locus: Locus, edited: EditedTracks, region: tuple[int, int] | None = None) -> PerturbedBands:
    """Predict the contacts around edits, before and after them.

    Memory: the locus, its edited copy, and 900 features and 4 bands a bin of the region (15 MB for 2,000 bins of the published
    network), and a batch of tiles.

    Parameters
    ----------
    locus
        The chromosome.
    edited
        What edits made of its tracks.
    region
        Bins of the chromosome to give besides those that are reached. Default: the latter, and where nothing is changed none.

    Raises
    ------
    PerturbationError
        If the edits change nothing and no region is asked for.
    """
    shift_fine = edited.coordinates.n_after - edited.coordinates.n_before
    stretches = edited.changed_stretches()
    network = locus.network
    starts, length = locus.tiles()
    after_starts, after_length = starts, length
    # Stretches are in bins after the edits; where something moved there is one, which has the same first bin before them.
    is_moved = not edited.coordinates.is_identity
    touched = locus.reached_tiles([(a, b - shift_fine) for a, b in stretches] if is_moved else stretches)
    if not len(touched):
        if region is None:
            raise PerturbationError("the edits change nothing: there is nothing to predict. Give a region to see it.")
        reached = (region[0], region[0])
    elif is_moved:
        n_after = -(-edited.tracks.n_bins // network.stride)
        shift = n_after - locus.n_bins
        settings = locus.job.settings
        after_starts, after_length, *laid = replaced_tiles(
            locus.n_bins, touched, shift, settings.tile_bins, settings.overlap_bins
        )
        reached = (laid[0], laid[1])
    else:
        reached = (int(starts[touched[0]]), int(starts[touched[-1]]) + length)
    lo, hi = reached if region is None else (min(reached[0], region[0]), max(reached[1], region[1]))
    lo, hi = max(0, lo), min(hi, locus.n_bins)
    # The first rows' pixels need no stripe to their left, but the last ones do to their right: those past the region are masked.
    before = locus.stripes(locus.tracks, starts, length, lo, hi)
    if is_moved:
        a, b = reached
        anew = locus.stripes(edited.tracks, after_starts, after_length, a, b + shift)
        after = np.concatenate([before[: a - lo], anew, before[b - lo :]])
    else:
        after = before.copy()
        for group in np.split(touched, np.flatnonzero(starts[touched[1:]] > starts[touched[:-1]] + length) + 1):
            if len(group):
                a, b = int(starts[group[0]]), int(starts[group[-1]]) + length
                after[a - lo : b - lo] = locus.stripes(edited.tracks, starts, length, a, b)
    rows_before, rearranged = locus.rows(before), locus.rows(after)
    if not is_moved:
        return PerturbedBands(lo, rows_before, rearranged, rearranged, reached)
    place = edited.coordinates.coarse_after_from_before(locus.n_bins, network.stride)[lo:hi] - lo
    return PerturbedBands(lo, rows_before, _aligned(rearranged, place), rearranged, reached)


def _aligned(rearranged: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Contacts at the bins before the edits; ``place`` is each one's row after them, NaN where it is gone."""
    n_diagonals = rearranged.shape[1]
    first = place[:, None]
    second = np.lib.stride_tricks.sliding_window_view(np.append(place, np.full(n_diagonals - 1, np.nan)), n_diagonals)
    row, k = np.minimum(first, second), np.abs(second - first)
    known = ~np.isnan(row) & ~np.isnan(k) & (row >= 0) & (row < len(rearranged)) & (k < n_diagonals)
    found = rearranged[np.where(known, row, 0).astype(np.int64), np.where(known, k, 0).astype(np.int64)]
    return np.where(known, found, np.nan).astype(rearranged.dtype)


def read_stretch(
    job: Job,
    tracks: xr.Dataset,
    chrom: str,
    names: Sequence[str],
    rows: Sequence[int | None],
    lo: int = 0,
    hi: int | None = None,
) -> ChromTracks:
    """Raw tracks of a chromosome, or of its track bins ``[lo, hi)`` as if they were one; missing ones are NaN.

    Parameters
    ----------
    job
        A prediction's job.
    tracks
        Opened group of tracks, of any cell type of the store.
    chrom, lo, hi
        Chromosome, and track bins of it.
    names, rows
        Names of the network's tracks, and their places in ``tracks``.
    """
    first, end = job.assembly.bins(job.track_binsize).chrom_extent(chrom)
    hi = end - first if hi is None else hi
    part = slice(first + lo, first + hi)
    signal = np.full((len(names), hi - lo), np.nan, dtype=np.float32)
    for index, row in enumerate(rows):
        if row is not None:
            signal[index] = tracks["signal"].isel(track=row, bin=part).data.compute(scheduler="synchronous")
    strands = tuple("." if row is None else str(tracks["strand"].values[row]) for row in rows)
    return ChromTracks(
        chrom=chrom,
        length=min(hi * job.track_binsize, job.assembly.length(chrom)) - lo * job.track_binsize,
        binsize=job.track_binsize,
        names=tuple(names),
        strands=strands,
        signal=signal,
        blacklisted=np.asarray(tracks["blacklisted"].isel(bin=part).data.compute(scheduler="synchronous")),
    )


def read_other(
    job: Job,
    cell_type: str,
    chrom: str,
    names: Sequence[str],
    use: Mapping[str, str],
    lo: int = 0,
    hi: int | None = None,
) -> ChromTracks:
    """As :func:`read_stretch`, of any cell type: those of the named tracks that it has, matched by name or as ``use`` says."""
    tracks = open_tracks(job.store, cell_type, job.track_binsize)
    there = [str(name) for name in tracks["track"].values]
    kept = [name for name in names if use.get(name, name) in there]
    return read_stretch(job, tracks, chrom, kept, [there.index(use.get(name, name)) for name in kept], lo, hi)


def mean_and_total(job: Job, row: int) -> tuple[float, float]:
    """Mean and absolute sum of a whole track over its measured bins outside the blacklist; NaN and 0 if there are none."""
    n_bins = job.assembly.bins(job.track_binsize).n_bins
    total = absolute = 0.0
    number = 0
    for lo in range(0, n_bins, TRACK_SHARD):
        part = slice(lo, min(lo + TRACK_SHARD, n_bins))
        values = read_region(job.store, job.tracks_group, "signal", {"track": slice(row, row + 1), "bin": part})[0]
        known = values[~np.isnan(values) & ~read_region(job.store, job.tracks_group, "blacklisted", {"bin": part})]
        total += float(known.sum(dtype=np.float64))
        absolute += float(np.abs(known).sum(dtype=np.float64))
        number += len(known)
    return (total / number if number else float("nan")), absolute
