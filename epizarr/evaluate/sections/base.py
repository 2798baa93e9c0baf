"""What a section of an evaluation is: scores that one region's maps add to, and that all regions' parts are made into.

A section is measured region by region, one Dask task for all sections of a region; its parts are small; they are combined into
variables that :data:`epizarr.schema.EVALUATIONS` declares, named ``<section>_<score>``.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import xarray as xr

from epizarr.evaluate.compare import OBSERVED, Comparison, joined
from epizarr.evaluate.maps import Rows, blocks_of
from epizarr.genome import Region

#: Name of a variable -> its dims and values; coordinates are given in the same way.
Variables = dict[str, tuple[tuple[str, ...], np.ndarray]]


@dataclass(frozen=True)
class RegionMaps:
    """All maps of one region in memory, on the pixels that all of them have.

    Parameters
    ----------
    comparison, rows
        Where they come from.
    values, contacts
        As in :class:`epizarr.evaluate.compare.Bands`.
    """

    comparison: Comparison
    rows: Rows
    values: dict[str, np.ndarray]
    contacts: dict[str, np.ndarray]

    @classmethod
    def read(cls, comparison: Comparison, rows: Rows) -> "RegionMaps":
        """Read the maps of a whole region, block by block."""
        found = [comparison.bands(block) for block in blocks_of(rows)]
        return cls(comparison, rows, joined([b.values for b in found]), joined([b.contacts for b in found]))

    @property
    def binsize(self) -> int:
        """Bin width in bp."""
        return self.comparison.maps.binsize

    @property
    def region(self) -> Region:
        """The region's place."""
        return self.comparison.maps.grid.extent_region(self.rows.lo, self.rows.hi)

    def places(self, lo: np.ndarray, hi: np.ndarray) -> list[str]:
        """Names of stretches of the region's rows ``[lo, hi)``."""
        grid, first = self.comparison.maps.grid, self.rows.lo
        return [str(grid.extent_region(first + int(a), first + int(b))) for a, b in zip(lo, hi, strict=True)]

    @cached_property
    def structured(self) -> list[str]:
        """Maps of contacts that differ from place to place, the observed one first: a mean per distance has no structure."""
        return [name for name, band in self.contacts.items() if name == OBSERVED or _varies(band)]

    def band(self, name: str) -> xr.DataArray:
        """Linear contacts of a map as a genome of one chromosome, the region; dims ``("bin", "diagonal")``."""
        n_bins = self.rows.hi - self.rows.lo
        grid = {"assembly": "region", "chroms": {"region": n_bins * self.binsize}, "binsize": self.binsize}
        attrs = {"bin_grid": json.dumps(grid)}
        return xr.DataArray(self.contacts[name], dims=("bin", "diagonal"), name=name, attrs=attrs)


class Section(Protocol):
    """One section. Instances are small and picklable: they travel with the tasks."""

    @property
    def name(self) -> str:
        """As in ``--sections``, and the first part of its variables' names."""

    @property
    def title(self) -> str:
        """Heading in the report."""

    def parameters(self) -> dict[str, Any]:
        """All that the values depend on besides the maps, for the group's attributes."""

    def definition(self) -> str:
        """How the values are defined, with the parameters, in sentences."""

    def lacks(self, comparison: Comparison) -> str:
        """Why it does not apply to these maps; empty where it does."""

    def measure(self, region: RegionMaps) -> Any:
        """What one region comes to. Runs in a task."""

    def combine(self, parts: Sequence[Any], predictors: Sequence[str]) -> tuple[Variables, Variables]:
        """Make coordinates and variables of all regions' parts, in the regions' order; ``predictors`` are the dim's.

        No variables where the regions are too short for the section.
        """


@dataclass(frozen=True)
class SectionTask:
    """A region, and what is measured there."""

    comparison: Comparison
    rows: Rows
    sections: tuple[Section, ...]


def measure_region(task: SectionTask) -> dict[str, Any]:
    """Measure every section in one region."""
    region = RegionMaps.read(task.comparison, task.rows)
    return {section.name: section.measure(region) for section in task.sections}


def along(names: Sequence[str], found: Mapping[str, Any], empty: Any) -> np.ndarray:
    """Values of some predictors in order, float64; ``empty`` for those without."""
    return np.array([found.get(name, empty) for name in names], dtype=np.float64)


def add_up(parts: Iterable[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Sum arrays by name over parts; a name may be missing in some."""
    total: dict[str, np.ndarray] = {}
    for part in parts:
        for name, values in part.items():
            total[name] = total[name] + values if name in total else np.array(values)
    return total


def share(number: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Ratio of two counts, NaN where the second is 0."""
    number, of = np.broadcast_arrays(np.asarray(number, np.float64), np.asarray(of, np.float64))
    return np.divide(number, of, out=np.full(number.shape, np.nan), where=of > 0)


def _varies(band: np.ndarray) -> bool:
    """Whether some diagonal has two values that differ."""
    known = ~np.isnan(band)
    low = np.where(known, band, np.inf).min(axis=0, initial=np.inf)
    high = np.where(known, band, -np.inf).max(axis=0, initial=-np.inf)
    return bool((high > low).any())
