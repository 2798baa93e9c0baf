"""Members of one prediction: checkpoints of an ensemble, draws of Monte-Carlo dropout, or both; their mean and spread, streamed.

Everything here is in units of the transformed target, in which the networks were trained. A prediction of members is the mixture
of what they say: its mean is the mean of their means, its variance the mean of their variances (what a variance head says: noise
that no member can foresee) plus the variance of their means (what the members do not agree on). The latter is divided by the
number of members, not by one less: the members are the mixture.

Sources: Gal and Ghahramani 2016 (arXiv 1506.02142) for dropout; Lakshminarayanan et al. 2017 (arXiv 1612.01474), section 2.4, for
the mixture; Welford 1962, Technometrics 4:419.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from epizarr.errors import CheckpointError, ConfigError, raise_all
from epizarr.train.checkpoint import Checkpoint

#: Tells the seeds of dropout in prediction from those of other draws.
_SPAWN_KEY = (3,)
#: Fields of a checkpoint in which all members of an ensemble agree: their means are averaged pixel by pixel.
_SHARED = (
    "network",
    "tracks",
    "track_binsize",
    "binsize",
    "n_bins",
    "target_variable",
    "target_transform",
    "track_transforms",
    "min_diagonal",
    "assembly",
    "chrom_lengths",
    "trained_on",
)


@dataclass(frozen=True)
class Member:
    """One network, run once: as it is, or with the dropout masks of one draw."""

    checkpoint: str
    checkpoint_sha256: str
    draw: int | None

    @property
    def name(self) -> str:
        """Name along the dim ``member``."""
        return self.checkpoint_sha256[:12] + ("" if self.draw is None else f" dropout {self.draw}")


def members_of(checkpoints: Sequence[Checkpoint], mc_dropout: int) -> tuple[Member, ...]:
    """List the members of a prediction: every draw of every checkpoint.

    Parameters
    ----------
    checkpoints
        At least one; of an ensemble, runs of one configuration with several seeds.
    mc_dropout
        Draws of dropout masks for each checkpoint; 0: none, nothing is dropped.

    Raises
    ------
    CheckpointError
        If the checkpoints are not of one kind, or one is there twice; says all that differs.
    ConfigError
        If there is one draw only, or a network that drops nothing.
    """
    first = checkpoints[0]
    problems = []
    for other in checkpoints[1:]:
        different = [name for name in _SHARED if getattr(other, name) != getattr(first, name)]
        if different:
            problems.append(f"{other.path} and {first.path} differ in {', '.join(different)}")
    hashes = [checkpoint.sha256 for checkpoint in checkpoints]
    problems += [f"{c.path} is there twice" for i, c in enumerate(checkpoints) if c.sha256 in hashes[:i]]
    raise_all(CheckpointError, "ensemble (its members must be runs of one configuration with other seeds)", problems)
    if mc_dropout < 0 or mc_dropout == 1:
        raise ConfigError(
            f"prediction: mc_dropout is {mc_dropout}; give 0 for none, or the number of draws, at least 2."
        )
    if mc_dropout and first.network.dropout == 0:
        raise ConfigError(
            f"checkpoint {first.path}: it was trained with network.dropout = 0, so that draws of dropout are all alike. Use an "
            "ensemble of checkpoints, or a network with network.head = 'variance'."
        )
    draws: list[int | None] = list(range(mc_dropout)) if mc_dropout else [None]
    return tuple(Member(str(c.path), c.sha256, draw) for c in checkpoints for draw in draws)


def members_record(checkpoints: Sequence[Checkpoint], mc_dropout: int, dropout_seed: int) -> str:
    """What the members are, as the JSON of a group's attribute."""
    record = {"checkpoints": [checkpoint.sha256 for checkpoint in checkpoints], "mc_dropout": mc_dropout}
    return json.dumps(record | ({"dropout_seed": dropout_seed} if mc_dropout else {}), sort_keys=True)


def tile_seeds(seed: int, member: int, chrom_code: int, n_tiles: int) -> np.ndarray:
    """Seeds of the dropout masks of a chromosome's tiles: functions of (seed, member, chromosome, tile) alone.

    Returns
    -------
    int64 (tile), from 0 to 2^62.
    """
    drawn = [
        np.random.SeedSequence([seed, member, chrom_code, tile], spawn_key=_SPAWN_KEY).generate_state(1, np.uint64)
        for tile in range(n_tiles)
    ]
    return (np.concatenate(drawn) >> np.uint64(2)).astype(np.int64)


class RunningMoments:
    """Mean and variance of maps that come one at a time; holds three maps in float64, however many come.

    A pixel that is NaN in one map is NaN in the result.
    """

    def __init__(self) -> None:
        self.n = 0
        self._mean = self._squares = self._noise = np.zeros(())

    def add(self, mean: np.ndarray, variance: np.ndarray | None = None) -> None:
        """Take the next member's mean and, if it says one, its variance; all of one shape."""
        self.n += 1
        before = mean - self._mean
        self._mean = self._mean + before / self.n
        self._squares = self._squares + before * (mean - self._mean)
        self._noise = self._noise + ((0.0 if variance is None else variance) - self._noise) / self.n

    @property
    def mean(self) -> np.ndarray:
        """Mean of the means, float64."""
        return self._mean

    @property
    def sd_of_means(self) -> np.ndarray:
        """Standard deviation of the means, float64: what the members do not agree on. 0 of one member."""
        return np.sqrt(self._squares / self.n)

    @property
    def sd(self) -> np.ndarray:
        """Standard deviation of the mixture, float64."""
        return np.sqrt(self._squares / self.n + self._noise)
