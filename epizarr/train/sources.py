"""What a training run reads: the resolved configuration and each cell type's arrays.

Everything that can be refused is refused here, before a network is built: missing tracks and variables, bins that do not fit
each other, a band shorter than the network's, regions that are off the assembly or too close together.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import dask
import numpy as np
import xarray as xr

from epizarr.bands import mask_band
from epizarr.errors import AssemblyMismatchError, ConfigError, StoreError, nearest_match, raise_all
from epizarr.genome import Assembly, BinGrid
from epizarr.io.places import StorePath
from epizarr.io.store import (
    grid_of,
    group_id,
    list_groups,
    open_contacts,
    open_tracks,
    store_assembly,
    used_inputs,
)
from epizarr.io.track_binding import fit_own_quantiles
from epizarr.quantiles import QuantileFunction
from epizarr.strands import strand_partners
from epizarr.train.config import DEFAULT_TRANSFORM, STORE_MIN_DIAGONAL, TrainConfig
from epizarr.train.config_checks import check_config, stray_tracks
from epizarr.transforms import default_target_transform
from epizarr.windows import Segment, Splits

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """One cell type's arrays, lazy but for ``bad_bin``.

    Parameters
    ----------
    cell_type
        Name.
    grid, track_grid
        Bins of the contacts and of the tracks.
    signal
        One array (bin) for each track, in the network's order; NaN where not measured. None: the whole track is missing, because
        the cell type lacks it or the configuration says so.
    blacklisted
        Bool (bin) on the grid of the tracks.
    band
        Target variable, (bin, diagonal), cut to the network's offsets; NaN where missing.
    bad_bin
        Bool (bin) on the grid of the contacts.
    inputs
        sha256 of each input file that the arrays were made from, by name; and the identity of the tracks and of the contacts,
        which also tells how the files were read.
    """

    cell_type: str
    grid: BinGrid
    track_grid: BinGrid
    signal: tuple[xr.DataArray | None, ...]
    blacklisted: xr.DataArray
    band: xr.DataArray
    bad_bin: np.ndarray
    inputs: dict[str, str]
    _own_quantiles: dict[int, QuantileFunction] = field(default_factory=dict, repr=False, compare=False)

    def own_quantiles(self, track: int) -> QuantileFunction:
        """Quantile function of a whole track that is there, by place; read once (:func:`fit_own_quantiles`) and kept."""
        if track not in self._own_quantiles:
            signal = self.signal[track]
            assert signal is not None
            self._own_quantiles[track] = fit_own_quantiles(signal, self.blacklisted)
        return self._own_quantiles[track]


@dataclass(frozen=True)
class TrainingData:
    """All that a run reads, checked.

    Parameters
    ----------
    config
        The configuration with nothing left to defaults.
    assembly
        The stores' assembly.
    sources
        One for each of ``config.data.cell_types``.
    splits
        The parsed regions.
    strands
        Strand of each track of the config, the same in all cell types.
    """

    config: TrainConfig
    assembly: Assembly
    sources: tuple[Source, ...]
    splits: Splits
    strands: tuple[str, ...]

    def segments(self, split: str) -> list[Segment]:
        """Regions of a split in chromosome-local bins of the contacts."""
        grid = self.sources[0].grid
        return [Segment.from_region(grid, region) for region in getattr(self.splits, split)]


def open_training_data(
    stores: StorePath | Sequence[StorePath],
    config: TrainConfig,
    *,
    cell_types: Sequence[str] | None = None,
    previous: TrainConfig | None = None,
) -> TrainingData:
    """Open the arrays that a configuration asks for and resolve what it leaves open.

    A cell type that lacks a track is refused, unless tracks may go missing (``training.track_dropout``): then the track is fed
    as missing, and a warning names it.

    Parameters
    ----------
    stores
        One store or several: folders or addresses. No cell type may be in two of them.
    config
        May leave cell types, tracks, the target's transform and ``min_diagonal`` to the stores.
    cell_types
        Cell types to train on, instead of those of the config.
    previous
        Resolved config of the run that is being resumed: what ``config`` leaves open stays as it was then, though the stores
        may have grown.

    Raises
    ------
    ConfigError
        If the stores lack a cell type, track, variable or diagonal that is needed; says what each cell type lacks. If two stores
        have a cell type of one name.
    AssemblyMismatchError
        If the stores have different assemblies.
    SplitError
        If regions cannot be used; see :meth:`epizarr.windows.Splits.check`.
    StoreError
        If a group is missing or not complete.
    """
    check_config(config)
    if cell_types is not None:
        config = check_config(_replace(config, "data", cell_types=tuple(cell_types)))
    if previous is not None:
        config = _fill_from(config, previous)
    paths = store_list(stores)
    assembly = _one_assembly(paths)
    data = config.data
    splits = Splits.parse(assembly, config.splits.named())
    splits.check(assembly.bins(data.binsize), margin_bp=config.margin_bp)
    homes = _homes(paths, config)
    names = data.cell_types or _usable_cell_types(paths, config)
    opened = {
        name: (
            open_tracks(homes.get(name, paths[0]), name, data.track_binsize),
            open_contacts(homes.get(name, paths[0]), name, data.binsize),
        )
        for name in names
    }
    where = f"store {', '.join(map(str, paths))}"
    tracks = data.tracks or _all_tracks(opened, config)
    raise_all(ConfigError, where, _lacks(opened, tracks, config))
    if stray := stray_tracks(data, tracks):
        raise ConfigError(f"{'; '.join(stray)}; the run's tracks are {list(tracks)}.")
    least = config.target.min_diagonal
    if least == STORE_MIN_DIAGONAL:
        least = max(int(contacts.attrs["min_diagonal"]) for _, contacts in opened.values())
    transform = config.target.transform
    if transform == DEFAULT_TRANSFORM:
        transform = default_target_transform(config.target.variable)
    config = _replace(config, "data", cell_types=tuple(names), tracks=tuple(tracks))
    config = check_config(_replace(config, "target", transform=transform, min_diagonal=least))
    sources = tuple(_open_source(name, *opened[name], config) for name in names)
    strands = tuple(_strand(opened, track) for track in tracks)
    if config.training.mirror:
        # Before any work: strands without a partner are refused as well.
        _check_zeroed_partners(config, strand_partners(tracks, strands))
    return TrainingData(config, assembly, sources, splits, strands)


def store_list(stores: StorePath | Sequence[StorePath]) -> list[StorePath]:
    """Stores as a list, each once, whether one or several are given."""
    # A remote folder is neither text nor a path, and no sequence.
    return list(dict.fromkeys(stores)) if isinstance(stores, list | tuple) else [stores]  # type: ignore[list-item]


def _one_assembly(stores: Sequence[StorePath]) -> Assembly:
    """Assembly of all stores; others than the first's are refused."""
    first = store_assembly(stores[0])
    for store in stores[1:]:
        other = store_assembly(store)
        if other != first:
            lengths = dict(first)
            different = [f"{c} ({n:,} bp, not {lengths.get(c, 0):,})" for c, n in other if lengths.get(c) != n]
            listed = ", ".join(different[:3]) or "other names or another order"
            raise AssemblyMismatchError(
                f"store {store}: its assembly {other.name!r} is not {first.name!r} of {stores[0]}: {listed}. Stores of one run "
                "need the same chromosomes with the same lengths, in the same order; ingest them on one assembly."
            )
    return first


