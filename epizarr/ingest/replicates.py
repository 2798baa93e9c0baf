"""The counts behind a group of contacts: one file, or replicates that are thinned each and then summed.

Whatever needs all counts (marginals, weights, fits) streams :attr:`GroupCounts.merged`; what is stored of each replicate is
read from its own file. Both see the same counts, however they are cut into pieces.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from epizarr.genome import Region
from epizarr.io.contacts import ContactsFile
from epizarr.io.contacts_merged import merge_contacts
from epizarr.io.contacts_thinned import thin_contacts
from epizarr.thinning import named_seed


@dataclass(frozen=True)
class CountsFile:
    """Opened contacts. ``chroms`` are the names the file gives to the store's chromosomes, ``{store: file}``.

    ``name`` is that of the replicate, empty for what is none.
    """

    name: str
    file: ContactsFile
    chroms: Mapping[str, str]


@dataclass(frozen=True)
class GroupCounts:
    """Raw counts of a group.

    Parameters
    ----------
    files
        The files, in the order of the manifest: whole, without an extent. One, or at least two replicates.
    extent
        The one region that the assay covers; None for all.
    """

    files: tuple[CountsFile, ...]
    extent: Region | None = None

    @property
    def replicate_names(self) -> list[str]:
        """Names of the replicates that are kept apart in the store; none where there is one file, whose counts are ``count``."""
        return [f.name for f in self.files] if len(self.files) > 1 else []

    @cached_property
    def replicates(self) -> tuple[CountsFile, ...]:
        """The files, each missing outside the extent.

        Raises
        ------
        InputFileError, RegionError
            As :meth:`~epizarr.io.contacts.ContactsFile.with_extent`.
        """
        return tuple(self._covered(file) for file in self.files)

    @cached_property
    def merged(self) -> CountsFile:
        """The sum of all files, missing outside the extent; of one file, that file.

        Raises
        ------
        InputFileError, AssemblyMismatchError
            As :func:`~epizarr.io.contacts_merged.merge_contacts`: files that do not belong together.
        RegionError
            If the extent is not on the chromosome.
        """
        if len(self.files) == 1:
            return self.replicates[0]
        file = merge_contacts([f.file for f in self.files], [f.chroms for f in self.files])
        return self._covered(CountsFile("", file, {chrom: chrom for chrom in self.files[0].chroms}))

    def thinned(self, fraction: float, seed: int) -> "GroupCounts":
        """Return the counts with each contact kept with one probability, drawn independently in each replicate.

        Nothing is read. A thinned contact costs what :mod:`epizarr.io.contacts_thinned` says.

        Parameters
        ----------
        fraction
            In (0, 1].
        seed
            Replicates draw from :func:`~epizarr.thinning.named_seed` of it and their name.
        """
        return replace(
            self,
            files=tuple(
                replace(f, file=thin_contacts(f.file, fraction=fraction, seed=named_seed(seed, f.name)))
                for f in self.files
            ),
        )

    def _covered(self, counts: CountsFile) -> CountsFile:
        if self.extent is None:
            return counts
        return replace(counts, file=counts.file.with_extent(self.extent, counts.chroms.get(self.extent.chrom)))
