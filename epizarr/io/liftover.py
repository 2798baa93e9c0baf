"""Positions, regions and contacts of another assembly, by a chain file of UCSC (package ``liftover``, extra ``liftover``)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from epizarr.bands import band_from_pixels, mask_band
from epizarr.errors import ConfigError, InputFileError, InputNotFoundError, LiftoverError
from epizarr.genome import Assembly, BinGrid, Region
from epizarr.io.contacts import ContactsFile

#: A region may change its length by this share in the new assembly.
_LENGTH_TOLERANCE = 0.1


@dataclass(frozen=True, eq=False)
class Chain:
    """A chain file, read whole (a few hundred MB for two assemblies of a species), that maps old positions to new ones.

    Parameters
    ----------
    path
        For messages.
    file
        ``liftover.ChainFile``.
    """

    path: Path
    file: Any

    def lift_positions(self, chrom: str, positions: np.ndarray) -> np.ndarray:
        """Positions of the new assembly on the chromosome of the same name.

        Parameters
        ----------
        chrom, positions
            Chromosome and 0-based positions (bp) of the old assembly.

        Returns
        -------
        Int64 (position); -1 where the new assembly has none, has it on another chromosome, or has several.

        Raises
        ------
        LiftoverError
            If the chain file starts from no such chromosome.
        """
        if chrom not in self.file:
            listed = ", ".join(sorted(self.file.keys())[:6])
            raise LiftoverError(f"chain file {self.path}: it has no {chrom!r}; it starts from {listed} and so on.")
        contig = self.file[chrom]
        lifted = np.full(len(positions), -1, dtype=np.int64)
        for index, position in enumerate(np.asarray(positions).tolist()):
            found = contig[position]
            if len(found) == 1 and found[0][0] == chrom:
                lifted[index] = found[0][1]
        return lifted

    def lift_region(self, region: Region, assembly: Assembly) -> Region:
        """Region of the new assembly between the lifted first and last base.

        Parameters
        ----------
        region
            Region of the old assembly, 0-based, half-open.
        assembly
            The new one.

        Raises
        ------
        LiftoverError
            If an end has no one place in the new assembly, or the length there differs by more than a tenth.
        RegionError
            If the new assembly has no such chromosome.
        """
        ends = self.lift_positions(region.chrom, np.array([region.start, region.end - 1]))
        start, end = int(ends.min()), int(ends.max()) + 1
        if start < 0 or abs(end - start - region.length) > _LENGTH_TOLERANCE * region.length:
            what = "an end of it has no one place there" if start < 0 else f"it would be {start:,}-{end:,} there"
            raise LiftoverError(
                f"region {region}: it cannot be lifted to {assembly.name} by {self.path}: {what}. Check that the chain file "
                "starts from the assembly of the region."
            )
        return assembly.check(Region(region.chrom, start, end))


def open_chain(path: str | Path) -> Chain:
    """Read a chain file such as UCSC's ``mm9ToMm10.over.chain.gz``.

    Raises
    ------
    ConfigError
        If the package ``liftover`` is not installed.
    InputNotFoundError
        If there is no such file.
    InputFileError
        If it is no chain file.
    """
    try:
        from liftover import ChainFile
    except ImportError as error:
        raise ConfigError("reading a chain file needs liftover: pip install 'epizarr[liftover]'.") from error
    path = Path(path)
    if not path.is_file():
        raise InputNotFoundError(f"chain file {path}: no such file. UCSC has one for each pair of assemblies.")
    try:
        file = ChainFile(str(path))
        n_chroms = len(file)
    except (ValueError, OSError, RuntimeError) as error:
        raise InputFileError(f"chain file {path}: it cannot be read ({error}).") from error
    if not n_chroms:
        raise InputFileError(f"chain file {path}: it holds no chain.")
    return Chain(path, file)


def lifted_band(
    contacts: ContactsFile, chain: Chain | None, grid: BinGrid, region: Region, n_diagonals: int
) -> np.ndarray:
    """Contacts of a region, from a file of an older assembly or (``chain`` None) of the grid's own.

    The middle of each old bin says which new bin it goes to; where two old bins go to one, their contacts are averaged, since a
    mean keeps the scale that a sum would change. A bin without any contact in the region is taken for not covered, as those
    outside a capture are. Memory: the band of both assemblies.

    Parameters
    ----------
    contacts
        File of contacts; its counts are used as they are.
    chain
        From the file's assembly to the grid's.
    grid
        Bins to give.
    region
        Region of the grid's assembly; the chromosome has the same name in the file.
    n_diagonals
        Diagonals to give.

    Returns
    -------
    Float64 (bin of the region, diagonal); NaN where not covered, where no old bin goes, and past the region.

    Raises
    ------
    LiftoverError
        If no bin of the file lies in the region.
    """
    lo, hi = (bin_id - grid.chrom_extent(region.chrom)[0] for bin_id in grid.region_extent(region))
    binsize = contacts.info.binsize
    if region.chrom not in contacts.info.chrom_lengths:
        listed = ", ".join(list(contacts.info.chrom_lengths)[:6])
        raise LiftoverError(f"{contacts.info.label}: it has no {region.chrom!r}; it has {listed}.")
    middle = np.arange(contacts.info.n_bins(region.chrom)) * binsize + binsize // 2
    place = middle if chain is None else chain.lift_positions(region.chrom, middle)
    new_bin = np.where(place < 0, -1, place // grid.binsize) - lo
    inside = np.flatnonzero((new_bin >= 0) & (new_bin < hi - lo))
    if not len(inside):
        raise LiftoverError(
            f"{contacts.info.label}: no bin of it lies in {region}. Check its assembly and the chain file."
        )
    first, end = int(inside[0]), int(inside[-1]) + 1
    # Old bins may lie wider apart than new ones where the new assembly has lost sequence, up to all of the stretch.
    n_old = min(end - first, (n_diagonals + 1) * max(1, grid.binsize // binsize) + (end - first) - len(inside) + 1)
    old = contacts.band(region.chrom, first, end, n_old).astype(np.float64)
    new_bin = new_bin[first:end]
    row, k = np.nonzero(~np.isnan(old) & (np.arange(len(old))[:, None] + np.arange(n_old) < len(old)))
    a, b = new_bin[row], new_bin[row + k]
    i, d = np.minimum(a, b), np.abs(a - b)
    counts = (i >= 0) & (np.maximum(a, b) < hi - lo) & (d < n_diagonals)
    i, d, value = i[counts], d[counts], old[row, k][counts]
    total, number = (
        band_from_pixels(i, i + d, each, n_bins=hi - lo, n_diagonals=n_diagonals) for each in (value, np.ones(len(i)))
    )
    has_contacts = np.zeros(hi - lo + n_diagonals - 1, dtype=bool)  # and none past the region
    for ends in (i, i + d):
        has_contacts[ends[value > 0]] = True
    return mask_band(np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0), has_contacts)
