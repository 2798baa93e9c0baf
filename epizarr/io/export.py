"""Export: a prediction, or a variable of the measured contacts, as a file that other programs open."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from epizarr.domains.insulation import insulation, insulation_boundaries
from epizarr.errors import ConfigError
from epizarr.io.export_cool import ExportProgress, write_cool, write_mcool
from epizarr.io.export_hic import check_hic, write_hic
from epizarr.io.export_source import ExportSource, open_source
from epizarr.io.export_text import write_bedgraph, write_bigwig, write_features, write_pixels
from epizarr.io.files import new_file, refuse_existing
from epizarr.io.places import StorePath

_MAPS = {".cool": write_cool, ".mcool": write_mcool, ".hic": write_hic}
_PIXELS = (".bedpe",)
_VALUES = {".bw": write_bigwig, ".bigwig": write_bigwig, ".bedgraph": write_bedgraph}
_CALLS = (".bed",)
#: Endings of files that can be written.
ENDINGS = (*_MAPS, *_PIXELS, *_VALUES, *_CALLS)


def export_contacts(
    store: StorePath,
    path: str | Path,
    *,
    cell_type: str,
    run: str | None = None,
    variable: str | None = None,
    binsize: int | None = None,
    regions: Sequence[str] | None = None,
    expected: str | None = None,
    min_value: float | None = None,
    insulation_bp: int | None = None,
    overwrite: bool = False,
    progress: ExportProgress | None = None,
) -> Path:
    """Write contacts as a file of the kind that its ending says.

    =============================  ==========================================================================================
    ``.mcool``, ``.cool``          the map for HiGlass, cooler, cooltools (:func:`~epizarr.io.export_cool.write_mcool`)
    ``.hic``                       the map for Juicebox (:func:`~epizarr.io.export_hic.write_hic`); needs pyarrow
    ``.bedpe``                     pixels from ``min_value`` on
    ``.bw``, ``.bedgraph``         insulation score of every bin, for windows of ``insulation_bp``
    ``.bed``                       boundaries at the minima of that score, their strength as score
    =============================  ==========================================================================================

    The file is there whole or not at all. A genome is read in blocks: about 200 MB above what the libraries take, for a
    ``.hic`` hictk's own buffers besides; for insulation, one region at a time (:func:`epizarr.domains.insulation.insulation`).

    Parameters
    ----------
    store, cell_type
        Store, and cell type in it.
    path
        File to write; missing folders are made.
    run, variable
        A prediction's run, or a variable of the measured contacts such as ``"ice"``: one of the two.
    binsize
        Bin width in bp; may be left out where there is one only.
    regions
        Regions such as ``"chr3:1,000,000-6,000,000"``. A pixel is written if both of its bins overlap one region. Insulation
        is of each region on its own, in whole bins. Default: everything.
    expected
        Makes contacts of observed over expected (``hicdcplus_oe``), by distance: ``"training"``, a cell type, or a table
        (:func:`~epizarr.io.export_expected.read_expected`).
    min_value
        Lowest value of a pixel in a ``.bedpe``.
    insulation_bp
        Window of the insulation score in bp.
    overwrite
        Replace a file of this name.
    progress
        Told after each block: done, in all, what.

    Returns
    -------
    ``path``.

    Raises
    ------
    ConfigError
        If the ending is unknown, an option does not belong to it, or the values cannot be shown by such a file: signed ones
        (``hicdcplus_zscore``, ``akita``) go into ``.cool``, ``.mcool`` and ``.bedpe`` only.
    OutputExistsError
        If there is such a file and ``overwrite`` is not set.
    StoreError, RegionError, InputFileError, BandReachError
        If the store, regions, expected or window cannot be used, or no value is there to write.
    """
    path = Path(path)
    ending = path.suffix.lower()
    _check_options(path, ending, min_value, insulation_bp)
    refuse_existing(path, overwrite=overwrite)
    source = open_source(
        store, cell_type, run=run, variable=variable, binsize=binsize, regions=regions, expected=expected
    )
    if ending == ".hic":
        check_hic(source)
    if ending in (*_VALUES, *_CALLS):
        _check_insulation(source, insulation_bp)
    with new_file(path, overwrite=overwrite) as temporary:
        if ending in _MAPS:
            _MAPS[ending](temporary, source, progress)
        elif min_value is not None:
            write_pixels(temporary, source, min_value, progress)
        elif insulation_bp is not None:
            _write_insulation(temporary, source, insulation_bp, regions, ending)
    return path


def _check_options(path: Path, ending: str, min_value: float | None, insulation_bp: int | None) -> None:
    if ending not in ENDINGS:
        raise ConfigError(
            f"{path}: the ending says what is written, and {ending or 'none'!r} is not one of {', '.join(ENDINGS)}."
        )
    needs_value, needs_window = ending in _PIXELS, ending in (*_VALUES, *_CALLS)
    if (min_value is not None) != needs_value:
        raise ConfigError(
            f"{path}: a .bedpe has the pixels from a value on; say which (--min-value)."
            if needs_value
            else f"{path}: --min-value is for .bedpe only."
        )
    if (insulation_bp is not None) != needs_window:
        raise ConfigError(
            f"{path}: a {ending} has the insulation score or its boundaries; say for which window in bp (--insulation 200000)."
            if needs_window
            else f"{path}: --insulation is for {', '.join((*_VALUES, *_CALLS))} only."
        )


def _check_insulation(source: ExportSource, window_bp: int | None) -> None:
    if window_bp is not None and window_bp % source.grid.binsize:
        raise ConfigError(
            f"export: --insulation {window_bp:,} is not a multiple of the bin width of {source.name}, "
            f"{source.grid.binsize:,} bp."
        )
    if source.is_signed:
        raise ConfigError(
            f"export: {source.name} is {source.quantity!r}; insulation is defined on contacts, not on values of either sign."
        )


def _write_insulation(
    path: Path, source: ExportSource, window_bp: int, regions: Sequence[str] | None, ending: str
) -> None:
    band = source.band
    if source.expected is not None:
        band = (band * source.expected.astype(np.float32)).assign_attrs(band.attrs)
    scored = insulation(band, window_bp, regions=regions)
    if ending in _CALLS:
        table = insulation_boundaries(scored)
        write_features(path, table.assign(name=".", score=table["strength"]), source.grid.assembly)
        return
    values = np.full(source.grid.n_bins, np.nan)
    values[scored["bin"].values] = scored["score"].values[0]
    _VALUES[ending](path, source.grid, values)
