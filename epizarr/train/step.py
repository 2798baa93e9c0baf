"""One step of training: forward, losses over the global batch, backward, sums over the ranks, optimisers.

Every loss is a sum over pixels or windows divided by their number in the GLOBAL batch, so it is the same whatever the batch is
cut into: micro-batches, which bound memory, or the shares of several processes.

The adversarial loss is that of PUBLISHED_EPIPHANY, section 3: the generator minimises ``mse_weight · MSE + adversarial_weight ·
BCE(D(G(x)), 1)``, the discriminator ``BCE(D(y), 1) + BCE(D(G(x)), 0)``, one step each per batch.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from epizarr.errors import TrainingError
from epizarr.nn import Discriminator, Epiphany, difference_sum, gaussian_nll_sum, is_shown, squared_error_sum
from epizarr.train.config import TrainConfig
from epizarr.train.dataset import DEVICE_FIELDS, TensorBatch
from epizarr.train.ranks import Ranks


class StepSums(NamedTuple):
    """Losses of a step, summed over the global batch.

    ``squared_error`` over ``n_pixels`` valid pixels; ``difference``, of pairs of cell types, over ``n_difference``;
    ``adversarial`` (the generator's) and ``discriminator`` over ``n_shown`` windows that the discriminator was shown. All but the
    first are 0 where the run has no such loss.
    """

    squared_error: float
    n_pixels: int
    difference: float
    n_difference: int
    adversarial: float
    discriminator: float
    n_shown: int


class Learner:
    """The networks of a run with their optimisers.

    Parameters
    ----------
    generator
        The network that is trained, on its device.
    discriminator
        The network that judges its maps; None without an adversarial loss.
    config
        The run's resolved config.
    """

    def __init__(self, generator: Epiphany, discriminator: Discriminator | None, config: TrainConfig) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self.config = config
        self.optimizer = self._adam(generator)
        self.discriminator_optimizer = None if discriminator is None else self._adam(discriminator)
        self.set_rate(config.training.lr)

    def _adam(self, network: nn.Module) -> torch.optim.Optimizer:
        # Fused: the same rule in one pass over the weights instead of a dozen, which are bound by memory.
        return torch.optim.Adam(network.parameters(), weight_decay=self.config.training.weight_decay, fused=True)

    @property
    def trained(self) -> list[tuple[nn.Module, torch.optim.Optimizer]]:
        """Generator and, if there is one, discriminator, with their optimisers."""
        pairs = ((self.generator, self.optimizer), (self.discriminator, self.discriminator_optimizer))
        return [(network, optimizer) for network, optimizer in pairs if network is not None and optimizer is not None]

    def reset_optimizers(self) -> None:
        """Forget all moments, as the released code does at each epoch's begin."""
        for _, optimizer in self.trained:
            optimizer.state.clear()

    def set_rate(self, lr: float) -> None:
        """Set the generator's rate; the discriminator's falls and rises in proportion."""
        settings = self.config.training
        factor = lr / settings.lr if settings.lr else 0.0
        rates = (lr, self.config.discriminator.lr * factor)
        for (_, optimizer), rate in zip(self.trained, rates, strict=False):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def train(self) -> None:
        """Put the networks in training mode."""
        for network, _ in self.trained:
            network.train()

    def step(self, batch: TensorBatch, ranks: Ranks) -> StepSums:
        """Take one step with this rank's part of a global batch.

        Parameters
        ----------
        batch
            The part, on the CPU or on the device; may be empty.
        ranks
            All processes of the run. Each calls this once a step.

        Raises
        ------
        TrainingError
            If a loss is not finite: nothing has been changed then, in any process.
        """
        settings = self.config.training
        shown = batch.valid.new_zeros(len(batch.valid))
        if self.discriminator is not None:
            shown = is_shown(batch.valid)
        n_own = (batch.valid.sum(), self._n_difference(batch), shown.sum())
        numbers = [int(n) for n in ranks.sum_numbers(*(float(n) for n in n_own))]
        for _, optimizer in self.trained:
            optimizer.zero_grad(set_to_none=True)
        sums = np.zeros(5)
        unit = 2 if settings.pairs else 1
        for part in micro_batches(len(shown), self.config.execution.micro_batch, unit):
            sums += self._backward(_sliced(batch, part, ranks.device), shown[part].to(ranks.device), numbers)
        sums = ranks.sum_array(sums)
        _check_finite(sums, batch)
        for network, optimizer in self.trained:
            ranks.sum_gradients(network.parameters())
            if settings.clip_norm > 0:
                nn.utils.clip_grad_norm_(network.parameters(), settings.clip_norm)
            optimizer.step()
        squared_error, _, difference, adversarial, judged = sums.tolist()
        n_pixels, n_difference, n_shown = numbers
        return StepSums(squared_error, n_pixels, difference, n_difference, adversarial, judged, n_shown)

    def _n_difference(self, batch: TensorBatch) -> Tensor:
        """Pixels that are valid in both members of a pair, where pairs have a loss."""
        if self.config.training.delta_weight == 0:
            return batch.valid.new_zeros(())
        return difference_sum(batch.target, batch.target, batch.valid, batch.locus)[1]

    def _backward(self, batch: TensorBatch, shown: Tensor, numbers: Sequence[int]) -> np.ndarray:
        """Add the gradients of a micro-batch; returns its summed losses. ``numbers`` are those of the global batch."""
        settings = self.config.training
        n_pixels, n_difference, n_shown = (max(n, 1) for n in numbers)
        precision = torch.bfloat16 if settings.precision == "bfloat16" else None
        with torch.autocast(batch.signal.device.type, dtype=precision, enabled=precision is not None):
            moments = self.generator.moments(self.generator.features(batch.signal, seeds=batch.seeds))
        prediction = moments.mean.float()
        squared_error, _ = squared_error_sum(prediction, batch.target, batch.valid)
        pixel_loss = squared_error
        if moments.log_variance is not None:
            log_variance = moments.log_variance.float()
            pixel_loss, _ = gaussian_nll_sum(
                prediction, log_variance, batch.target, batch.valid, beta=settings.variance_beta
            )
        loss = settings.mse_weight * pixel_loss / n_pixels
        difference = squared_error.new_zeros(())
        if settings.delta_weight > 0:
            difference, _ = difference_sum(prediction, batch.target, batch.valid, batch.locus)
            loss = loss + settings.delta_weight * difference / n_difference
        sums = [squared_error.detach(), pixel_loss.detach(), difference.detach()]
        if self.discriminator is None or not bool(shown.any()):
            loss.backward()
            return np.array([*(float(s) for s in sums), 0.0, 0.0])
        judge, valid = self.discriminator, batch.valid[shown]
        judge.requires_grad_(False)
        adversarial = _cross_entropy(judge(prediction[shown], valid), is_real=True)
        judge.requires_grad_(True)
        (loss + settings.adversarial_weight * adversarial / n_shown).backward()
        judged = _cross_entropy(judge(batch.target[shown], valid), is_real=True) + _cross_entropy(
            judge(prediction[shown].detach(), valid), is_real=False
        )
        (judged / n_shown).backward()
        return np.array([float(s) for s in (*sums, adversarial.detach(), judged.detach())])


def _cross_entropy(logits: Tensor, *, is_real: bool) -> Tensor:
    """Summed binary cross entropy of logits and one label."""
    label = torch.full_like(logits, float(is_real))
    return functional.binary_cross_entropy_with_logits(logits, label, reduction="sum")


def micro_batches(n_examples: int, most: int, unit: int = 1) -> Iterator[slice]:
    """Cut a batch into parts of nearly equal size with at most so many examples, 0: one part.

    ``unit`` examples at a time stay together, though they be more than ``most``.
    """
    n_units = -(-n_examples // unit)
    n_parts = -(-n_units // max(most // unit, 1)) if most else min(n_units, 1)
    ends = (np.linspace(0, n_units, n_parts + 1).astype(int) * unit).tolist() if n_parts else []
    return (slice(a, b) for a, b in zip(ends, ends[1:], strict=False))


def _sliced(batch: TensorBatch, part: slice, device: torch.device) -> TensorBatch:
    """Part of a batch, what the network and its losses read on the device."""
    sliced = TensorBatch(batch.epoch, batch.step, *(tensor[part] for tensor in batch[2:]))
    return sliced._replace(**{name: getattr(sliced, name).to(device) for name in DEVICE_FIELDS})


def _check_finite(sums: np.ndarray, batch: TensorBatch) -> None:
    if not all(math.isfinite(value) for value in sums):
        raise TrainingError(
            f"training: the loss of epoch {batch.epoch + 1}, step {batch.step + 1} is {' + '.join(f'{s:g}' for s in sums)} "
            "(squared error, loss of pixels, difference of pairs, adversarial, discriminator). Lower training.lr, or look for "
            "infinite values in the target (`epizarr check`). The last checkpoint is from before."
        )
