"""Maps of windows of the genome, as programs that predict a window at a time write them: ``.npy``, ``.npz`` and ``.h5``.

``.npy``
    One window: a square (bin, bin), or its upper triangle as a vector (Akita; the file does not say from which diagonal on).
    C.Origami writes ``prediction/npy/CHROM_START.npy``: 256 × 256 pixels of 8,192 bp, log(1 + contacts). The file does not say
    how wide its bins are. A folder holds one window a file, all named ``CHROM_START.npy``.
``.npz``, ``.h5``
    Arrays by name: ``contact``, a square (bin, bin) or several (window, bin, bin), or ``band``, (bin, diagonal) or (window, bin,
    diagonal) with ``band[i, k]`` for the bins i and i + k; ``chrom`` and ``start`` (bp, 0-based), one value or one a window; and
    ``binsize`` (bp). In HDF5 the last three may be attributes, of the array or of the file.

Missing pixels are NaN. No pickled object is read.
"""

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from epizarr.bands import square_from_band
from epizarr.errors import InputFileError, raise_all
from epizarr.genome import Assembly, Region
from epizarr.io.filetype import require_file_type
from epizarr.regrid import square_from_triangle, symmetric_square

#: What C.Origami names its windows.
_WINDOW_NAME = re.compile(r"(?P<chrom>.+)_(?P<start>\d+)\.npy")
_ARRAYS = ("contact", "band")
_PLACES = ("chrom", "start", "binsize")


@dataclass(frozen=True)
class Window:
    """One window: where it lies and where its values are.

    Parameters
    ----------
    path, index
        File, and which of its windows; None where the array is one window.
    layout
        ``"contact"`` (square), ``"band"`` or ``"triangle"``.
    chrom, start, n_bins, reach_bins
        Place: chromosome, first base, bins along the genome, and diagonals that it may have.
    """

    path: Path
    index: int | None
    layout: str
    chrom: str
    start: int
    n_bins: int
    reach_bins: int


