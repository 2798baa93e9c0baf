"""TopDom against the original on human chromosomes, raw and balanced."""

import numpy as np
import pandas as pd
import pytest

from epizarr import topdom, topdom_domains
from epizarr.domains.topdom import bin_signal, local_extrema
from epizarr.genome import Assembly
from tests._bands import band_array, chrom_band

pytestmark = pytest.mark.reference

MAPS = ["HMEC_chr21_50kb_KR", "HMEC_chr21_50kb_raw", "HMEC_chr22_50kb_KR", "HMEC_chr22_50kb_raw"]
WINDOWS = (3, 5, 10, 20, 50)


@pytest.fixture(scope="module", params=MAPS)
def called(shared, request):
    """Folder and prefix of the reference files, its bins, the band, and what we call at all windows."""
    prefix = str(shared / "refs/topdom" / request.param)
    bins = pd.read_csv(f"{prefix}_w3.binSignal.tsv.gz", sep="\t")
    pixels = pd.read_csv(f"{prefix}_input_coo.tsv.gz", sep="\t")
    # The input is a whole matrix: contacts beyond 40 bins are 0 there, not missing.
    band = chrom_band(*(pixels[c].to_numpy() for c in ("i", "j", "value")), len(bins), 2 * max(WINDOWS))
    grid = Assembly.from_table("hg19", [(bins["chr"][0], bins["to.coord"].max())]).bins(50_000)
    return prefix, band, topdom(band_array(band, grid), WINDOWS)


@pytest.mark.parametrize("window", WINDOWS)
def test_topdom__equals_the_original_at_each_bin(called, window):
    prefix, _, found = called
    expected = pd.read_csv(f"{prefix}_w{window}.binSignal.tsv.gz", sep="\t")
    ours = found.sel(window=window)
    np.testing.assert_allclose(ours["signal"], expected["mean.cf"], rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(np.where(ours["is_gap"], -0.5, ours["extremum"]), expected["local.ext"])
    np.testing.assert_allclose(ours["pvalue"], expected["pvalue"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("window", WINDOWS)
def test_topdom_domains__equal_the_original(called, window):
    prefix, _, found = called
    expected = pd.read_csv(f"{prefix}_w{window}.domain.tsv.gz", sep="\t")
    expected = expected[expected["size"] > 0]
    ours = topdom_domains(found.sel(window=[window]))
    assert list(ours[["chrom", "start", "end", "tag"]].itertuples(index=False, name=None)) == list(
        expected[["chr", "from.coord", "to.coord", "tag"]].itertuples(index=False, name=None)
    )


@pytest.mark.parametrize("window", [5, 10])
def test_local_extrema__equal_the_original_before_the_filter(called, window):
    prefix, band, found = called
    expected = pd.read_csv(f"{prefix}_w{window}.nofilter_localext.tsv.gz", sep="\t")["local.ext"].to_numpy()
    signal = np.nan_to_num(bin_signal(band, window))
    gap = found["is_gap"].sel(window=window).values
    edges = np.flatnonzero(np.diff(np.concatenate([[True], gap, [True]])))
    for lo, hi in edges.reshape(-1, 2):
        np.testing.assert_array_equal(local_extrema(signal[lo:hi]), expected[lo:hi])
