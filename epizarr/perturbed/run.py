"""One perturbation: from the text of its edits to its group in a store, its tables and its figure."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from epizarr.edit_text import parse_edit
from epizarr.errors import MemoryBoundError, PerturbationError
from epizarr.genome import Assembly, Region, grid_of
from epizarr.io.bed import read_peaks
from epizarr.io.files import replace_file
from epizarr.io.group_state import group_state, make_way
from epizarr.io.ledger import Lease
from epizarr.io.places import Place, StorePath, place_of
from epizarr.io.store import (
    BAND_ROWS,
    ArraySpec,
    check_name,
    create_group,
    create_store,
    finish_group,
    grid_coords,
    group_path,
    open_group,
    store_assembly,
    sweep_group,
    write_region,
)
from epizarr.nn import prediction_bytes
from epizarr.perturb import Edit, EditedTracks, apply_edits, share_warnings, with_linked_tracks
from epizarr.perturbed.changes import changed_boundaries, changed_contacts
from epizarr.perturbed.locus import Locus, PerturbedBands, open_locus, perturbed_bands, plan_effects
from epizarr.predict.settings import MAX_TASK_BYTES
from epizarr.report.effect_figures import EffectTrack, perturbation_figure
from epizarr.report.figures import figure_png, value_label
from epizarr.train.checkpoint import load_checkpoint
from epizarr.transforms import Transform

_LOG = logging.getLogger(__name__)
_BANDS = ("before", "after", "difference", "rearranged")
#: Stretch that a figure shows on each side of the edits.
_FIGURE_MARGIN_BP = 1_500_000


def perturb_contacts(
    store: StorePath,
    checkpoint: str | Path,
    *,
    cell_type: str,
    edits: Sequence[str | Edit],
    run: str | None = None,
    region: str | None = None,
    peaks: str | Path | None = None,
    linked: Mapping[str, Sequence[str]] | None = None,
    use: Mapping[str, str] | None = None,
    without: Sequence[str] = (),
    out: StorePath | None = None,
    tile_bins: int | None = None,
    overlap_bins: int | None = None,
    batch_size: int | None = None,
    torch_threads: int = 1,
    max_bytes: int = MAX_TASK_BYTES,
    report: str | Path | None = None,
    overwrite: bool = False,
    take_over: bool = False,
) -> str:
    """Predict the contacts around edits of the raw tracks, before and after them, and write both into a store.

    Only tiles that the edits can reach are computed anew; everywhere else the contacts after them are those before, to the bit.
    Where an edit moves sequence, the tiles behind it move along. That is exact if it moves by whole contact bins; otherwise what
    lies behind is compared up to one bin off, and a warning says so. So it does of edits of more than 1 % of a
    track's signal, and of regions seen in training. Memory: the chromosome's tracks twice
    (:func:`epizarr.perturb.apply_edits`), and a prediction of the region in one piece.

    Parameters
    ----------
    store, checkpoint, cell_type, use, without, tile_bins, overlap_bins, batch_size, torch_threads
        As for :func:`epizarr.predict_contacts`.
    edits
        Edits of one chromosome in the order in which they are made, as text (:mod:`epizarr.edit_text`) or as
        :mod:`epizarr.perturb` has them. Tracks go by the network's names.
    run
        Name of the group. Default: the first edit's kind and place.
    region
        Region to show; it is widened to what the edits reach, which is the default.
    peaks
        BED or narrowPeak file whose names the edits use, as ``@NAME``.
    linked
        Tracks that follow edits of another: ``{"CTCF": ["RAD21"]}``.
    out
        Store to write to, made if it is not there. Default: ``store``.
    max_bytes
        Memory that the prediction may need.
    report
        Folder to write ``perturbation.png``, ``boundaries.tsv`` and ``contacts.tsv`` to (:mod:`epizarr.perturbed.changes`).
    overwrite, take_over
        As for :func:`epizarr.predict_contacts`.

    Returns
    -------
    Path of the group; open it with :func:`epizarr.io.store.open_perturbation`.

    Raises
    ------
    PerturbationError
        If an edit cannot be read or made, or the edits lie on several chromosomes or change nothing.
    MemoryBoundError
        If the region needs more than ``max_bytes``.
    StoreError
        If a group of this name is there and was made of something else.
    CheckpointError, ConfigError, TransformError, LeaseError
        As :func:`epizarr.predict_contacts`.
    """
    place, home = place_of(store), place_of(out or store)
    assembly = store_assembly(place)
    made = read_edits(edits, assembly, peaks, linked or {})
    chrom = made[0].region.chrom
    name = run or _default_name(made[0])
    edited_region = Region(
        chrom, min(e.region.start for e in made), min(max(e.region.end for e in made), assembly.length(chrom))
    )
    check_name(name, "run")
    card = load_checkpoint(checkpoint)
    plan = plan_effects(
        place,
        card,
        cell_type=cell_type,
        run=name,
        regions=[region or str(edited_region)],
        use=use or {},
        without=without,
        out=home,
        tile_bins=tile_bins,
        overlap_bins=overlap_bins,
        batch_size=batch_size,
        torch_threads=torch_threads,
    )
    locus = open_locus(plan.job, chrom, card.tracks)
    edited = apply_edits(locus.tracks, made, locus.facts(made, use=use or {}))
    for sentence in (*share_warnings(edited), *_off_grid(locus, edited.tracks.n_bins)):
        _LOG.warning("%s", sentence)
    first, _ = locus.extent
    asked: tuple[int, int] | None = None
    if region is not None:
        wanted = assembly.region(region)
        if wanted.chrom != chrom:
            raise PerturbationError(f"region {wanted} is not on {chrom}, where the edits are.")
        lo, hi = plan.job.grid.region_extent(wanted)
        asked = (lo - first, hi - first)
    _check_memory(locus, asked, max_bytes)
    group = group_path("perturbations", cell_type, card.binsize, name)
    create_store(home, assembly)
    attrs = {key: value for key, value in plan.attrs.items() if key != "regions"} | {
        "edits": json.dumps([str(edit) for edit in made]),
        "edited_share": json.dumps({key: round(share, 6) for key, share in edited.edited_share.items()}),
        "asked": region or "",
    }
    with Lease.acquire(home, group, take_over) as lease:
        state = group_state(home, group, attrs, overwrite=overwrite, called="perturbation", resumes=False)
        if make_way(home, group, state):
            bands = perturbed_bands(locus, edited, asked)
            _write_group(home, group, attrs, bands, locus)
            lease.check()
            finish_group(home, group)
    if report is not None:
        _write_report(Path(report), open_group(home, group, "perturbations"), locus, edited, made)
    return group


def _write_group(home: Place, group: str, attrs: Mapping[str, Any], bands: PerturbedBands, locus: Locus) -> None:
    grid, n_diagonals = locus.job.grid, bands.before.shape[1]
    first, end = locus.extent
    shown = grid.extent_region(first + bands.lo, first + bands.lo + len(bands.before))
    spec = ArraySpec(("bin", "diagonal"), (grid.n_bins, n_diagonals), "f4", chunks=(BAND_ROWS, n_diagonals))
    create_group(
        home,
        group,
        "perturbations",
        coords=grid_coords(grid, n_diagonals),
        arrays=dict.fromkeys(_BANDS, spec),
        attrs={**attrs, "regions": json.dumps([str(shown)])},
    )
    sweep_group(home, group)
    values = {name: getattr(bands, name) for name in ("before", "after", "rearranged")}
    values["difference"] = bands.after - bands.before
    for name, rows in values.items():
        rows = rows[: end - first - bands.lo]  # what a longer chromosome has past the old one's end has no place here
        lo = first + bands.lo
        a, b = lo // BAND_ROWS * BAND_ROWS, min(-(-(lo + len(rows)) // BAND_ROWS) * BAND_ROWS, grid.n_bins)
        padded = np.full((b - a, n_diagonals), np.nan, dtype=np.float32)
        padded[lo - a : lo - a + len(rows)] = rows
        write_region(home, group, name, {"bin": slice(a, b)}, padded)


def read_edits(
    edits: Sequence[str | Edit], assembly: Assembly, peaks: str | Path | None, linked: Mapping[str, Sequence[str]]
) -> list[Edit]:
    """Read edits, let linked tracks follow, and refuse what cannot be one perturbation.

    Raises
    ------
    PerturbationError
        If there is no edit, one cannot be read, or they lie on several chromosomes.
    """
    if not edits:
        raise PerturbationError("a perturbation needs at least one edit, such as delete:chr8:54,165,000-54,170,000.")
    named = None if peaks is None else read_peaks(peaks, assembly)
    made = [parse_edit(edit, assembly, named) if isinstance(edit, str) else edit for edit in edits]
    chroms = sorted({edit.region.chrom for edit in made})
    if len(chroms) > 1:
        raise PerturbationError(f"edits of one call lie on one chromosome; these are on {', '.join(chroms)}.")
    return with_linked_tracks(made, linked)


def _write_report(folder: Path, ds: xr.Dataset, locus: Locus, edited: EditedTracks, edits: Sequence[Edit]) -> None:
    """Write the tables (:mod:`epizarr.perturbed.changes`) and the figure of a perturbation."""
    region = grid_of(ds).assembly.region(json.loads(ds.attrs["regions"])[0])
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (
        ("boundaries.tsv", changed_boundaries(ds, region)),
        ("contacts.tsv", changed_contacts(ds, region)),
    ):
        replace_file(folder / name, table.to_csv(sep="\t", index=False, float_format="%.4g").encode())
    replace_file(folder / "perturbation.png", figure_png(_figure(ds, locus, edited, edits, region)))


def _figure(ds: xr.Dataset, locus: Locus, edited: EditedTracks, edits: Sequence[Edit], region: Region) -> Any:
    """Before, after and difference at the bins before the edits, over the tracks."""
    grid = grid_of(ds)
    start = max(region.start, min(edit.region.start for edit in edits) - _FIGURE_MARGIN_BP)
    end = min(region.end, max(edit.region.end for edit in edits) + _FIGURE_MARGIN_BP)
    lo, hi = grid.region_extent(Region(region.chrom, start, max(end, start + grid.binsize)))
    first, last = grid.region_extent(region)
    margin = min(ds.sizes["diagonal"], lo - first)
    part = {"bin": slice(lo - margin, min(hi + ds.sizes["diagonal"], last))}
    transform = Transform.from_json(str(ds.attrs["transform"]))
    with np.errstate(divide="ignore", invalid="ignore"):
        before, after = (transform.apply(ds[name].isel(part).values) for name in ("before", "after"))
    shown = grid.extent_region(lo, hi)
    tracks = locus.tracks
    fine = slice(shown.start // tracks.binsize, -(-shown.end // tracks.binsize))
    place = edited.coordinates.after_from_before(np.arange(fine.start, fine.stop))
    panels = []
    for row, name in enumerate(tracks.names):
        now = edited.tracks.signal[row][np.nan_to_num(place).astype(np.int64)]
        panels.append(EffectTrack(name, tracks.signal[row, fine], np.where(np.isnan(place), np.nan, now)))
    return perturbation_figure(
        shown,
        binsize=grid.binsize,
        margin_bins=margin,
        before=before,
        after=after,
        tracks=panels,
        marks=[(edit.region.start, edit.region.end) for edit in edits],
        value_label=value_label(transform, str(ds.attrs["target"])),
        title=f"{shown}: {'; '.join(str(edit) for edit in edits[:2])}{' …' if len(edits) > 2 else ''}",
    )


def _default_name(edit: Edit) -> str:
    return f"{type(edit).__name__.lower()}-{edit.region.chrom}-{edit.region.start}"


def _off_grid(locus: Locus, n_after: int) -> list[str]:
    shift = n_after - locus.tracks.n_bins
    stride = locus.network.stride
    if shift % stride == 0:
        return []
    return [
        f"the edits move what lies behind them by {abs(shift) * locus.job.track_binsize:,} bp, no multiple of the contact bins "
        f"of {locus.job.binsize:,} bp: behind them, contacts before and after are compared up to one bin off"
    ]


def _check_memory(locus: Locus, asked: tuple[int, int] | None, max_bytes: int) -> None:
    n_bins = locus.n_bins if asked is None else asked[1] - asked[0]
    settings = locus.job.settings
    needed = prediction_bytes(
        locus.network,
        n_bins,
        tile_bins=settings.tile_bins,
        batch_size=settings.batch_size,
        trunk_bins=settings.trunk_bins,
    )
    needed += 4 * 8 * n_bins * locus.network.n_offsets
    if needed > max_bytes:
        raise MemoryBoundError(
            f"perturbation: a prediction of {n_bins:,} bins needs up to {needed / 2**30:.1f} GiB and may use "
            f"{max_bytes / 2**30:.1f} GiB. Give a smaller region or batch_size ({settings.batch_size}), or allow more."
        )