def _homes(stores: Sequence[StorePath], config: TrainConfig) -> dict[str, StorePath]:
    """Store of each cell type that has tracks or contacts.

    Raises
    ------
    ConfigError
        If a cell type that may be trained on is in two stores; if one that is named is in none: a misspelt one that should be
        held out would be trained on.
    """
    homes: dict[str, list[StorePath]] = {}
    for store in stores:
        for name in dict.fromkeys(g.cell_type for g in list_groups(store) if g.kind in ("tracks", "contacts")):
            homes.setdefault(name, []).append(store)
    wanted, held_out = config.data.cell_types, config.splits.held_out_cell_types
    problems = [
        f"cell type {name!r} is in {' and in '.join(map(str, found))}; choose other cell types (data.cell_types), leave one of "
        "the stores out, or ingest it under another name in one of them"
        for name, found in homes.items()
        if len(found) > 1 and (name in wanted if wanted else name not in held_out)
    ]
    named = (*held_out, *(wanted if len(stores) > 1 else ()))  # a single store says itself what it lacks
    problems += [
        f"no store has a cell type {name!r}; there are {sorted(homes)}.{nearest_match(name, list(homes))}"
        for name in named
        if name not in homes
    ]
    raise_all(ConfigError, f"cell types of {', '.join(map(str, stores))}", problems)
    return {name: found[0] for name, found in homes.items()}


