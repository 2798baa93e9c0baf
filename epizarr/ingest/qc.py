"""Quality of what a store holds: figures for each input and chromosome, and what a user should look at.

:func:`assess_store` reads every value of the tracks and contacts once, as one Dask graph of independent tasks, and changes
nothing. ``check`` asks whether a store is whole and true to its inputs; this asks whether the inputs are any good. What the
figures mean is judged in :mod:`epizarr.ingest.qc_warnings`, and drawn in :mod:`epizarr.ingest.qc_page`.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from epizarr.bands import band_on_chromosome
from epizarr.cluster import Progress, run_tasks
from epizarr.errors import StoreNotFoundError, nearest_match
from epizarr.genome import Assembly, BinGrid
from epizarr.ingest.check import Finding
from epizarr.ingest.qc_kinds import judge_kinds
from epizarr.ingest.qc_warnings import judge_contacts, judge_tracks
from epizarr.io.places import Place, StorePath, has_file, place_of
from epizarr.io.store import (
    BAND_ROWS,
    GroupInfo,
    cell_types,
    grid_of,
    list_groups,
    open_group,
    read_region,
    store_assembly,
    used_inputs,
)
from epizarr.io.track_kinds import stored_kinds
from epizarr.metrics.coverage import MERGED_BINS, decay_exponent, deep_share, supported_binsize, touching_sums
from epizarr.signal_kind import SignalKind

#: Percentiles of a track's measured bins outside the blacklist.
PERCENTILES = (50.0, 99.0, 99.9)
#: Edges of the histogram of a track's positive values; what lies outside is counted in the first and last class.
VALUE_EDGES = np.logspace(-4, 6, 201)
#: Windows that a genome is cut into for the pictures: about as many as a picture has columns.
N_WINDOWS = 1000
#: Bins with fewer expected contacts than this share of the median bin's (next to gaps) are left out of the spread of marginals.
FULL_SHARE = 0.5
#: Bins below which a spread or a percentile says nothing.
MIN_BINS = 30


@dataclass(frozen=True)
class StoreQuality:
    """What :func:`assess_store` found.

    Parameters
    ----------
    path, assembly
        The store and its assembly.
    tracks, contacts
        Figures by group path; see :func:`assess_store`.
    warnings
        One sentence each: the object, the figure, what to look at.
    banners
        What a reader must know first: that inputs are simulated.
    """

    path: Place
    assembly: Assembly
    tracks: dict[str, xr.Dataset]
    contacts: dict[str, xr.Dataset]
    warnings: tuple[Finding, ...]
    banners: tuple[str, ...] = ()


def assess_store(
    path: StorePath,
    *,
    cell_type: str | None = None,
    client: Any = None,
    n_threads: int | None = None,
    progress: Progress | None = None,
) -> StoreQuality:
    """Measure the tracks and contacts of a store, and say what should be looked at.

    Memory of a task: one chromosome of one track, six times over (62 MB for the longest human one at 100 bp), and one bit a bin
    and track; or max(1024, K) rows of a band of K diagonals, six times over (23 MB at K = 1000). What is kept takes 16 bytes a
    bin of contacts and variable, and up to twice that while the tasks' sums are added up.

    Parameters
    ----------
    path
        Store. Groups that are not complete are left out (``epizarr check`` reports them).
    cell_type
        Only this one; all by default.
    client, n_threads, progress
        As for :func:`epizarr.cluster.run_tasks`.

    Returns
    -------
    One dataset for each group. Shares are 0 to 1; a figure of a chromosome that nothing was measured on is NaN.

    Tracks, dims (track, chroms) unless said: ``n_bins`` and ``blacklisted_share`` (chroms); ``measured_share``,
    ``missing_share`` (bins that another track measures and this one does not), ``n_infinite``; of measured bins ``mean``,
    ``zero_share``, ``minimum``; of measured bins outside the blacklist ``n_kept``, ``percentile_value`` (…, percentile),
    ``maximum``, ``maximum_start`` (bp), ``outlier_ratio``, maximum / 99.9th percentile, and ``histogram`` (track, value) of all
    chromosomes; ``profile`` (track, window), means along the genome; ``digest``, a hash of the values; ``signal_kind``,
    ``signal_confidence``, ``signal_evidence`` (track), what the track seems to hold (:mod:`epizarr.signal_kind`). Where one
    name holds different kinds in several cell types, all of the store are compared, whatever ``cell_type`` says.

    Contacts, dims (variable, chroms) unless said: ``n_bins``, ``n_contacts``, ``bad_share``, ``unseen_share`` (bins without a
    contact in the band), ``supported_binsize`` in bp (chroms); ``nan_share`` of the pixels on the chromosome, ignored diagonals
    left out; ``unweighted_share`` of the bins, and ``unweighted_seen_share`` of those that have contacts; ``marginal_mean``,
    mean of the pixels of the band that touch a bin, and ``marginal_cv``, standard deviation / mean of the same relative to what
    the decay curve gives for the bin's valid pixels, so that gaps and chromosome ends do not count; ``decay_exponent``;
    ``expected`` (…, diagonal); ``deep_share`` (merged), of the genome's bins (:func:`epizarr.metrics.coverage.deep_share`);
    ``profile`` (variable, window), median relative marginals along the genome. Marginals and decay are NaN for variables that
    are neither counts nor balanced by weights.

    Raises
    ------
    StoreNotFoundError
        If there is no store, or it has no such cell type.
    """
    path = place_of(path)
    assembly = store_assembly(path)
    if cell_type is not None and cell_type not in (known := cell_types(path)):
        raise StoreNotFoundError(
            f"{path}: there is no cell type {cell_type!r}.{nearest_match(cell_type, known)} The store has {known or 'none yet'}."
        )
    infos = [i for i in list_groups(path) if i.state == "complete" and i.kind in ("tracks", "contacts")]
    opened = {i: open_group(path, i.path, i.kind) for i in infos}
    opened = {info: ds for info, ds in opened.items() if 0 not in ds.sizes.values()}
    groups = {info: ds for info, ds in opened.items() if cell_type in (None, info.cell_type)}
    tasks: list[_TrackTask | _BandTask] = []
    for info, ds in groups.items():
        tasks += _track_tasks(path, info, ds) if info.kind == "tracks" else _band_tasks(path, info, ds)
    parts = run_tasks(_measure, tasks, client=client, n_threads=n_threads, progress=progress)
    kinds = {
        info.path: stored_kinds({str(name): ds["signal"].isel(track=i) for i, name in enumerate(ds["track"].values)})
        for info, ds in opened.items()
        if info.kind == "tracks"
    }
    tracks, contacts = {}, {}
    for info, ds in groups.items():
        of_group = [part for task, part in zip(tasks, parts, strict=True) if task.group == info.path]
        if info.kind == "tracks":
            tracks[info.path] = _track_figures(ds, of_group).assign(_kind_figures(kinds[info.path]))
        else:
            contacts[info.path] = _contact_figures(path, info, ds, of_group)
    found = [
        Finding("warning", group, message)
        for judge, figures in ((judge_tracks, tracks), (judge_contacts, contacts))
        for group, ds in figures.items()
        for message in judge(ds)
    ]
    found += [
        Finding("warning", "tracks", message)
        for cells, message in judge_kinds(kinds)
        if cell_type is None or cell_type in cells
    ]
    return StoreQuality(path, assembly, tracks, contacts, tuple(found), _origin_banners(groups))


def _origin_banners(groups: Mapping[GroupInfo, xr.Dataset]) -> tuple[str, ...]:
    """Tell which cell types have inputs whose origin says that they are simulated."""
    simulated = {
        info.cell_type
        for info, ds in groups.items()
        if any(str(entry.get("origin", "")).startswith("SIMULATED") for entry in used_inputs(ds))
    }
    return (f"SIMULATED: no organism has the data of {', '.join(sorted(simulated))}.",) if simulated else ()


def _measure(task: "_TrackTask | _BandTask") -> Any:
    return task.measure()


def window_bp(grid: BinGrid) -> int:
    """Width of the windows of a profile in bp, a multiple of the bin size."""
    total = sum(grid.assembly.chrom_lengths)
    return grid.binsize * max(1, -(-total // (N_WINDOWS * grid.binsize)))


# ------------------------------------------------------------------------------------------------------------------ tracks


@dataclass(frozen=True)
class _TrackPart:
    """Figures of one chromosome, arrays by name with ``track`` first."""

    values: dict[str, np.ndarray]


@dataclass(frozen=True)
class _TrackTask:
    """One chromosome of every track, read one track after the other."""

    path: Place
    group: str
    n_tracks: int
    grid: BinGrid
    lo: int
    hi: int
    window_bins: int

    def measure(self) -> _TrackPart:
        """Read the chromosome and measure it."""
        bins = slice(self.lo, self.hi)
        listed = read_region(self.path, self.group, "blacklisted", {"bin": bins})
        figures: dict[str, list[Any]] = {}
        measured_bits = []
        for index in range(self.n_tracks):
            signal = read_region(self.path, self.group, "signal", {"track": slice(index, index + 1), "bin": bins})[0]
            of_track, is_measured = _measure_signal(signal, listed, self.window_bins)
            measured_bits.append(np.packbits(is_measured))
            for name, value in of_track.items():
                figures.setdefault(name, []).append(value)
        # One bit a bin and track is all that has to be kept to compare the tracks' gaps.
        any_track = np.bitwise_or.reduce(measured_bits) if measured_bits else np.zeros(0, np.uint8)
        figures["missing_share"] = [
            int(np.bitwise_count(any_track & ~bits).sum()) / (self.hi - self.lo) for bits in measured_bits
        ]
        values = {name: np.stack([np.asarray(v) for v in of_tracks]) for name, of_tracks in figures.items()}
        values["maximum_start"] = np.where(
            values["maximum_bin"] >= 0, values["maximum_bin"] * self.grid.binsize, -1
        ).astype(np.int64)
        return _TrackPart(values | {"blacklisted_share": np.asarray(listed.mean())})


def _measure_signal(
    signal: np.ndarray, listed: np.ndarray, window_bins: int
) -> tuple[dict[str, float | int | str | np.ndarray], np.ndarray]:
    """Figures of one track on one chromosome, and which bins are measured."""
    is_missing = np.isnan(signal)
    signal[is_missing] = np.nan  # one bit pattern for all, so that equal tracks have equal hashes
    digest = hashlib.blake2b(signal.tobytes(), digest_size=16).hexdigest()
    is_finite = np.isfinite(signal)
    finite, kept = signal[is_finite], signal[is_finite & ~listed]
    n = len(finite)
    nan = float("nan")
    top = int(np.argmax(np.where(is_finite & ~listed, signal, -np.inf))) if len(kept) else -1
    percentiles = np.percentile(kept, PERCENTILES) if len(kept) else np.full(len(PERCENTILES), nan)
    maximum = float(signal[top]) if top >= 0 else nan
    starts = np.arange(0, len(signal), window_bins)
    with np.errstate(invalid="ignore"):
        profile = np.add.reduceat(np.where(is_finite, signal, 0.0), starts) / np.add.reduceat(
            is_finite, starts, dtype=int
        )
    positive = kept[kept > 0]
    figures: dict[str, float | int | str | np.ndarray] = {
        "measured_share": 1 - is_missing.mean(),
        "n_infinite": int(np.isinf(signal).sum()),
        "mean": finite.mean(dtype=np.float64) if n else nan,
        "zero_share": 1 - np.count_nonzero(finite) / n if n else nan,
        "minimum": finite.min() if n else nan,
        "n_kept": len(kept),
        "percentile_value": percentiles.astype(np.float64),
        "maximum": maximum,
        "maximum_bin": top,
        "outlier_ratio": maximum / percentiles[-1] if percentiles[-1] > 0 else nan,
        "histogram": np.histogram(np.clip(positive, VALUE_EDGES[0], VALUE_EDGES[-1]), VALUE_EDGES)[0],
        "profile": profile,
        "digest": digest,
    }
    return figures, ~is_missing


def _track_tasks(path: Place, info: GroupInfo, ds: xr.Dataset) -> list["_TrackTask | _BandTask"]:
    grid = grid_of(ds)
    window_bins = window_bp(grid) // grid.binsize
    return [_TrackTask(path, info.path, ds.sizes["track"], grid, lo, hi, window_bins) for _, lo, hi in grid.extents()]


def _track_figures(ds: xr.Dataset, parts: Sequence[_TrackPart]) -> xr.Dataset:
    grid = grid_of(ds)
    both = ("track", "chroms")
    stacked = {
        name: (both, np.stack([part.values[name] for part in parts], axis=1))
        for name in (
            "measured_share", "missing_share", "n_infinite", "mean", "zero_share", "minimum", "n_kept", "maximum",
            "maximum_start", "outlier_ratio", "digest",
        )
    }  # fmt: skip
    percentiles = np.stack([part.values["percentile_value"] for part in parts], axis=1)
    return xr.Dataset(
        {
            **stacked,
            "percentile_value": ((*both, "percentile"), percentiles),
            "n_bins": (("chroms",), grid.chrom_n_bins),
            "blacklisted_share": (("chroms",), np.array([part.values["blacklisted_share"] for part in parts])),
            "histogram": (("track", "value"), sum(part.values["histogram"] for part in parts)),
            "profile": (("track", "window"), np.concatenate([part.values["profile"] for part in parts], axis=1)),
        },
        coords={
            "track": ds["track"].values,
            "chrom_name": (("chroms",), np.array(grid.assembly.chrom_names, dtype=object)),
            "percentile": list(PERCENTILES),
            "value": np.sqrt(VALUE_EDGES[1:] * VALUE_EDGES[:-1]),
            **_window_coords(grid),
        },
        attrs={"binsize": grid.binsize},
    )


def _kind_figures(kinds: Mapping[str, SignalKind]) -> dict[str, tuple[tuple[str], np.ndarray]]:
    """Kinds as variables, by track."""
    return {
        f"signal_{part}": (("track",), np.array([getattr(kind, part) for kind in kinds.values()], dtype=object))
        for part in ("kind", "confidence", "evidence")
    }


def _window_coords(grid: BinGrid) -> dict[str, Any]:
    """Start and end of each window of a profile, in bp from the beginning of the genome; none crosses a chromosome's end."""
    width, offset = window_bp(grid), 0
    starts, ends = [], []
    for _, length in grid.assembly:
        first = np.arange(0, length, width)
        starts.append(offset + first)
        ends.append(offset + np.minimum(first + width, length))
        offset += length
    return {"window_start": (("window",), np.concatenate(starts)), "window_end": (("window",), np.concatenate(ends))}


