"""Blocks of what is compared: observed contacts, predictions, tracks per contact bin, and a simulator's truth.

Everything is read a few thousand rows at a time and masked by one rule: a pixel counts if both of its bins lie wholly in one
region, neither is a bad bin, it has a value, and its diagonal is not below the first that counts.
"""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.errors import GroupNotFoundError

from epizarr.bands import mask_band
from epizarr.errors import AssemblyMismatchError, StoreError, StoreNotFoundError
from epizarr.genome import Assembly, BinGrid, Region
from epizarr.io.places import Place
from epizarr.io.store import (
    group_id,
    group_path,
    open_contacts,
    open_tracks,
    read_region,
    used_inputs,
)
from epizarr.io.track_binding import bind_transforms, own_fits
from epizarr.transforms import Transform
from epizarr.windows import cut_padded

#: Band rows of a task.
BLOCK_ROWS = 2048


@dataclass(frozen=True)
class Rows:
    """Band rows ``[lo, hi)`` (bin ids) of a region that ends before bin ``end``."""

    lo: int
    hi: int
    end: int


def whole_regions(grid: BinGrid, regions: Sequence[Region]) -> list[Rows]:
    """The whole bins of each region, in one."""
    extents = [grid.region_extent(region, "contained") for region in regions]
    return [Rows(first, end, end) for first, end in extents]


def blocks_of(rows: Rows) -> list[Rows]:
    """Cut rows of a region into blocks of at most :data:`BLOCK_ROWS`, which are read at a time."""
    return [Rows(lo, min(lo + BLOCK_ROWS, rows.hi), rows.end) for lo in range(rows.lo, rows.hi, BLOCK_ROWS)]


def region_rows(grid: BinGrid, regions: Sequence[Region]) -> list[Rows]:
    """Cut the whole bins of regions into blocks of at most :data:`BLOCK_ROWS` rows."""
    return [block for rows in whole_regions(grid, regions) for block in blocks_of(rows)]


