"""Contacts from text: HiC-Pro's matrix with its bin table, and sparse tables of coordinates.

Text has no index, and a store is read block by block, so a file is **converted once** to a ``.cool`` in a cache folder and read
from there. The first pass checks each line and deals the pixels out, on disk, to runs of bins; the second sorts one run at a
time, so that a pixel listed twice is found with both of its lines. Held at once: a piece of the text (about 200 MB), or the
pixels of the fullest of 256 runs of bins at about 100 bytes each. On disk: 24 bytes a line while it works, then the ``.cool``.

The cached file is named after the text file's place, size, time and the way it is read. It is made anew wherever it is not
there, so a reader can be pickled to another machine.
"""

import gzip
import hashlib
import json
import os
import tempfile
import uuid
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from epizarr.errors import AssemblyMismatchError, InputFileError, nearest_match, raise_all
from epizarr.genome import Assembly
from epizarr.io.contacts_cool import CoolSource, open_cool
from epizarr.io.contacts_source import ContactsInfo, PixelPiece
from epizarr.io.filetype import read_lines, require_file_type
from epizarr.io.text_pixels import LAYOUTS, BinIds, Binner, NumberedPixels, Starts, iter_text_pixels

#: Changes whenever a converted file would come out differently.
_CODE_FORMAT = 1
_MAX_RUNS = 256
#: Pixels that are written together, at least, but for the last.
_WRITE_PIXELS = 2**20
_RECORD = np.dtype([("bin1", "<i4"), ("bin2", "<i4"), ("count", "<f8"), ("line", "<i8")])

_FORMATS = (
    "epizarr reads HiC-Pro's X.matrix (bin1 bin2 count, with its X_abs.bed), 'start1 start2 count' of one chromosome "
    "(juicer dump, straw), 'chrom1 start1 chrom2 start2 count' and 'chrom1 start1 end1 chrom2 start2 end2 count'"
)


@dataclass(frozen=True)
class TextRecipe:
    """Where a text file is and how it becomes bins.

    Parameters
    ----------
    path
        The text file.
    layout
        Key of :data:`~epizarr.io.text_pixels.LAYOUTS`.
    binsize
        Bin width in bp.
    chrom_lengths
        Names and lengths (bp) of the chromosomes that the bins lie on, in order, as the file names them.
    bins_path
        HiC-Pro's bin table, for the layout ``"bin ids"``.
    chrom
        The chromosome, for the layout ``"starts"``.
    cache_folder
        Where the converted file is kept. None: a folder of the user's own in the machine's temporary folder.
    stamp
        Size and time of change of ``path`` and ``bins_path`` when they were opened.
    """

    path: Path
    layout: str
    binsize: int
    chrom_lengths: tuple[tuple[str, int], ...]
    bins_path: Path | None
    chrom: str | None
    cache_folder: Path | None
    stamp: tuple[int, ...]

    def converted(self) -> Path:
        """Return the path of the converted file, after making it if it is not there.

        Raises
        ------
        InputFileError
            If the text cannot be used, or changed since it was opened.
        AssemblyMismatchError
            If no line lies on the chromosomes given, or some are named with another prefix.
        """
        folder = _cache_folder(self.cache_folder)
        facts = {
            "code": _CODE_FORMAT,
            "files": [str(p.resolve()) for p in (self.path, self.bins_path) if p is not None],
            "read as": [self.layout, self.binsize, self.chrom_lengths, self.chrom],
            "stamp": self.stamp,
        }
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
        path = folder / f"{key}.cool"
        if not path.is_file():
            if _stamp(self.path, self.bins_path) != self.stamp:
                raise InputFileError(f"contacts {self.path} changed while they were read. Start again.")
            partial = folder / f"{path.name}.{uuid.uuid4().hex}.partial"
            try:
                _convert(self, partial)
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)
        return path


@dataclass(frozen=True)
class TextSource:
    """Reader of text contacts; fulfils :class:`~epizarr.io.contacts_source.ContactsSource`.

    Parameters
    ----------
    info
        What the text holds.
    recipe
        How to convert it.
    """

    info: ContactsInfo
    recipe: TextRecipe

    def iter_pixels(self, file_chrom: str, lo: int, hi: int, n_diagonals: int | None) -> Iterator[PixelPiece]:
        """Iterate over cis pixels; see :class:`~epizarr.io.contacts_source.ContactsSource`."""
        cool = CoolSource(replace(self.info, path=self.recipe.converted()), "/")
        yield from cool.iter_pixels(file_chrom, lo, hi, n_diagonals)

    def stored_weights(self, name: str, file_chrom: str) -> np.ndarray:
        """Refuse: text stores no weights."""
        raise InputFileError(f"{self.info.label}: text stores no normalisation, and {name!r} was asked for.")


