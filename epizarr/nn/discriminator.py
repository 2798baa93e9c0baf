"""The discriminator of the adversarial mode: a map of stripes in, the logit of its being real out.

It judges whole windows: a map is what the generator emits for one window, (bin, offset). Any number of bins and offsets
will do that leaves something behind its layers.

Source: PUBLISHED_EPIPHANY, section 2. The released 5 kb discriminator cannot take the map that its own training loop feeds it;
this one is the 10 kb design at either size.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from epizarr.errors import ConfigError, TensorShapeError, raise_all

#: Least share of valid pixels of a window that is judged.
MIN_VALID_SHARE = 0.5


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Everything that shapes the discriminator. The defaults are the published one for 10 kb: 32,551 parameters.

    Parameters
    ----------
    n_bins, n_offsets
        Size of the maps.
    channels
        Output channels of the convolutions.
    kernel
        Side of every kernel. There is no padding.

    Raises
    ------
    ConfigError
        If a value is out of range or the maps are too small for the layers; names all problems.
    """

    n_bins: int = 200
    n_offsets: int = 100
    channels: tuple[int, ...] = (15, 25, 25, 10)
    kernel: int = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(self.channels))
        problems = []
        if not self.channels or min(self.channels) < 1 or self.kernel < 1:
            problems.append(
                f"channels are {self.channels} and the kernel {self.kernel}; needs one layer at least, all 1 or more"
            )
        elif min(self.n_bins, self.n_offsets) < self.least_side:
            problems.append(
                f"maps of {self.n_bins} bins and {self.n_offsets} offsets are too small for {len(self.channels)} convolutions "
                f"of {self.kernel} x {self.kernel} with a pooling by 2 between each two, which need {self.least_side} either "
                "way: use fewer layers, a smaller kernel or longer windows"
            )
        raise_all(ConfigError, "discriminator", problems)

    @property
    def least_side(self) -> int:
        """Least number of bins, and of offsets, of a map."""
        side = self.kernel
        for _ in self.channels[1:]:
            side = 2 * side + self.kernel - 1
        return side

    @property
    def n_features(self) -> int:
        """Features that the last convolution leaves of a map."""
        sides = [self.n_bins, self.n_offsets]
        for layer in range(len(self.channels)):
            sides = [(side // 2 if layer else side) - self.kernel + 1 for side in sides]
        return self.channels[-1] * sides[0] * sides[1]


class Discriminator(nn.Module):
    """Convolutions with ReLU, each but the last followed by max-pooling by 2; one linear layer.

    Pixels that are not valid are set to the training mean of their offset before anything else, in real and predicted maps
    alike, so that what lies under the mask cannot be judged. The means are part of the state.

    Parameters
    ----------
    config
        Its shape.

    Examples
    --------
    >>> judge = Discriminator(DiscriminatorConfig())
    >>> sum(p.numel() for p in judge.parameters())
    32551
    """

    fill: Tensor

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        channels = (1, *config.channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(n_in, n_out, config.kernel) for n_in, n_out in zip(channels, channels[1:], strict=False)
        )
        self.fc = nn.Linear(config.n_features, 1)
        self.register_buffer("fill", torch.zeros(config.n_offsets))

    def forward(self, maps: Tensor, valid: Tensor) -> Tensor:
        """Judge maps.

        Parameters
        ----------
        maps
            Transformed stripes, shape (batch, bin, offset); anything, NaN too, where not valid.
        valid
            Bool, same shape.

        Returns
        -------
        Logits, shape (batch,): above 0 where a map looks real.

        Raises
        ------
        TensorShapeError
            If the maps have another shape.
        """
        logits: Tensor = self.fc(self.features(maps, valid).flatten(1)).squeeze(1)
        return logits

    def features(self, maps: Tensor, valid: Tensor) -> Tensor:
        """Return what the linear layer judges by: the last convolution's output, shape (batch, channel, row, column).

        Parameters and errors as of :meth:`forward`.
        """
        wanted = (self.config.n_bins, self.config.n_offsets)
        if maps.ndim != 3 or maps.shape[1:] != wanted or valid.shape != maps.shape:
            raise TensorShapeError(
                f"discriminator: maps of shape {tuple(maps.shape)} with masks of {tuple(valid.shape)}; needs both "
                f"(batch, {wanted[0]}, {wanted[1]})."
            )
        columns = torch.where(valid, maps, self.fill.to(maps.dtype)).unsqueeze(1)
        last = len(self.convolutions) - 1
        for layer, convolution in enumerate(self.convolutions):
            columns = functional.relu(convolution(columns))
            if layer < last:
                columns = functional.max_pool2d(columns, 2)
        return columns


def is_shown(valid: Tensor) -> Tensor:
    """Which windows are judged at all: those with :data:`MIN_VALID_SHARE` of their pixels valid.

    Parameters
    ----------
    valid
        Bool, shape (batch, bin, offset).

    Returns
    -------
    Bool, shape (batch,).
    """
    return valid.flatten(1).sum(1) >= MIN_VALID_SHARE * valid[0].numel() if len(valid) else valid.new_zeros(0)