@dataclass(frozen=True)
class Maps:
    """Where the contacts and tracks of one cell type lie, and how they are transformed. Small and picklable.

    Parameters
    ----------
    store, cell_type
        Store and cell type.
    assembly, binsize, n_diagonals
        Grid of the contacts, and how many diagonals are compared.
    variable, transform, min_diagonal
        What is compared, how both maps are transformed first, and the first diagonal that counts.
    track_binsize, tracks, stored_tracks, track_rows, track_transforms
        The model's tracks, in its order: names, names and rows in the store, transforms, bound to these tracks. None for an
        imported map, whose model nothing is known of: then no track is read.
    """

    store: Place
    cell_type: str
    assembly: Assembly
    binsize: int
    n_diagonals: int
    variable: str
    transform: Transform
    min_diagonal: int
    track_binsize: int
    tracks: tuple[str, ...]
    stored_tracks: tuple[str, ...]
    track_rows: tuple[int, ...]
    track_transforms: tuple[Transform, ...]

    @property
    def grid(self) -> BinGrid:
        """Bins of the contacts."""
        return self.assembly.bins(self.binsize)

    def contacts(self, rows: Rows, variable: str | None = None) -> np.ndarray:
        """Contacts of some rows as they are stored, float32 (row, diagonal); another variable than the target if named."""
        group = group_path("contacts", self.cell_type, self.binsize)
        return read_region(self.store, group, variable or self.variable, self._part(rows))

    def predicted(self, home: Place, group: str, rows: Rows, variable: str = "contact") -> np.ndarray:
        """A prediction of some rows as it is stored, float32 (row, diagonal); ``home`` is its store."""
        return read_region(home, group, variable, self._part(rows))

    def transformed(self, band: np.ndarray) -> np.ndarray:
        """Contacts (row, diagonal) after the target's transform; not finite where the transform is not defined for a value."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.transform.apply(band)

    def _part(self, rows: Rows) -> dict[str, slice]:
        return {"bin": slice(rows.lo, rows.hi), "diagonal": slice(0, self.n_diagonals)}

    def observed(self, rows: Rows, variable: str | None = None) -> np.ndarray:
        """Contacts of some rows in their own units, float32 (row, diagonal), NaN where a pixel does not count."""
        return mask_band(self.contacts(rows, variable), self.good_bins(rows), self.min_diagonal)

    def replicates(self, rows: Rows, observed: np.ndarray, n_replicates: int) -> list[np.ndarray]:
        """Share of each replicate in some rows' contacts, float32 (row, diagonal): observed × its count / count.

        For variables that are proportional to the count (:data:`epizarr.schema.PROPORTIONAL_VARIABLES`): they add up to
        ``observed``. 0 where there is no contact, NaN where ``observed`` is.
        """
        per_count = value_per_count(observed, self.contacts(rows, "count"))
        return [per_count * self.replicate_count(rows, index) for index in range(n_replicates)]

    def replicate_count(self, rows: Rows, index: int) -> np.ndarray:
        """Raw contacts of one replicate in some rows, float32 (row, diagonal), NaN as ``count``."""
        group = group_path("contacts", self.cell_type, self.binsize)
        part = {"replicate": slice(index, index + 1), **self._part(rows)}
        return read_region(self.store, group, "count_replicate", part)[0]

    def good_bins(self, rows: Rows) -> np.ndarray:
        """Bool for the rows' bins and the ``n_diagonals - 1`` behind them: in the region and not bad."""
        n = rows.hi - rows.lo + self.n_diagonals - 1
        last = min(rows.lo + n, rows.end)
        group = group_path("contacts", self.cell_type, self.binsize)
        good = np.zeros(n, dtype=bool)
        good[: last - rows.lo] = ~read_region(self.store, group, "bad_bin", {"bin": slice(rows.lo, last)})
        return good

    def signal(self, lo: int, hi: int, *, transformed: bool = True) -> np.ndarray:
        """Tracks under bins ``[lo, hi)`` of one chromosome, (track, track bin), NaN where missing.

        A partial last bin is filled up with NaN, so that each bin has the same number of track bins.
        """
        if not self.tracks:
            return np.empty((0, 0), dtype=np.float32)
        fine = self.assembly.bins(self.track_binsize)
        stride = self.binsize // self.track_binsize
        first, _, chrom_end = self.grid.finer_start(lo, fine)
        stop = min(first + (hi - lo) * stride, chrom_end)
        group = group_path("tracks", self.cell_type, self.track_binsize)
        blacklisted = read_region(self.store, group, "blacklisted", {"bin": slice(first, stop)})
        values = np.empty((len(self.tracks), stop - first), dtype=np.float32)
        for index, (row, transform) in enumerate(zip(self.track_rows, self.track_transforms, strict=True)):
            part = {"track": slice(row, row + 1), "bin": slice(first, stop)}
            raw = read_region(self.store, group, "signal", part)[0]
            values[index] = transform.apply(raw, blacklisted) if transformed else raw
        return cut_padded(values, 0, 0, (hi - lo) * stride)

    def bin_tracks(self, rows: Rows) -> np.ndarray:
        """Mean transformed signal of each contact bin, float64 (track, row + n_diagonals - 1); NaN past the region."""
        n = rows.hi - rows.lo + self.n_diagonals - 1
        if not self.tracks:
            return np.empty((0, n))
        last = min(rows.lo + n, rows.end)
        signal = self.signal(rows.lo, last).reshape(len(self.tracks), last - rows.lo, -1)
        known = ~np.isnan(signal)
        total = np.where(known, signal, 0.0).sum(axis=2, dtype=np.float64)
        number = known.sum(axis=2)
        means = np.where(number > 0, total / np.maximum(number, 1), np.nan)
        return cut_padded(means, 0, 0, n)


def value_per_count(observed: np.ndarray, count: np.ndarray) -> np.ndarray:
    """What one count adds to ``observed``, dtype of it; 0 where there is no contact, NaN where ``observed`` is."""
    return np.divide(observed, count, out=np.where(np.isnan(observed), observed, 0), where=count > 0)


