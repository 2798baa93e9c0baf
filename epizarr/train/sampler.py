"""Which examples an epoch has, in which order, and the batches made of them.

An epoch covers every bin of every training region once, by non-overlapping windows that begin a random *phase* before each
region. Consecutive windows of one region form *blocks*, which are fetched together; blocks are shuffled, and the windows of
each :data:`buffer <OptimSettings.buffer_blocks>` of blocks are shuffled among themselves. The order is a function of (seed,
epoch) alone, never of what was prefetched, of processes or of threads.

With *pairs*, all cell types share one phase a region, and examples come two by two: one locus in two cell types, paired at random
anew for each locus and epoch. Such a *unit* is never parted: a step and a process take whole ones.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from epizarr.errors import ConfigError
from epizarr.strands import strand_partners
from epizarr.train.augment import NOISE_BP, Augmentation, TrackScale
from epizarr.train.config import TrainConfig
from epizarr.train.fits import bound_transforms
from epizarr.train.reader import ExampleReader, Geometry, Piece, PieceKey, Stretch
from epizarr.train.sources import TrainingData
from epizarr.transforms import Transform
from epizarr.windows import Segment, window_starts


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
    locus
        For each example: examples of one number cover the same bins of different cell types, read in the same direction; int64.
    """

    stretch: np.ndarray
    start: np.ndarray
    block: np.ndarray
    mirrored: np.ndarray
    locus: np.ndarray

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
    random_phase: bool = True,
    mirror: bool = False,
    pairs: bool = False,
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
    random_phase
        Whether the windows begin at a phase drawn anew; else at the start of each region.
    mirror
        Whether each example is read backwards with probability 1/2.
    pairs
        Whether examples 2i and 2i + 1 are one locus in two cell types. Where a locus has an odd number of cell types, one of
        them is left over; those left over are put together two by two.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, epoch]))
    region = _regions(stretches)
    phases = (
        rng.integers(0, n_bins, size=region.max() + 1)[region] if pairs else rng.integers(0, n_bins, len(stretches))
    )
    phases = phases if random_phase else np.zeros_like(phases)
    starts = [window_starts(s.segment, n_bins, int(p)) for s, p in zip(stretches, phases, strict=True)]
    plan = _in_blocks(starts, int(np.clip(sum(map(len, starts)) // buffer_blocks, 1, block_windows)), region)
    # Blocks that are mixed as one: with pairs, those of the same windows in all cell types.
    group = _number_pairs(region[plan.stretch], _within(plan)) if pairs else plan.block
    n_groups, n_blocks = int(group.max()) + 1, int(plan.block[-1]) + 1
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
    # With many cell types a group alone may fill a buffer: at least four are mixed all the same.
    n_buffers = min(n_blocks // buffer_blocks, n_groups // 4) if pairs else n_blocks // buffer_blocks
    buffers = [
        np.concatenate([members[g] for g in buffer])
        for buffer in np.array_split(rng.permutation(n_groups), max(1, n_buffers))
    ]
    mixed = _in_pairs(rng, buffers, plan.locus) if pairs else np.concatenate([rng.permutation(b) for b in buffers])
    mirrored = np.zeros(len(mixed), dtype=bool)
    if mirror:
        mirrored = (rng.random(plan.locus.max() + 1)[plan.locus[mixed]] if pairs else rng.random(len(mixed))) < 0.5
    locus = 2 * plan.locus[mixed] + mirrored
    return EpochPlan(plan.stretch[mixed], plan.start[mixed], plan.block[mixed], mirrored, locus)


def _in_pairs(rng: np.random.Generator, buffers: Sequence[np.ndarray], locus: np.ndarray) -> np.ndarray:
    """Order of the examples of each buffer in units of two; what no buffer can pair comes last."""
    units: list[np.ndarray] = []
    left = np.empty(0, dtype=np.int64)
    for buffer in buffers:
        drawn = rng.permutation(buffer)
        drawn = drawn[np.argsort(locus[drawn], kind="stable")]
        size = np.bincount(locus[drawn])[locus[drawn]]
        place = np.arange(len(drawn)) - np.searchsorted(locus[drawn], locus[drawn])
        is_single = (place == size - 1) & (size % 2 == 1)
        singles = np.concatenate([left, rng.permutation(drawn[is_single])])
        n_paired = len(singles) // 2 * 2
        left = singles[n_paired:]
        units.append(rng.permutation(np.concatenate([drawn[~is_single], singles[:n_paired]]).reshape(-1, 2)).ravel())
    return np.concatenate([*units, left])


def plan_in_order(stretches: Sequence[Stretch], n_bins: int, *, block_windows: int) -> EpochPlan:
    """Lay out a pass over the stretches from left to right at phase 0, as for validation."""
    starts = [window_starts(s.segment, n_bins) for s in stretches]
    plan = _in_blocks(starts, block_windows, _regions(stretches))
    return replace(plan, locus=2 * plan.locus)


def _regions(stretches: Sequence[Stretch]) -> np.ndarray:
    """Number of each stretch's region: the same for all cell types; int64."""
    numbers: dict[Segment, int] = {}
    return np.array([numbers.setdefault(s.segment, len(numbers)) for s in stretches], dtype=np.int64)


def _in_blocks(starts: Sequence[np.ndarray], block_windows: int, region: np.ndarray) -> EpochPlan:
    """Cut each stretch's windows into blocks of consecutive ones, numbered through; loci are numbered, not yet mirrored."""
    n_windows = np.array([len(s) for s in starts])
    n_blocks = -(-n_windows // block_windows)
    first = np.concatenate([[0], np.cumsum(n_blocks)[:-1]])
    block = np.concatenate([first[i] + np.arange(n) // block_windows for i, n in enumerate(n_windows)]).astype(np.int64)
    stretch = np.repeat(np.arange(len(starts)), n_windows).astype(np.int64)
    start = np.concatenate(starts)
    return EpochPlan(stretch, start, block, np.zeros(len(start), bool), _number_pairs(region[stretch], start))


def _number_pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Number the different pairs (a[i], b[i]) from 0; int64."""
    return np.unique(np.stack([a, b]), axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _within(plan: EpochPlan) -> np.ndarray:
    """Number of each example's block within its stretch, of a plan that is still in order."""
    first = np.searchsorted(plan.stretch, plan.stretch)
    return plan.block - plan.block[first]


class Batch(NamedTuple):
    """Examples of one step of one process.

    ``signal`` (example, channel, track bin) float32 without NaN; ``target`` (example, bin, offset) float32, NaN where not
    valid; ``valid`` bool; ``examples``: place of each example in its epoch; ``locus`` as in :class:`EpochPlan`. A process of
    several may get an empty batch at the end of an epoch.
    """

    epoch: int
    step: int
    signal: np.ndarray
    target: np.ndarray
    valid: np.ndarray
    examples: np.ndarray
    locus: np.ndarray


@dataclass(frozen=True)
class Share:
    """Which part of the steps' examples a process makes.

    Unit i (an example, or a pair of them) belongs to rank ``i mod world``; of a rank's batches, its DataLoader worker makes every
    ``n_workers``-th.
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
    random_phase
        See :func:`plan_epoch`.
    mirror
        Whether half of the examples are read backwards.
    pairs
        Whether examples come two by two; ``batch_size`` is even then.
    augmentation
        What is changed in the tracks of each example.
    """

    reader: ExampleReader
    stretches: tuple[int, ...]
    batch_size: int
    block_windows: int
    buffer_blocks: int
    prefetch_blocks: int
    seed: int | None
    random_phase: bool = True
    mirror: bool = False
    pairs: bool = False
    augmentation: Augmentation | None = None

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
                random_phase=self.random_phase,
                mirror=self.mirror,
                pairs=self.pairs,
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
        made, unit = 0, 2 if self.pairs else 1
        for epoch in epochs:
            plan = self.plan(epoch)
            mine = []
            for step in range(first_step if epoch == epochs.start else 0, -(-len(plan) // self.batch_size)):
                examples = np.arange(step * self.batch_size, min((step + 1) * self.batch_size, len(plan)))
                if made % share.n_workers == share.worker:
                    mine.append((step, examples[examples // unit % share.world == share.rank]))
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
            if self.augmentation is None:
                cut(stretch, start, held[block], signal[place], target[place], valid[place])
                continue
            # Which bins are measured must be known, whether or not the network is told.
            is_wider = self.reader.n_piece_channels > self.reader.n_channels
            shape = (self.reader.n_piece_channels, geometry.n_track_bins)
            whole = np.empty(shape, dtype=np.float32) if is_wider else signal[place]
            cut(stretch, start, held[block], whole, target[place], valid[place])
            source = self.reader.sources[self.reader.stretches[stretch].source]
            self.augmentation.apply(whole, step.epoch, int(example), [s is not None for s in source.signal])
            if is_wider:
                signal[place] = whole[: self.reader.n_channels]
        return Batch(step.epoch, step.step, signal, target, valid, step.examples, step.plan.locus[step.examples])


def open_samplers(
    data: TrainingData,
    target_transform: Transform,
    track_transforms: Mapping[str, Transform],
    track_sd: Mapping[str, float] | None = None,
) -> tuple[Sampler, Sampler]:
    """Make the samplers of the training and of the validation regions; they share one reader, ``.reader``, to be closed.

    Parameters
    ----------
    data
        What the run reads.
    target_transform, track_transforms
        Fitted transforms, those of the tracks by name, bound to no file.
    track_sd
        Sd of each transformed track over the training regions, by name (:func:`epizarr.train.fits.fit_distributions`).
        Needed with ``training.track_noise`` only; a track without one gets no noise.
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
        missing_is_zero=config.target.missing == "zero",
    )
    augmentation = _augmentation(config, track_transforms, track_sd)
    reader = ExampleReader(
        data.sources,
        stretches,
        geometry,
        target_transform,
        bound_transforms(data, track_transforms),
        partners=strand_partners(config.data.tracks, data.strands) if config.training.mirror else None,
        cache_bytes=config.execution.cache_bytes,
        read_threads=config.execution.read_threads,
        keeps_mask=augmentation is not None and augmentation.changes_values,
    )
    train = Sampler(
        reader,
        stretches=tuple(i for i, stretch in enumerate(stretches) if stretch.is_confined),
        batch_size=config.training.batch_size,
        block_windows=config.training.block_windows,
        buffer_blocks=config.training.buffer_blocks,
        prefetch_blocks=config.execution.prefetch_blocks,
        seed=config.training.seed,
        random_phase=config.training.random_phase,
        mirror=config.training.mirror,
        pairs=config.training.pairs,
        augmentation=augmentation,
    )
    held_out = tuple(i for i, stretch in enumerate(stretches) if not stretch.is_confined)
    return train, replace(train, stretches=held_out, seed=None, mirror=False, pairs=False, augmentation=None)


def _augmentation(
    config: TrainConfig, transforms: Mapping[str, Transform], track_sd: Mapping[str, float] | None
) -> Augmentation | None:
    """What a run changes in its examples' tracks; None if nothing."""
    training = config.training
    if not (training.track_dropout or training.track_noise or training.scale_jitter):
        return None
    if training.track_noise > 0 and track_sd is None:
        raise ConfigError(
            "training.track_noise is in units of the tracks' sd in training, which was not given (track_sd)."
        )
    return Augmentation(
        seed=training.seed,
        track_dropout=training.track_dropout,
        track_noise=training.track_noise,
        scale_jitter=training.scale_jitter,
        track_sd=tuple((track_sd or {}).get(name, 0.0) for name in config.data.tracks),
        scales=tuple(TrackScale.of(transforms[name]) for name in config.data.tracks),
        noise_bins=max(1, round(NOISE_BP / config.data.track_binsize)),
    )
