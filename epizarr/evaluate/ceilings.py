"""Ceilings of the scores: maps that a prediction is judged by, a simulator's truth and the replicates of the contacts.

They are of another depth than the observed map, and brought to its scale diagonal by diagonal before they are transformed as it
is. The truth is then scored like a predictor; what the replicates say is :mod:`epizarr.metrics.ceiling`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epizarr.evaluate.maps import Maps, Rows, read_truth
from epizarr.io.store import open_contacts
from epizarr.schema import PROPORTIONAL_VARIABLES

CEILING = "noise ceiling: truth vs. observed"
TRACK_CEILING = "track ceiling: given tracks vs. observed"
REPLICATE_CEILING = "replicate ceiling"
#: Replicates whose shares of the contacts differ by more than this factor are said to be of unequal depth.
UNEQUAL_DEPTH = 1.1


@dataclass(frozen=True)
class References:
    """Which maps there are.

    Parameters
    ----------
    truths
        Names and places of a simulator's noise-free contacts (:func:`find_truths`).
    replicates
        Names of the replicates that give a ceiling, in the store's order.
    """

    truths: tuple[tuple[str, str], ...] = ()
    replicates: tuple[str, ...] = ()

    @property
    def keys(self) -> list[str]:
        """Names of the maps, as :meth:`bands` gives them."""
        return [*(name for name, _ in self.truths), *map(replicate_key, self.replicates)]

    def bands(self, maps: Maps, rows: Rows, observed: np.ndarray) -> dict[str, np.ndarray]:
        """The maps in some rows, not yet scaled, by name; ``observed`` are the contacts there, (row, diagonal)."""
        found = [read_truth(path, rows, maps.n_diagonals) for _, path in self.truths]
        if self.replicates:
            found += maps.replicates(rows, observed, len(self.replicates))
        return dict(zip(self.keys, found, strict=True))

    def sums(self, maps: Maps, rows: Rows) -> dict[str, np.ndarray]:
        """For each map, the sums of the observed contacts and of its own over common pixels, (2, diagonal)."""
        observed = maps.observed(rows)
        return {name: common_sums(observed, band) for name, band in self.bands(maps, rows, observed).items()}


def find_truths(truth: str | Path | None) -> tuple[tuple[str, str], ...]:
    """Maps that a simulator left: the noise-free one, and, in the folder of a cell type, the one expected given the tracks."""
    if truth is None:
        return ()
    given_tracks = Path(truth) / "truth_given_tracks.zarr"
    return ((CEILING, str(truth)), *([(TRACK_CEILING, str(given_tracks))] if given_tracks.is_dir() else []))


def replicate_key(name: str) -> str:
    """Name of a replicate's values among those of the predictors."""
    return f"replicate {name}"


def common_sums(observed: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Sums of two maps (row, diagonal) over the pixels that both have, float64 (2, diagonal)."""
    both = ~(np.isnan(observed) | np.isnan(reference))
    return np.stack([np.where(both, band, 0.0).sum(axis=0, dtype=np.float64) for band in (observed, reference)])


def depth_scale(observed: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Factor of each diagonal that brings a map to the observed mean, from the sums of both; 1 where it holds nothing."""
    return np.where(reference > 0, observed / np.where(reference > 0, reference, 1.0), 1.0)


def find_replicates(maps: Maps) -> tuple[tuple[str, ...], list[str]]:
    """Names of the replicates that give a ceiling; none, and a note why, where the target of one replicate cannot be told."""
    contacts = open_contacts(maps.store, maps.cell_type, maps.binsize)
    if "count_replicate" not in contacts:
        return (), []
    if maps.variable not in PROPORTIONAL_VARIABLES:
        return (), [
            f"{REPLICATE_CEILING}: n/a, {maps.variable} is not proportional to the counts, so that what it would be for one "
            "replicate is not known."
        ]
    return tuple(str(name) for name in contacts["replicate"].values), []


def depth_notes(variable: str, sums: Mapping[str, float]) -> list[str]:
    """Say which replicates are of unequal depth, for which the ceiling is approximate; ``sums`` are of ``variable``, by name."""
    if max(sums.values()) <= UNEQUAL_DEPTH * min(sums.values()):
        return []
    shares = ", ".join(f"{name} {value / sum(sums.values()):.0%}" for name, value in sums.items())
    return [
        f"{REPLICATE_CEILING}: approximate, and rather too low than too high, for the replicates are of unequal depth "
        f"({shares} of the scored {variable})."
    ]