def open_maps(
    store: Place,
    cell_type: str,
    prediction: xr.Dataset,
    *,
    is_predicted: bool = False,
    left_out: Collection[str] = (),
) -> Maps:
    """Look up a cell type's contacts and tracks for a prediction's grid, target, transforms and tracks.

    Parameters
    ----------
    store, cell_type
        Whose contacts and tracks.
    prediction
        What they are compared with. Tracks that were fed to it as missing are left out.
    is_predicted
        Whether the cell type is the predicted one: tracks that were read in the place of others are read here, too.
    left_out
        More of the model's tracks to leave out.

    Raises
    ------
    AssemblyMismatchError
        If the store's chromosomes are not the prediction's.
    StoreError
        If the contacts lack the target variable or enough diagonals, or the tracks lack one of the model's.
    StoreNotFoundError
        If the cell type has no contacts on that grid, or no tracks.
    TransformError
        If a track cannot be matched as the prediction's were.
    """
    attrs = prediction.attrs
    binsize, track_binsize = int(attrs["binsize"]), int(attrs["track_binsize"])
    contacts = open_contacts(store, cell_type, binsize)
    if Assembly.from_dataset(contacts) != Assembly.from_dataset(prediction):
        raise AssemblyMismatchError(
            f"{store}: assembly {contacts.attrs['assembly']!r} is not that of the prediction, {attrs['assembly']!r}, "
            "or has other chromosomes. Compare a prediction with contacts on its own assembly."
        )
    n_diagonals, variable = prediction.sizes["diagonal"], str(attrs["target"])
    all_names = [str(name) for name in json.loads(attrs["tracks"])]
    left_out = {*left_out, *missing_tracks(prediction)}
    names = [name for name in all_names if name not in left_out]
    sources = json.loads(attrs.get("track_sources", "{}")) if is_predicted else {}
    stored = [sources.get(name, name) for name in names]
    tracks = open_tracks(store, cell_type, track_binsize) if names else None
    there = [] if tracks is None else [str(name) for name in tracks["track"].values]
    missing = [name for name in stored if name not in there]
    problems = []
    if variable not in contacts:
        bands = sorted(str(name) for name, array in contacts.data_vars.items() if array.dims == ("bin", "diagonal"))
        problems.append(f"its contacts have {bands}, and the prediction is of {variable!r}")
    if contacts.sizes["diagonal"] < n_diagonals:
        problems.append(f"its contacts have {contacts.sizes['diagonal']} diagonals, the prediction {n_diagonals}")
    if missing:
        problems.append(f"it has the tracks {there} and lacks {missing}")
    if problems:
        raise StoreError(
            f"{store}: cell type {cell_type!r} cannot be compared with this prediction: {'; '.join(problems)}. Ingest what is "
            "missing, or evaluate another run."
        )
    rows = tuple(there.index(name) for name in stored)
    fitted = dict(zip(all_names, json.loads(str(attrs["track_transforms"])), strict=True))
    transforms = [Transform.from_json(json.dumps(fitted[name])) for name in names]
    bound: tuple[Transform, ...] = ()
    if tracks is not None:
        signal = [tracks["signal"].isel(track=row) for row in rows]
        bound = bind_transforms(transforms, names, own_fits(signal, tracks["blacklisted"]))
    return Maps(
        store=store,
        cell_type=cell_type,
        assembly=Assembly.from_dataset(contacts),
        binsize=binsize,
        n_diagonals=n_diagonals,
        variable=variable,
        transform=Transform.from_json(str(attrs["transform"])),
        min_diagonal=max(int(attrs["min_diagonal"]), int(contacts.attrs["min_diagonal"])),
        track_binsize=track_binsize,
        tracks=tuple(names),
        stored_tracks=tuple(stored),
        track_rows=rows,
        track_transforms=bound,
    )


def missing_tracks(prediction: xr.Dataset) -> list[str]:
    """The model's tracks that a prediction was fed as missing."""
    return [str(name) for name in json.loads(prediction.attrs.get("missing_tracks", "[]"))]


