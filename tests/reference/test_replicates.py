"""Merging and thinning of a real .hic, whose bands and whole chromosomes are read in different ways."""

import cooler
import numpy as np
import pandas as pd
import pytest

from epizarr.io.contacts import open_contacts_file
from epizarr.io.contacts_merged import merge_contacts
from epizarr.io.contacts_thinned import thin_contacts

pytestmark = pytest.mark.reference

BINSIZE = 50_000


@pytest.fixture(scope="module")
def hic(shared):
    return open_contacts_file(shared / "data" / "readers" / "test_chr22.hic", BINSIZE)


def whole_band(file, chrom="22"):
    n_bins = file.info.n_bins(chrom)
    return file.band(chrom, 0, n_bins, n_bins)


def marginals_of(band):
    """Row sums of the symmetric map of a whole band."""
    counts = np.nan_to_num(band.astype(float))
    sums = counts.sum(axis=1)
    for k in range(1, counts.shape[1]):
        sums[k:] += counts[: len(counts) - k, k]
    return sums


def test_merge_contacts__of_a_hic_and_the_same_counts_in_a_cool_is_twice_the_hic(hic, tmp_path):
    (piece,) = hic.source.iter_pixels("22", 0, hic.info.n_bins("22"), None)
    pixels = pd.DataFrame({"bin1_id": piece.bin1, "bin2_id": piece.bin2, "count": piece.count.astype(np.int32)})
    bins = cooler.binnify(pd.Series({"chr22": hic.info.chrom_lengths["22"]}), BINSIZE)
    cooler.create_cooler(str(tmp_path / "same.cool"), bins, pixels)
    cool = open_contacts_file(tmp_path / "same.cool", BINSIZE)
    merged = merge_contacts([hic, cool], [{"chr22": "22"}, {"chr22": "chr22"}])
    np.testing.assert_array_equal(whole_band(merged, "chr22"), 2 * whole_band(hic))
    np.testing.assert_array_equal(merged.marginals("chr22"), 2 * hic.marginals("22"))


def test_thin_contacts__of_a_hic_gives_one_map_to_bands_and_marginals(hic):
    thinned = thin_contacts(hic, depth=10_000, seed=3, file_chroms=["22"])
    band = whole_band(thinned)
    np.testing.assert_array_equal(thinned.marginals("22"), marginals_of(band))
    np.testing.assert_array_equal(thinned.band("22", 400, 500, 20), band[400:500, :20])
    # The number left is binomial: within 5 standard deviations, the seed being fixed.
    assert abs(np.nansum(band) - 10_000) < 5 * 100
    assert (np.nan_to_num(band) <= np.nan_to_num(whole_band(hic))).all()
