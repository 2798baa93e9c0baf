"""Bands as ``.hic`` version 9, by hictk."""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from epizarr.bands import pixels_from_band
from epizarr.errors import ConfigError, StoreError
from epizarr.io.export_cool import ExportProgress, zoom_factors
from epizarr.io.export_source import ExportSource

#: hictk's default of 10 takes several times as long for a twentieth less.
_COMPRESSION = 6


def check_hic(source: ExportSource) -> None:
    """Refuse what a ``.hic`` cannot show, and say what is missing to write one.

    Raises
    ------
    ConfigError
        If pyarrow is not there, or the values are signed.
    """
    if find_spec("pyarrow") is None:
        raise ConfigError("export: a .hic needs pyarrow: pip install 'epizarr[hic]'. A .mcool needs nothing more.")
    if source.is_signed:
        raise ConfigError(
            f"export: {source.name} is {source.quantity!r}, whose values have either sign; Juicebox shows contacts, from 0 up. "
            "Write a .mcool, which HiGlass shows with any colour scale."
        )


def write_hic(path: Path, source: ExportSource, progress: ExportProgress | None = None) -> None:
    """Write a ``.hic`` of version 9, float32.

    A ``.hic`` has no value for missing and none for 0: both are left out and read as 0. Wide bins are sums of the base's pixels,
    as the format has it; observed over expected does not add up and is written at its own bin width only. Holds a block of the
    band, and hictk's own buffers; hictk keeps temporary files in a folder beside ``path``.

    Raises
    ------
    ConfigError
        As :func:`check_hic`.
    StoreError
        If there is no value to write.
    """
    import hictkpy  # not at the top: a process that has loaded it may hang in fork()

    check_hic(source)
    grid = source.grid
    factors = [1] if source.is_ratio else zoom_factors(grid)
    n_all, n_pixels = source.n_blocks() + 1, 0
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", suffix=".partial", dir=path.parent) as folder:
        writer = hictkpy.hic.FileWriter(
            str(path),
            dict(grid.assembly),
            [grid.binsize * factor for factor in factors],
            assembly=grid.assembly.name,
            n_threads=os.cpu_count() or 1,
            tmpdir=folder,
            compression_lvl=_COMPRESSION,
        )
        for done, (lo, band) in enumerate(source.iter_blocks(), 1):
            bin1, bin2, value = pixels_from_band(band, lo)
            seen = value != 0
            n_pixels += int(seen.sum())
            if seen.any():
                pixels = pd.DataFrame({"bin1_id": bin1[seen], "bin2_id": bin2[seen], "count": value[seen]})
                writer.add_pixels(pixels, validate=False)
            if progress is not None:
                progress(done, n_all, None)
        if not n_pixels:
            raise StoreError(f"export: {source.name} has no contact in the regions asked for; nothing was written.")
        writer.finalize()
        if progress is not None:
            progress(n_all, n_all, None)