def _all_tracks(opened: Mapping[str, tuple[xr.Dataset, xr.Dataset]], config: TrainConfig) -> tuple[str, ...]:
    """Tracks that a configuration without names means."""
    names = [[str(track) for track in signal["track"].values] for signal, _ in opened.values()]
    used = names if config.training.track_dropout > 0 else names[:1]
    return tuple(dict.fromkeys(track for of_cell_type in used for track in of_cell_type))


def _strand(opened: Mapping[str, tuple[xr.Dataset, xr.Dataset]], track: str) -> str:
    """Strand of a track in the first cell type that has it: all agree."""
    for signal, _ in opened.values():
        if track in signal["track"].values:
            return str(signal["strand"].sel(track=track).item())
    return "."


def _check_zeroed_partners(config: TrainConfig, partners: Sequence[int]) -> None:
    """Refuse a zeroed track that would be filled by its partner from the other strand."""
    tracks, zeroed = config.data.tracks, config.data.zeroed_tracks
    alone = [
        name for name, other in zip(tracks, partners, strict=True) if name in zeroed and tracks[other] not in zeroed
    ]
    if alone:
        raise ConfigError(
            f"data.zeroed_tracks names {alone} without the track of the other strand, whose place it takes when a window is read "
            "backwards. Name both, or set training.mirror = false."
        )


def _replace(config: TrainConfig, section: str, **values: object) -> TrainConfig:
    return dataclasses.replace(config, **{section: dataclasses.replace(getattr(config, section), **values)})


def _fill_from(config: TrainConfig, previous: TrainConfig) -> TrainConfig:
    """Take over what ``config`` leaves open and an earlier start of the same run had resolved."""
    data = {name: getattr(config.data, name) or getattr(previous.data, name) for name in ("cell_types", "tracks")}
    config = _replace(config, "data", **data)
    if config.target.transform == DEFAULT_TRANSFORM and config.target.variable == previous.target.variable:
        config = _replace(config, "target", transform=previous.target.transform)
    if config.target.min_diagonal == STORE_MIN_DIAGONAL:
        config = _replace(config, "target", min_diagonal=previous.target.min_diagonal)
    return config


def _usable_cell_types(stores: Sequence[StorePath], config: TrainConfig) -> tuple[str, ...]:
    """Cell types that have both groups at the configured bin widths and are not held out."""
    kinds: dict[str, set[str]] = {}
    wanted = {"tracks": config.data.track_binsize, "contacts": config.data.binsize}
    held_out = config.splits.held_out_cell_types
    groups = [info for store in stores for info in list_groups(store) if info.cell_type not in held_out]
    for info in groups:
        if wanted.get(info.kind) == info.binsize:
            kinds.setdefault(info.cell_type, set()).add(info.kind)
    usable = tuple(name for name, found in kinds.items() if len(found) == len(wanted))
    if not usable:
        raise StoreError(
            f"store {', '.join(map(str, stores))}: no cell type has tracks at {wanted['tracks']:,} bp and contacts at "
            f"{wanted['contacts']:,} bp{f', but for {list(held_out)}, held out' if held_out else ''}. There are "
            f"{[info.path for info in groups] or 'no groups'}; set data.binsize and data.track_binsize, or ingest them."
        )
    return usable


