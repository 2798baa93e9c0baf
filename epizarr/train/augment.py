"""What is changed in the tracks of a training example: scale, noise, tracks that go missing. Never its targets.

Each change imitates one way in which the same cells, measured again elsewhere, give another file:

- *scale*: depth and normalisation multiply the signal. The factor acts on the signal before the transform, so that a clipped,
  logarithmic, standardised track changes as it would have, had its bigWig been in other units (on matched tracks: behind the
  match, which takes every unit away);
- *noise*: counting. A read covers about :data:`NOISE_BP`, so neighbouring bins rise and fall together; noise that is drawn bin
  by bin would be averaged away by the first convolution. It is added behind the transform, where one sd suits all tracks;
- *dropout*: an assay that was not done. Signal and mask are 0 over the whole window. One track is always left.

Missing bins stay 0 and masked. What is drawn for an example is a function of (seed, epoch, example) alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from epizarr.transforms import Transform

#: Length over which noise is alike: a fragment of an ordinary library.
NOISE_BP = 300
#: Values of the noise table: noise of an example is a stretch of it, begun anywhere and with either sign.
_TABLE_VALUES = 1 << 20
#: Keys that part these streams from the one that lays out an epoch, which has the same seed and epoch.
_EXAMPLE_STREAM, _TABLE_STREAM = 1, 2
#: Signal is held above this after scaling: log1p has no value at -1.
_LEAST_SIGNAL = -0.99


@dataclass(frozen=True)
class TrackScale:
    """How a factor on a track's signal changes its transformed values.

    Parameters
    ----------
    upper
        Limit of the step ``clip``; None without one.
    is_log
        Whether there is a step ``log1p``.
    mean, sd
        Of the step ``standardise``; 0 and 1 without one.
    """

    upper: float | None
    is_log: bool
    mean: float
    sd: float

    @classmethod
    def of(cls, transform: Transform) -> "TrackScale":
        """Read the steps of a fitted transform."""
        params = transform.params
        last = params.get("standardise", {"mean": 0.0, "sd": 1.0})
        return cls(params.get("clip", {}).get("upper"), "log1p" in transform.steps, last["mean"], last["sd"])

    def rescale(self, values: np.ndarray, factor: float) -> None:
        """Change transformed values (bin) in place to what they would be, had the signal been ``factor`` times as large.

        Exact to rounding but for bins that the transform had clipped, whose own values are not known any more.
        """
        values *= np.float32(self.sd)
        values += np.float32(self.mean)
        if self.is_log:
            # exp and log are vector instructions in NumPy, expm1 and log1p are not.
            np.exp(values, out=values)
            values -= np.float32(1)
        values *= np.float32(factor)
        if self.upper is not None:
            np.minimum(values, np.float32(self.upper), out=values)
        if self.is_log:
            np.maximum(values, np.float32(_LEAST_SIGNAL), out=values)
            values += np.float32(1)
            np.log(values, out=values)
        values -= np.float32(self.mean)
        values /= np.float32(self.sd)


@dataclass(frozen=True)
class Augmentation:
    """Changes to the tracks of examples.

    Parameters
    ----------
    seed
        Seed of the run.
    track_dropout
        Probability that a track goes missing.
    track_noise
        Sd of the noise, in units of each track's own.
    scale_jitter
        Sd of the logarithm of the factor.
    track_sd
        For each track, the sd of its transformed signal over the training regions.
    scales
        For each track, how a factor acts on it.
    noise_bins
        Track bins over which noise is averaged, at least 1.
    """

    seed: int
    track_dropout: float
    track_noise: float
    scale_jitter: float
    track_sd: tuple[float, ...]
    scales: tuple[TrackScale, ...]
    noise_bins: int

    @property
    def changes_values(self) -> bool:
        """Whether measured bins get other values, for which it must be known which bins are measured."""
        return self.track_noise > 0 or self.scale_jitter > 0

    @cached_property
    def _table(self) -> np.ndarray:
        """Noise of mean 0 and sd 1, float32 (4 MB), since drawing 34,000 normal values a track is slow."""
        rng = np.random.default_rng(np.random.SeedSequence([self.seed], spawn_key=(_TABLE_STREAM,)))
        white = rng.standard_normal(_TABLE_VALUES + self.noise_bins - 1)
        total = np.cumsum(np.concatenate([[0.0], white]))
        return ((total[self.noise_bins :] - total[: -self.noise_bins]) / np.sqrt(self.noise_bins)).astype(np.float32)

    def apply(self, signal: np.ndarray, epoch: int, example: int, measured: Sequence[bool]) -> None:
        """Change one example in place.

        Parameters
        ----------
        signal
            (channel, track bin), float32, as the network reads it: tracks, and behind them their mask channels, which must be
            there if values change or tracks drop out.
        epoch, example
            Which example of which epoch.
        measured
            For each track, whether the example's cell type has it at all: one of these is left.
        """
        n_tracks, n_bins = len(self.scales), signal.shape[1]
        tracks, known = signal[:n_tracks], signal[n_tracks:]
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, epoch], spawn_key=(_EXAMPLE_STREAM, example)))
        # Everything is drawn whether or not it is used, so that one kind of change does not move another's draws.
        factors = np.exp(self.scale_jitter * rng.standard_normal(n_tracks))
        begins = rng.integers(0, _TABLE_VALUES - n_bins, size=n_tracks)
        sizes = self.track_noise * np.asarray(self.track_sd) * rng.choice([-1.0, 1.0], size=n_tracks)
        is_kept = _draw_kept(rng, self.track_dropout, np.asarray(measured))
        for track in np.flatnonzero(is_kept & np.asarray(measured)):
            values = tracks[track]
            if self.scale_jitter > 0:
                self.scales[track].rescale(values, factors[track])
            if self.track_noise > 0:
                values += np.float32(sizes[track]) * self._table[begins[track] : begins[track] + n_bins]
            if self.changes_values:
                values *= known[track]
        tracks[~is_kept] = 0
        if len(known):
            known[~is_kept] = 0


def _draw_kept(rng: np.random.Generator, dropout: float, measured: np.ndarray) -> np.ndarray:
    """Draw which tracks stay, bool (track), anew until one of the measured ones does."""
    if not (dropout > 0 and measured.any()):
        return np.ones(len(measured), dtype=bool)
    while True:
        kept = rng.random(len(measured)) >= dropout
        if (kept & measured).any():
            return kept
