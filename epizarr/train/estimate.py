"""What a training run will need, before it starts: examples, steps, memory and hours. Nothing is written.

Memory is a bound by formula (:func:`step_bytes` and :func:`data_bytes`): it holds for a run in float32 on a CPU, and for the
network's part on a GPU. Time is measured: one step of the run itself, on random data of a batch's shape, times the number of
steps. Reading goes on beside the steps and is not counted; where the store is slow, a run takes longer.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from epizarr.io.places import StorePath
from epizarr.io.track_binding import FIT_MAX_BINS
from epizarr.nn import Discriminator, DiscriminatorConfig, Epiphany, NetworkConfig
from epizarr.train.config import TrainConfig
from epizarr.train.dataset import TensorBatch
from epizarr.train.fits import FIT_TRACK_BINS
from epizarr.train.loop import torch_settings
from epizarr.train.ranks import Ranks
from epizarr.train.reader import PIECE_ROWS, PIECE_TRACK_BINS
from epizarr.train.sampler import open_samplers
from epizarr.train.sources import TrainingData, open_training_data
from epizarr.train.start import device_of, discriminator_config, network_config
from epizarr.train.step import Learner
from epizarr.transforms import Transform

#: Python and the libraries, which come to every estimate: 0.31 GB once imported, and what they allocate at work.
LIBRARY_BYTES = 500_000_000


@dataclass(frozen=True)
class TrainingEstimate:
    """What a run will need.

    Parameters
    ----------
    config
        The configuration with nothing left to defaults.
    network
        Shape of the network.
    n_parameters
        Its parameters.
    n_examples, n_steps
        Windows and optimiser steps of the first epoch; later ones differ by a few, as the windows' phase is drawn anew.
    n_validation
        Windows of one pass over the validation regions.
    n_all_steps
        Steps of the whole run.
    network_bytes
        Bound of :func:`step_bytes`: on the device.
    data_bytes
        Bound of :func:`data_bytes`: in the memory of the machine.
    step_seconds, validation_seconds
        Measured time of one step and of one batch of validation; None where the network was not run for want of memory.
    free_bytes
        Free memory of the device when it was asked.
    """

    config: TrainConfig
    network: NetworkConfig
    n_parameters: int
    n_examples: int
    n_steps: int
    n_validation: int
    n_all_steps: int
    network_bytes: int
    data_bytes: int
    step_seconds: float | None
    validation_seconds: float | None
    free_bytes: int

    @property
    def hours(self) -> float | None:
        """Hours of all steps and validations; None if no step was timed."""
        if self.step_seconds is None or self.validation_seconds is None:
            return None
        n_epochs = self.n_all_steps / self.n_steps
        batches = -(-self.n_validation // self.config.training.batch_size)
        return (self.n_all_steps * self.step_seconds + n_epochs * batches * self.validation_seconds) / 3600


def estimate_training(
    stores: StorePath | Sequence[StorePath], config: TrainConfig, *, cell_types: Sequence[str] | None = None
) -> TrainingEstimate:
    """Resolve a configuration against a store and say what training it will need.

    Takes a few steps' time and their memory (:func:`step_bytes`), but for a network that the free memory cannot hold: that is not
    run. Neither tracks nor contacts are read.

    Parameters
    ----------
    stores, config, cell_types
        As :func:`epizarr.train.loop.train_model` takes them.

    Raises
    ------
    ConfigError, SplitError, StoreError
        As :func:`epizarr.train.loop.train_model`: what the run would refuse is refused here.
    """
    data = open_training_data(stores, config, cell_types=cell_types)
    network, device, settings = network_config(data.config), device_of(data.config), data.config.training
    # Plans do not depend on values, so transforms that are not fitted do.
    linear = Transform("linear", (), {})
    train, held_out = open_samplers(data, linear, dict.fromkeys(data.config.data.tracks, linear), {})
    try:
        steps = [train.n_steps(epoch) for epoch in range(settings.epochs)]
        n_examples, n_validation = len(train.plan(0)), len(held_out.plan(0))
    finally:
        train.reader.close()
    most = data.config.execution.max_steps
    judge = discriminator_config(data.config)
    at_once = min(data.config.execution.micro_batch or settings.batch_size, settings.batch_size)
    needed = step_bytes(network, batch_size=at_once, n_bins=settings.n_bins, judge=judge)
    free = _free_bytes(device)
    seconds: tuple[float | None, float | None] = (None, None)
    if needed <= free:
        with torch_settings(data.config.execution.threads):
            seconds = _measure(network, judge, data.config, device)
    return TrainingEstimate(
        config=data.config,
        network=network,
        n_parameters=sum(_parameter_sizes(Epiphany, network)),
        n_examples=n_examples,
        n_steps=steps[0],
        n_validation=n_validation,
        n_all_steps=min(sum(steps), most or sum(steps)),
        network_bytes=needed,
        data_bytes=data_bytes(data, network),
        step_seconds=seconds[0],
        validation_seconds=seconds[1],
        free_bytes=free,
    )


def step_bytes(
    network: NetworkConfig, *, batch_size: int, n_bins: int, judge: DiscriminatorConfig | None = None
) -> int:
    """Bound the memory of training a network: weights, gradients, Adam's moments, and what one step or a checkpoint needs.

    It grows with the batch and the window and with nothing else. A measured step lies between a third of it and all of it.

    Parameters
    ----------
    network
        Shape of the network.
    batch_size, n_bins
        Windows that are run at once, and bins of a window.
    judge
        Shape of the discriminator, if there is one.

    Returns
    -------
    Bytes, the libraries' own not counted.
    """
    plan, core = network.trunk_plan(n_bins), network.core_shape
    convolved = [
        n_out * phases * columns
        for n_out, phases, columns in zip(network.conv_channels, plan.n_phases, plan.conv_columns, strict=True)
    ]
    pooled = [
        n_out * pooling.n_phases * pooling.n_columns
        for n_out, pooling in zip(network.conv_channels, plan.poolings, strict=False)
    ]
    # Kept for the gradient: each convolution's output, the pieces of it that are pooled, the pooled values with their places in
    # 8 bytes, joined, and dropped; at the end one table for each length of segments, and the features looked up in it.
    n_tables = len(plan.segment_lengths)
    features = n_bins * network.n_features
    kept = sum(convolved) + sum((network.pool + 7) * values for values in pooled)
    kept += 7 * n_tables * convolved[-1] + 4 * features
    # Gradients of the widest layer, and the blocked layouts that a convolution works in.
    widest = max(values + network.pool * after for values, after in zip(convolved, [*pooled, 0], strict=True))
    trunk = kept + 3 * widest + 2 * network.in_channels * network.cut_length(n_bins)
    steps = batch_size * n_bins
    head = steps * (3 * network.head_hidden + 8 * network.n_outputs)
    running = batch_size * trunk + head + core.kept_values(batch_size, n_bins) + core.working_values(batch_size, n_bins)
    sizes = _parameter_sizes(Epiphany, network)
    if judge is not None:
        sizes += _parameter_sizes(Discriminator, judge)
        running += batch_size * _judge_values(judge)
    n_parameters = sum(sizes)
    running += 2 * max(sizes)  # the gradient of one weight before it is stored, and its blocked copy
    running += running // 4  # what the allocator holds free between two blocks, and the matrix library's scratch memory
    # A checkpoint holds weights and both moments once more while it is written; by then the step's values are gone.
    return 4 * (4 * n_parameters + max(running, 3 * n_parameters))


def data_bytes(data: TrainingData, network: NetworkConfig) -> int:
    """Bound the memory of a run's data: decoded pieces of the store, batches, and the fit of the transforms before.

    Parameters
    ----------
    data
        What the run reads.
    network
        Shape of its network.

    Returns
    -------
    Bytes, over all processes that make batches.
    """
    settings, execution = data.config.training, data.config.execution
    segments = [segment for split in ("train", "validation") for segment in data.segments(split)]
    per_bin = 4 * (network.in_channels * network.stride + network.n_offsets)
    edges = 4 * network.in_channels * 2 * (network.halo + PIECE_TRACK_BINS)
    decoded = len(data.sources) * sum(segment.n_bins * per_bin + edges for segment in segments)
    block = settings.block_windows * settings.n_bins * per_bin + edges + 4 * 2 * PIECE_ROWS * network.n_offsets
    held = (settings.buffer_blocks + execution.prefetch_blocks + 1) * block
    reading = min(decoded, execution.cache_bytes + held) * max(execution.num_workers, 1)
    window = 4 * (network.in_channels * network.cut_length(settings.n_bins) + settings.n_bins * network.n_offsets * 2)
    batches = (2 * execution.num_workers + 2) * settings.batch_size * window
    # The values of every track that are fitted, and of one a copy that is transformed and one that is sorted, in 8 bytes at most.
    n_there = len(data.sources) * sum(segment.n_bins for segment in data.segments("train")) * network.stride
    fitting = 4 * (network.n_tracks + 4) * min(n_there, FIT_MAX_BINS) + 4 * network.n_tracks * FIT_TRACK_BINS
    return max(reading + batches, fitting)


def _parameter_sizes(network: Callable[[Any], nn.Module], config: NetworkConfig | DiscriminatorConfig) -> list[int]:
    with torch.device("meta"):
        return [parameter.numel() for parameter in network(config).parameters()]


def _judge_values(judge: DiscriminatorConfig) -> int:
    """Values kept for the gradients of one map: three passes, each layer's output three times (plain, cut at 0, pooled)."""
    height, width, kept = judge.n_bins, judge.n_offsets, 3 * judge.n_bins * judge.n_offsets
    for layer, channels in enumerate(judge.channels):
        if layer:
            height, width = height // 2, width // 2
        height, width = height - judge.kernel + 1, width - judge.kernel + 1
        kept += 3 * channels * height * width
    return 3 * kept


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _measure(
    network: NetworkConfig, judge: DiscriminatorConfig | None, config: TrainConfig, device: torch.device
) -> tuple[float, float]:
    """Seconds of a step and of a pass without gradients, the faster of two each, after one that warms up."""
    settings, ranks = config.training, Ranks(device=device)
    learner = Learner(Epiphany(network).to(device), None if judge is None else Discriminator(judge).to(device), config)
    n = settings.batch_size
    signal = torch.rand(n, network.in_channels, network.cut_length(settings.n_bins), device=device)
    target = torch.rand(n, settings.n_bins, network.n_offsets, device=device)
    valid = torch.ones_like(target, dtype=torch.bool)
    batch = TensorBatch(0, 0, signal, target, valid, torch.arange(n), torch.arange(n) // 2, torch.arange(n))

    def validate() -> None:
        with torch.inference_mode():
            learner.generator(signal)

    learner.train()
    trained = _seconds(lambda: learner.step(batch, ranks), device)
    learner.generator.eval()
    return trained, _seconds(validate, device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])