@dataclass(frozen=True)
class WindowMap:
    """Windows of one predictor; fulfils :class:`~epizarr.io.map_files.MapFile`."""

    path: Path
    format: str
    files: tuple[Path, ...]
    binsize: int
    assembly: Assembly
    windows: tuple[Window, ...]
    first_diagonal: int

    @property
    def reach_bp(self) -> int:
        """Farthest distance of two bins' outer edges of one pixel."""
        return max(window.reach_bins for window in self.windows) * self.binsize

    @property
    def about(self) -> dict[str, Any]:
        """What is to be recorded of how the file was read."""
        return {"windows": len(self.windows)}

    def extents(self) -> list[Region]:
        """Stretches of the genome that have windows, those that touch joined, in the assembly's order."""
        merged: list[Region] = []
        order = self.assembly.chrom_names.index
        for window in sorted(self.windows, key=lambda w: (order(w.chrom), w.start)):
            edges = self._edges(window)
            start, end = int(edges[0]), int(edges[-1])
            if merged and merged[-1].chrom == window.chrom and start <= merged[-1].end:
                merged[-1] = Region(window.chrom, merged[-1].start, max(end, merged[-1].end))
            else:
                merged.append(Region(window.chrom, start, end))
        return merged

    def iter_squares(self, chrom: str, start: int, end: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read the part of each window inside ``[start, end)``; see :class:`~epizarr.io.map_files.MapFile`."""
        for window in self.windows:
            edges = self._edges(window)
            if window.chrom != chrom or edges[0] >= end or edges[-1] <= start:
                continue
            lo = int(np.searchsorted(edges, start, side="right")) - 1 if edges[0] < start else 0
            hi = int(np.searchsorted(edges, end, side="left")) if edges[-1] > end else window.n_bins
            yield _read_square(window, self.format, lo, hi, self.first_diagonal), edges[lo : hi + 1]

    def _edges(self, window: Window) -> np.ndarray:
        """Edges of a window's bins; the last is cut at the chromosome's end."""
        edges = window.start + self.binsize * np.arange(window.n_bins + 1)
        return np.minimum(edges, self.assembly.length(window.chrom))


def open_window_map(
    path: Path,
    assembly: Assembly,
    *,
    binsize: int | None = None,
    chrom: str | None = None,
    start: int | None = None,
    triangle: int | None = None,
    rename: Mapping[str, str] | None = None,
) -> WindowMap:
    """Open a file or a folder of windows; the values are read later.

    Parameters
    ----------
    path
        ``.npy``, ``.npz`` or ``.h5`` file, or a folder of ``.npy`` files.
    assembly
        Chromosomes that the windows have to lie on.
    binsize
        Bin width in bp, where the file does not say it.
    chrom, start
        Place of a single ``.npy`` whose name does not say it.
    triangle
        First diagonal of a ``.npy`` that is an upper triangle.
    rename
        ``{name in the file: name in the assembly}``.

    Raises
    ------
    InputFileError
        If a file is not what its name says, has another layout, or does not say where it lies or how wide its bins are. All
        problems are told at once.
    RegionError
        If a window lies off its chromosome, or its chromosome is not in the assembly.
    """
    if path.is_dir():
        files = tuple(sorted(file for file in path.iterdir() if file.suffix == ".npy"))
        if not files:
            raise InputFileError(f"map {path}: the folder holds no .npy file; give the folder that the windows lie in.")
    else:
        files = (path,)
    kinds = {require_file_type(file, ("npy", "zip", "HDF5"), "a map (.npy, .npz, .h5)") for file in files}
    if kinds == {"npy"}:
        found, widths = _npy_windows(files, (chrom, start), triangle)
    else:
        given = {"chrom": chrom, "start": start, "triangle": triangle}
        extra = [f"--{name}" for name, value in given.items() if value is not None]
        if extra:
            raise InputFileError(f"map {path} says itself where its windows lie; leave out {' and '.join(extra)}.")
        found, widths = _named_windows(path)
    said = {width for width in widths if width is not None}
    if binsize is not None and said - {binsize}:
        raise InputFileError(f"map {path}: {binsize:,} bp were given, and the file says bins of {said.pop():,} bp.")
    width = binsize if binsize is not None else next(iter(said), None)
    if width is None:
        raise InputFileError(
            f"map {path}: it does not say how wide its bins are; give it in bp (--file-binsize; C.Origami's are "
            "8192, Akita's 2048)."
        )
    if width < 1:
        raise InputFileError(f"map {path}: its bins are said to be {width} bp wide; a positive number is needed.")
    names = dict(rename or {})
    windows = tuple(
        Window(w.path, w.index, w.layout, names.get(w.chrom, w.chrom), w.start, w.n_bins, w.reach_bins) for w in found
    )
    _check_places(path, windows, width, assembly)
    kind = {"npy": "npy", "zip": "npz", "HDF5": "h5"}[kinds.pop()]
    return WindowMap(path, kind, files, width, assembly, windows, triangle or 0)


def _check_places(path: Path, windows: tuple[Window, ...], width: int, assembly: Assembly) -> None:
    problems = []
    for window in windows:
        length = assembly.length(window.chrom)  # an unknown name raises
        if window.start < 0 or window.start + (window.n_bins - 1) * width >= length:
            problems.append(
                f"{window.path.name}{'' if window.index is None else f', window {window.index}'}: {window.n_bins} bins of "
                f"{width:,} bp from {window.start:,} on do not lie on {window.chrom}, which has {length:,} bp in "
                f"{assembly.name!r}; is it another assembly, or another bin width?"
            )
    raise_all(InputFileError, f"map {path}", problems)


def _npy_windows(
    files: tuple[Path, ...], place: tuple[str | None, int | None], triangle: int | None
) -> tuple[list[Window], list[int | None]]:
    chrom, start = place
    if (chrom is not None or start is not None) and len(files) > 1:
        raise InputFileError(
            f"map {files[0].parent}: {len(files)} windows cannot all lie at one place; leave out --chrom and --start."
        )
    windows, problems = [], []
    for file in files:
        name = _WINDOW_NAME.fullmatch(file.name)
        if (chrom is None or start is None) and name is None:
            problems.append(
                f"{file.name}: the name is not CHROM_START.npy and so does not say where the window lies"
                + ("; say it (--chrom, --start)" if len(files) == 1 else "")
            )
            continue
        shape, wrong = _npy_shape(file, triangle)
        if wrong:
            problems.append(f"{file.name}: {wrong}")
            continue
        windows.append(
            Window(
                path=file,
                index=None,
                layout="contact" if triangle is None else "triangle",
                chrom=chrom if chrom is not None else str(name and name["chrom"]),
                start=start if start is not None else int(name["start"] if name else 0),
                n_bins=shape,
                reach_bins=shape,
            )
        )
    raise_all(InputFileError, f"map {files[0] if len(files) == 1 else files[0].parent}", problems)
    return windows, [None]


def _npy_shape(file: Path, triangle: int | None) -> tuple[int, str]:
    """Bins of a window, and what is wrong with its array."""
    array = _load_npy(file)
    if array.dtype.kind not in "fiu":
        return 0, f"it holds {array.dtype}; numbers are needed"
    if triangle is None:
        if array.ndim == 1:
            return 0, "it is a vector; if it is the upper triangle of a map, say from which diagonal on (--triangle 2)"
        if array.ndim != 2 or array.shape[0] != array.shape[1] or not array.size:
            return 0, f"its shape {array.shape} is not square"
        return len(array), ""
    if array.ndim != 1:
        return 0, f"its shape {array.shape} is not that of a vector; leave out --triangle for a square"
    try:
        return len(square_from_triangle(np.empty(array.shape), triangle)), ""
    except ValueError as error:
        return 0, str(error)


def _named_windows(path: Path) -> tuple[list[Window], list[int | None]]:
    with _Named(path) as arrays:
        names = [name for name in _ARRAYS if name in arrays]
        if len(names) != 1:
            raise InputFileError(
                f"map {path}: it holds {sorted(arrays) or 'nothing'}; one array 'contact' (bin, bin) or 'band' (bin, diagonal) "
                "is needed, with 'chrom', 'start' and 'binsize'."
            )
        layout, array = names[0], arrays[names[0]]
        if array.dtype.kind not in "fiu":
            raise InputFileError(f"map {path}: {layout!r} holds {array.dtype}; numbers are needed.")
        shape = tuple(array.shape)
        if len(shape) not in (2, 3) or 0 in shape or (layout == "contact" and shape[-1] != shape[-2]):
            wanted = "bin, bin" if layout == "contact" else "bin, diagonal"
            raise InputFileError(
                f"map {path}: {layout!r} has the shape {shape}; ({wanted}) or (window, {wanted}) is needed."
            )
        said = {
            name: np.atleast_1d(np.asarray(arrays.place(name))) for name in _PLACES if arrays.place(name) is not None
        }
    lacking = [name for name in ("chrom", "start") if name not in said]
    if lacking:
        raise InputFileError(
            f"map {path}: it does not say {' and '.join(map(repr, lacking))}, so nobody knows where it lies."
        )
    n_windows = shape[0] if len(shape) == 3 else 1
    wrong = [f"{len(values)} values of {name!r}" for name, values in said.items() if len(values) not in (1, n_windows)]
    if wrong or said["start"].dtype.kind not in "iu" or ("binsize" in said and said["binsize"].dtype.kind not in "iu"):
        raise InputFileError(
            f"map {path}: {'; '.join(wrong) or 'start and binsize are not whole numbers'}; it has {n_windows} windows, and one "
            "value for all or one for each is needed."
        )
    chroms = [value.decode() if isinstance(value, bytes) else str(value) for value in said["chrom"]]
    starts = [int(value) for value in said["start"]]
    windows = [
        Window(
            path=path,
            index=index if len(shape) == 3 else None,
            layout=layout,
            chrom=chroms[index % len(chroms)],
            start=starts[index % len(starts)],
            n_bins=shape[-2],
            reach_bins=shape[-1],
        )
        for index in range(n_windows)
    ]
    widths = sorted({int(value) for value in said.get("binsize", np.empty(0, dtype=int))})
    if len(widths) > 1:
        raise InputFileError(f"map {path}: its windows have bins of {widths} bp; give one file for each width.")
    return windows, [*widths]


class _Named:
    """Arrays of an ``.npz`` or ``.h5`` by name, while the file is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None

    def __enter__(self) -> "_Named":
        try:
            if zipfile.is_zipfile(self.path):
                self._file = np.load(self.path, allow_pickle=False)
            else:
                self._file = h5py.File(self.path, "r")
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputFileError(f"map {self.path} cannot be opened ({error}); it is damaged.") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __contains__(self, name: object) -> bool:
        return name in self._file

    def __getitem__(self, name: str) -> Any:
        try:
            return self._file[name]
        except ValueError as error:
            raise InputFileError(
                f"map {self.path}: {name!r} holds Python objects, which could run code and are not read; write numbers and text."
            ) from error

    def place(self, name: str) -> Any:
        """Value of ``chrom``, ``start`` or ``binsize``; None if the file does not say."""
        if name in self:
            return self[name][()]
        if isinstance(self._file, h5py.File):
            for holder in (*(self._file[array] for array in _ARRAYS if array in self), self._file):
                if name in holder.attrs:
                    return holder.attrs[name]
        return None


def _load_npy(file: Path) -> np.ndarray:
    try:
        return np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputFileError(
            f"map {file} cannot be read as an array ({error}); it is damaged, or no plain array."
        ) from error


@lru_cache(maxsize=1)
def _load_npz(path: Path, name: str, _: int) -> np.ndarray:
    """One array of an ``.npz``, kept while blocks are read from it; the last argument is the time of its last change."""
    with _Named(path) as arrays:
        return np.asarray(arrays[name])


def _read_square(window: Window, kind: str, lo: int, hi: int, first_diagonal: int) -> np.ndarray:
    """Symmetric square of a window's bins ``[lo, hi)``, float64."""
    part = slice(lo, hi)
    if window.layout == "triangle":
        return square_from_triangle(np.asarray(_load_npy(window.path), dtype=np.float64), first_diagonal)[part, part]
    inside = (part,) if window.layout == "band" else (part, part)
    cut = inside if window.index is None else (window.index, *inside)
    if kind == "npy":
        values = _load_npy(window.path)[cut]
    elif kind == "npz":
        values = _load_npz(window.path, window.layout, window.path.stat().st_mtime_ns)[cut]
    else:
        with _Named(window.path) as arrays:
            values = arrays[window.layout][cut]
    values = np.asarray(values, dtype=np.float64)
    return square_from_band(values) if window.layout == "band" else symmetric_square(values)
