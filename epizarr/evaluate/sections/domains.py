"""Insulation, TopDom and TAD separation of every map: scores, boundaries, domains; and CTCF at the boundaries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from epizarr.domains.boundaries import DomainAgreement, boundary_agreement, domain_agreement, score_correlation
from epizarr.domains.scores import WINDOWS_BP, call_domains
from epizarr.domains.separation import default_depths
from epizarr.evaluate.compare import OBSERVED, Comparison
from epizarr.evaluate.maps import blocks_of
from epizarr.evaluate.sections.base import RegionMaps, Variables, add_up, share
from epizarr.genome import grid_of

#: Track whose peaks lie at boundaries, in any case, and the share of bins that count as its peaks.
CTCF, PEAK_SHARE = "ctcf", 0.1


@dataclass(frozen=True)
class _Part:
    """One region: windows (bp); scores (window, bin) by caller and map; counts by name, and at windows (window, number)."""

    windows: list[int]
    scores: dict[str, dict[str, np.ndarray]]
    counts: dict[str, np.ndarray]


@dataclass(frozen=True)
class Domains:
    """Insulation at several windows, TopDom at the same, and the TAD-separation score.

    Parameters
    ----------
    windows_bp
        Windows; those that the band does not allow are left out.
    tolerance_bins
        A boundary matches one that is not farther away.
    """

    windows_bp: tuple[int, ...] = WINDOWS_BP
    tolerance_bins: int = 2
    name: str = "domains"
    title: str = "Insulation, boundaries and domains"

    def parameters(self) -> dict[str, Any]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return {"windows_bp": list(self.windows_bp), "tolerance_bins": self.tolerance_bins}

    def definition(self) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        return (
            "On linear contacts, each region on its own. Insulation: cooltools' diamond score; its boundaries are "
            "minima whose prominence passes Li's threshold. TopDom: its signal, and minima with p < 0.05. "
            "Separation: HiCExplorer's TAD-separation score and hicFindTADs' boundaries (false discovery rate "
            "0.01). Pearson: of the scores along the genome. A boundary is found if one of the measured map lies "
            f"within {self.tolerance_bins} bins, each matched once. Jaccard: pairs of bins in one domain in both "
            "maps over those in either; variation of information in bits (0 is equal). CTCF: share of boundaries "
            f"within 1 bin of one of the {PEAK_SHARE:.0%} of bins with most CTCF signal, beside that of all bins."
        )

    def lacks(self, comparison: Comparison) -> str:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        if not comparison.has_contacts:
            return f"{comparison.maps.variable} holds scores of either sign, and domains are called on contacts"
        return "" if self._windows(comparison) else "the band is too narrow for any window"

    def _windows(self, comparison: Comparison) -> list[int]:
        binsize, n = comparison.maps.binsize, comparison.maps.n_diagonals
        fits = [w for w in self.windows_bp if w % binsize == 0 and 3 * binsize <= w and 2 * w <= n * binsize]
        largest = n // 2
        return fits or ([largest * binsize] if largest >= 3 else [])

    def measure(self, region: RegionMaps) -> _Part:
        """Call every map once and compare it with the observed one."""
        windows = self._windows(region.comparison)
        grid = grid_of(region.band(OBSERVED))
        separation = 2 * default_depths(grid.binsize)[0] <= region.comparison.maps.n_diagonals
        calls = {name: call_domains(region.band(name), windows, separation=separation) for name in region.structured}
        true = calls[OBSERVED]
        near_peak = _near_peaks(region)
        counts: dict[str, np.ndarray] = {}
        for name, own in calls.items():
            for caller, tables in own.boundaries.items():
                matched = [
                    boundary_agreement(a, b, binsize=grid.binsize, tolerance_bins=self.tolerance_bins).n_matched
                    for a, b in zip(tables, true.boundaries[caller], strict=True)
                ]
                numbers = np.array([[len(t), m] for t, m in zip(tables, matched, strict=True)], dtype=np.float64)
                counts[f"{caller}/{name}"] = numbers
            for caller, tables in own.domains.items():
                shared = [domain_agreement(a, b, grid) for a, b in zip(tables, true.domains[caller], strict=True)]
                counts[f"{caller} domains/{name}"] = np.array([_sums(each) for each in shared])
            if near_peak is not None:
                at = [table["start"].to_numpy() // grid.binsize for table in own.boundaries["insulation"]]
                counts[f"ctcf/{name}"] = np.array([[near_peak[bins].sum(), len(bins)] for bins in at], dtype=np.float64)
        if near_peak is not None:
            scored = ~np.isnan(true.scores["insulation"].values).all(axis=0)
            counts["ctcf chance"] = np.array([near_peak[scored].sum(), scored.sum()], dtype=np.float64)
        scores = {
            caller: {name: np.atleast_2d(own.scores[caller].values) for name, own in calls.items()}
            for caller in true.scores
        }
        return _Part(windows, scores, counts)

    def combine(self, parts: Sequence[Any], predictors: Sequence[str]) -> tuple[Variables, Variables]:
        """See :class:`~epizarr.evaluate.sections.base.Section`."""
        total = add_up(part.counts for part in parts)
        windows = parts[0].windows
        names = [OBSERVED, *predictors]
        found: Variables = {}
        for caller in parts[0].scores:
            by_window = caller != "separation"
            n = len(windows) if by_window else 1
            correlation = np.stack([_correlate(parts, caller, name, n) for name in predictors])
            of_maps = _gather(total, [f"{caller}/{name}" for name in names], (n, 2))
            n_found, n_true, n_matched = of_maps[..., 0], of_maps[0, :, 0], of_maps[1:, :, 1]
            n_wanted = np.where(np.isnan(n_matched), np.nan, n_true)
            scores = {
                "pearson": correlation[:, 0],
                "spearman": correlation[:, 1],
                "precision": share(n_matched, n_found[1:]),
                "recall": share(n_matched, n_wanted),
                "f1": share(2 * n_matched, n_found[1:] + n_wanted),
            }
            if caller != "insulation":
                sums = _gather(total, [f"{caller} domains/{name}" for name in predictors], (n, 4))
                scores |= {"jaccard": share(sums[..., 1], sums[..., 2]), "variation": share(sums[..., 3], sums[..., 0])}
            of_caller = {name: ("predictor", values) for name, values in scores.items()}
            of_caller["boundaries"] = ("map", n_found)
            for name, (dim, values) in of_caller.items():
                found[f"domains_{caller}_{name}"] = ((dim, "window"), values) if by_window else ((dim,), values[:, 0])
        if "ctcf chance" in total:
            at = _gather(total, [f"ctcf/{name}" for name in names], (len(windows), 2))
            found["domains_ctcf"] = (("map", "window"), share(at[..., 0], at[..., 1]))
            found["domains_ctcf_chance"] = ((), share(*total["ctcf chance"]))
        return {"window": (("window",), np.array(windows, dtype=np.int64))}, found


def _near_peaks(region: RegionMaps) -> np.ndarray | None:
    """Which bins of the region have one of its CTCF peaks within a bin; None without that track."""
    maps = region.comparison.maps
    tracks = [index for index, name in enumerate(maps.tracks) if name.lower() == CTCF]
    if not tracks:
        return None
    signal = np.concatenate([maps.bin_tracks(rows)[tracks[0], : rows.hi - rows.lo] for rows in blocks_of(region.rows)])
    known = signal[~np.isnan(signal)]
    if not len(known):
        return None
    # Of a track that is 0 in most bins fewer bins count: those that have a signal at all.
    peak = (signal >= np.quantile(known, 1 - PEAK_SHARE)) & (signal > known.min())
    near = peak.copy()
    near[1:] |= peak[:-1]
    near[:-1] |= peak[1:]
    return near


def _sums(shared: DomainAgreement) -> list[float]:
    """What adds up over regions: bins, pairs in both and in either, bins × variation of information."""
    variation = shared.n_bins * shared.variation_of_information if shared.n_bins else 0.0
    return [shared.n_bins, shared.n_pairs, shared.n_pairs_either, variation]


def _gather(total: dict[str, np.ndarray], keys: Sequence[str], shape: tuple[int, int]) -> np.ndarray:
    """Counts by key, NaN where a map has none: (key, window, number)."""
    return np.stack([total.get(key, np.full(shape, np.nan)) for key in keys])


def _correlate(parts: Sequence[_Part], caller: str, name: str, n_windows: int) -> np.ndarray:
    """Pearson and Spearman of a map's scores with the observed ones over the bins of all regions, (2, window)."""
    pairs = [
        (part.scores[caller][OBSERVED], part.scores[caller][name]) for part in parts if name in part.scores[caller]
    ]
    if not pairs:
        return np.full((2, n_windows), np.nan)
    true, own = (
        xr.DataArray(np.concatenate(each, axis=1), dims=("window", "bin")) for each in zip(*pairs, strict=True)
    )
    correlation = score_correlation(true, own)
    return np.stack([correlation["pearson"].values, correlation["spearman"].values])
