"""Pixels, called features and values of bins as what genome browsers read: BEDPE, BED, bedGraph and bigWig."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig

from epizarr.bands import pixels_from_band
from epizarr.errors import ConfigError, StoreError
from epizarr.genome import Assembly, BinGrid, Region
from epizarr.io.export_cool import ExportProgress
from epizarr.io.export_source import ExportSource

#: Columns of BEDPE by the names that Juicebox reads too.
_BEDPE = ("#chr1", "x1", "x2", "chr2", "y1", "y2", "name", "score", "strand1", "strand2")
#: Bins handed to pyBigWig at a time.
_ENTRIES = 1 << 18


def write_pixels(path: Path, source: ExportSource, min_value: float, progress: ExportProgress | None = None) -> int:
    """Write the pixels that are not below ``min_value`` as BEDPE, a line each, and return how many there are.

    The value is the column ``score``. Holds a block of the band.
    """
    n_all, n_written = source.n_blocks(), 0
    names = np.array(source.grid.assembly.chrom_names, dtype=object)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(_BEDPE) + "\n")
        for done, (lo, band) in enumerate(source.iter_blocks(), 1):
            bin1, bin2, value = pixels_from_band(np.where(band >= min_value, band, np.nan), lo)
            columns: list[np.ndarray | str] = []
            for bins in (bin1, bin2):
                code, start, end = source.grid.locate(bins)
                columns += [names[code], start, end]
            table = pd.DataFrame(
                dict(zip(_BEDPE, [*columns, ".", value, ".", "."], strict=True)), index=range(len(value))
            )
            table.to_csv(file, sep="\t", header=False, index=False, lineterminator="\n", float_format="%.9g")
            n_written += len(value)
            if progress is not None:
                progress(done, n_all, None)
    return n_written


def write_features(path: Path, table: pd.DataFrame, assembly: Assembly) -> None:
    """Write called features, a line each, in the order of the assembly.

    Parameters
    ----------
    path
        File to write.
    table
        Intervals (``chrom``, ``start``, ``end``: written as BED) or pairs of them (``chrom1``, ``start1``, ``end1``, ``chrom2``,
        ``start2``, ``end2``: BEDPE). ``name`` and ``score`` are written where there are such columns; others are not.
    assembly
        Assembly that they lie on.

    Raises
    ------
    ConfigError
        If the table has neither set of columns.
    RegionError
        If a feature is off the assembly.
    """
    sides = ("1", "2") if "chrom1" in table else ("",)
    wanted = [f"{column}{side}" for side in sides for column in ("chrom", "start", "end")]
    lacking = [column for column in wanted if column not in table]
    if lacking:
        raise ConfigError(f"features: the table has no column {', '.join(lacking)}; it has {list(table.columns)}.")
    for side in sides:
        for row in table[[f"{c}{side}" for c in ("chrom", "start", "end")]].itertuples(index=False):
            assembly.check(Region(str(row[0]), int(row[1]), int(row[2])))
    order = pd.DataFrame({c: table[c].map(assembly.index) if c.startswith("chrom") else table[c] for c in wanted})
    out = table.loc[order.sort_values(wanted, kind="stable").index]
    n = len(out)
    more = [out[c].to_numpy() if c in out else np.full(n, ".", dtype=object) for c in ("name", "score")]
    columns = [out[c].to_numpy() for c in wanted] + more
    if len(sides) == 2:
        columns += [np.full(n, ".", dtype=object)] * 2
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        if len(sides) == 2:
            file.write("\t".join(_BEDPE) + "\n")
        pd.DataFrame(dict(enumerate(columns))).to_csv(
            file, sep="\t", header=False, index=False, lineterminator="\n", float_format="%.6g"
        )


def write_bigwig(path: Path, grid: BinGrid, values: np.ndarray) -> None:
    """Write one value a bin as bigWig, float32.

    Parameters
    ----------
    path
        File to write.
    grid
        Bins of the whole genome.
    values
        One a bin of ``grid``; where it is NaN or infinite there is no entry.

    Raises
    ------
    StoreError
        If no bin has a value.
    """
    table = _bin_table(path, grid, values)
    with pyBigWig.open(str(path), "w") as file:
        file.addHeader(list(grid.assembly))
        for lo in range(0, len(table), _ENTRIES):
            chrom, start, end, value = (table[name].iloc[lo : lo + _ENTRIES].tolist() for name in table)
            file.addEntries(chrom, start, ends=end, values=value)


def write_bedgraph(path: Path, grid: BinGrid, values: np.ndarray) -> None:
    """Write one value a bin as bedGraph; see :func:`write_bigwig`."""
    table = _bin_table(path, grid, values)
    table.to_csv(path, sep="\t", header=False, index=False, lineterminator="\n", float_format="%.9g")


def _bin_table(path: Path, grid: BinGrid, values: np.ndarray) -> pd.DataFrame:
    """Coordinates and value of the bins that have one."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        raise StoreError(f"{path.name}: no bin has a value; nothing was written.")
    code, start, end = grid.locate(known)
    names = np.array(grid.assembly.chrom_names, dtype=object)
    return pd.DataFrame({"chrom": names[code], "start": start, "end": end, "value": values[known]})
