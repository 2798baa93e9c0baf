"""Replicates merged: several files of contacts read as one, counts summed pixel by pixel as they stream by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from epizarr.errors import AssemblyMismatchError, InputFileError, raise_all
from epizarr.io.contacts import ContactsFile
from epizarr.io.contacts_source import ContactsInfo, ContactsSource, PixelPiece


@dataclass(frozen=True)
class MergedSource:
    """Reader of several files as one; fulfils :class:`~epizarr.io.contacts_source.ContactsSource`.

    Made by :func:`merge_contacts`, which checks that the files belong together.

    Parameters
    ----------
    info
        What the files hold together.
    sources
        Readers of the files.
    chroms
        For each source, the chromosomes of ``info`` and the names that its file gives to them.
    """

    info: ContactsInfo
    sources: tuple[ContactsSource, ...]
    chroms: tuple[Mapping[str, str], ...]

    def iter_pixels(self, file_chrom: str, lo: int, hi: int, n_diagonals: int | None) -> Iterator[PixelPiece]:
        """Iterate over summed pixels; see :class:`~epizarr.io.contacts_source.ContactsSource`.

        Each file is read once, side by side. Of each at most one piece and one row of the map are held, at about 80 bytes a pixel
        while they are summed up: with pieces of 2 million pixels, 160 MB a file, whatever the depth.
        """
        names = [chroms[file_chrom] for chroms in self.chroms]
        streams = [
            _RowStream(source, name, source.iter_pixels(name, lo, hi, n_diagonals))
            for source, name in zip(self.sources, names, strict=True)
        ]
        n_bins = self.info.n_bins(file_chrom)
        while unfinished := [stream for stream in streams if not stream.is_done]:
            # The one furthest behind reads on, so that the others never hold more than they have already.
            min(unfinished, key=lambda stream: stream.next_row).read_on()
            whole_below = min((stream.next_row for stream in streams if not stream.is_done), default=hi)
            parts = [part for stream in streams if (part := stream.take_below(whole_below)) is not None]
            if parts:
                yield _sum_pixels(parts, n_bins, np.dtype(self.info.count_dtype))

    def stored_weights(self, name: str, file_chrom: str) -> np.ndarray:
        """Refuse: weights fitted to one file's counts do not balance the sum."""
        raise InputFileError(
            f"{self.info.label} has no stored normalisation {name!r}: weights were fitted to the counts of one file each. "
            "Compute the normalisation from the merged counts."
        )


class _RowStream:
    """Pixels of one source that were read and not yet taken, and the first row of which more may come."""

    def __init__(self, source: ContactsSource, chrom: str, pieces: Iterator[PixelPiece]) -> None:
        self.next_row = 0
        self.is_done = False
        self._label = f"{source.info.label}, {chrom!r}"
        self._pieces = pieces
        self._held: list[PixelPiece] = []

    def read_on(self) -> None:
        """Read the next piece."""
        piece = next(self._pieces, None)
        if piece is None:
            self.is_done = True
        elif len(piece.bin1):
            if piece.bin1.min() < self.next_row:
                # A row that was given away already would come twice, each time with a part of its contacts.
                raise RuntimeError(
                    f"{self._label}: row {int(piece.bin1.min())} came after row {self.next_row}. The reader breaks the rule "
                    "that pieces follow the rows; this is an error in epizarr, please report it."
                )
            self.next_row = int(piece.bin1.max())
            self._held.append(piece)

    def take_below(self, row: int) -> PixelPiece | None:
        """Hand over what is held of the rows before ``row``; None if that is nothing."""
        taken, kept = [], []
        for piece in self._held:
            is_below = piece.bin1 < row
            taken.append(_choose(piece, is_below))
            kept.append(_choose(piece, ~is_below))
        self._held = [piece for piece in kept if len(piece.bin1)]
        taken = [piece for piece in taken if len(piece.bin1)]
        return _joined(taken) if taken else None


