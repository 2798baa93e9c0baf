"""What kind of signal the tracks of a store hold, told from a sample, and whether a network was trained on the same."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from epizarr.signal_kind import SignalKind, detect_signal_kind, sample_extents, told_kinds


def stored_kinds(signal: Mapping[str, xr.DataArray | None]) -> dict[str, SignalKind]:
    """Tell the kind of tracks from a sample of their bins.

    Reads at most 100,000 bins of each track (:func:`epizarr.signal_kind.sample_extents`), one track at a time: some 6 MB.

    Parameters
    ----------
    signal
        Whole tracks by name, each with dims (bin), lazy, NaN where not measured. None, a missing track, has no kind.
    """
    kinds = {}
    for name, values in signal.items():
        if values is None:
            continue
        parts = [
            values.isel(bin=slice(lo, hi)).data.compute(scheduler="synchronous")
            for lo, hi in sample_extents(values.sizes["bin"])
        ]
        kinds[name] = detect_signal_kind(np.concatenate(parts))
    return kinds


def unlike_training(
    trained: Mapping[str, Mapping[str, SignalKind]], found: Mapping[str, SignalKind], cell_type: str
) -> list[str]:
    """Say which tracks hold another kind of signal than those that a network was trained on, one sentence each.

    Parameters
    ----------
    trained
        Kinds in training, by cell type and track; empty where they were not recorded.
    found
        Kinds now, by track.
    cell_type
        Whose tracks these are.
    """
    sentences = []
    for name, now in found.items():
        before = told_kinds({cell: kinds[name] for cell, kinds in trained.items() if name in kinds})
        if now.is_told and before and now.kind not in before:
            was = " and ".join(f"{kind} in {', '.join(cells)}" for kind, cells in before.items())
            sentences.append(
                f"track {name!r} of {cell_type} seems to hold {now.kind}, and the network was trained on {was}: look whether the "
                f"right file was ingested ({now.evidence})"
            )
    return sentences