# ---------------------------------------------------------------------------------------------------------------- contacts


@dataclass
class _BandPart:
    """Sums of some band rows: per variable and chromosome, and per bin from ``lo`` on."""

    lo: int
    n_pixels: dict[str, np.ndarray] = field(default_factory=dict)
    n_nan: dict[str, np.ndarray] = field(default_factory=dict)
    n_contacts: np.ndarray = field(default_factory=lambda: np.zeros(0))
    sums: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class _BandTask:
    """Some rows of every band of a group, one variable after the other."""

    path: Place
    group: str
    grid: BinGrid
    variables: tuple[str, ...]
    with_marginals: tuple[str, ...]
    ignored: dict[str, int]
    n_diagonals: int
    lo: int
    hi: int

    def measure(self) -> _BandPart:
        """Read the rows and add them up."""
        n_chroms = len(self.grid.assembly)
        part = _BandPart(self.lo, n_contacts=np.zeros(n_chroms))
        n_reached = min(self.hi + self.n_diagonals - 1, self.grid.n_bins) - self.lo
        is_on = band_on_chromosome(self.grid, self.lo, self.hi, self.n_diagonals)
        for name in self.variables:
            band = read_region(self.path, self.group, name, {"bin": slice(self.lo, self.hi)})
            first = self.ignored.get(name, 0)
            part.n_pixels[name], part.n_nan[name] = np.zeros(n_chroms, np.int64), np.zeros(n_chroms, np.int64)
            expected = None
            if name in self.with_marginals:
                part.sums[name] = np.zeros(n_reached)
                if _has_expected(self.path, self.group, name):
                    expected = read_region(self.path, self.group, f"expected_{name}", {})
                    part.sums[f"expected_{name}"] = np.zeros(n_reached)
            if name == "count":
                part.sums["ends"] = np.zeros(n_reached)
            for chrom, lo, hi in self.grid.extents(self.lo, self.hi):
                code = self.grid.assembly.index(chrom)
                rows = band[lo - self.lo : hi - self.lo]
                on = is_on[lo - self.lo : hi - self.lo, first:]
                part.n_pixels[name][code] += np.count_nonzero(on)
                part.n_nan[name][code] += np.count_nonzero(np.isnan(rows[:, first:]) & on)
                if name == "count":
                    _add(part.sums["ends"], lo - self.lo, touching_sums(rows, diagonal_twice=True))
                    part.n_contacts[code] += np.nansum(rows, dtype=np.float64)
                if name in self.with_marginals:
                    _add(part.sums[name], lo - self.lo, touching_sums(rows))
                if expected is not None:
                    usual = np.where(np.isnan(rows), np.nan, expected[code])
                    _add(part.sums[f"expected_{name}"], lo - self.lo, touching_sums(usual))
        return part


