"""One block of a prediction: what a task is told, and what it does on whatever worker runs it.

A task reads the tracks of its block once with their halo, runs the trunk once and the overlapping tiles in batches, turns
stripes into band rows, undoes the target's transform, and writes the block whole. Tiles are anchored to the chromosomes and no
batch crosses a block, so a block's values depend on nothing but its inputs and the settings kept with the group.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from epizarr.bands import mask_band, scatter_stripes, stripe_margins
from epizarr.errors import CheckpointError
from epizarr.genome import Assembly, BinGrid
from epizarr.io.ledger import Ledger, work_folder
from epizarr.io.places import Place
from epizarr.io.store import read_region, write_region
from epizarr.nn import Epiphany, predict_stripes
from epizarr.predict.settings import Settings
from epizarr.tiles import bins_needed
from epizarr.train.checkpoint import load_checkpoint
from epizarr.transforms import Transform, network_input
from epizarr.windows import cut_padded, track_extent


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share."""

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
    checkpoint: str
    checkpoint_sha256: str
    settings: Settings
    digest: str

    @property
    def grid(self) -> BinGrid:
        """Bins of the prediction."""
        return self.assembly.bins(self.binsize)


@dataclass(frozen=True)
class Block:
    """Band rows ``[lo, hi)``: one task. ``pieces`` are (first row, one past the last, one past the region's last bin)."""

    job: Job
    lo: int
    hi: int
    pieces: tuple[tuple[int, int, int], ...]

    @property
    def name(self) -> str:
        """Name of the task in the ledger."""
        return f"contact-{self.lo:09d}"

    @property
    def digest(self) -> str:
        """Hash of what the task is made from."""
        return self.job.digest


def blocks_of(job: Job, extents: Sequence[tuple[int, int]]) -> list[Block]:
    """Blocks of the genome's bins that hold a row of a region; the others stay as they are made, NaN."""
    blocks = []
    n_bins = job.grid.n_bins
    for lo in range(0, n_bins, job.settings.block_bins):
        hi = min(lo + job.settings.block_bins, n_bins)
        pieces = tuple((max(lo, a), min(hi, b), b) for a, b in sorted(extents) if max(lo, a) < min(hi, b))
        if pieces:
            blocks.append(Block(job, lo, hi, pieces))
    return blocks


@lru_cache(maxsize=1)
def load_model(path: str, sha256: str) -> Epiphany:
    """Load the network once a process."""
    checkpoint = load_checkpoint(path)
    if checkpoint.sha256 != sha256:
        raise CheckpointError(
            f"checkpoint {path} was replaced while it was used for prediction; start the prediction again."
        )
    return checkpoint.model()


@contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """Let torch use ``n`` threads meanwhile: the last bit of a sum depends on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def predict_block(block: Block) -> None:
    """Predict one block and write it. Safe to run again, anywhere."""
    job = block.job
    model = load_model(job.checkpoint, job.checkpoint_sha256)
    values = np.full((block.hi - block.lo, model.config.n_offsets), np.nan, dtype=np.float32)
    with torch_threads(job.settings.torch_threads):
        for first, last, end in block.pieces:
            values[first - block.lo : last - block.lo] = _predict_rows(job, model, first, last, end)
    write_region(job.out, job.group, "contact", {"bin": slice(block.lo, block.hi)}, values)
    Ledger(work_folder(job.out, job.group)).mark(block.name, job.digest)


def _predict_rows(job: Job, model: Epiphany, first: int, last: int, end: int) -> np.ndarray:
    """Band rows ``[first, last)`` (bin ids of one chromosome) in the target's units; NaN for pixels that reach ``end``."""
    network, grid = model.config, job.grid
    n_diagonals = network.n_offsets
    chrom = job.assembly.chrom_names[int(grid.chrom_code(np.array(first)))]
    chrom_first, chrom_end = grid.chrom_extent(chrom)
    n_chrom_bins = chrom_end - chrom_first
    # The last rows' pixels lie on stripes of bins to their right, none of them past the region's end.
    lo, hi = first - chrom_first, min(last + stripe_margins(n_diagonals)[0], end) - chrom_first
    needed_lo, needed_hi = bins_needed(n_chrom_bins, lo, hi, job.settings.tile_bins, job.settings.overlap_bins)
    signal = _read_tracks(job, chrom, *track_extent(needed_lo, needed_hi - needed_lo, network.stride, network.halo))
    stripes = predict_stripes(
        model,
        torch.from_numpy(network_input(signal, mask_channels=network.mask_channels)),
        first_bin=needed_lo,
        n_chrom_bins=n_chrom_bins,
        lo=lo,
        hi=hi,
        tile_bins=job.settings.tile_bins,
        overlap_bins=job.settings.overlap_bins,
        batch_size=job.settings.batch_size,
        trunk_bins=job.settings.trunk_bins,
    )
    band = scatter_stripes(stripes.numpy(), 0, last - first, n_diagonals)
    in_region = np.arange(first, last + n_diagonals - 1) < end
    return job.target_transform.invert(mask_band(band, in_region))


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
