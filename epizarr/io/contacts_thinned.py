"""A file of contacts thinned to a lesser depth, read like any other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from epizarr.errors import InputFileError, TransformError
from epizarr.io.contacts import ContactsFile
from epizarr.io.contacts_source import ContactsInfo, ContactsSource, PixelPiece
from epizarr.thinning import check_fraction, fraction_for_depth, thin_counts


@dataclass(frozen=True)
class ThinnedSource:
    """Reader of a source with each contact kept at random; fulfils :class:`~epizarr.io.contacts_source.ContactsSource`.

    Counts are those of :func:`~epizarr.thinning.thin_counts`: the same ones however the map is read, so that marginals, bands
    and fits belong together.

    Parameters
    ----------
    source
        Whole, raw counts.
    fraction
        Probability of keeping a contact, in (0, 1].
    seed
        Seed of the draw.
    """

    source: ContactsSource
    fraction: float
    seed: int

    @property
    def info(self) -> ContactsInfo:
        """What the thinned map is; the stored weights do not fit it and are not offered."""
        info = self.source.info
        thinned = f"thinned to {self.fraction:.6g} of its contacts, seed {self.seed}"
        derived = thinned if info.derived is None else f"{info.derived}; {thinned}"
        return replace(info, normalisations={}, count_dtype="int64", derived=derived)

    def iter_pixels(self, file_chrom: str, lo: int, hi: int, n_diagonals: int | None) -> Iterator[PixelPiece]:
        """Iterate over pixels that keep a contact; see :class:`~epizarr.io.contacts_source.ContactsSource`.

        Takes about 60 bytes a pixel of the source's piece, the piece included: 120 MB for 2 million pixels.
        """
        for piece in self.source.iter_pixels(file_chrom, lo, hi, n_diagonals):
            try:
                count = thin_counts(
                    piece.bin1, piece.bin2, piece.count, fraction=self.fraction, seed=self.seed, chrom=file_chrom
                )
            except TransformError as error:
                raise InputFileError(f"{self.source.info.label}: {error}") from error
            left = count > 0
            yield PixelPiece(piece.bin1[left], piece.bin2[left], count[left])

    def stored_weights(self, name: str, file_chrom: str) -> np.ndarray:
        """Refuse: weights fitted to all contacts do not balance some of them."""
        raise InputFileError(
            f"{self.info.label} has no stored normalisation {name!r}: weights were fitted to all contacts. Compute the "
            "normalisation from the thinned counts."
        )


def thin_contacts(
    file: ContactsFile,
    *,
    fraction: float | None = None,
    depth: int | None = None,
    seed: int,
    file_chroms: Sequence[str] | None = None,
) -> ContactsFile:
    """Thin a file of raw counts to a fraction of its contacts, or to a depth in cis contacts.

    A depth needs the number of contacts, for which the file is streamed once. Where that was counted already, pass
    :func:`~epizarr.thinning.fraction_for_depth` of it as ``fraction``: the result is the same.

    Parameters
    ----------
    file
        Opened contacts, merged ones too; an extent is kept.
    fraction
        In (0, 1]; 1 changes no count. Either this or ``depth``.
    depth
        Cis contacts left on average (their number is binomial), of those there are in ``file_chroms`` and the extent.
    seed
        Seed of the draw. It is made per chromosome, as the file names it.
    file_chroms
        Chromosomes, as the file names them, whose contacts make up the depth. All of the file by default.

    Returns
    -------
    The thinned contacts. Nothing is read before they are asked for pixels, but for the total.

    Raises
    ------
    TransformError
        If the fraction is not in (0, 1], or the depth is not positive or more than there is.
    InputFileError
        If the file cannot be read or lacks a chromosome; later, when a count is read that is not whole.
    """
    if (fraction is None) == (depth is None):
        raise ValueError("thin_contacts needs either a fraction or a depth.")
    if depth is not None:
        chroms = list(file.info.chrom_lengths) if file_chroms is None else file_chroms
        try:
            fraction = fraction_for_depth(depth, sum(file.n_contacts(chrom) for chrom in chroms))
        except TransformError as error:
            raise TransformError(f"{file.info.label}: {error}") from error
    if fraction is not None:
        check_fraction(fraction)
        file = replace(file, source=ThinnedSource(file.source, float(fraction), seed))
    return file
