"""Which examples an epoch has, in which order, and the batches made of them.

An epoch covers every bin of every training region once, by non-overlapping windows that begin a random *phase* before each
region. Consecutive windows of one region form *blocks*, which are fetched together; blocks are shuffled, and the windows of
each :data:`buffer <OptimSettings.buffer_blocks>` of blocks are shuffled among themselves. The order is a function of (seed,
epoch) alone, never of what was prefetched, of processes or of threads.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from epizarr.strands import strand_partners
from epizarr.train.reader import ExampleReader, Geometry, Piece, PieceKey, Stretch
from epizarr.train.sources import TrainingData, bound_transforms
from epizarr.transforms import Transform
from epizarr.windows import window_starts


@dataclass(frozen=True)
class EpochPlan:
    """The examples of one epoch in order.

    Parameters
    ----------
    stretch, start, block
        For each example: the stretch it lies in, its chromosome-local first bin (which may lie before the stretch), and the
        block it is fetched with; int64.
    mirrored
        For each example: whether it is read backwards; bool.
    """

    stretch: np.ndarray
    start: np.ndarray
    block: np.ndarray
    mirrored: np.ndarray

    def __len__(self) -> int:
        return len(self.start)


def plan_epoch(
    stretches: Sequence[Stretch],
    n_bins: int,
    *,
    seed: int,
    epoch: int,
    block_windows: int,
    buffer_blocks: int,
    mirror: bool = False,
) -> EpochPlan:
    """Lay out a training epoch.

    Parameters
    ----------
    stretches
        Regions to cover.
    n_bins
        Bins of a window.
    seed, epoch
        What the order depends on.
    block_windows
        Most windows of a block. In a small genome blocks are shorter, so that there are ``buffer_blocks`` of them.
    buffer_blocks
        Least number of blocks whose windows are mixed (fewer if there are fewer).
    mirror
        Whether each example is read backwards with probability 1/2.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, epoch]))
    phases = rng.integers(0, n_bins, size=len(stretches))
    starts = [window_starts(s.segment, n_bins, int(p)) for s, p in zip(stretches, phases, strict=True)]
    plan = _in_blocks(starts, int(np.clip(sum(map(len, starts)) // buffer_blocks, 1, block_windows)))
    n_blocks = int(plan.block[-1]) + 1
    shuffled = rng.permutation(n_blocks)
    members = np.split(np.arange(len(plan)), np.flatnonzero(np.diff(plan.block)) + 1)
    order = []
    for buffer in np.array_split(shuffled, max(1, n_blocks // buffer_blocks)):
        order.append(rng.permutation(np.concatenate([members[block] for block in buffer])))
    mixed = np.concatenate(order)
    mirrored = rng.random(len(mixed)) < 0.5 if mirror else np.zeros(len(mixed), dtype=bool)
    return EpochPlan(plan.stretch[mixed], plan.start[mixed], plan.block[mixed], mirrored)


def plan_in_order(stretches: Sequence[Stretch], n_bins: int, *, block_windows: int) -> EpochPlan:
    """Lay out a pass over the stretches from left to right at phase 0, as for validation."""
    return _in_blocks([window_starts(s.segment, n_bins) for s in stretches], block_windows)


def _in_blocks(starts: Sequence[np.ndarray], block_windows: int) -> EpochPlan:
    """Cut each stretch's windows into blocks of consecutive ones, numbered through."""
    n_windows = np.array([len(s) for s in starts])
    n_blocks = -(-n_windows // block_windows)
    first = np.concatenate([[0], np.cumsum(n_blocks)[:-1]])
    block = [first[i] + np.arange(n) // block_windows for i, n in enumerate(n_windows)]
    stretch = np.repeat(np.arange(len(starts)), n_windows)
    start = np.concatenate(starts)
    return EpochPlan(
        stretch.astype(np.int64), start, np.concatenate(block).astype(np.int64), np.zeros(len(start), bool)
    )


class Batch(NamedTuple):
    """Examples of one step of one process.

    ``signal`` (example, channel, track bin) float32 without NaN; ``target`` (example, bin, offset) float32, NaN where not
    valid; ``valid`` bool; ``examples``: place of each example in its epoch. A process of several may get an empty batch at the
    end of an epoch.
    """

    epoch: int
    step: int
    signal: np.ndarray
    target: np.ndarray
    valid: np.ndarray
    examples: np.ndarray


@dataclass(frozen=True)
class Share:
    """Which part of the steps' examples a process makes.

    Example i belongs to rank ``i mod world``; of a rank's batches, its DataLoader worker makes every ``n_workers``-th.
    """

    rank: int = 0
    world: int = 1
    worker: int = 0
    n_workers: int = 1


class _Blocks(NamedTuple):
    """Blocks of one epoch, arrays by block: where each lies, and how often this process cuts from it."""

    stretch: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    n_uses: np.ndarray


class _Step(NamedTuple):
    epoch: int
    step: int
    plan: EpochPlan
    examples: np.ndarray
    blocks: _Blocks

    def block_ids(self) -> list[tuple[int, int]]:
        """Block of each example, told apart from those of other epochs."""
        return [(self.epoch, int(block)) for block in self.plan.block[self.examples]]


@dataclass(frozen=True)
class Sampler:
    """Batches of training epochs, or of one pass over validation regions.

    Parameters
    ----------
    reader
        Reads and cuts the examples of ``stretches``.
    stretches
        Places in ``reader.stretches`` that this sampler covers.
    batch_size
        Examples of a step over all processes; an epoch's last step may have fewer.
    block_windows, buffer_blocks
        See :func:`plan_epoch`.
    prefetch_blocks
        Blocks whose pieces are requested ahead of the block in use.
    seed
        Seed of phases and order; None for one pass in order at phase 0.
    mirror
        Whether half of the examples are read backwards.
    """

    reader: ExampleReader
    stretches: tuple[int, ...]
    batch_size: int
    block_windows: int
    buffer_blocks: int
    prefetch_blocks: int
    seed: int | None
    mirror: bool = False

    def plan(self, epoch: int) -> EpochPlan:
        """Examples of an epoch; ``stretch`` counts in ``reader.stretches``."""
        stretches = [self.reader.stretches[i] for i in self.stretches]
        n_bins = self.reader.geometry.n_bins
        if self.seed is None:
            plan = plan_in_order(stretches, n_bins, block_windows=self.block_windows)
        else:
            plan = plan_epoch(
                stretches,
                n_bins,
                seed=self.seed,
                epoch=epoch,
                block_windows=self.block_windows,
                buffer_blocks=self.buffer_blocks,
                mirror=self.mirror,
            )
        return replace(plan, stretch=np.asarray(self.stretches)[plan.stretch])

    def n_steps(self, epoch: int) -> int:
        """Steps of an epoch: the phases decide how many windows it has."""
        return -(-len(self.plan(epoch)) // self.batch_size)

    def batches(self, epochs: range, first_step: int = 0, share: Share | None = None) -> Iterator[Batch]:
        """Make batches, reading ahead across the ends of epochs.

        Parameters
        ----------
        epochs
            Epochs to go through.
        first_step
            Step of the first epoch to begin with: (epoch, step) is all there is to resume from.
        share
            What this process makes. All of it by default.
        """
        share = share or Share()
        steps = self._steps(epochs, first_step, share)
        ahead: deque[_Step] = deque()
        held: dict[tuple[int, int], dict[PieceKey, Future[Piece]]] = {}
        n_left: dict[tuple[int, int], int] = {}
        used: set[tuple[int, int]] = set()
        while True:
            while len(held) - len(used) < self.prefetch_blocks and (step := next(steps, None)) is not None:
                ahead.append(step)
                for block in step.block_ids():
                    if block not in held:
                        held[block] = self._request(step.blocks, block[1])
                        n_left[block] = int(step.blocks.n_uses[block[1]])
            if not ahead:
                return
            step = ahead.popleft()
            used.update(step.block_ids())
            yield self._cut(step, held)
            for block in step.block_ids():
                n_left[block] -= 1
                if not n_left[block]:
                    del held[block], n_left[block]
                    used.discard(block)

    def _steps(self, epochs: range, first_step: int, share: Share) -> Iterator[_Step]:
        made = 0
        for epoch in epochs:
            plan = self.plan(epoch)
            mine = []
            for step in range(first_step if epoch == epochs.start else 0, -(-len(plan) // self.batch_size)):
                examples = np.arange(step * self.batch_size, min((step + 1) * self.batch_size, len(plan)))
                if made % share.n_workers == share.worker:
                    mine.append((step, examples[examples % share.world == share.rank]))
                made += 1
            blocks = self._blocks(plan, [examples for _, examples in mine])
            for step, examples in mine:
                yield _Step(epoch, step, plan, examples, blocks)

    def _blocks(self, plan: EpochPlan, mine: Sequence[np.ndarray]) -> _Blocks:
        n_blocks = int(plan.block.max()) + 1
        stretch, hi = np.zeros((2, n_blocks), dtype=np.int64)
        stretch[plan.block] = plan.stretch
        lo = np.full(n_blocks, np.iinfo(np.int64).max)
        np.minimum.at(lo, plan.block, plan.start)
        np.maximum.at(hi, plan.block, plan.start + self.reader.geometry.n_bins)
        cut = plan.block[np.concatenate(mine)] if mine else plan.block[:0]
        return _Blocks(stretch, lo, hi, np.bincount(cut, minlength=n_blocks))

    def _request(self, blocks: _Blocks, block: int) -> dict[PieceKey, "Future[Piece]"]:
        keys = self.reader.keys(int(blocks.stretch[block]), int(blocks.lo[block]), int(blocks.hi[block]))
        return self.reader.request(keys)

    def _cut(self, step: _Step, held: dict[tuple[int, int], dict[PieceKey, "Future[Piece]"]]) -> Batch:
        geometry, n = self.reader.geometry, len(step.examples)
        signal = np.empty((n, self.reader.n_channels, geometry.n_track_bins), dtype=np.float32)
        target = np.empty((n, geometry.n_bins, geometry.n_offsets), dtype=np.float32)
        valid = np.empty(target.shape, dtype=bool)
        for place, (example, block) in enumerate(zip(step.examples, step.block_ids(), strict=True)):
            stretch, start = int(step.plan.stretch[example]), int(step.plan.start[example])
            cut = self.reader.cut_mirrored if step.plan.mirrored[example] else self.reader.cut
            cut(stretch, start, held[block], signal[place], target[place], valid[place])
        return Batch(step.epoch, step.step, signal, target, valid, step.examples)


def open_samplers(
    data: TrainingData, target_transform: Transform, track_transforms: Mapping[str, Transform]
) -> tuple[Sampler, Sampler]:
    """Make the samplers of the training and of the validation regions; they share one reader, ``.reader``, to be closed.

    Parameters
    ----------
    data
        What the run reads.
    target_transform, track_transforms
        Fitted transforms, those of the tracks by name, bound to no file.
    """
    config = data.config
    stretches = [
        Stretch(source, segment, is_confined=split == "train")
        for split in ("train", "validation")
        for source in range(len(data.sources))
        for segment in data.segments(split)
    ]
    geometry = Geometry(
        n_bins=config.training.n_bins,
        n_offsets=config.network.n_offsets,
        stride=config.stride,
        halo=config.halo,
        min_diagonal=config.target.min_diagonal,
        mask_channels=config.network.mask_channels,
    )
    reader = ExampleReader(
        data.sources,
        stretches,
        geometry,
        target_transform,
        bound_transforms(data, track_transforms),
        partners=strand_partners(config.data.tracks, data.strands) if config.training.mirror else None,
        cache_bytes=config.execution.cache_bytes,
        read_threads=config.execution.read_threads,
    )
    train = Sampler(
        reader,
        stretches=tuple(i for i, stretch in enumerate(stretches) if stretch.is_confined),
        batch_size=config.training.batch_size,
        block_windows=config.training.block_windows,
        buffer_blocks=config.training.buffer_blocks,
        prefetch_blocks=config.execution.prefetch_blocks,
        seed=config.training.seed,
        mirror=config.training.mirror,
    )
    held_out = tuple(i for i, stretch in enumerate(stretches) if not stretch.is_confined)
    return train, replace(train, stretches=held_out, seed=None, mirror=False)