def open_text(
    path: Path,
    binsize: int,
    *,
    bins_path: Path | None = None,
    chrom_lengths: Mapping[str, int] | None = None,
    chrom: str | None = None,
    cache_folder: Path | None = None,
) -> TextSource:
    """Open contacts in text, plain or gzip; reads the whole file the first time.

    Parameters
    ----------
    path
        Text. What it is, is told from its columns: three with ``bins_path``, or named ``X.matrix`` beside ``X_abs.bed``, are
        HiC-Pro's bin ids; three with ``chrom`` the starts of one chromosome; five or seven name their chromosomes.
    binsize
        Bin width in bp that it must have.
    bins_path
        HiC-Pro's table of bins (``chrom start end id``). By default the ``X_abs.bed`` beside ``X.matrix``.
    chrom_lengths
        Names, as in the file, and lengths (bp) of the assembly's chromosomes. Needed, unless it is HiC-Pro's: other text says
        nothing of lengths. Lines on other chromosomes are left out.
    chrom
        The chromosome of a file with starts only.
    cache_folder
        Where the converted file is kept; give one that all workers see. By default in the machine's temporary folder.

    Returns
    -------
    The reader. It has the chromosomes of the bin table, or those that some line names: another one is not covered.

    Raises
    ------
    InputNotFoundError
        If the file or its bin table does not exist.
    InputFileError
        If the text is of no known layout, or of ``.pairs``; an argument is missing or too much; the bin table does not number
        bins of one width from 0 on every chromosome; or a line cannot be read, lies off the bins or below the diagonal,
        repeats a pixel, or has a count that is negative or not finite: lines are named by their numbers.
    AssemblyMismatchError
        If no line lies on ``chrom_lengths``, or some name its chromosomes with another prefix.
    """
    layout, bins_path = _recognise(path, bins_path, chrom)
    if bins_path is not None:
        lengths, width = read_hicpro_bins(bins_path)
        if width != binsize:
            raise InputFileError(f"{path} has no contacts at {binsize:,} bp; it has {width:,} bp ({bins_path}).")
    elif chrom_lengths is None:
        raise InputFileError(f"contacts {path}: text says nothing of chromosome lengths; give `chrom_lengths`.")
    else:
        lengths = dict(chrom_lengths)
    if chrom is not None and chrom not in lengths:
        raise InputFileError(
            f"contacts {path}: `chrom` is {chrom!r}, and the chromosomes are {', '.join(list(lengths)[:6])}"
            f"{' …' if len(lengths) > 6 else ''}.{nearest_match(chrom, list(lengths))}"
        )
    recipe = TextRecipe(
        path, layout, binsize, tuple(lengths.items()), bins_path, chrom, cache_folder, _stamp(path, bins_path)
    )
    converted = open_cool(recipe.converted(), None, binsize).info
    info = replace(
        converted,
        uri=str(path),
        path=path,
        format="hicpro" if layout == "bin ids" else "text",
        software=None,
        bins_path=bins_path,
    )
    return TextSource(info, recipe)


def _recognise(path: Path, bins_path: Path | None, chrom: str | None) -> tuple[str, Path | None]:
    """Tell the layout and, for HiC-Pro's, the bin table."""
    require_file_type(path, ("text", "gzip"), "contacts in text")
    _refuse_pairs(path)
    line = next((line for _, line in read_lines(path, "contacts in text")), None)
    if line is None:
        raise InputFileError(f"contacts {path}: the file holds no line. Give the file of contacts.")
    n_columns = len(line.split())
    layout = {len(columns): name for name, columns in LAYOUTS.items() if len(columns) != 3}.get(n_columns)
    if n_columns == 3:
        beside = _bins_beside(path) if bins_path is None and chrom is None else None
        bins_path = bins_path or beside
        if (bins_path is None) == (chrom is None):
            raise InputFileError(
                f"contacts {path} have three columns: HiC-Pro's bin ids, or the starts of one chromosome. Name HiC-Pro's bin "
                "table (X_abs.bed, `bins_path`) or the chromosome (`chrom`), and not both."
            )
        return ("bin ids", bins_path) if bins_path is not None else ("starts", None)
    if layout is None:
        raise InputFileError(f"contacts {path}: {line[:80]!r} has {n_columns} columns; {_FORMATS}.")
    if bins_path is not None or chrom is not None:
        given = "a bin table" if bins_path is not None else "a chromosome"
        raise InputFileError(
            f"contacts {path} have {n_columns} columns and name chromosomes themselves; leave out {given}."
        )
    return layout, None