def merge_contacts(files: Sequence[ContactsFile], chroms: Sequence[Mapping[str, str]] | None = None) -> ContactsFile:
    """Merge replicates: one file of contacts whose counts are the sums over files, of any formats.

    Counts are summed as they are stored, whole or not. The result has no stored normalisation.

    Parameters
    ----------
    files
        At least two opened files, of the same bin size and assembly, without an extent.
    chroms
        For each file the chromosomes wanted and the file's names for them, ``{name: name in the file}`` (what
        :func:`~epizarr.io.chromsizes.check_file_assembly` gives); the result has the names on the left. By default all
        chromosomes of the files, under their own names.

    Returns
    -------
    The merged contacts, chromosomes in the first file's order, or the order of its map.

    Raises
    ------
    InputFileError
        If there are fewer than two files, one is given twice, the bin sizes differ or a file has an extent.
    AssemblyMismatchError
        If a chromosome's length differs between files, or one file lacks a chromosome that another has: its sum would have
        the depth of some replicates only. All such problems are listed.
    """
    if len(files) < 2:
        raise InputFileError(f"{len(files)} file of contacts cannot be merged; give at least two replicates.")
    infos = [file.info for file in files]
    named = [{name: name for name in info.chrom_lengths} for info in infos] if chroms is None else list(chroms)
    if len(named) != len(files):
        raise ValueError(f"{len(named)} maps of chromosome names were given for {len(files)} files.")
    heading = f"{len(files)} replicates cannot be merged"
    raise_all(InputFileError, heading, _find_file_problems(files))
    raise_all(AssemblyMismatchError, heading, _find_chrom_problems(infos, named))
    is_whole = all(np.dtype(info.count_dtype).kind in "iu" for info in infos)
    software = sorted({info.software for info in infos if info.software is not None})
    derived = [f"merged from {len(files)} files", *sorted({info.derived for info in infos if info.derived})]
    info = ContactsInfo(
        uri=" + ".join(info.uri for info in infos),
        path=infos[0].path,
        format="merged",
        binsize=infos[0].binsize,
        binsizes=(infos[0].binsize,),
        chrom_lengths={name: infos[0].chrom_lengths[theirs] for name, theirs in named[0].items()},
        normalisations={},
        count_dtype="int64" if is_whole else "float64",
        software=", ".join(software) or None,
        derived="; ".join(derived),
    )
    return ContactsFile(MergedSource(info, tuple(file.source for file in files), tuple(dict(names) for names in named)))


def _find_file_problems(files: Sequence[ContactsFile]) -> list[str]:
    problems = []
    infos = [file.info for file in files]
    if len({info.binsize for info in infos}) > 1:
        sizes = "; ".join(f"{info.uri}: {info.binsize:,} bp" for info in infos)
        problems.append(f"their bin sizes differ ({sizes}); open all at one bin size")
    labels = [info.label for info in infos]
    problems += [
        f"{label} is given {labels.count(label)} times" for label in dict.fromkeys(labels) if labels.count(label) > 1
    ]
    problems += [
        f"{file.info.uri} has an extent; merge the files first, then set the extent of the result"
        for file in files
        if file.covered is not None
    ]
    return problems


def _find_chrom_problems(infos: Sequence[ContactsInfo], chroms: Sequence[Mapping[str, str]]) -> list[str]:
    problems = []
    for name in dict.fromkeys(name for names in chroms for name in names):
        found = {
            info.uri: info.chrom_lengths.get(names[name])
            for info, names in zip(infos, chroms, strict=True)
            if name in names
        }
        without = [info.uri for info, names in zip(infos, chroms, strict=True) if name not in names]
        without += [uri for uri, length in found.items() if length is None]
        lengths = {uri: length for uri, length in found.items() if length is not None}
        if len(set(lengths.values())) > 1:
            listed = "; ".join(f"{length:,} bp in {uri}" for uri, length in lengths.items())
            problems.append(f"{name} has {listed}: the files belong to different assemblies")
        if without:
            problems.append(
                f"{name} is not in {', '.join(without)}. Leave the chromosome out, or map its name with `rename_chroms` if "
                "only the name differs"
            )
    return problems


def _choose(piece: PixelPiece, chosen: np.ndarray) -> PixelPiece:
    return PixelPiece(piece.bin1[chosen], piece.bin2[chosen], piece.count[chosen])


def _joined(pieces: Sequence[PixelPiece]) -> PixelPiece:
    return PixelPiece(
        np.concatenate([piece.bin1 for piece in pieces]),
        np.concatenate([piece.bin2 for piece in pieces]),
        np.concatenate([piece.count for piece in pieces]),
    )


def _sum_pixels(parts: Sequence[PixelPiece], n_bins: int, dtype: np.dtype) -> PixelPiece:
    """Sum counts over the parts, each pixel once, sorted by row and column."""
    key = np.concatenate([part.bin1 * n_bins + part.bin2 for part in parts])
    count = np.concatenate([part.count.astype(dtype) for part in parts])
    # Stable, which is also the sort that is quick on a few sorted runs; and equal keys add up in the order of the files.
    order = np.argsort(key, kind="stable")
    key, count = key[order], count[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    bin1, bin2 = np.divmod(key[first], n_bins)
    return PixelPiece(bin1, bin2, np.add.reduceat(count, first))
