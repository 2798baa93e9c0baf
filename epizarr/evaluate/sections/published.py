"""Correlations in the convention of the published evaluation: every pixel counts, a missing contact is a contact of 0."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from epizarr.bands import mask_band
from epizarr.evaluate.compare import OBSERVED, Comparison, joined
from epizarr.evaluate.maps import Rows, blocks_of
from epizarr.evaluate.sections.base import RegionMaps, Variables, add_up, along, share
from epizarr.metrics.baselines import pixel_features
from epizarr.metrics.correlation import as_published, mean_defined, score_by_distance


@dataclass(frozen=True)
class Published:
    """Pearson and Spearman ``as-published``, of the predictions and the baselines."""

    name: str = "published"
    title: str = "Correlation, as published"

    def parameters(self) -> dict[str, Any]:
        """None."""
        return {}

    def definition(self) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return (
            "Convention of the published evaluation (Yang et al. 2023): every pixel of the regions counts, from "
            "distance 0 on, and a missing contact, an unmappable bin's too, is a contact of 0. Correlated at each "
            "distance within each region, averaged over regions by their pixels, then over distances. Use it to "
            "compare with published numbers only: a model gains by knowing where bins are unmappable."
        )

    def lacks(self, comparison: Comparison) -> str:
        """Applies always."""
        return ""

    def measure(self, region: RegionMaps) -> dict[str, np.ndarray]:
        """Sums of pixels × coefficient and of pixels, by predictor: (3, diagonal)."""
        maps = joined([_unmasked(region.comparison, rows) for rows in blocks_of(region.rows)])
        observed = maps.pop(OBSERVED)
        n_rows, n_diagonals = observed.shape
        inside = np.arange(n_diagonals) < np.arange(n_rows, 0, -1)[:, None]
        found = {}
        for name, band in maps.items():
            scores = score_by_distance(*as_published(band, observed, inside))
            # A map that is constant at some distance correlates with nothing there.
            n = np.where(np.isnan(scores.pearson), 0, scores.n_pixels)
            found[name] = np.stack([n * np.nan_to_num(scores.pearson), n * np.nan_to_num(scores.spearman), n])
        return found

    def combine(self, parts: Sequence[Any], predictors: Sequence[str]) -> tuple[Variables, Variables]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        total = add_up(parts)
        pearson, spearman = (
            along(predictors, {name: share(sums[row], sums[2]) for name, sums in total.items()}, _nothing(total))
            for row in (0, 1)
        )
        by_distance = ("predictor", "diagonal")
        return {}, {
            "published_pearson": (by_distance, pearson),
            "published_spearman": (by_distance, spearman),
            "published_mean_pearson": (("predictor",), np.array([mean_defined(row) for row in pearson])),
            "published_mean_spearman": (("predictor",), np.array([mean_defined(row) for row in spearman])),
        }


def _nothing(total: dict[str, np.ndarray]) -> np.ndarray:
    return np.full(next(iter(total.values())).shape[1], np.nan)


def _unmasked(comparison: Comparison, rows: Rows) -> dict[str, np.ndarray]:
    """Transformed maps of some rows with every pixel of the region that there is."""
    maps = comparison.maps
    in_region = np.arange(rows.lo, rows.hi + maps.n_diagonals - 1) < rows.end
    linear = {OBSERVED: maps.contacts(rows), **comparison.predicted(rows)}
    features = pixel_features(maps.bin_tracks(rows), rows.hi - rows.lo, maps.n_diagonals)
    values = {name: maps.transformed(mask_band(band, in_region)) for name, band in linear.items()}
    values |= {fit.name: fit.predict(features) for fit in comparison.fits}
    return {name: np.where(np.isfinite(band), band, np.nan) for name, band in values.items()}
