"""What a store has to show: its maps and tracks, found from metadata alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from epizarr.errors import StoreError, nearest_match
from epizarr.genome import Assembly, BinGrid
from epizarr.io.places import Place
from epizarr.io.store import group_arrays, group_attrs, list_groups, read_region
from epizarr.report.scales import scale_kind
from epizarr.schema import TARGET_VARIABLES

#: The order in which the variables of a contacts group are offered: the first that is there is shown.
_ORDER = (*TARGET_VARIABLES, "count")
#: Tracks of each cell type that are shown unless others are named.
FIRST_TRACKS = 6


@dataclass(frozen=True)
class MapSource:
    """One map: a variable along (bin, diagonal) of a finished group.

    Parameters
    ----------
    group, variable
        Where it lies.
    cell_type, run
        Whose it is; ``run`` is None for measured contacts.
    binsize, n_diagonals, min_diagonal
        Its grid, and the first diagonal that means something: those before it are not shown in a prediction.
    quantity
        Variable whose units it has: of a prediction, the target of its model.
    """

    group: str
    variable: str
    cell_type: str
    run: str | None
    binsize: int
    n_diagonals: int
    min_diagonal: int
    quantity: str

    @property
    def key(self) -> str:
        """Name by which the interactive page asks for it."""
        return f"{self.group}/{self.variable}"

    @property
    def name(self) -> str:
        """What tells it from other maps of its cell type."""
        if self.run is None:
            return self.variable
        return self.run if self.variable == "contact" else f"{self.run} {self.variable}"

    @property
    def title(self) -> str:
        """What stands over it in a picture."""
        return f"{self.cell_type} · {self.name}"

    def minus(self, other: MapSource) -> str:
        """What stands over its difference to another map."""
        return f"{self.title} − {other.name if other.cell_type == self.cell_type else other.title}"

    @property
    def is_contacts(self) -> bool:
        """Whether its values fall with the distance, so that they can be divided by what is expected there."""
        return scale_kind(self.quantity) == "log"

    def grid(self, assembly: Assembly) -> BinGrid:
        """Its bins."""
        return assembly.bins(self.binsize)


@dataclass(frozen=True)
class TrackSource:
    """One track: a row of ``signal`` in a finished group."""

    group: str
    cell_type: str
    name: str
    row: int
    binsize: int

    @property
    def key(self) -> str:
        """Name by which the interactive page asks for it."""
        return f"{self.group}/{self.name}"


def list_maps(store: Place) -> list[MapSource]:
    """List the maps of a store: by cell type, measured before predicted, fine bins before coarse, in the order to offer."""
    maps = []
    for info in list_groups(store):
        if info.state != "complete" or info.kind not in ("contacts", "predictions"):
            continue
        attrs = group_attrs(store, info.path)
        bands = {
            name: array.shape[1]
            for name, array in group_arrays(store, info.path).items()
            if array.metadata.dimension_names == ("bin", "diagonal")
        }
        for name in sorted(bands, key=lambda n: (_ORDER.index(n) if n in _ORDER else len(_ORDER), n)):
            # Measured values below the first diagonal of training are what they are; predicted ones were never trained.
            first = 0 if info.run is None else int(attrs.get("min_diagonal", 0))
            quantity = name if info.run is None else str(attrs.get("target", name))
            maps.append(
                MapSource(
                    info.path, name, info.cell_type, info.run, info.binsize, bands[name], first, quantity,
                )
            )  # fmt: skip
    return sorted(maps, key=lambda m: (m.cell_type, m.run is not None, m.run or "", m.binsize))


def list_tracks(store: Place) -> list[TrackSource]:
    """List the tracks of a store, by cell type and in the order of the store."""
    tracks = []
    for info in list_groups(store):
        if info.state == "complete" and info.kind == "tracks":
            names = [str(name) for name in read_region(store, info.path, "track", {})]
            n_seen = group_arrays(store, info.path)["signal"].shape[
                0
            ]  # a group that is growing has names before values
            tracks += [
                TrackSource(info.path, info.cell_type, name, row, info.binsize)
                for row, name in enumerate(names[:n_seen])
            ]
    return tracks


def choose_maps(
    maps: Sequence[MapSource],
    *,
    where: str,
    cell_types: Sequence[str] = (),
    runs: Sequence[str] = (),
    variable: str | None = None,
    binsize: int | None = None,
) -> list[MapSource]:
    """Choose the maps to draw: of each cell type its measured contacts, if it has any, and then each run asked for.

    Of a cell type without measured contacts all runs are drawn where none is asked for.

    Parameters
    ----------
    maps
        All maps of the store (:func:`list_maps`).
    where
        Store, for messages.
    cell_types
        Cell types in the order wanted; the first that has a map (of the runs, where there are some) by default.
    runs
        Names of predictions, each of which one of the cell types needs to have.
    variable
        Variable of measured contacts. By default the target of the first run where the cell type has it, else the first of
        the targets that is there, else the raw counts.
    binsize
        Bin width in bp; by default the finest that all chosen have.

    Raises
    ------
    StoreError
        If something is not there; says what is.
    """
    if not maps:
        raise StoreError(f"{where} has no finished contacts or predictions to show. Ingest contacts, or predict first.")
    have = sorted({m.cell_type for m in maps})
    for name in cell_types:
        if name not in have:
            raise StoreError(
                f"{where}: cell type {name!r} has no finished map.{nearest_match(name, have)} Those with maps: {have}."
            )
    predicted = [m for m in maps if m.run is not None and m.variable == "contact"]
    for name in runs:
        there = sorted({str(m.run) for m in predicted if not cell_types or m.cell_type in cell_types})
        if name not in there:
            raise StoreError(
                f"{where}: there is no finished run {name!r}{' of ' + ', '.join(cell_types) if cell_types else ''}."
                f"{nearest_match(name, there)} Runs: {there or 'none'}."
            )
    with_run = [m.cell_type for m in predicted if m.run in runs]
    chosen_types = list(cell_types) or (with_run or [m.cell_type for m in maps])[:1]
    sizes = sorted({m.binsize for m in maps if m.cell_type in chosen_types and (not runs or m.run in runs)})
    for size in sizes if binsize is None else [binsize]:
        at_size = [m for m in maps if m.binsize == size]
        chosen = [m for c in chosen_types for m in _of_cell_type(at_size, c, runs, variable)]
        if {m.cell_type for m in chosen} == set(chosen_types) and {m.run for m in chosen} >= set(runs):
            return chosen
    asked = ", ".join([*chosen_types, *runs, *([] if variable is None else [variable])])
    there = sorted(
        {f"{m.cell_type} {m.run or m.variable} {m.binsize:,} bp" for m in maps if m.cell_type in chosen_types}
    )
    raise StoreError(
        f"{where}: {asked} are not all there at {'one bin width' if binsize is None else f'{binsize:,} bp'}."
        f"{nearest_match(variable or '', [m.variable for m in maps])} There are: {'; '.join(there)}."
    )


def _of_cell_type(
    maps: Sequence[MapSource], cell_type: str, runs: Sequence[str], variable: str | None
) -> list[MapSource]:
    """Maps of one cell type to draw, of those of one bin width; none if it lacks the variable."""
    predicted = [m for m in maps if m.run is not None and m.variable == "contact"]
    mine = [m for m in predicted if m.cell_type == cell_type]
    measured = [m for m in maps if m.cell_type == cell_type and m.run is None]
    names = [m.variable for m in measured]
    target = next((m.quantity for m in predicted if m.run in runs), None)
    name = variable or (target if target in names else next(iter(names), None))
    if variable is not None and measured and variable not in names:
        return []
    shown = [m for m in measured if m.variable == name]
    return shown + ([m for run in runs for m in mine if m.run == run] if runs or measured else mine)


def choose_tracks(
    tracks: Sequence[TrackSource], names: Sequence[str] | None, cell_types: Sequence[str], *, where: str
) -> list[TrackSource]:
    """Choose tracks by name, of each cell type in turn; the first :data:`FIRST_TRACKS` of each by default.

    Raises
    ------
    StoreError
        If none of the cell types has a track of that name.
    """
    mine = [t for t in tracks if t.cell_type in cell_types]
    if names is None:
        return [t for c in cell_types for t in [t for t in mine if t.cell_type == c][:FIRST_TRACKS]]
    known = list(dict.fromkeys(t.name for t in mine))
    for name in names:
        if name not in known:
            raise StoreError(
                f"{where}: {', '.join(cell_types)} {'has' if len(cell_types) == 1 else 'have'} no track {name!r}."
                f"{nearest_match(name, known)} Tracks: {known or 'none'}."
            )
    return [t for c in cell_types for name in names for t in mine if t.cell_type == c and t.name == name]
