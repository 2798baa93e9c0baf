"""How a prediction is computed: the settings that are kept with a run, and the memory that they lead to."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from epizarr.bands import stripe_margins
from epizarr.errors import ConfigError, MemoryBoundError
from epizarr.io.store import BAND_ROWS
from epizarr.nn import Epiphany, NetworkConfig, Precision, prediction_bytes

Device = Literal["cpu", "cuda"]

#: Bins of a task: whole chunks of the band, and enough tiles to fill a batch.
BLOCK_BINS = 11 * BAND_ROWS
#: Most bins that the trunk runs at once.
TRUNK_BINS = 1000
#: What one task may use unless told: the published 5-kb network needs 3.4 GiB.
MAX_TASK_BYTES = 4 << 30
#: Networks that a process keeps: tasks of two checkpoints may run side by side, and members of an ensemble follow each other in
#: every block. Of an ensemble with more, networks are read again for each block.
KEPT_NETWORKS = 4
#: Chunks and shards' indices that are decoded while a task reads and writes.
_CODEC_BYTES = 8 << 20


@dataclass(frozen=True)
class Settings:
    """What the values of a run depend on beside network and tracks; kept with the group.

    Parameters
    ----------
    tile_bins, overlap_bins, tile_phase_bins, batch_size, torch_threads, precision, device
        As given to :func:`epizarr.predict.predict_contacts`, defaults filled in.
    block_bins
        Band rows of a task, a multiple of the band's chunks.
    trunk_bins
        Most bins that the trunk runs at once.
    """

    tile_bins: int
    overlap_bins: int
    tile_phase_bins: int
    batch_size: int
    torch_threads: int
    precision: Precision
    device: Device
    block_bins: int
    trunk_bins: int = TRUNK_BINS


def check_settings(
    settings: Settings, network: NetworkConfig, max_task_bytes: int, *, n_checkpoints: int = 1, n_kept: int = 0
) -> None:
    """Refuse settings that are out of range, and a task that would not fit memory.

    Raises
    ------
    ConfigError
        If tiles, batch or threads are out of range, or there is no such precision or device.
    MemoryBoundError
        If a task would need more than ``max_task_bytes``.
    """
    tile, overlap = settings.tile_bins, settings.overlap_bins
    batch_size, torch_threads = settings.batch_size, settings.torch_threads
    for what, value, choices in (
        ("precision", settings.precision, get_args(Precision)),
        ("device", settings.device, get_args(Device)),
    ):
        if value not in choices:
            raise ConfigError(f"prediction: {what} is {value!r}, needs one of {', '.join(choices)}.")
    if settings.precision == "int8" and settings.device == "cuda":
        raise ConfigError("prediction: int8 needs a CPU. On a GPU predict in bfloat16 or float32.")
    if tile < 1 or not 0 <= 2 * overlap <= tile or batch_size < 1 or torch_threads < 1:
        raise ConfigError(
            f"prediction: tile_bins {tile}, overlap_bins {overlap}, batch_size {batch_size}, torch_threads {torch_threads}: each "
            "needs at least 1, and an overlap from 0 to half a tile."
        )
    if not 0 <= settings.tile_phase_bins < tile - overlap:
        raise ConfigError(
            f"prediction: tile_phase_bins {settings.tile_phase_bins}: tiles lie {tile - overlap} bins apart, so it needs 0 to "
            f"{tile - overlap - 1}."
        )
    needed = prediction_task_bytes(
        network,
        tile_bins=tile,
        overlap_bins=overlap,
        batch_size=batch_size,
        block_bins=settings.block_bins,
        n_checkpoints=n_checkpoints,
        n_kept=n_kept,
    )
    if needed > max_task_bytes:
        raise MemoryBoundError(
            f"prediction: a task of {settings.block_bins} bins would need up to {needed / 2**30:.1f} GiB and may use "
            f"{max_task_bytes / 2**30:.1f} GiB. Lower batch_size ({batch_size}) or tile_bins ({tile}), or allow more."
        )


def prediction_task_bytes(
    network: NetworkConfig,
    *,
    tile_bins: int,
    overlap_bins: int,
    batch_size: int,
    block_bins: int = BLOCK_BINS,
    n_checkpoints: int = 1,
    n_kept: int = 0,
) -> int:
    """Bound the memory of one prediction task, in bytes, network included and libraries not.

    It grows with the block, the tiles and the batch, with the first few checkpoints of an ensemble and with members whose maps
    are kept, and with nothing else: not with the genome, the regions, or the number of members of whom mean and spread stay.

    Parameters
    ----------
    network
        Shape of the network.
    tile_bins, overlap_bins, batch_size
        As given to :func:`predict_contacts`.
    block_bins
        Band rows of a task.
    n_checkpoints
        Checkpoints of the ensemble; no more than :data:`KEPT_NETWORKS` are held.
    n_kept
        Members whose map is kept.
    """
    margin = stripe_margins(network.n_offsets)[0]
    n_bins = most_bins_read(network, block_bins=block_bins, tile_bins=tile_bins, overlap_bins=overlap_bins)
    with torch.device("meta"):
        parameters = sum(p.numel() for p in Epiphany(network).parameters())
    tracks = (
        5 * network.in_channels * network.cut_length(n_bins)
    )  # as read, transformed, padded, filled and as a tensor
    # Of mean and variance: stripes, band and masked band; their running moments, eight maps in double precision at once; the
    # variables; of each member that is kept, its map twice.
    n_bands = 6 * (2 if network.has_variance else 1) + 20 + 2 * n_kept
    bands = n_bands * (block_bins + margin) * network.n_offsets
    # With dropout the trunk runs over a tile at a time.
    trunk_bins = max(TRUNK_BINS, tile_bins)
    running = prediction_bytes(network, n_bins, tile_bins=tile_bins, batch_size=batch_size, trunk_bins=trunk_bins)
    parameters *= min(n_checkpoints, KEPT_NETWORKS)
    # A quarter more for the scratch memory of the matrix library: the published 10-kb network was measured at 0.78 GiB.
    return 4 * (parameters + tracks + bands) + running + running // 4 + _CODEC_BYTES


def most_bins_read(network: NetworkConfig, *, block_bins: int, tile_bins: int, overlap_bins: int) -> int:
    """Most bins whose windows a block on one chromosome reads; what a task holds at once is bounded by them."""
    # A block may end in one tile and begin in another; the last tile of a chromosome is moved back by up to a step.
    return block_bins + stripe_margins(network.n_offsets)[0] + 3 * tile_bins - 2 * overlap_bins