def _lacks(opened: dict[str, tuple[xr.Dataset, xr.Dataset]], tracks: Sequence[str], config: TrainConfig) -> list[str]:
    problems = []
    variable, n_offsets = config.target.variable, config.network.n_offsets
    problems += _strand_conflicts(opened, tracks)
    for name, (signal, contacts) in opened.items():
        there = [str(t) for t in signal["track"].values]
        absent = [track for track in tracks if track not in there and track not in config.data.zeroed_tracks]
        if config.training.track_dropout > 0 and set(there) & (set(tracks) - set(config.data.zeroed_tracks)):
            if unknown := [
                track for track in absent if not any(track in s["track"].values for s, _ in opened.values())
            ]:
                problems.append(f"no cell type has the tracks {unknown}; {name!r} has {there}")
            for track in absent:
                _LOG.warning(
                    "cell type %r has no track %r: it is fed as missing, as training.track_dropout allows", name, track
                )
            absent = []
        for track in absent:
            problems.append(
                f"cell type {name!r} has no track {track!r}, only {there}; ingest it, leave it out of data.tracks, or let tracks "
                f"be missing with training.track_dropout.{nearest_match(track, there)}"
            )
        bands = [str(v) for v in contacts.data_vars if contacts[v].dims == ("bin", "diagonal")]
        if variable not in bands:
            problems.append(
                f"cell type {name!r} has no target {variable!r} at {config.data.binsize:,} bp, only {bands}; set "
                f"target.variable or ingest it.{nearest_match(variable, bands)}"
            )
        stored = contacts.sizes["diagonal"]
        if stored < n_offsets:
            problems.append(
                f"cell type {name!r} stores {stored} diagonals and the network has {n_offsets} offsets; set "
                "network.n_offsets lower, or ingest with a larger span_bp."
            )
    return problems


def _strand_conflicts(opened: dict[str, tuple[xr.Dataset, xr.Dataset]], tracks: Sequence[str]) -> list[str]:
    """Tracks that are of one strand in one cell type and of another in the next: one channel must mean one thing."""
    found: dict[str, dict[str, list[str]]] = {track: {} for track in tracks}
    for name, (signal, _) in opened.items():
        strand_of = dict(zip(map(str, signal["track"].values), map(str, signal["strand"].values), strict=True))
        for track in tracks:
            if track in strand_of:
                found[track].setdefault(strand_of[track], []).append(name)
    return [
        f"track {track!r} has strand {' and '.join(f'{s!r} in {names}' for s, names in by_strand.items())}; give the manifest "
        "the same strand in all cell types"
        for track, by_strand in found.items()
        if len(by_strand) > 1
    ]


def _open_source(name: str, tracks: xr.Dataset, contacts: xr.Dataset, config: TrainConfig) -> Source:
    place = {str(track): index for index, track in enumerate(tracks["track"].values)}
    used = [track for track in config.data.tracks if track in place and track not in config.data.zeroed_tracks]
    inputs = {f"tracks: {entry['name']}": str(entry["sha256"]) for entry in used_inputs(tracks, used)}
    inputs |= {f"contacts: {entry['name']}": str(entry["sha256"]) for entry in used_inputs(contacts)}
    inputs |= {"tracks": group_id(tracks, used), "contacts": group_id(contacts)}
    return Source(
        cell_type=name,
        grid=grid_of(contacts),
        track_grid=grid_of(tracks),
        signal=tuple(
            tracks["signal"].isel(track=place[track]) if track in used else None for track in config.data.tracks
        ),
        blacklisted=tracks["blacklisted"],
        band=contacts[config.target.variable].isel(diagonal=slice(0, config.network.n_offsets)),
        bad_bin=contacts["bad_bin"].values,
        inputs=inputs,
    )


def read_masked_band(source: Source, segment: Segment, lo: int, hi: int, min_diagonal: int) -> np.ndarray:
    """Band rows ``[lo, hi)`` (chromosome-local, inside the segment) with every pixel that does not count set to NaN.

    A pixel counts if both of its bins lie in the segment, neither is bad, and its diagonal is at least ``min_diagonal``.
    """
    first, _ = source.grid.chrom_extent(segment.chrom)
    rows = source.band.isel(bin=slice(first + lo, first + hi)).data.compute(scheduler="synchronous")
    second = np.arange(lo, hi + rows.shape[1] - 1)  # bins that pixels of these rows may end in
    good = second < segment.hi
    good[good] = ~source.bad_bin[first + second[good]]
    return mask_band(rows, good, min_diagonal)


def read_signal(source: Source, lo: int, hi: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Read raw tracks (bin) and the blacklist (bin) of genome-wide track bins ``[lo, hi)``, in one Dask computation.

    A track that the source lacks is NaN.
    """
    cut = [array.isel(bin=slice(lo, hi)).data for array in (*source.signal, source.blacklisted) if array is not None]
    # Called by threads of the sampler, each with a block of its own: no scheduler below them.
    *known, blacklisted = dask.compute(*cut, scheduler="synchronous")
    found = iter(known)
    absent = np.full(hi - lo, np.nan, dtype=np.float32)
    return [absent if array is None else next(found) for array in source.signal], blacklisted