def _add(total: np.ndarray, first: int, values: np.ndarray) -> None:
    """Add the sums of a piece of one chromosome; what reaches past the genome's end is 0."""
    n = min(len(values), len(total) - first)
    total[first : first + n] += values[:n]


def _has_expected(path: Place, group: str, name: str) -> bool:
    return has_file(path, f"{group}/expected_{name}/zarr.json")


def _band_names(ds: xr.Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All bands of a group, and those whose marginals and decay mean something: counts, and what weights have balanced."""
    bands = tuple(str(n) for n, v in ds.data_vars.items() if v.dims == ("bin", "diagonal"))
    ordered = tuple(sorted(bands, key=lambda n: (n != "count", n)))
    return ordered, tuple(n for n in ordered if n == "count" or f"weight_{n}" in ds)


def _band_tasks(path: Place, info: GroupInfo, ds: xr.Dataset) -> list["_TrackTask | _BandTask"]:
    grid, n_diagonals = grid_of(ds), ds.sizes["diagonal"]
    variables, with_marginals = _band_names(ds)
    ignored = json.loads(ds.attrs["ignore_diags"])
    # A task's sums reach K - 1 bins past its rows: with K rows or more, all of them take two values a bin at most.
    step = BAND_ROWS * -(-n_diagonals // BAND_ROWS)
    return [
        _BandTask(
            path, info.path, grid, variables, with_marginals, ignored, n_diagonals, lo, min(lo + step, grid.n_bins)
        )
        for lo in range(0, grid.n_bins, step)
    ]


def _contact_figures(path: Place, info: GroupInfo, ds: xr.Dataset, parts: Sequence[_BandPart]) -> xr.Dataset:
    grid = grid_of(ds)
    variables, with_marginals = _band_names(ds)
    sums: dict[str, np.ndarray] = {}
    for part in parts:
        for name, values in part.sums.items():
            _add(sums.setdefault(name, np.zeros(grid.n_bins)), part.lo, values)
    extents = [slice(lo, hi) for _, lo, hi in grid.extents()]
    bad = read_region(path, info.path, "bad_bin", {})
    ends = [sums["ends"][where] for where in extents]
    shape = (len(variables), len(extents))
    figures = {name: np.full(shape, np.nan) for name in (
        "nan_share", "unweighted_share", "unweighted_seen_share", "marginal_mean", "marginal_cv", "decay_exponent",
    )}  # fmt: skip
    n_diagonals = ds.sizes["diagonal"]
    expected = np.full((*shape, n_diagonals), np.nan)
    profile = np.full((len(variables), sum(len(_window_edges(grid, where)) for where in extents)), np.nan)
    for row, name in enumerate(variables):
        n_pixels, n_nan = (sum(getattr(part, key)[name] for part in parts) for key in ("n_pixels", "n_nan"))
        with np.errstate(invalid="ignore", divide="ignore"):
            figures["nan_share"][row] = n_nan / n_pixels
        weight = read_region(path, info.path, f"weight_{name}", {}) if f"weight_{name}" in ds else None
        if weight is not None:
            for column, where in enumerate(extents):
                is_unweighted = np.isnan(weight[where])
                figures["unweighted_share"][row, column] = is_unweighted.mean()
                seen = (ends[column] > 0) & ~bad[where]
                if seen.any():
                    figures["unweighted_seen_share"][row, column] = is_unweighted[seen].mean()
        if name not in with_marginals or f"expected_{name}" not in ds:
            continue
        expected[row] = read_region(path, info.path, f"expected_{name}", {})
        n_valid = read_region(path, info.path, f"n_valid_{name}", {})
        relative = _relative_marginals(sums[name], sums[f"expected_{name}"], bad, extents)
        for column, where in enumerate(extents):
            figures["decay_exponent"][row, column] = decay_exponent(
                expected[row, column], n_valid[column], int(ds.attrs["min_diagonal"])
            )
            known = ~np.isnan(relative[where])
            if np.count_nonzero(known) >= MIN_BINS:
                figures["marginal_mean"][row, column] = sums[name][where][known].mean()
                of_chrom = relative[where][known]
                figures["marginal_cv"][row, column] = of_chrom.std() / of_chrom.mean() if of_chrom.mean() else np.nan
        profile[row] = _window_medians(grid, relative, extents)
    by_chrom = {
        "n_bins": grid.chrom_n_bins,
        "n_contacts": sum(part.n_contacts for part in parts),
        "n_covered": np.array([np.count_nonzero(e > 0) for e in ends]),
        "bad_share": np.array([bad[where].mean() for where in extents]),
        "unseen_share": np.array([np.mean(e == 0) for e in ends]),
        "supported_binsize": np.array([supported_binsize([e], grid.binsize) or np.nan for e in ends]),
    }
    return xr.Dataset(
        {
            **{name: (("variable", "chroms"), values) for name, values in figures.items()},
            **{name: (("chroms",), values) for name, values in by_chrom.items()},
            "expected": (("variable", "chroms", "diagonal"), expected),
            "deep_share": (("merged",), np.array([deep_share(ends, n) for n in MERGED_BINS])),
            "profile": (("variable", "window"), profile),
        },
        coords={
            "variable": np.array(variables, dtype=object),
            "chrom_name": (("chroms",), np.array(grid.assembly.chrom_names, dtype=object)),
            "distance": (("diagonal",), ds["distance"].values),
            "merged": np.array(MERGED_BINS) * grid.binsize,
            **_window_coords(grid),
        },
        attrs={
            "binsize": grid.binsize,
            "span_bp": int(ds.attrs["span_bp"]),
            "min_diagonal": int(ds.attrs["min_diagonal"]),
            "supported_binsize": supported_binsize(ends, grid.binsize),
        },
    )


def _relative_marginals(sums: np.ndarray, usual: np.ndarray, bad: np.ndarray, extents: Sequence[slice]) -> np.ndarray:
    """Marginals over what the decay curve gives for the same pixels; NaN at bad bins and where few pixels are valid."""
    relative = np.full(len(sums), np.nan)
    for where in extents:
        good = ~bad[where] & (usual[where] > 0)
        if good.any():
            good &= usual[where] >= FULL_SHARE * np.median(usual[where][good])
            relative[where][good] = sums[where][good] / usual[where][good]
    return relative


def _window_edges(grid: BinGrid, where: slice) -> np.ndarray:
    return np.arange(0, where.stop - where.start, window_bp(grid) // grid.binsize)


def _window_medians(grid: BinGrid, values: np.ndarray, extents: Sequence[slice]) -> np.ndarray:
    """Median of each window; NaN where it has no value."""
    medians = []
    for where in extents:
        for piece in np.split(values[where], _window_edges(grid, where)[1:]):
            known = piece[~np.isnan(piece)]
            medians.append(np.median(known) if len(known) else np.nan)
    return np.array(medians)
