"""What was predicted along a stretch, kept to predict again where the signal changes a little.

A change of some track bins changes the features of the bins whose windows read them, and no others; those features change the
stripes of the tiles that hold such a bin, and no others. So one change costs the trunk over these bins and the core over these
tiles, and the tiles of many changes make up one batch. All bins are local to one chromosome, 0-based and half-open.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from epizarr.nn.epiphany import Epiphany
from epizarr.nn.inference import evaluation, shared_features
from epizarr.tiles import reading_bins, tiles_touching


@dataclass(frozen=True, eq=False)
class SignalChange:
    """Track bins from ``lo`` on that have another signal: ``columns`` (channel, track bin), as the network reads it."""

    lo: int
    columns: np.ndarray

    @property
    def hi(self) -> int:
        """One past the last changed track bin."""
        return self.lo + self.columns.shape[-1]


class TileReference:
    """Features and stripes of each tile that holds a bin of ``[lo, hi)``.

    Memory: 4 bytes a feature and bin, and 4 bytes a pixel of each tile (3.6 kB and 0.64 kB a bin for the published 10-kb network
    and tiles that share three eighths).

    Parameters
    ----------
    model
        The network; run in evaluation mode and left in the mode it came in.
    signal
        Tracks as the network reads them, shape (channel, track bin), from the window of the first tile's first bin on.
    starts, weights
        Tiles of the whole chromosome: first bins, and weights (tile, bin of the tile).
    lo, hi
        Bins that will be asked for or changed.
    batch_size, trunk_bins
        Most tiles that the core runs at once, and most bins that the trunk does.
    """

    def __init__(
        self,
        model: Epiphany,
        signal: Tensor,
        *,
        starts: np.ndarray,
        weights: np.ndarray,
        lo: int,
        hi: int,
        batch_size: int,
        trunk_bins: int,
    ) -> None:
        self.model, self.signal, self.starts, self.weights = model, signal, starts, weights
        self.length, self.batch_size, self.trunk_bins = weights.shape[1], batch_size, trunk_bins
        tiles = tiles_touching(starts, self.length, lo, hi)
        self.first, self.end = int(starts[tiles[0]]), int(starts[tiles[-1]]) + self.length
        self._origin = self.first * model.config.stride - model.config.halo  # track bin of the signal's first column
        with evaluation(model):
            self._features = shared_features(model, signal, self.end - self.first, trunk_bins)
        predicted = self._run([(tile, None) for tile in tiles.tolist()])
        self._stripes = dict(zip(tiles.tolist(), predicted, strict=True))

    def stripes(self, lo: int, hi: int, anew: Mapping[int, np.ndarray]) -> np.ndarray:
        """Blend the stripes of the bins ``[lo, hi)``, float32 (bin, offset), with some tiles' stripes replaced.

        Pixels that no replaced tile has a part in are those of the reference, to the bit.
        """
        blended = np.zeros((hi - lo, self.model.config.n_offsets), dtype=np.float32)
        for tile in tiles_touching(self.starts, self.length, lo, hi).tolist():
            start = int(self.starts[tile])
            begin, end = max(lo, start), min(hi, start + self.length)
            weight = self.weights[tile, begin - start : end - start, None].astype(np.float32)
            blended[begin - lo : end - lo] += weight * anew.get(tile, self._stripes[tile])[begin - start : end - start]
        return blended

    def reached(self, lo: int, hi: int) -> tuple[int, int]:
        """Bins whose features read a track bin of ``[lo, hi)``: first and last (exclusive), cut at the reference's ends."""
        config = self.model.config
        first, last = reading_bins(lo, hi, stride=config.stride, window=config.window)
        return max(first, self.first), min(last, self.end)

    def predict(
        self, changes: Sequence[tuple[int, int]], change_of: Callable[[int], SignalChange]
    ) -> Iterator[tuple[int, dict[int, np.ndarray]]]:
        """Predict the tiles that each change reaches; the core's batches are filled with tiles of many changes.

        Parameters
        ----------
        changes
            Stretch of track bins of each change, first and last (exclusive).
        change_of
            Gives a change by its place in ``changes``; called when its turn comes, so that changes need not be held together.

        Yields
        ------
        Place in ``changes``, and stripes (bin of the tile, offset) of each tile that it reaches; in order.
        """
        work = []
        for place, stretch in enumerate(changes):
            lo, hi = self.reached(*stretch)
            work += [(place, tile) for tile in tiles_touching(self.starts, self.length, lo, hi).tolist()]
        n_left = np.bincount([place for place, _ in work], minlength=len(changes))
        features: dict[int, tuple[int, Tensor]] = {}
        done: dict[int, dict[int, np.ndarray]] = {}
        # Batches of nearly equal size: a last one of a few tiles would run at a fraction of the speed.
        for batch in np.array_split(np.arange(len(work)), -(-len(work) // self.batch_size)) if work else []:
            pairs = [work[index] for index in batch.tolist()]
            for place in {place for place, _ in pairs} - features.keys():
                features[place] = self._changed_features(change_of(place))
            stripes = self._run([(tile, features[place]) for place, tile in pairs])
            for (place, tile), predicted in zip(pairs, stripes, strict=True):
                done.setdefault(place, {})[tile] = predicted
            for place in sorted(done):
                if len(done[place]) == n_left[place]:
                    del features[place]
                    yield place, done.pop(place)

    def _changed_features(self, change: SignalChange) -> tuple[int, Tensor]:
        """First bin that the change reaches, and the features of it and those behind that it reaches."""
        config = self.model.config
        lo, hi = self.reached(change.lo, change.hi)
        begin = lo * config.stride - config.halo
        end = begin + config.input_length(hi - lo)
        cut = self.signal[:, begin - self._origin : end - self._origin].clone()
        a, b = max(change.lo, begin), min(change.hi, end)
        cut[:, a - begin : b - begin] = torch.from_numpy(change.columns[:, a - change.lo : b - change.lo])
        with evaluation(self.model):
            return lo, shared_features(self.model, cut, hi - lo, self.trunk_bins)

    def _run(self, tiles: Sequence[tuple[int, tuple[int, Tensor] | None]]) -> list[np.ndarray]:
        """Run the core over tiles in batches; with each go the features that are to be put in, from some bin on."""
        found: list[np.ndarray] = []
        with evaluation(self.model):
            for batch in np.array_split(np.arange(len(tiles)), -(-len(tiles) // self.batch_size)):
                of_tiles = []
                for tile, change in (tiles[index] for index in batch.tolist()):
                    start = int(self.starts[tile])
                    own = self._features[start - self.first : start - self.first + self.length]
                    if change is not None:
                        own = own.clone()
                        lo, features = change
                        a, b = max(lo, start), min(lo + len(features), start + self.length)
                        own[a - start : b - start] = features[a - lo : b - lo]
                    of_tiles.append(own)
                found.extend(self.model.core(torch.stack(of_tiles)).cpu().numpy())
        return found
