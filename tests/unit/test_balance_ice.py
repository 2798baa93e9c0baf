"""ICE by cooler: the file stays as it is, non-convergence is told, other formats go through a temporary cooler."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cooler
import hictkpy
import numpy as np
import pandas as pd
import pytest

from epizarr.errors import BalancingError, InputFileError
from epizarr.io.balance import IceParameters, balance_ice, write_cis_cool
from epizarr.io.contacts import ContactsFile, open_contacts_file
from epizarr.io.contacts_merged import merge_contacts
from epizarr.io.contacts_source import ContactsInfo, PixelPiece
from epizarr.io.contacts_thinned import thin_contacts

BINSIZE = 10_000
CHROMS = {"chr1": 405_000, "chr2": 200_000, "chrEmpty": 30_000}
N_BINS = {"chr1": 41, "chr2": 20, "chrEmpty": 3}
CIS = IceParameters(extent="cis")


def make_pixels() -> pd.DataFrame:
    """A full map of the first two chromosomes whose counts fall with distance; bin 5 has hardly any, and the third none."""
    rng = np.random.default_rng(0)
    bin1, bin2 = np.triu_indices(N_BINS["chr1"] + N_BINS["chr2"])
    count = 1 + rng.poisson(200 / (1 + bin2 - bin1))
    kept = ((bin1 != 5) & (bin2 != 5)) | (bin1 == bin2)
    return pd.DataFrame({"bin1_id": bin1, "bin2_id": bin2, "count": count})[kept]


def write_cool(path: Path, pixels: pd.DataFrame) -> ContactsFile:
    cooler.create_cooler(str(path), cooler.binnify(pd.Series(CHROMS), BINSIZE), pixels)
    return open_contacts_file(path, BINSIZE)


@pytest.fixture(scope="module")
def pixels() -> pd.DataFrame:
    return make_pixels()


@pytest.fixture(scope="module")
def cool(tmp_path_factory, pixels) -> ContactsFile:
    return write_cool(tmp_path_factory.mktemp("ice") / "a.cool", pixels)


@pytest.fixture(scope="module")
def hic(tmp_path_factory, pixels) -> ContactsFile:
    path = tmp_path_factory.mktemp("ice") / "a.hic"
    writer = hictkpy.hic.FileWriter(path, CHROMS, BINSIZE, tmpdir=path.parent)
    writer.add_pixels_from_dict({name: column.tolist() for name, column in pixels.items()})
    writer.finalize()
    return open_contacts_file(path, BINSIZE)


@pytest.fixture(scope="module")
def unbalanceable(tmp_path_factory) -> ContactsFile:
    """Bins of chr1 have contacts with its first bin alone: no weights balance that."""
    star = pd.DataFrame({"bin1_id": np.zeros(40, int), "bin2_id": np.arange(1, 41), "count": np.arange(1, 41)})
    path = tmp_path_factory.mktemp("ice") / "star.cool"
    return write_cool(path, star)


LENIENT = IceParameters(extent="cis", ignore_diags=0, min_nnz=0, mad_max=0, max_iters=5)


def assert_same_weights(found, expected, **tolerance):
    assert list(found.weights) == list(expected.weights)
    for chrom in expected.weights:
        np.testing.assert_allclose(found.weights[chrom], expected.weights[chrom], **tolerance)


def square_of(pixels: pd.DataFrame, n_ignored: int) -> np.ndarray:
    n = sum(N_BINS.values())
    square = np.zeros((n, n))
    taken = pixels[pixels["bin2_id"] - pixels["bin1_id"] >= n_ignored]
    square[taken["bin1_id"], taken["bin2_id"]] = taken["count"]
    return np.maximum(square, square.T)


def test_ice__leaves_the_users_file_as_it_is(cool, pixels, tmp_path):
    file = write_cool(tmp_path / "own.cool", pixels)
    file.info.path.chmod(0o444)
    before = hashlib.sha256(file.info.path.read_bytes()).hexdigest()
    balance_ice(file)
    assert hashlib.sha256(file.info.path.read_bytes()).hexdigest() == before
    assert [p.name for p in tmp_path.iterdir()] == ["own.cool"]


def test_ice__genome_wide_rows_sum_to_one(cool, pixels):
    found = balance_ice(cool)
    weights = np.concatenate(list(found.weights.values()))
    sums = weights * (square_of(pixels, 2) @ np.nan_to_num(weights))
    np.testing.assert_allclose(sums[~np.isnan(sums)], 1, atol=1e-4)
    assert [fit.chroms for fit in found.fits] == [tuple(CHROMS)]


def test_ice__cis_balances_each_chromosome_by_itself(cool, pixels):
    found = balance_ice(cool, CIS)
    square, first = square_of(pixels, 2), 0
    for chrom, n in N_BINS.items():
        inner, weights = square[first : first + n, first : first + n], found.weights[chrom]
        sums = weights * (inner @ np.nan_to_num(weights))
        np.testing.assert_allclose(sums[~np.isnan(sums)], 1, atol=1e-4)
        first += n
    assert [fit.chroms for fit in found.fits] == [(chrom,) for chrom in CHROMS]


def test_ice__trans_balances_contacts_between_chromosomes(cool, pixels):
    found = balance_ice(cool, IceParameters(extent="trans"))
    assert found.converged
    n1, n2 = N_BINS["chr1"], N_BINS["chr2"]
    between = square_of(pixels, 2)[:n1, n1 : n1 + n2]
    balanced = np.nan_to_num(found.weights["chr1"])[:, None] * between * np.nan_to_num(found.weights["chr2"])
    for sums in (balanced.sum(axis=0), balanced.sum(axis=1)):
        np.testing.assert_allclose(sums[sums > 0] / sums.max(), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("asked", "dropped"),
    [
        ({"mad_max": 0}, [5]),  # one pixel, on the main diagonal
        ({"mad_max": 0, "min_nnz": 0, "ignore_diags": 0}, []),
        ({"mad_max": 0, "min_nnz": 0, "ignore_diags": 0, "min_count": 500}, [5]),
        ({"mad_max": 5, "min_nnz": 0}, [0, 1, 2, 3, 5]),  # the first bins have neighbours on one side only
    ],
)
def test_ice__drops_bins_as_asked(cool, asked, dropped):
    found = balance_ice(cool, IceParameters(**asked, max_iters=20), allow_unconverged=True)
    assert np.flatnonzero(np.isnan(found.weights["chr1"])).tolist() == dropped


def test_ice__of_an_empty_chromosome_is_missing_and_no_failure(cool):
    found = balance_ice(cool, CIS)
    assert np.isnan(found.weights["chrEmpty"]).all()
    assert found.converged


def test_ice__that_does_not_converge_is_an_error(unbalanceable):
    with pytest.raises(
        BalancingError, match=r"(?s)star\.cool.*did not converge in 5 iterations on chr1 .*variance.*min_nnz"
    ):
        balance_ice(unbalanceable, LENIENT)


def test_ice__that_does_not_converge_is_on_record_where_allowed(unbalanceable):
    found = balance_ice(unbalanceable, LENIENT, allow_unconverged=True)
    assert [fit.converged for fit in found.fits] == [False, True, True]
    assert found.fits[0].variance > LENIENT.tol
    record = json.loads(json.dumps(found.record()))
    assert (record["converged"], list(record["unconverged"])) == (False, ["chr1"])


def test_ice__record_holds_every_parameter(cool):
    parameters = IceParameters(ignore_diags=1, mad_max=4, min_nnz=9, min_count=3, tol=1e-4, max_iters=150)
    record = balance_ice(cool, parameters, scale="hicexplorer").record()
    assert {
        "extent": "genome",
        "ignore_diags": 1,
        "mad_max": 4,
        "min_nnz": 9,
        "min_count": 3,
        "tol": 1e-4,
        "max_iters": 150,
        "scale": "hicexplorer",
        "converged": True,
    }.items() <= record.items()


def test_ice__does_not_depend_on_pieces_or_how_they_are_mapped(cool):
    whole = balance_ice(cool)
    with ThreadPoolExecutor(2) as pool:
        assert_same_weights(balance_ice(cool, chunk_pixels=700, map_chunks=pool.map), whole, rtol=1e-12)


def test_ice__on_hicexplorers_scale_has_factors_of_mean_one(cool):
    plain = balance_ice(cool)
    found = balance_ice(cool, scale="hicexplorer")
    np.testing.assert_allclose(np.nanmean(1 / np.concatenate(list(found.weights.values()))), 1)
    ratio = np.concatenate([found.weights[chrom] / plain.weights[chrom] for chrom in CHROMS])
    np.testing.assert_allclose(ratio[~np.isnan(ratio)], np.nanmax(ratio))


def test_ice__on_hicexplorers_scale_treats_each_cis_fit_by_itself(cool):
    found = balance_ice(cool, CIS, scale="hicexplorer")
    for chrom in ("chr1", "chr2"):
        np.testing.assert_allclose(np.nanmean(1 / found.weights[chrom]), 1)
    assert np.isnan(found.weights["chrEmpty"]).all()


def test_ice__of_a_hic_is_that_of_the_same_cooler(cool, hic, tmp_path):
    assert_same_weights(balance_ice(hic, CIS, temp_dir=tmp_path), balance_ice(cool, CIS), rtol=1e-12)
    assert list(tmp_path.iterdir()) == []


def test_ice__cleans_up_after_a_failure(hic, tmp_path):
    with pytest.raises(BalancingError, match="did not converge"):
        balance_ice(hic, IceParameters(extent="cis", max_iters=1), temp_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("extent", ["genome", "trans"])
def test_ice__of_a_hic_refuses_what_needs_trans_contacts(hic, extent):
    with pytest.raises(InputFileError, match=rf"'{extent}' needs contacts between chromosomes.*hictk convert"):
        balance_ice(hic, IceParameters(extent=extent))


def test_ice__of_thinned_counts_is_that_of_a_cooler_of_them(cool, tmp_path):
    thinned = thin_contacts(cool, fraction=0.5, seed=1)
    write_cis_cool(thinned.source, tmp_path / "thinned.cool")
    found = balance_ice(thinned, CIS)
    assert_same_weights(found, balance_ice(open_contacts_file(tmp_path / "thinned.cool", BINSIZE), CIS))
    assert not np.allclose(found.weights["chr1"], balance_ice(cool, CIS).weights["chr1"], rtol=0.01, equal_nan=True)


def test_ice__of_thinned_counts_refuses_what_needs_trans_contacts(cool):
    with pytest.raises(InputFileError, match=r"thinned to 0\.5.*Merge or thin with other programs"):
        balance_ice(thin_contacts(cool, fraction=0.5, seed=1))


def test_ice__of_merged_replicates_is_that_of_cooler_merge(cool, hic, tmp_path):
    uri = str(tmp_path / "merged.cool")
    cooler.merge_coolers(uri, [cool.info.uri, cool.info.uri], mergebuf=10_000)
    assert_same_weights(
        balance_ice(merge_contacts([cool, hic]), CIS), balance_ice(open_contacts_file(uri, BINSIZE), CIS)
    )


@pytest.mark.parametrize(
    "wrong",
    [{"extent": "all"}, {"tol": 0}, {"max_iters": 0}, {"min_nnz": -1}, {"mad_max": -1}, {"ignore_diags": -1}],
)
def test_ice_parameters__out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"extent must be|ICE needs"):
        IceParameters(**wrong)


def test_ice__refuses_an_unknown_scale(cool):
    with pytest.raises(ValueError, match="scale must be one of"):
        balance_ice(cool, scale="juicer")


class ShuffledSource:
    """A source that gives its pixels in pieces of any order, as it may."""

    def __init__(self, pixels: pd.DataFrame, seed: int) -> None:
        self.pixels, self.seed = pixels, seed
        self.info = ContactsInfo(
            uri="fake.txt",
            path=Path("fake.txt"),
            format="hic",
            binsize=BINSIZE,
            binsizes=(BINSIZE,),
            chrom_lengths=CHROMS,
            normalisations={},
            count_dtype="float64",
            software=None,
        )

    def iter_pixels(self, file_chrom, lo, hi, n_diagonals):
        first = self.info.bin_offset(file_chrom)
        last = first + self.info.n_bins(file_chrom)
        inside = self.pixels[(self.pixels["bin1_id"] >= first) & (self.pixels["bin2_id"] < last)]
        inside = inside.sample(frac=1, random_state=self.seed)
        for at in range(0, len(inside), 97):
            piece = inside.iloc[at : at + 97]
            yield PixelPiece(
                piece["bin1_id"].to_numpy() - first, piece["bin2_id"].to_numpy() - first, piece["count"].to_numpy()
            )

    def stored_weights(self, name, file_chrom):
        raise NotImplementedError


def test_write_cis_cool__sorts_what_comes_unsorted(pixels, tmp_path):
    half = pixels.assign(count=pixels["count"] + 0.5)
    write_cis_cool(ShuffledSource(half, seed=1), tmp_path / "out.cool")
    written = cooler.Cooler(str(tmp_path / "out.cool")).pixels()[:]
    is_cis = (half["bin1_id"] < N_BINS["chr1"]) == (half["bin2_id"] < N_BINS["chr1"])
    pd.testing.assert_frame_equal(written, half[is_cis].reset_index(drop=True))
    assert [p.name for p in tmp_path.iterdir()] == ["out.cool"]


def test_ice__of_unsorted_pixels_is_that_of_sorted_ones(cool, pixels):
    found = balance_ice(ContactsFile(ShuffledSource(pixels, seed=2)), CIS)
    assert_same_weights(found, balance_ice(cool, CIS), rtol=1e-12)
