"""One block of a prediction: what a task is told, and what it does on whatever worker runs it.

A task reads the tracks of its block once with their halo, runs the trunk once and the overlapping tiles in batches, turns
stripes into band rows, undoes the target's transform, and writes the block whole; of several members, all of this one after
the other, of which mean and spread stay. Tiles are anchored to the chromosomes and no
batch crosses a block, so a block's values depend on nothing but its inputs and the settings kept with the group.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from epizarr.bands import mask_band, scatter_stripes, stripe_margins
from epizarr.errors import CheckpointError, ConfigError
from epizarr.genome import Assembly, BinGrid
from epizarr.io.ledger import Ledger, work_folder
from epizarr.io.places import Place
from epizarr.io.store import read_region, write_region
from epizarr.nn import Epiphany, NetworkConfig, Precision, TiledRange, lower_precision, predict_tiles, tiled_range
from epizarr.predict.members import Member, RunningMoments, tile_seeds
from epizarr.predict.settings import KEPT_NETWORKS, Device, Settings, most_bins_read
from epizarr.tiles import bins_needed, tile_starts
from epizarr.train.checkpoint import load_checkpoint
from epizarr.transforms import Transform, network_input
from epizarr.windows import cut_padded, track_extent

CONTACT, SD, SD_OF_MEANS, BY_MEMBER = "contact", "transformed_sd", "transformed_sd_members", "contact_member"


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share. ``members`` are of one ``network``; ``by_member``: whether the map of each is kept."""

    store: Place
    out: Place
    group: str
    tracks_group: str
    track_rows: tuple[int | None, ...]
    track_transforms: tuple[Transform, ...]
    target_transform: Transform
    assembly: Assembly
    binsize: int
    track_binsize: int
    network: NetworkConfig
    members: tuple[Member, ...]
    dropout_seed: int
    by_member: bool
    settings: Settings
    digest: str

    @property
    def grid(self) -> BinGrid:
        """Bins of the prediction."""
        return self.assembly.bins(self.binsize)

    @property
    def variables(self) -> tuple[str, ...]:
        """Variables that are written."""
        several, noise = len(self.members) > 1, self.network.has_variance
        named = {SD: several or noise, SD_OF_MEANS: several and noise, BY_MEMBER: self.by_member}
        return (CONTACT, *(name for name, is_written in named.items() if is_written))


@dataclass(frozen=True)
class Block:
    """Band rows ``[lo, hi)``: one task. ``pieces`` are (first row, one past the last, one past the region's last bin).

    It is what a task's message holds, some 200 bytes; the job comes to a worker once. ``digest`` stands for what the task is
    made from.
    """

    lo: int
    hi: int
    pieces: tuple[tuple[int, int, int], ...]
    digest: str

    @property
    def name(self) -> str:
        """Name of the task in the ledger."""
        return f"contact-{self.lo:09d}"


def blocks_of(job: Job, extents: Sequence[tuple[int, int]]) -> list[Block]:
    """Blocks of the genome's bins that hold a row of a region; the others stay as they are made, NaN."""
    blocks = []
    n_bins = job.grid.n_bins
    for lo in range(0, n_bins, job.settings.block_bins):
        hi = min(lo + job.settings.block_bins, n_bins)
        pieces = tuple((max(lo, a), min(hi, b), b) for a, b in sorted(extents) if max(lo, a) < min(hi, b))
        if pieces:
            blocks.append(Block(lo, hi, pieces, job.digest))
    return blocks


def load_model(job: Job, member: Member) -> Epiphany:
    """Load a member's network once a process, whatever the number of its threads; the last that were used are kept."""
    with _LOADING:
        return _read_model(member.checkpoint, member.checkpoint_sha256, job.settings.precision, job.settings.device)


#: Held while a network is read: threads that ask for the same one wait for it.
_LOADING = threading.Lock()
#: Held while a GPU computes: its memory then holds one task's work, and the other threads read and write meanwhile.
_GPU = threading.Lock()


