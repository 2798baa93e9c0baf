"""A target as a differentiable function of the raw tracks.

The transforms are NumPy's. They act on each value alone, so that torch needs their slope only: the forward pass is exactly that
of a prediction, and the backward pass multiplies by :meth:`epizarr.transforms.Transform.slope`. What is missing stays missing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epizarr.attribute.targets import Target
from epizarr.nn import Epiphany, TiledRange, blend_tiles, differentiable
from epizarr.tiles import crossfade, tile_starts, tiles_touching
from epizarr.transforms import Transform, network_input
from epizarr.windows import track_extent


@dataclass(frozen=True, eq=False)
class Tiling:
    """Tiles of a chromosome, and what of it a target needs.

    Parameters
    ----------
    starts, weights
        First bin of each tile, and their weights (tile, bin of the tile).
    first, last
        Bins of the tiles that hold a stripe of the target, [first, last).
    n_tiles
        How many these are.
    """

    starts: np.ndarray
    weights: np.ndarray
    first: int
    last: int
    n_tiles: int

    @classmethod
    def of(cls, n_chrom_bins: int, lo: int, hi: int, tile_bins: int, overlap_bins: int) -> "Tiling":
        """Tiles of the stripes ``[lo, hi)``."""
        starts = tile_starts(n_chrom_bins, tile_bins, overlap_bins)
        length = min(tile_bins, n_chrom_bins)
        touching = tiles_touching(starts, length, lo, hi)
        return cls(
            starts,
            crossfade(starts, length),
            int(starts[touching[0]]),
            int(starts[touching[-1]]) + length,
            len(touching),
        )

    def track_bins(self, model: Epiphany) -> tuple[int, int]:
        """Track bins that are read, local to the chromosome; they may lie off it."""
        return track_extent(self.first, self.last - self.first, model.config.stride, model.config.halo)


class TargetFunction:
    """One number from raw tracks: transform, fill, trunk, tiles, target.

    Parameters
    ----------
    model
        The network.
    target, tiling
        What is explained, and the tiles that make it: all of each tile counts, since its core carries signal through it.
    raw, blacklisted
        Raw tracks (track, bin) and blacklist over :meth:`Tiling.track_bins`; NaN where missing or off the chromosome.
    track_transforms, target_transform
        Transforms of the tracks, bound, and of the target.
    batch_size
        Most tiles that the core runs at once.
    """

    def __init__(
        self,
        model: Epiphany,
        target: Target,
        tiling: Tiling,
        raw: np.ndarray,
        blacklisted: np.ndarray,
        track_transforms: tuple[Transform, ...],
        target_transform: Transform,
        batch_size: int,
    ) -> None:
        self.model, self.target, self.tiling = model, target, tiling
        self.blacklisted, self.batch_size = blacklisted, batch_size
        self.track_transforms, self.target_transform = track_transforms, target_transform
        listed = np.array(["blacklist" in transform.steps for transform in track_transforms])
        #: Where the network sees no signal, (track, bin).
        self.missing = np.isnan(raw) | (listed[:, None] & blacklisted)

    def tensor(self, raw: np.ndarray) -> Tensor:
        """Raw tracks as a point that the function takes, (1, track, bin) in the network's dtype: missing bins are 0."""
        parameter = next(self.model.parameters())
        return torch.from_numpy(np.where(self.missing, 0, np.nan_to_num(raw))[None]).to(parameter)

    def __call__(self, raw: Tensor) -> Tensor:
        """Values of the target, (batch,), of points (batch, track, bin); differentiable."""
        with differentiable(self.model):
            return torch.stack([self._value(point) for point in raw])

    def value(self, raw: Tensor) -> float:
        """Value of one point (1, track, bin)."""
        with torch.no_grad():
            return float(self(raw)[0])

    def transform(self, raw: np.ndarray) -> np.ndarray:
        """What the network reads, (channel, bin)."""
        signal = np.full_like(raw, np.nan)
        for row, transform in enumerate(self.track_transforms):
            if not self.missing[row].all():
                signal[row] = transform.apply(raw[row], self.blacklisted)
        signal[self.missing] = np.nan
        return network_input(signal, mask_channels=self.model.config.mask_channels)

    def slopes(self, raw: np.ndarray) -> np.ndarray:
        """Slope of the transforms at raw values, (track, bin); 0 where missing."""
        slopes = np.zeros_like(raw)
        for row, transform in enumerate(self.track_transforms):
            if not self.missing[row].all():
                slopes[row] = transform.slope(raw[row])
        slopes[self.missing] = 0
        return slopes

    def _value(self, point: Tensor) -> Tensor:
        target, tiling = self.target, self.tiling
        signal: Tensor = _Transformed.apply(point, self)
        tiled = TiledRange(signal, tiling.first, target.lo, target.hi, tiling.starts, tiling.weights)
        stripes = blend_tiles(self.model, [tiled], batch_size=self.batch_size)[0].mean
        weights = torch.from_numpy(target.weights).to(stripes)
        if not target.is_log:
            return (stripes * weights).sum()
        contacts: Tensor = _Contacts.apply(stripes, self.target_transform)
        known = (weights > 0) & ~torch.isnan(contacts)
        mean = (torch.where(known, contacts, 0) * weights).sum() / (known * weights).sum()
        # A network may predict less than no contact; such a mean has no logarithm and a tiny one takes its place.
        return torch.log2(mean.clamp_min(torch.finfo(mean.dtype).tiny))


class _Transformed(torch.autograd.Function):
    """Transforms and filling: NumPy forwards, their slope backwards. Masks do not change along a path."""

    @staticmethod
    def forward(ctx: Any, point: Tensor, function: TargetFunction) -> Tensor:
        raw = point.detach().cpu().numpy()
        ctx.slopes = torch.from_numpy(function.slopes(raw)).to(point)
        return torch.from_numpy(function.transform(raw)).to(point)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][: len(ctx.slopes)] * ctx.slopes, None


class _Contacts(torch.autograd.Function):
    """Stripes to linear contacts: the target's transform undone. NaN where it cannot be."""

    @staticmethod
    def forward(ctx: Any, stripes: Tensor, transform: Transform) -> Tensor:
        contacts = transform.invert(stripes.detach().cpu().numpy())
        with np.errstate(divide="ignore"):
            ctx.slopes = torch.from_numpy(1 / transform.slope(contacts)).to(stripes).nan_to_num(0, 0, 0)
        return torch.from_numpy(contacts).to(stripes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.slopes, None