def _refuse_pairs(path: Path) -> None:
    is_gzip = require_file_type(path, ("text", "gzip"), "contacts in text") == "gzip"
    with gzip.open(path, "rb") if is_gzip else open(path, "rb") as file:
        try:
            head = file.read(64)
        except (EOFError, OSError, zlib.error) as error:
            raise InputFileError(f"contacts {path} cannot be decompressed ({error}); fetch the file again.") from error
    if head.startswith(b"## pairs format"):
        raise InputFileError(
            f"{path} holds pairs of reads (.pairs), not contacts of bins. Bin them with `cooler cload pairs` first; "
            "stores/README.md has the command."
        )


def _bins_beside(path: Path) -> Path | None:
    name = path.name.removesuffix(".gz")
    beside = [path.with_name(f"{name.removesuffix('.matrix')}_abs.bed{end}") for end in ("", ".gz")]
    return next((p for p in beside if p.is_file()), None) if name.endswith(".matrix") else None


def read_hicpro_bins(path: Path) -> tuple[dict[str, int], int]:
    """Read HiC-Pro's bin table: lengths of its chromosomes (bp), in its order, and the bin width.

    Parameters
    ----------
    path
        ``chrom start end id``, plain or gzip; ids run from 1.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    InputFileError
        If lines cannot be read, ids do not run from 1, bins do not start at 0, leave gaps or are of several widths, or a
        chromosome comes twice.
    """
    rows: list[tuple[str, int, int]] = []
    problems: list[str] = []
    for number, line in read_lines(path, "HiC-Pro's table of bins"):
        fields = line.split()
        if len(fields) < 4 or not all(f.isascii() and f.isdigit() for f in fields[1:4]):
            problems.append(f"line {number}: {line[:80]!r} is not chrom, start, end and id")
            break
        rows.append((fields[0], int(fields[1]), int(fields[2])))
        if int(fields[3]) != len(rows):
            problems.append(f"line {number}: bin id {fields[3]}; ids must run from 1, and this is bin {len(rows)}")
            break
    if not rows and not problems:
        problems.append("it lists no bin")
    raise_all(InputFileError, f"bin table {path}", problems)
    table = pd.DataFrame(rows, columns=["chrom", "start", "end"])
    return _lengths_of_bins(path, table)


def _lengths_of_bins(path: Path, table: pd.DataFrame) -> tuple[dict[str, int], int]:
    width = int((table["end"] - table["start"]).max())
    if width < 1:
        raise InputFileError(f"bin table {path}: bins have no width; start must be below end.")
    is_first = table["chrom"] != table["chrom"].shift()
    is_last = is_first.shift(-1, fill_value=True)
    lengths: dict[str, int] = {}
    problems: list[str] = []
    edges = zip(np.flatnonzero(is_first).tolist(), np.flatnonzero(is_last).tolist(), strict=True)
    for first, last in edges:
        chrom = str(table["chrom"].iloc[first])
        start = table["start"].to_numpy()[first : last + 1]
        end = table["end"].to_numpy()[first : last + 1]
        if chrom in lengths:
            problems.append(f"chromosome {chrom!r} comes in two places")
        elif start[0] != 0:
            problems.append(
                f"bins of {chrom!r} start at {start[0]:,} and not at 0; a part of a genome cannot be placed"
            )
        elif (np.diff(start) != width).any() or (end[:-1] != start[1:]).any() or end[-1] <= start[-1]:
            problems.append(
                f"bins of {chrom!r} are not all {width:,} bp wide and side by side. Bins of variable width (restriction "
                "fragments) cannot be read; make the matrix with a BIN_SIZE"
            )
        lengths[chrom] = int(end[-1])
    raise_all(InputFileError, f"bin table {path}", problems[:10])
    return lengths, width


def _stamp(*paths: Path | None) -> tuple[int, ...]:
    stats = [p.stat() for p in paths if p is not None]
    return tuple(n for s in stats for n in (s.st_size, s.st_mtime_ns))


