"""The one border between arrays and tensors: batches of a sampler as a PyTorch dataset."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from epizarr.train.sampler import Sampler, Share
from epizarr.train.signals import outlive_first_signal

#: Tells the stream of dropout masks from others of the same example.
_DROPOUT = (1,)


#: What of a batch the network and its losses read, on the device where they run.
DEVICE_FIELDS = ("signal", "target", "valid")


class TensorBatch(NamedTuple):
    """A :class:`~epizarr.train.sampler.Batch` as tensors, which share its memory.

    ``signal`` (example, channel, track bin); ``target`` and ``valid`` (example, bin, offset); ``examples``, ``locus`` and
    ``seeds`` of their dropout masks (example).
    """

    epoch: int
    step: int
    signal: Tensor
    target: Tensor
    valid: Tensor
    examples: Tensor
    locus: Tensor
    seeds: Tensor


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
            seeds = example_seeds(self.sampler.seed or 0, batch.epoch, batch.examples)
            arrays = (batch.signal, batch.target, batch.valid, batch.examples, batch.locus, seeds)
            yield TensorBatch(batch.epoch, batch.step, *map(torch.from_numpy, arrays))


def example_seeds(seed: int, epoch: int, examples: np.ndarray) -> np.ndarray:
    """Seeds of the examples' dropout masks: a function of (seed, epoch, example) alone; int64, shape (example,), below 2^62."""
    drawn = [
        np.random.SeedSequence([seed, epoch, int(i)], spawn_key=_DROPOUT).generate_state(1, np.uint64) for i in examples
    ]
    return (np.array(drawn, dtype=np.uint64).reshape(-1) >> np.uint64(2)).astype(np.int64)


def prefetched(batches: Iterator[TensorBatch], device: torch.device) -> Iterator[TensorBatch]:
    """Copy each batch to a GPU while the one before it is being worked on; on a CPU, the batches as they are."""
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)
    ahead = _copied(next(batches, None), device, copying)
    while ahead is not None:
        torch.cuda.current_stream(device).wait_stream(copying)
        batch = ahead
        for tensor in batch[2:]:
            if tensor.is_cuda:  # its memory is the other stream's: not to be handed out again before this one is done
                tensor.record_stream(torch.cuda.current_stream(device))
        ahead = _copied(next(batches, None), device, copying)
        yield batch


def _copied(batch: TensorBatch | None, device: torch.device, stream: "torch.cuda.Stream") -> TensorBatch | None:
    if batch is None:
        return None
    with torch.cuda.stream(stream):
        moved = {name: getattr(batch, name).pin_memory().to(device, non_blocking=True) for name in DEVICE_FIELDS}
    return batch._replace(**moved)


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
        worker_init_fn=outlive_first_signal,
        # A DataLoader draws its processes' seeds; from the common generator it would change the dropout of the run.
        generator=torch.Generator(),
    )
    return iter(loader)
