"""Examples cut from pieces of the store that are decoded once and kept: tracks as the network reads them, targets as stripes.

Neither depends on where an epoch's windows begin, so a *piece* (a fixed run of bins) is read, transformed and gathered once
and then serves every epoch for as long as the cache holds it. Threads load pieces ahead of their use; each load is one Dask
computation.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr

from epizarr.bands import gather_stripes, mirror_stripes, stripe_margins
from epizarr.io.places import StorePath, place_of
from epizarr.io.store import BAND_ROWS, TRACK_SHARD
from epizarr.train.sources import Source, read_masked_band, read_signal
from epizarr.transforms import Transform, network_input
from epizarr.windows import Segment, track_extent

#: Track bins of a piece: a whole shard of each track, so that a bin is decoded once.
PIECE_TRACK_BINS = TRACK_SHARD
#: Rows of a piece of targets: four chunks of a band, since each piece also reads the chunk before it.
PIECE_ROWS = 4 * BAND_ROWS


@contextmanager
def fast_decoding(*stores: StorePath) -> Iterator[None]:
    """Let arrays that are opened meanwhile decode by the zarrs library, four times as fast as Zarr's own pipeline.

    Not for every reader of a store: a process that has used zarrs' threads must not fork, and notebooks do. Nor for every store:
    zarrs reads files, and where one of the stores lies in an object store all are left to Zarr's own pipeline.

    Parameters
    ----------
    stores
        Stores whose arrays are opened.
    """
    if not all(isinstance(place_of(store), Path) for store in stores):
        yield
        return
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        yield


class Stretch(NamedTuple):
    """A region of one cell type that windows are laid over.

    ``source`` is the cell type's place in the reader's list. If ``is_confined``, track bins farther than the halo outside the
    region are missing, as past a chromosome's end: training sees nothing of other splits.
    """

    source: int
    segment: Segment
    is_confined: bool


@dataclass(frozen=True)
class Geometry:
    """Sizes of an example.

    Parameters
    ----------
    n_bins
        Bins of a window.
    n_offsets
        Length of a stripe.
    stride, halo
        Track bins in a bin, and on either side of a window.
    min_diagonal
        First diagonal that counts.
    mask_channels
        Whether the network also reads which track bins are known.
    missing_is_zero
        Whether training pixels without a target are 0 and count, as in the released code.
    """

    n_bins: int
    n_offsets: int
    stride: int
    halo: int
    min_diagonal: int
    mask_channels: bool
    missing_is_zero: bool = False

    @property
    def n_track_bins(self) -> int:
        """Track bins that are cut for a window."""
        return self.n_bins * self.stride + 2 * self.halo


class PieceKey(NamedTuple):
    """Which piece: of the tracks of a source, or of the targets of a stretch; ``number`` counts along genome-wide bins."""

    is_target: bool
    owner: int
    number: int


class Piece(NamedTuple):
    """Values of a run of bins, the first at genome-wide bin ``first``.

    Tracks: ``values`` is (channel, bin), without NaN. Targets: (bin, offset), NaN where not valid.
    """

    first: int
    values: np.ndarray


#: Pieces that were asked for, loaded or on their way.
Pieces = Mapping[PieceKey, "Future[Piece]"]


class ExampleReader:
    """Reads pieces with threads, keeps the latest used, and cuts windows from them.

    Parameters
    ----------
    sources
        Cell types.
    stretches
        Regions that windows may lie over.
    geometry
        Sizes of an example.
    target_transform
        Fitted transform of the target.
    track_transforms
        For each source, the fitted transforms of its tracks, bound to them.
    partners
        Track that takes each track's place when a window is read backwards (:func:`epizarr.strands.strand_partners`); None: no
        window is.
    cache_bytes
        Memory for pieces that nobody holds at the moment. What a caller holds comes on top.
    read_threads
        Threads that load pieces.
    keeps_mask
        Whether pieces say which track bins are known though the network is not told: arrays given to :meth:`cut` have
        ``n_piece_channels`` channels then.

    Attributes
    ----------
    n_track_bins_read
        Track bins read from stores so far: twice a bin's share if it was read twice.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        stretches: Sequence[Stretch],
        geometry: Geometry,
        target_transform: Transform,
        track_transforms: Sequence[Sequence[Transform]],
        *,
        partners: Sequence[int] | None,
        cache_bytes: int,
        read_threads: int,
        keeps_mask: bool = False,
    ) -> None:
        self.sources = tuple(sources)
        self.stretches = tuple(stretches)
        self.geometry = geometry
        self.target_transform = target_transform
        self.track_transforms = tuple(tuple(of_source) for of_source in track_transforms)
        self.partners = None if partners is None else tuple(partners)
        self.cache_bytes = cache_bytes
        self.read_threads = read_threads
        self.has_mask = geometry.mask_channels or keeps_mask
        self._start()

    def _start(self) -> None:
        self._pool = ThreadPoolExecutor(self.read_threads, thread_name_prefix="epizarr-read")
        self._lock = threading.Lock()
        self._cache: OrderedDict[PieceKey, Future[Piece]] = OrderedDict()
        self._held_bytes = 0
        self.n_track_bins_read = 0

    def __getstate__(self) -> dict[str, Any]:
        """Leave threads and cache behind: each process of a DataLoader has its own."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def close(self) -> None:
        """Stop the threads; pieces not begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def n_channels(self) -> int:
        """Channels of the network's input."""
        return len(self.sources[0].signal) * (2 if self.geometry.mask_channels else 1)

    @property
    def n_piece_channels(self) -> int:
        """Channels of a piece: as many, or the mask channels more."""
        return len(self.sources[0].signal) * (2 if self.has_mask else 1)

    def keys(self, stretch: int, lo: int, hi: int) -> list[PieceKey]:
        """Pieces that windows within chromosome-local bins ``[lo, hi)`` of a stretch are cut from."""
        source, segment, _ = self.stretches[stretch]
        first, a, b = self._track_reach(stretch, lo, hi - lo)
        tracks = [
            PieceKey(False, source, i)
            for i in range((first + a) // PIECE_TRACK_BINS, _upto(first + b, PIECE_TRACK_BINS))
        ]
        row, _ = self.sources[source].grid.chrom_extent(segment.chrom)
        beyond = 0 if self.partners is None else 1  # a window read backwards ends one row later
        a, b = row + max(lo, segment.lo), row + min(hi + beyond, segment.hi)
        return tracks + [PieceKey(True, stretch, i) for i in range(a // PIECE_ROWS, _upto(b, PIECE_ROWS))]

    def request(self, keys: Iterable[PieceKey]) -> dict[PieceKey, "Future[Piece]"]:
        """Begin to load pieces that are not there yet, and return all of them at once; hold on to what you still need."""
        found = {}
        with self._lock:
            for key in keys:
                if key not in self._cache:
                    self._cache[key] = self._pool.submit(self._load, key)
                self._cache.move_to_end(key)
                found[key] = self._cache[key]
        return found

    def cut(
        self, stretch: int, start: int, pieces: Pieces, signal: np.ndarray, target: np.ndarray, valid: np.ndarray
    ) -> None:
        """Write one example into arrays of a batch.

        Parameters
        ----------
        stretch, start
            Window: chromosome-local first bin, which may lie before the stretch.
        pieces
            From :meth:`request`, at least those of :meth:`keys` for this window.
        signal
            (channel, track bin), float32. Bins outside the chromosome or the reach of a confined stretch become 0 in every
            channel, which is what :func:`~epizarr.transforms.network_input` makes of a missing bin.
        target, valid
            (bin, offset), float32 and bool. NaN and False where a pixel does not count.
        """
        self._cut_signal(stretch, start, pieces, signal)
        self._cut_target(stretch, start, pieces, target)
        self._mark_valid(stretch, target, valid)

    def cut_mirrored(
        self, stretch: int, start: int, pieces: Pieces, signal: np.ndarray, target: np.ndarray, valid: np.ndarray
    ) -> None:
        """Write one example read backwards; arguments as those of :meth:`cut`.

        The network cannot tell it from an example of the other strand: tracks are reversed over exactly the bins that are cut,
        stranded tracks change places, and stripes follow (:func:`epizarr.bands.mirror_stripes`).
        """
        if self.partners is None:
            raise ValueError("this reader was made without partners: its windows are read forwards only.")
        n_tracks = len(self.partners)
        channels = [block + partner for block in range(0, len(signal), n_tracks) for partner in self.partners]
        forward = np.empty_like(signal)
        self._cut_signal(stretch, start, pieces, forward)
        for channel, partner in enumerate(channels):
            signal[channel] = forward[partner, ::-1]
        stripes = np.empty((len(target) + 1, target.shape[1]), dtype=target.dtype)
        self._cut_target(stretch, start, pieces, stripes)
        target[...] = mirror_stripes(stripes)
        self._mark_valid(stretch, target, valid)

    def _mark_valid(self, stretch: int, target: np.ndarray, valid: np.ndarray) -> None:
        """Say which pixels count; where missing ones are trained towards 0, all do."""
        np.isfinite(target, out=valid)
        if self.geometry.missing_is_zero and self.stretches[stretch].is_confined:
            target[~valid] = 0
            valid[...] = True

    def _cut_signal(self, stretch: int, start: int, pieces: Pieces, signal: np.ndarray) -> None:
        geometry = self.geometry
        source, _, _ = self.stretches[stretch]
        first, a, b = self._track_reach(stretch, start, geometry.n_bins)
        offset = first + start * geometry.stride - geometry.halo  # genome-wide bin of the window's first track bin
        signal[:, : first + a - offset] = 0
        signal[:, first + b - offset :] = 0
        for number in range((first + a) // PIECE_TRACK_BINS, _upto(first + b, PIECE_TRACK_BINS)):
            piece = pieces[PieceKey(False, source, number)].result()
            lo, hi = max(first + a, piece.first), min(first + b, piece.first + piece.values.shape[1])
            signal[:, lo - offset : hi - offset] = piece.values[: len(signal), lo - piece.first : hi - piece.first]

    def _cut_target(self, stretch: int, start: int, pieces: Pieces, target: np.ndarray) -> None:
        """Stripes of as many bins from ``start`` on as ``target`` has rows."""
        source, segment, _ = self.stretches[stretch]
        row, _ = self.sources[source].grid.chrom_extent(segment.chrom)
        a, b = row + max(start, segment.lo), row + min(start + len(target), segment.hi)
        offset = row + start
        target[: a - offset] = np.nan
        target[b - offset :] = np.nan
        for number in range(a // PIECE_ROWS, _upto(b, PIECE_ROWS)):
            piece = pieces[PieceKey(True, stretch, number)].result()
            lo, hi = max(a, piece.first), min(b, piece.first + len(piece.values))
            target[lo - offset : hi - offset] = piece.values[lo - piece.first : hi - piece.first]

    def _track_reach(self, stretch: int, start: int, n_bins: int) -> tuple[int, int, int]:
        """Genome-wide id of the chromosome's first track bin, and the chromosome-local track bins that a window may see."""
        source, segment, is_confined = self.stretches[stretch]
        geometry = self.geometry
        first, last = self.sources[source].track_grid.chrom_extent(segment.chrom)
        a, b = track_extent(start, n_bins, geometry.stride, geometry.halo)
        if is_confined:
            lo, hi = track_extent(segment.lo, segment.n_bins, geometry.stride, geometry.halo)
            a, b = max(a, lo), min(b, hi)
        return first, max(a, 0), min(b, last - first)

    def _load(self, key: PieceKey) -> Piece:
        piece = self._load_target(key) if key.is_target else self._load_tracks(key)
        with self._lock:
            self.n_track_bins_read += 0 if key.is_target else piece.values.shape[1]
            self._held_bytes += piece.values.nbytes
            if self._held_bytes > self.cache_bytes:
                self._evict()
        return piece

    def _evict(self) -> None:
        """Let go of the pieces that were used longest ago, but for those still being loaded."""
        for key in [k for k, future in self._cache.items() if future.done() and future.exception() is None]:
            if self._held_bytes <= self.cache_bytes:
                break
            self._held_bytes -= self._cache.pop(key).result().values.nbytes

    def _load_tracks(self, key: PieceKey) -> Piece:
        source = self.sources[key.owner]
        lo = key.number * PIECE_TRACK_BINS
        raw, blacklisted = read_signal(source, lo, min(lo + PIECE_TRACK_BINS, source.track_grid.n_bins))
        signal = np.empty((len(raw), len(blacklisted)), dtype=np.float32)
        for track, transform in enumerate(self.track_transforms[key.owner]):
            if source.signal[track] is None:
                signal[track] = np.nan
            else:
                transform.apply(raw[track], blacklisted, out=signal[track])
        return Piece(lo, network_input(signal, mask_channels=self.has_mask, in_place=True))

    def _load_target(self, key: PieceKey) -> Piece:
        geometry = self.geometry
        source_index, segment, _ = self.stretches[key.owner]
        source = self.sources[source_index]
        row, _ = source.grid.chrom_extent(segment.chrom)
        lo = max(key.number * PIECE_ROWS - row, segment.lo)
        hi = min((key.number + 1) * PIECE_ROWS - row, segment.hi)
        margin, _ = stripe_margins(geometry.n_offsets)
        band_lo = max(lo - margin, segment.lo)
        band = read_masked_band(source, segment, band_lo, hi, geometry.min_diagonal)
        stripes = gather_stripes(self.target_transform.apply(band, out=band), lo - band_lo, hi - lo, geometry.n_offsets)
        return Piece(row + lo, stripes)


def _upto(end: int, size: int) -> int:
    """One past the index of the piece that holds bin ``end - 1``."""
    return -(-end // size)
