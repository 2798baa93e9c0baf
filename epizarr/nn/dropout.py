"""Dropout whose masks belong to the examples: a function of each example's seed, not of the batch or of a global state.

So an example is trained alike whatever batch, process or micro-batch it comes in, and whatever was drawn before.
"""

import torch
from torch import Tensor


class ExampleDropout:
    """Drops features in training, from one random stream an example.

    Calls are counted: the layers of one forward pass draw one after the other from the same streams.

    Parameters
    ----------
    probability
        Probability that a feature is dropped, in [0, 1). What is kept is divided by ``1 - probability``.
    seeds
        One seed an example, int64, shape (batch,); on the CPU. None: nothing is dropped, as in evaluation.
    device
        Where the features are.
    """

    def __init__(self, probability: float, seeds: Tensor | None, device: torch.device) -> None:
        self.probability = probability
        drawn = [] if seeds is None or probability == 0 else seeds.tolist()
        self._streams = [torch.Generator(device).manual_seed(seed) for seed in drawn]

    def __call__(self, features: Tensor, example_dim: int) -> Tensor:
        """Drop features.

        Parameters
        ----------
        features
            Any shape.
        example_dim
            Its dim of examples, of as many as there are seeds.

        Returns
        -------
        Features, same shape; the very tensor where nothing is dropped.
        """
        if not self._streams:
            return features
        shape = [size for dim, size in enumerate(features.shape) if dim != example_dim]
        kept = features.new_empty((len(self._streams), *shape))
        for mask, stream in zip(kept, self._streams, strict=True):
            mask.bernoulli_(1 - self.probability, generator=stream)
        return features * kept.div_(1 - self.probability).movedim(0, example_dim)


def draw_seeds(batch: int) -> Tensor:
    """Draw seeds of a batch from torch's own generator, for a forward pass that is given none; int64, shape (batch,)."""
    return torch.randint(2**62, (batch,))
