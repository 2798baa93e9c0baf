"""cooltools on an exported ``.mcool``: what it works out of the file is what the store holds."""

import cooler
import numpy as np
import pytest

from epizarr.bands import band_on_chromosome
from epizarr.domains.insulation import insulation
from epizarr.io.export import export_contacts
from epizarr.io.store import open_prediction
from tests._runs import ASSEMBLY, BINSIZE, N_DIAGONALS, draw_contacts, draw_signal, write_prediction, write_store

pytestmark = pytest.mark.reference
GRID = ASSEMBLY.bins(BINSIZE)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A prediction without missing pixels, and the cooler that it was exported as."""
    pytest.importorskip("cooltools", reason="cooltools is not installed")
    folder = tmp_path_factory.mktemp("cooltools")
    store = write_store(folder / "s.zarr", with_contacts=("A",))
    write_prediction(store, "B", "first", draw_contacts(draw_signal(1), 1))
    path = export_contacts(store, folder / "b.mcool", cell_type="B", run="first")
    return open_prediction(store, "B", "first", BINSIZE)["contact"], cooler.Cooler(f"{path}::resolutions/{BINSIZE}")


def test_export__expected_of_cooltools_is_the_mean_of_the_diagonal(exported):
    import cooltools

    band, clr = exported
    table = cooltools.expected_cis(clr, smooth=False, ignore_diags=0)
    on_chromosome = band_on_chromosome(GRID, 0, GRID.n_bins, N_DIAGONALS)
    for chrom in ("chr1", "chr2"):
        lo, hi = GRID.chrom_extent(chrom)
        rows = table[(table["region1"] == chrom) & (table["dist"] < N_DIAGONALS)].sort_values("dist")
        values = np.where(on_chromosome[lo:hi], band.values[lo:hi], np.nan)
        np.testing.assert_allclose(rows["balanced.avg"], np.nanmean(values, axis=0, dtype=np.float64), rtol=1e-6)


def test_export__insulation_of_cooltools_is_ours(exported):
    import cooltools

    band, clr = exported
    theirs = cooltools.insulation(clr, [5_000], ignore_diags=2, min_dist_bad_bin=0)["log2_insulation_score_5000"]
    ours = insulation(band, 5_000)["score"].values[0]
    both = np.isfinite(ours) & np.isfinite(theirs)
    assert both.sum() > 0.95 * len(ours)
    np.testing.assert_allclose(ours[both], theirs[both], atol=1e-5)