def _cache_folder(given: Path | None) -> Path:
    """Make the cache folder; the default one must be this user's own, as files in it are believed."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        return given
    user = os.getuid() if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"epizarr-contacts-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if hasattr(os, "getuid") and (folder.is_symlink() or found.st_uid != os.getuid() or found.st_mode & 0o022):
        raise InputFileError(f"{folder} is not this user's own folder; remove it, or give another (`cache_folder`).")
    return folder


def _convert(recipe: TextRecipe, out: Path) -> None:
    """Write the ``.cool`` of a text file."""
    import cooler  # not at the top: it is slow to load, and nothing else that reads contacts needs it

    lengths = dict(recipe.chrom_lengths)
    grid = Assembly.from_table(str(recipe.path), recipe.chrom_lengths).bins(recipe.binsize)
    binner: Binner
    if recipe.layout == "bin ids":
        binner = BinIds(grid.n_bins)
    else:
        binner = Starts(lengths, recipe.binsize, recipe.layout, recipe.chrom)
    with tempfile.TemporaryDirectory(prefix=f"{out.name}.", dir=out.parent) as work:
        n_runs, n_pixels, largest, is_whole = min(_MAX_RUNS, grid.n_bins), 0, 0.0, True
        for pixels in iter_text_pixels(recipe.path, binner):
            if not len(pixels.count):
                continue
            _deal_out(pixels, Path(work), n_runs, grid.n_bins)
            n_pixels += len(pixels.count)
            largest = max(largest, float(pixels.count.max()))
            is_whole = is_whole and bool((pixels.count == np.floor(pixels.count)).all())
        if not n_pixels and not (isinstance(binner, Starts) and binner.others):
            raise InputFileError(f"contacts {recipe.path}: there is no contact in it. Give the file of contacts.")
        listed = _listed_chroms(recipe, binner)
        # Chromosomes that no line names are left out, and with them their bins.
        kept = np.isin(grid.chrom_code(np.arange(grid.n_bins)), [grid.assembly.index(c) for c in listed])
        dtype = np.int32 if is_whole and largest < 2**31 else np.float64
        cooler.create_cooler(
            str(out),
            grid.assembly.restrict(listed).bins(recipe.binsize).table(),
            _iter_sorted(recipe.path, Path(work), n_runs, np.cumsum(kept) - 1, dtype),
            dtypes={"count": dtype},
            ordered=True,
        )


def _listed_chroms(recipe: TextRecipe, binner: Binner) -> list[str]:
    """Chromosomes of the converted file: those of the bin table, or those that some line names."""
    names = [name for name, _ in recipe.chrom_lengths]
    if not isinstance(binner, Starts):
        return names
    bare = {name.removeprefix("chr"): name for name in names}
    twins = {other: bare[other.removeprefix("chr")] for other in binner.others if other.removeprefix("chr") in bare}
    twins = {other: name for other, name in twins.items() if name not in binner.listed}
    if twins or not binner.listed:
        example = ", ".join(f'"{other}" = "{name}"' for other, name in sorted(twins.items())[:2])
        advice = (
            f"Only the prefix differs: map them with `rename_chroms` for this file, for example {{ {example} }}."
            if twins
            else "The file belongs to another assembly, or its chromosomes need `rename_chroms`."
        )
        raise AssemblyMismatchError(
            f"contacts {recipe.path} name chromosomes {sorted(binner.others)[:4]}, the assembly has {names[:4]}. {advice}"
        )
    return [name for name in names if name in binner.listed]


def _run_path(work: Path, run: int) -> Path:
    return work / f"{run}.pixels"


def _deal_out(pixels: NumberedPixels, work: Path, n_runs: int, n_bins: int) -> None:
    """Append pixels to the file of the run of bins that holds their first bin."""
    records = np.empty(len(pixels.count), dtype=_RECORD)
    for name in _RECORD.names or ():
        records[name] = getattr(pixels, name)
    run = pixels.bin1 * n_runs // n_bins
    order = np.argsort(run, kind="stable")
    runs, starts = np.unique(run[order], return_index=True)
    for n, part in zip(runs.tolist(), np.split(records[order], starts[1:]), strict=True):
        with open(_run_path(work, n), "ab") as file:
            part.tofile(file)


def _iter_sorted(path: Path, work: Path, n_runs: int, new_id: np.ndarray, dtype: type) -> Iterator[pd.DataFrame]:
    """Sorted pixels of one run of bins after another, small ones together; a repeated pixel is refused."""
    waiting: list[pd.DataFrame] = []
    for run in range(n_runs):
        if not _run_path(work, run).is_file():
            continue
        records = np.fromfile(_run_path(work, run), dtype=_RECORD)
        records = records[np.lexsort((records["line"], records["bin2"], records["bin1"]))]
        is_same = (np.diff(records["bin1"]) == 0) & (np.diff(records["bin2"]) == 0)
        if is_same.any():
            first = int(np.flatnonzero(is_same)[np.argmin(records["line"][1:][is_same])])
            raise InputFileError(
                f"contacts {path}: line {records['line'][first + 1]} repeats the pixel of line {records['line'][first]} "
                f"({int(is_same.sum())} repeats near there). Whether they should be added up or one is a mistake, the file "
                "does not tell; list each pixel once."
            )
        waiting.append(
            pd.DataFrame(
                {
                    "bin1_id": new_id[records["bin1"]],
                    "bin2_id": new_id[records["bin2"]],
                    "count": records["count"].astype(dtype),
                }
            )
        )
        if sum(map(len, waiting)) >= _WRITE_PIXELS:
            yield pd.concat(waiting)
            waiting = []
    if waiting:
        yield pd.concat(waiting)