def lacking_tracks(store: Place, cell_types: Sequence[str], prediction: xr.Dataset) -> dict[str, list[str]]:
    """The tracks that cell types lack of those that a prediction was made of, by cell type; none listed that lacks none."""
    track_binsize, fed = int(prediction.attrs["track_binsize"]), json.loads(prediction.attrs["tracks"])
    found = {}
    for cell_type in cell_types if fed else ():
        there = open_tracks(store, cell_type, track_binsize)["track"].values
        lacks = [str(name) for name in fed if name not in there and name not in missing_tracks(prediction)]
        if lacks:
            found[cell_type] = lacks
    return found


def check_truth(path: Path, maps: Maps) -> dict[str, Any]:
    """Return the attributes of a simulator's truth if it fits the maps.

    Raises
    ------
    StoreNotFoundError
        If there is no truth at ``path``.
    AssemblyMismatchError
        If its chromosomes, bin width or diagonals are not those of the maps.
    """
    group = _open_truth(path)
    attrs = dict(group.attrs)
    assembly = Assembly.from_table(
        str(attrs.get("assembly")), zip(group["chrom_name"][...], group["chrom_length"][...], strict=True)
    )
    n_diagonals = group["contact"].shape[1]
    if assembly != maps.assembly or attrs.get("binsize") != maps.binsize or n_diagonals < maps.n_diagonals:
        raise AssemblyMismatchError(
            f"truth {path}: {len(assembly)} chromosomes of {assembly.name!r}, bins of {attrs.get('binsize')} bp, {n_diagonals} "
            f"diagonals; the store has {len(maps.assembly)} of {maps.assembly.name!r}, {maps.binsize} bp, and "
            f"{maps.n_diagonals} diagonals are compared. Give the truth of the genome that the store was made from."
        )
    if attrs.get("state") != "complete":
        raise StoreError(f"truth {path}: it is not complete. Simulate the genome again.")
    return attrs


def read_truth(path: str, rows: Rows, n_diagonals: int) -> np.ndarray:
    """Noise-free contacts of some rows, (row, diagonal)."""
    return np.asarray(_open_truth(Path(path))["contact"][rows.lo : rows.hi, :n_diagonals])


def _open_truth(path: Path) -> zarr.Group:
    folder = path / "truth.zarr" if (path / "truth.zarr").is_dir() else path
    try:
        return zarr.open_group(folder, mode="r", zarr_format=3, use_consolidated=False)
    except (GroupNotFoundError, FileNotFoundError) as error:
        raise StoreNotFoundError(
            f"truth {path}: there is no Zarr group. The truth of a simulated genome is OUT/<cell type>/truth.zarr."
        ) from error


def inputs_id(predictions: Sequence[xr.Dataset], maps: Sequence[Maps], truths: Sequence[dict[str, Any]]) -> str:
    """Hash of all that is compared: a changed input makes another evaluation, a track that is not used does not."""
    content: list[Any] = [[truth.get("simulated") for truth in truths]]
    for prediction in predictions:
        content += [prediction.attrs[name] for name in ("checkpoint_sha256", "input_id", "settings", "regions")]
        optional = ("members", "track_sources", "missing_tracks")
        content += [prediction.attrs[name] for name in optional if name in prediction.attrs]
    for source in maps:
        contacts = open_contacts(source.store, source.cell_type, source.binsize)
        ids = [group_id(contacts)]
        if source.tracks:
            tracks = open_tracks(source.store, source.cell_type, source.track_binsize)
            ids.append(group_id(tracks, source.stored_tracks))
        content.append([source.cell_type, *ids])
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def compared_inputs(maps: Maps) -> list[dict[str, object]]:
    """Files behind the compared contacts and the tracks that the model reads."""
    contacts = open_contacts(maps.store, maps.cell_type, maps.binsize)
    entries = []
    if maps.tracks:
        entries = used_inputs(open_tracks(maps.store, maps.cell_type, maps.track_binsize), maps.stored_tracks)
    return entries + [entry for entry in used_inputs(contacts) if entry not in entries]
