"""The one border between arrays and tensors: batches of a sampler as a PyTorch dataset."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from epizarr.train.sampler import Sampler, Share


class TensorBatch(NamedTuple):
    """A :class:`~epizarr.train.sampler.Batch` as tensors, which share its memory.

    ``signal`` (example, channel, track bin); ``target`` and ``valid`` (example, bin, offset); ``examples`` and ``locus``
    (example).
    """

    epoch: int
    step: int
    signal: Tensor
    target: Tensor
    valid: Tensor
    examples: Tensor
    locus: Tensor


class WindowDataset(IterableDataset[TensorBatch]):
    """Batches of consecutive epochs, built in NumPy, one tensor each for signal, target and mask.

    One dataset serves a whole run, so that its DataLoader's processes live as long as the run does (they take seconds to
    start) and reading goes on across the ends of epochs.

    Parameters
    ----------
    sampler
        Makes the batches.
    epochs, first_step
        Where to begin and end; see :meth:`Sampler.batches`.
    rank, world
        Which process of how many this is.
    """

    def __init__(self, sampler: Sampler, epochs: range, first_step: int = 0, *, rank: int = 0, world: int = 1) -> None:
        super().__init__()
        self.sampler = sampler
        self.epochs = epochs
        self.first_step = first_step
        self.rank = rank
        self.world = world

    def __iter__(self) -> Iterator[TensorBatch]:
        info = get_worker_info()
        worker, n_workers = (0, 1) if info is None else (info.id, info.num_workers)
        for batch in self.sampler.batches(
            self.epochs, self.first_step, Share(self.rank, self.world, worker, n_workers)
        ):
            arrays = (batch.signal, batch.target, batch.valid, batch.examples, batch.locus)
            yield TensorBatch(batch.epoch, batch.step, *map(torch.from_numpy, arrays))


def load_batches(dataset: WindowDataset, num_workers: int) -> Iterator[TensorBatch]:
    """Iterate over a dataset, in this process or with the help of others; the batches and their order are the same.

    Processes are made by ``forkserver``: a fork of a process that has used Zarr's threads can hang.
    """
    if num_workers == 0:
        return iter(dataset)
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=num_workers,
        multiprocessing_context="forkserver",
        # A DataLoader draws its processes' seeds; from the common generator it would change the dropout of the run.
        generator=torch.Generator(),
    )
    return iter(loader)
