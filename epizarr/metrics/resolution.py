"""What bin size a map's depth supports.

The definition of Rao et al. 2014 (doi:10.1016/j.cell.2014.11.021, "map resolution"): the smallest bin size at which at least
80 % of all bins have at least 1,000 contacts. All bins count, those without any contact too.

Two things differ from their computation, both towards a coarser answer. They count the contacts of a bin with the whole genome;
marginals of cis contacts miss those with other chromosomes. And a contact inside one bin has two ends there, of which a map's
main diagonal tells one; where bins are summed up, a contact between two of them counts twice, as both its ends do for them.
"""

from collections.abc import Sequence

import numpy as np

MIN_CONTACTS = 1000
MIN_SHARE = 0.8


def share_of_deep_bins(
    marginals: Sequence[np.ndarray], n_summed: int = 1, *, min_contacts: float = MIN_CONTACTS
) -> float:
    """Share of bins with enough contacts, if ``n_summed`` adjacent bins are made one.

    Parameters
    ----------
    marginals
        Contacts of each bin (:meth:`~epizarr.io.contacts.ContactsFile.marginals`), one array a chromosome; NaN where a bin is
        not covered by the assay.
    n_summed
        Number of bins summed up, from each chromosome's first bin on; the last sum of a chromosome may be of fewer, as the last
        bin of a map is.
    min_contacts
        What is enough.

    Returns
    -------
    Share, from 0 to 1, of the summed bins that are covered: of whose bins none is NaN. NaN if there is none.
    """
    n_deep = n_covered = 0
    for contacts in marginals:
        if not len(contacts):
            continue
        sums = np.add.reduceat(np.asarray(contacts, dtype=np.float64), np.arange(0, len(contacts), n_summed))
        # A comparison with NaN is False.
        n_deep += int((sums >= min_contacts).sum())
        n_covered += int((~np.isnan(sums)).sum())
    return n_deep / n_covered if n_covered else float("nan")


def supported_binsize(
    marginals: Sequence[np.ndarray],
    binsize: int,
    *,
    min_contacts: float = MIN_CONTACTS,
    min_share: float = MIN_SHARE,
    max_binsize: int = 1_000_000,
) -> int | None:
    """Smallest bin size at which enough bins have enough contacts, from marginals at a finer one.

    Goes through the multiples of ``binsize`` one by one, since the share of deep bins need not grow with each; 0.1 s for the
    human genome from 10 kb to 1 Mb. Holds two copies of one chromosome's marginals at a time.

    Parameters
    ----------
    marginals
        As in :func:`share_of_deep_bins`.
    binsize
        Bin width in bp of the marginals. The answer is a multiple of it: if it is ``binsize`` itself, the map may support
        finer bins still.
    min_contacts, min_share
        Contacts that a bin needs, and the share of bins that need them.
    max_binsize
        Where the search ends, in bp, included.

    Returns
    -------
    Bin size in bp, or None if none up to ``max_binsize`` will do.

    Examples
    --------
    >>> supported_binsize([np.full(100, 300.0)], 1000)
    4000
    """
    if not 0 < min_share <= 1 or not min_contacts > 0 or binsize < 1:
        raise ValueError(
            f"min_share must be in (0, 1], min_contacts and binsize positive, not {min_share}, {min_contacts}, {binsize}."
        )
    for n_summed in range(1, max_binsize // binsize + 1):
        if share_of_deep_bins(marginals, n_summed, min_contacts=min_contacts) >= min_share:
            return n_summed * binsize
    return None