@lru_cache(maxsize=KEPT_NETWORKS)
def _read_model(path: str, sha256: str, precision: Precision, device: Device) -> Epiphany:
    checkpoint = load_checkpoint(path)
    if checkpoint.sha256 != sha256:
        raise CheckpointError(f"checkpoint {path} was replaced while it was used; start the same command again.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("prediction on device 'cuda': a worker has no usable CUDA device. Start workers with cuda:N.")
    # Tasks share it in threads: one that explains it must find, and leave, parameters that need no gradient.
    return lower_precision(checkpoint.model().requires_grad_(False), precision).to(device)


@contextmanager
def computing(settings: Settings) -> Iterator[None]:
    """Run torch as the settings say: so many threads; a GPU for one task at a time, in float32 and not in TF32."""
    before = torch.get_num_threads()
    torch.set_num_threads(settings.torch_threads)
    try:
        if settings.device == "cpu":
            yield
        else:
            with _GPU, torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                yield
    finally:
        torch.set_num_threads(before)


def predict_block(block: Block, job: Job) -> None:
    """Predict one block of a job and write it. Safe to run again, anywhere."""
    shape = (block.hi - block.lo, job.network.n_offsets)
    values = {
        name: np.full((len(job.members), *shape) if name == BY_MEMBER else shape, np.nan, dtype=np.float32)
        for name in job.variables
    }
    for pieces in _read_together(job, block):
        for piece, made in zip(pieces, _predict_pieces(job, pieces), strict=True):
            for name, rows in made.items():
                values[name][..., piece.first - block.lo : piece.last - block.lo, :] = rows
    for name, band in values.items():
        write_region(job.out, job.group, name, {"bin": slice(block.lo, block.hi)}, band)
    Ledger(work_folder(job.out, job.group)).mark(block.name, block.digest)


@dataclass(frozen=True)
class _Piece:
    """Rows ``[first, last)`` (bin ids of one chromosome) of a region that ends before bin ``end``."""

    job: Job
    first: int
    last: int
    end: int

    @property
    def chrom_code(self) -> int:
        """Place of the chromosome in the assembly."""
        return int(self.job.grid.chrom_code(np.array(self.first)))

    @property
    def chrom(self) -> str:
        """Name of the chromosome."""
        return self.job.assembly.chrom_names[self.chrom_code]

    @property
    def tiling(self) -> dict[str, int]:
        """Tiles of the chromosome: what tile_starts is told."""
        first, end = self.job.grid.chrom_extent(self.chrom)
        settings = self.job.settings
        return {
            "n_chrom_bins": end - first,
            "tile_bins": settings.tile_bins,
            "overlap_bins": settings.overlap_bins,
            "phase_bins": settings.tile_phase_bins,
        }

    @property
    def place(self) -> dict[str, int]:
        """Where its stripes lie on the chromosome, and in which tiles: what bins_needed and tiled_range are told."""
        chrom_first, _ = self.job.grid.chrom_extent(self.chrom)
        # The last rows' pixels lie on stripes of bins to their right, none of them past the region's end.
        last = min(self.last + stripe_margins(self.job.network.n_offsets)[0], self.end)
        return {"lo": self.first - chrom_first, "hi": last - chrom_first, **self.tiling}

    @property
    def needed(self) -> tuple[int, int]:
        """Bins of the chromosome whose windows are read."""
        return bins_needed(**self.place)

    def tiled(self, signal: torch.Tensor, member: Member, index: int) -> TiledRange:
        """Its tiles for one member, ``index`` in the ensemble."""
        seeds = None
        if member.draw is not None:
            n_tiles = len(tile_starts(**self.tiling))
            seeds = torch.from_numpy(tile_seeds(self.job.dropout_seed, index, self.chrom_code, n_tiles))
        return tiled_range(self.job.network, signal, first_bin=self.needed[0], tile_seeds=seeds, **self.place)

    def band(self, stripes: torch.Tensor) -> np.ndarray:
        """Band rows made of its stripes; NaN for pixels that reach the region's end."""
        n_rows, n_diagonals = self.last - self.first, self.job.network.n_offsets
        in_region = np.arange(self.first, self.last + n_diagonals - 1) < self.end
        return mask_band(scatter_stripes(stripes.numpy(), 0, n_rows, n_diagonals), in_region)


def _read_together(job: Job, block: Block) -> Iterator[list[_Piece]]:
    """Pieces of a block that share the core's batches: as many as read no more of the tracks than a block in one piece may.

    Each reads a window beside its bins, so that many short chromosomes or regions are not counted by their bins.
    """
    settings, cut_length = job.settings, job.network.cut_length
    most = cut_length(
        most_bins_read(
            job.network,
            block_bins=settings.block_bins,
            tile_bins=settings.tile_bins,
            overlap_bins=settings.overlap_bins,
        )
    )
    together: list[_Piece] = []
    n_read = 0
    for bounds in block.pieces:
        piece = _Piece(job, *bounds)
        lo, hi = piece.needed
        if together and n_read + cut_length(hi - lo) > most:
            yield together
            together, n_read = [], 0
        together.append(piece)
        n_read += cut_length(hi - lo)
    yield together


def _predict_pieces(job: Job, pieces: Sequence[_Piece]) -> list[dict[str, np.ndarray]]:
    """Rows of each of the job's variables for each piece."""
    network, settings = job.network, job.settings
    signals = []
    for piece in pieces:
        lo, hi = piece.needed
        tracks = _read_tracks(job, piece.chrom, *track_extent(lo, hi - lo, network.stride, network.halo))
        signals.append(torch.from_numpy(network_input(tracks, mask_channels=network.mask_channels)))
    running = [RunningMoments() for _ in pieces]
    by_member: list[list[np.ndarray]] = [[] for _ in pieces]
    for index, member in enumerate(job.members):
        model = load_model(job, member)
        ranges = [piece.tiled(signal, member, index) for piece, signal in zip(pieces, signals, strict=True)]
        with computing(settings):
            found = predict_tiles(model, ranges, batch_size=settings.batch_size, trunk_bins=settings.trunk_bins)
        for piece, moments, own, kept in zip(pieces, found, running, by_member, strict=True):
            mean = piece.band(moments.mean)
            own.add(mean, None if moments.variance is None else piece.band(moments.variance))
            if job.by_member:
                kept.append(job.target_transform.invert(mean))
    return [_variables(job, own, kept) for own, kept in zip(running, by_member, strict=True)]


def _variables(job: Job, running: RunningMoments, by_member: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    contact = job.target_transform.invert(running.mean.astype(np.float32))
    made = {CONTACT: contact, SD: running.sd, SD_OF_MEANS: running.sd_of_means}
    values = {name: np.where(np.isnan(contact), np.nan, made[name]) for name in job.variables if name in made}
    return values | ({BY_MEMBER: np.stack(by_member)} if job.by_member else {})


def _read_tracks(job: Job, chrom: str, lo: int, hi: int) -> np.ndarray:
    """Transformed tracks at chromosome-local track bins ``[lo, hi)``, (track, bin); NaN off the chromosome or missing."""
    first, end = job.assembly.bins(job.track_binsize).chrom_extent(chrom)
    a, b = max(lo, 0), min(hi, end - first)
    part = slice(first + a, first + b)
    blacklisted = read_region(job.store, job.tracks_group, "blacklisted", {"bin": part})
    signal = np.full((len(job.track_rows), hi - lo), np.nan, dtype=np.float32)
    for index, (row, transform) in enumerate(zip(job.track_rows, job.track_transforms, strict=True)):
        if row is None:
            continue
        values = read_region(job.store, job.tracks_group, "signal", {"track": slice(row, row + 1), "bin": part})
        signal[index] = cut_padded(transform.apply(values[0], blacklisted), a, lo, hi)
    return signal
