"""Kinds of signal of a manifest's bigWigs, before they are ingested, and what to say where one name holds several kinds."""

from collections.abc import Iterator, Mapping

import numpy as np

from epizarr.ingest.groups import TracksPlan
from epizarr.ingest.plan import Plan
from epizarr.ingest.tasks import read_track
from epizarr.signal_kind import SignalKind, detect_signal_kind, sample_extents, told_kinds

#: Kinds by group path and track.
KindsByGroup = Mapping[str, Mapping[str, SignalKind]]


def input_kinds(plan: Plan) -> dict[str, dict[str, SignalKind]]:
    """Tell what every track of a plan holds, from the bins that a look at the store would take.

    Of replicates, what is stored is their mean, and so it is here. Reads at most 20 stretches of 5,000 bins of each file, 10 Mb
    at 100 bp: a fraction of a second, and about 40 MB.

    Returns
    -------
    Kinds by group path and track.

    Raises
    ------
    InputFileError
        If a file cannot be read there, or holds an infinite value.
    """
    kinds: dict[str, dict[str, SignalKind]] = {}
    for group in plan.groups:
        if isinstance(group, TracksPlan):
            extents = sample_extents(group.grid.n_bins)
            kinds[group.path] = {}
            for track in group.tracks:
                uncovered = track.entry.uncovered
                parts = [read_track(group.grid, track.files, uncovered, lo, hi) for lo, hi in extents]
                kinds[group.path][track.entry.name] = detect_signal_kind(np.concatenate(parts))
    return kinds


def judge_kinds(kinds: KindsByGroup) -> Iterator[tuple[list[str], str]]:
    """Say which tracks of one name hold signals of different kinds: the cell types, and one sentence."""
    by_track: dict[str, dict[str, SignalKind]] = {}
    for group, tracks in kinds.items():
        for name, found in tracks.items():
            by_track.setdefault(name, {})[group.split("/")[0]] = found
    for name, of_cells in by_track.items():
        told = told_kinds(of_cells)
        if len(told) > 1:
            listed = " and ".join(f"{kind} in {', '.join(cells)}" for kind, cells in told.items())
            yield (
                [cell for cells in told.values() for cell in cells],
                f"track {name!r} seems to hold {listed}: a network reads them as one signal; look whether the files were made "
                "alike",
            )
