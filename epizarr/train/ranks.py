"""The processes of one training run, and what they tell each other.

A run in one process is a run of one rank: it adds nothing up and waits for nobody, and the code above needs no second way.
Sums are over all ranks; how torch adds them is fixed for a number of ranks, so a resumed run repeats them bit for bit.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed, nn

from epizarr.errors import LostRankError

T = TypeVar("T")
#: Gradients are added up in pieces of about so many numbers (128 MB): fewer calls, bounded memory.
_BUCKET = 1 << 25
#: A rank that has not answered for so long counts as lost. Longer than the slowest step, validation or fit of transforms.
_PATIENCE = timedelta(minutes=30)


@dataclass(frozen=True)
class Ranks:
    """One process of a run.

    Parameters
    ----------
    rank, world
        Which process of how many this is. Rank 0 leads: it alone writes.
    device
        Where the network of this process runs.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_lead(self) -> bool:
        """Whether this process writes the run's folder."""
        return self.rank == 0

    def sum_numbers(self, *numbers: float) -> tuple[float, ...]:
        """Sums of numbers over the ranks, in float64: counts below 2^53 are exact.

        Raises
        ------
        LostRankError
            If another rank has ended; the same for all other methods.
        """
        return tuple(self.sum_array(np.array(numbers, dtype=np.float64)).tolist())

    def sum_array(self, array: np.ndarray) -> np.ndarray:
        """Sum of arrays of one shape and dtype over the ranks, in that dtype."""
        if self.world == 1:
            return array
        total = torch.from_numpy(array.copy()).to(self.device)
        with _naming_a_lost_rank():
            distributed.all_reduce(total)
        return total.cpu().numpy()

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each parameter's gradient by the sum over the ranks; a rank without one adds zeros."""
        if self.world == 1:
            return
        bucket: list[nn.Parameter] = []
        for parameter in parameters:
            bucket.append(parameter)
            if sum(p.numel() for p in bucket) >= _BUCKET:
                self._sum_bucket(bucket)
                bucket = []
        if bucket:
            self._sum_bucket(bucket)

    def _sum_bucket(self, parameters: list[nn.Parameter]) -> None:
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        with _naming_a_lost_rank():
            distributed.all_reduce(flat)
        for parameter, total in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = total.view_as(parameter)

    def from_lead(self, function: Callable[[], T]) -> T:
        """Run a function in the leading process only, and return its result, or raise its error, in all.

        Both are pickled; they come from this run's own process.
        """
        if self.world == 1:
            return function()
        message: list[Any] = [None]
        error: BaseException | None = None
        if self.is_lead:
            try:
                message = [(function(), None)]
                pickle.dumps(message)  # what cannot be sent must fail here, where the others can still be told
            except Exception as raised:
                error = raised
                message = [(None, LostRankError(f"the leading process ended with {type(raised).__name__}: {raised}"))]
        with _naming_a_lost_rank():
            distributed.broadcast_object_list(message, device=self.device)
        if error is not None:
            raise error
        value, raised_there = message[0]
        if raised_there is not None:
            raise raised_there
        return value


@contextmanager
def _naming_a_lost_rank() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostRankError(
            f"training: another process of this run has ended, so this one cannot go on ({error}). Its own message says why; "
            "start all again with the same command to go on from the last checkpoint."
        ) from error


@contextmanager
def joined_ranks(rank: int, world: int, device: torch.device, init_method: str) -> Iterator[Ranks]:
    """Join the processes of a run, and part from them at the end, which ends those that still wait.

    Parameters
    ----------
    rank, world
        Which process of how many this is.
    device
        Where its network runs. GPUs talk by NCCL, CPUs by gloo.
    init_method
        How they find each other, as torch.distributed writes it: ``tcp://host:port`` of rank 0, which listens there, or
        ``env://`` for what torchrun has set.

    Raises
    ------
    LostRankError
        If they do not all come within half an hour.
    """
    with _naming_a_lost_rank():
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", init_method, rank=rank, world_size=world, timeout=_PATIENCE
        )
    try:
        yield Ranks(rank, world, device)
    finally:
        distributed.destroy_process_group()
