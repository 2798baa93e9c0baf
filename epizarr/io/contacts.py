"""Contacts from ``.cool``, ``.mcool``, ``.hic`` and text through one object: raw bands, marginals and stored weights.

Everything that can be wrong with a file is found by :func:`open_contacts_file` and
:meth:`ContactsFile.require_normalisations`, before any work starts. No square matrix of a chromosome is ever made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np

from epizarr.errors import InputFileError, RegionError, nearest_match, raise_all
from epizarr.genome import Assembly, Region
from epizarr.io.contacts_cool import open_cool
from epizarr.io.contacts_hic import open_hic
from epizarr.io.contacts_source import (
    MAX_EXACT_COUNT,
    ContactsInfo,
    ContactsSource,
    Convention,
    Normalisation,
    PixelPiece,
)
from epizarr.io.contacts_text import open_text
from epizarr.io.filetype import require_file_type

__all__ = ["ContactsFile", "ContactsInfo", "Convention", "CoveredBins", "Normalisation", "open_contacts_file"]


def open_contacts_file(
    uri: str | Path,
    binsize: int,
    *,
    convention: Convention | None = None,
    bins_path: str | Path | None = None,
    chrom_lengths: Mapping[str, int] | None = None,
    chrom: str | None = None,
    cache_folder: Path | None = None,
) -> "ContactsFile":
    """Open a file of contacts at one bin size, or refuse it.

    Parameters
    ----------
    uri
        ``.cool``, ``.mcool`` (new layout ``resolutions/10000``, old layout ``0…4``), ``.hic`` (version 8 or 9), or text, plain
        or gzip: HiC-Pro's matrix or a sparse table of coordinates; see :func:`~epizarr.io.contacts_text.open_text`. For
        HDF5 a group may be named as in cooler: ``file.mcool::resolutions/10000``; it must then hold ``binsize``.
    binsize
        Bin width in bp that the file must hold.
    convention
        How weights are meant where the file itself does not tell (manifest key ``weights_are``); see
        :func:`~epizarr.io.contacts_cool.weights_convention`.
    bins_path, chrom, cache_folder
        For text only: HiC-Pro's bin table, the chromosome of a file that names none, and where the converted file is kept.
    chrom_lengths
        Names, as in the file, and lengths (bp) of the assembly's chromosomes. Needed for sparse text; other files bring theirs
        along, and it is not looked at.

    Returns
    -------
    The opened file. It holds no handle: pickle it, use it from any thread. Text is read
    as a whole, and converted, the first time.

    Raises
    ------
    InputNotFoundError
        If the file does not exist.
    InputFileError
        If it is not what its name says, is damaged, has no such bin size (those it has are listed), has bins of
        variable width, or a bin table that does not start at 0 or disagrees with its chromosome lengths; if
        ``convention`` contradicts what the file says of all its weights; if an argument is for text and the file is not; or if
        text cannot be read, with the numbers of the lines.
    AssemblyMismatchError
        If no line of sparse text lies on ``chrom_lengths``.
    """
    if convention is not None and convention not in get_args(Convention):
        raise ValueError(f"convention must be 'multiplicative' or 'divisive', not {convention!r}.")
    path, _, group = str(uri).partition("::")
    kind = require_file_type(path, ("HDF5", "hic", "text", "gzip"), "a .cool, .mcool or .hic file, or contacts in text")
    if kind != "HDF5" and group:
        what = "a .hic file" if kind == "hic" else "text"
        raise InputFileError(f"{uri}: {what} has no groups. Leave out {'::' + group!r}; the bin size is enough.")
    for_text = {"bins_path": bins_path, "chrom": chrom}
    given = [name for name, value in for_text.items() if value is not None]
    if given and kind in ("HDF5", "hic"):
        raise InputFileError(f"{uri} says itself what its bins are. Leave out {' and '.join(f'`{n}`' for n in given)}.")
    source: ContactsSource
    if kind == "hic":
        source = open_hic(Path(path), binsize)
    elif kind == "HDF5":
        source = open_cool(Path(path), group or None, binsize, convention)
    else:
        if convention is not None:
            raise InputFileError(f"{uri}: text stores no weights. Leave `weights_are` out for this file.")
        source = open_text(
            Path(path),
            binsize,
            bins_path=None if bins_path is None else Path(bins_path),
            chrom_lengths=chrom_lengths,
            chrom=chrom,
            cache_folder=cache_folder,
        )
    told = {name: found.convention for name, found in source.info.normalisations.items()}
    if convention is not None and told and convention not in told.values():
        raise InputFileError(
            f"{source.info.label}: `weights_are = {convention!r}` was given, and the file says otherwise: "
            f"{', '.join(f'{name} is {said}' for name, said in told.items())}. Leave `weights_are` out for this file."
        )
    return ContactsFile(source)


@dataclass(frozen=True)
class CoveredBins:
    """Bins ``[lo, hi)`` of one chromosome, as the file names it: all that an assay of one locus covers."""

    file_chrom: str
    lo: int
    hi: int


@dataclass(frozen=True)
class ContactsFile:
    """One file of contacts at one bin size.

    ``chrom`` is a chromosome as the store names it, ``file_chrom`` as the file does where that differs (see
    :func:`~epizarr.io.chromsizes.check_file_assembly`, which gives the mapping). Bins are counted from the chromosome's
    first bin.

    Parameters
    ----------
    source
        Reader of the format.
    covered
        The bins that the file covers (:meth:`with_extent`); a pixel with an end elsewhere is missing, whatever the file holds
        there. None: all.
    """

    source: ContactsSource
    covered: CoveredBins | None = None

    @property
    def info(self) -> ContactsInfo:
        """What the file holds."""
        return self.source.info

    def with_extent(self, region: Region, file_chrom: str | None = None) -> "ContactsFile":
        """Return the same contacts, known inside one region only: capture Hi-C of a locus.

        Outside the region a file of such an assay holds few or no counts, and that means "not covered", not "no contact".

        Parameters
        ----------
        region
            What is covered, on the store's chromosome. Bins wholly inside it count; a partial last bin does if the region reaches
            the chromosome's end.
        file_chrom
            Name of the chromosome in the file, where that differs.

        Raises
        ------
        InputFileError
            If the file does not list the chromosome.
        RegionError
            If the region is not on the chromosome, or holds no whole bin.
        """
        name = self._listed(region.chrom, file_chrom)
        assembly = Assembly(self.info.label, (region.chrom,), (self.info.chrom_lengths[name],))
        lo, hi = assembly.bins(self.info.binsize).region_extent(region, keep="contained")
        if lo == hi:
            raise RegionError(
                f"extent {region}: it holds no whole bin of {self.info.binsize:,} bp of {self.info.label}."
            )
        return replace(self, covered=CoveredBins(name, lo, hi))

    def band(self, chrom: str, lo: int, hi: int, n_diagonals: int, file_chrom: str | None = None) -> np.ndarray:
        """Raw counts near the diagonal.

        Holds the band and a piece of the file (at most about 250 MB), never a square.

        Parameters
        ----------
        chrom, file_chrom
            Chromosome in the store and in the file.
        lo, hi
            Bins ``[lo, hi)`` of the chromosome.
        n_diagonals
            Number of diagonals K.

        Returns
        -------
        Counts, float32 (hi − lo, K): element (i, k) is the pixel (lo + i, lo + i + k). 0 where no contact was seen, NaN
        where lo + i + k is off the chromosome or one of the two bins is not covered. All NaN if the file does not list the
        chromosome.

        Raises
        ------
        RegionError
            If the bins are not on the chromosome.
        InputFileError
            If a count is infinite or NaN, or a whole number that float32 cannot hold (above 2^24).
        """
        name = chrom if file_chrom is None else file_chrom
        if n_diagonals < 1:
            raise ValueError(f"n_diagonals must be positive, not {n_diagonals}.")
        if not 0 <= lo < hi:
            raise RegionError(f"bins [{lo}, {hi}) of {chrom}: 0 <= lo < hi is needed.")
        if name not in self.info.chrom_lengths:
            return np.full((hi - lo, n_diagonals), np.nan, dtype=np.float32)
        n_bins = self.info.n_bins(name)
        if hi > n_bins:
            raise RegionError(f"bins [{lo}, {hi}) of {chrom}: {self.info.label} has {n_bins} bins of {name!r}.")
        first, last = self._covered_bins(name)
        band = np.zeros((hi - lo, n_diagonals), dtype=np.float32)
        if max(lo, first) < min(hi, last):
            for piece in self.source.iter_pixels(name, max(lo, first), min(hi, last), n_diagonals):
                self._check_counts(piece, name)
                band[piece.bin1 - lo, piece.bin2 - piece.bin1] = piece.count
        rows = np.arange(lo, hi)
        band[np.arange(n_diagonals) >= (last - rows)[:, None]] = np.nan
        band[rows < first] = np.nan
        return band

    def marginals(self, chrom: str, file_chrom: str | None = None) -> np.ndarray:
        """Sum of each bin's raw cis counts over the whole chromosome.

        Each pixel is counted at both of its bins, one on the main diagonal once: the row sums of the symmetric matrix.
        The file is streamed; at most about 250 MB are held. From a deep ``.hic`` this takes a minute or so for a large
        chromosome, as its pixels come one by one.

        Returns
        -------
        Sums, float64 (bins of the chromosome); 0 where a bin has no contact, NaN where it is not covered. With an extent, only
        pixels that are covered count.

        Raises
        ------
        InputFileError
            If the file does not list the chromosome, or a count is infinite or NaN.
        """
        name = self._listed(chrom, file_chrom)
        n_bins = self.info.n_bins(name)
        first, last = self._covered_bins(name)
        sums = np.zeros(n_bins)
        if first < last:
            for piece in self.source.iter_pixels(name, first, last, None):
                self._check_counts(piece, name)
                count = np.where(piece.bin2 < last, piece.count, 0)
                sums += np.bincount(piece.bin1, weights=count, minlength=n_bins)
                off = piece.bin1 != piece.bin2
                sums += np.bincount(piece.bin2[off], weights=count[off], minlength=n_bins)
        sums[:first] = sums[last:] = np.nan
        return sums

    def n_contacts(self, chrom: str, file_chrom: str | None = None) -> float:
        """Sum of a chromosome's raw cis counts, each pixel once; with an extent, of those covered.

        The file is streamed as in :meth:`marginals`, and as long. A whole number if the counts are.

        Raises
        ------
        InputFileError
            If the file does not list the chromosome, or a count is infinite or NaN.
        """
        name = self._listed(chrom, file_chrom)
        first, last = self._covered_bins(name)
        total = 0.0
        if first < last:
            for piece in self.source.iter_pixels(name, first, last, None):
                self._check_counts(piece, name)
                total += float(np.sum(piece.count[piece.bin2 < last], dtype=np.float64))
        return total

    def weights(self, name: str, chrom: str, file_chrom: str | None = None) -> np.ndarray:
        """Stored weights of a chromosome, always multiplicative: balanced = count × w1 × w2.

        Parameters
        ----------
        name
            Normalisation, as the file names it. Its ``ignore_diags`` is in :attr:`info`.
        chrom, file_chrom
            Chromosome in the store and in the file.

        Returns
        -------
        Weights, float64 (bins of the chromosome). NaN for a bad bin: NaN, infinite, 0 or negative as stored, or not covered.
        All NaN where the file has no vector for this chromosome.

        Raises
        ------
        InputFileError
            If the file has no such normalisation, does not tell how it is meant, or does not list the chromosome.
        """
        raise_all(InputFileError, self.info.label, self._problems(name))
        file_name = self._listed(chrom, file_chrom)
        stored = self.source.stored_weights(name, file_name)
        usable = np.isfinite(stored) & (stored > 0)
        first, last = self._covered_bins(file_name)
        usable[:first] = usable[last:] = False
        weights = np.where(usable, stored, np.nan)
        return 1 / weights if self.info.normalisations[name].convention == "divisive" else weights

    def require_normalisations(self, names: Sequence[str], file_chroms: Sequence[str] | None = None) -> None:
        """Refuse a file that cannot give these normalisations; call it before work starts.

        Parameters
        ----------
        names
            Normalisations that will be asked for.
        file_chroms
            Chromosomes, as the file names them, on which one valid bin is wanted. All of the file by default.

        Raises
        ------
        InputFileError
            Once, for all names: missing (those present are listed), of unknown convention, or without any valid bin.
        """
        chroms = list(self.info.chrom_lengths) if file_chroms is None else [self._listed(c, None) for c in file_chroms]
        problems: list[str] = []
        for name in names:
            found = self._problems(name)
            problems += found
            if not found and not any(np.isfinite(self.weights(name, c)).any() for c in chroms):
                problems.append(
                    f"normalisation {name!r} has no valid bin at this bin size: every weight is missing. The map is "
                    "too sparse for it, or the fit failed; choose another normalisation, or coarser bins"
                )
        raise_all(InputFileError, self.info.label, problems)

    def _problems(self, name: str) -> list[str]:
        found = self.info.normalisations
        if self.info.derived:
            return [
                f"there is no stored normalisation {name!r} for counts that were changed ({self.info.derived}): weights were "
                "fitted to the counts of each file as it is. Compute the normalisation from these counts"
            ]
        if name not in found:
            listed = f"it has {', '.join(found)}" if found else "it has none at this bin size"
            return [f"there is no normalisation {name!r}; {listed}.{nearest_match(name, list(found))}"]
        if found[name].convention is None:
            return [
                f"normalisation {name!r} (file made by {self.info.software or 'an unknown program'}) does not say "
                'whether it multiplies or divides. Set `weights_are = "multiplicative"` (balanced = count × w1 × w2) '
                'or `weights_are = "divisive"` (count / (w1 × w2)) for this file in the manifest'
            ]
        return []

    def _covered_bins(self, file_chrom: str) -> tuple[int, int]:
        """First and one past the last bin of a chromosome that the file covers; (0, 0) if it covers none."""
        if self.covered is None:
            return 0, self.info.n_bins(file_chrom)
        return (self.covered.lo, self.covered.hi) if self.covered.file_chrom == file_chrom else (0, 0)

    def _listed(self, chrom: str, file_chrom: str | None) -> str:
        name = chrom if file_chrom is None else file_chrom
        if name not in self.info.chrom_lengths:
            names = list(self.info.chrom_lengths)
            raise InputFileError(
                f"{self.info.label} does not list chromosome {name!r}; it has {', '.join(names[:6])}"
                f"{' …' if len(names) > 6 else ''}.{nearest_match(name, names)}"
            )
        return name

    def _check_counts(self, piece: PixelPiece, chrom: str) -> None:
        """Refuse counts that are not finite, or whole numbers that float32 would round."""
        count = np.asarray(piece.count)
        bad = np.flatnonzero(~np.isfinite(count) | (np.abs(count) > MAX_EXACT_COUNT))
        for at in bad.tolist():
            value = count[at]
            where = f"pixel ({piece.bin1[at]}, {piece.bin2[at]}) of {chrom!r} holds {value}"
            if not np.isfinite(value):
                raise InputFileError(f"{self.info.label}: {where}; every count must be finite.")
            if value == np.floor(value):
                raise InputFileError(
                    f"{self.info.label}: {where}, above {MAX_EXACT_COUNT:,}, the largest count that float32 holds "
                    "exactly. This is no raw Hi-C count; give the file of raw counts."
                )
