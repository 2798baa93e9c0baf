"""Contacts in each format, made small by the tests themselves."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import cooler
import h5py
import hictkpy
import numpy as np
import pandas as pd
import pytest

from epizarr.errors import InputFileError, InputNotFoundError, RegionError
from epizarr.genome import Assembly, Region
from epizarr.ingest.masks import bad_bins
from epizarr.io import contacts_cool, contacts_hic
from epizarr.io.contacts import ContactsFile, open_contacts_file
from epizarr.io.contacts_cool import weights_convention
from epizarr.io.contacts_source import ContactsInfo, Normalisation, PixelPiece
from epizarr.normalize.cis_map import CisMapBuilder
from epizarr.normalize.kr import balance_kr, balance_vc

BINSIZE = 10_000
CHROMS = {"chr1": 405_000, "chr2": 200_000}  # 41 bins, the last partial, and 20
N1, N2 = 41, 20


def make_pixels(seed: int = 0, density: float = 0.4) -> pd.DataFrame:
    """Pixels of a random symmetric map, trans included, sorted, upper triangle."""
    rng = np.random.default_rng(seed)
    bin1, bin2 = np.triu_indices(N1 + N2)
    kept = rng.random(len(bin1)) < density
    count = rng.integers(1, 50, kept.sum())
    return pd.DataFrame({"bin1_id": bin1[kept], "bin2_id": bin2[kept], "count": count.astype(np.int32)})


def make_bins(binsize: int = BINSIZE, **columns: np.ndarray) -> pd.DataFrame:
    return cooler.binnify(pd.Series(CHROMS), binsize).assign(**columns)


def square(pixels: pd.DataFrame) -> np.ndarray:
    matrix = np.zeros((N1 + N2, N1 + N2))
    matrix[pixels["bin1_id"], pixels["bin2_id"]] = pixels["count"]
    return np.maximum(matrix, matrix.T)


def write_cool(uri: str | Path, pixels: pd.DataFrame, bins: pd.DataFrame | None = None, **keywords) -> str:
    dtypes = {"count": pixels["count"].dtype}
    cooler.create_cooler(str(uri), make_bins() if bins is None else bins, pixels, dtypes=dtypes, **keywords)
    return str(uri)


def write_hic(path: Path, pixels: pd.DataFrame) -> str:
    writer = hictkpy.hic.FileWriter(path, CHROMS, BINSIZE, tmpdir=path.parent)
    # Unlike a frame, a dict does not need pyarrow.
    writer.add_pixels_from_dict({name: column.tolist() for name, column in pixels.items()})
    writer.finalize()
    return str(path)


@pytest.fixture(scope="module")
def pixels() -> pd.DataFrame:
    return make_pixels()


@pytest.fixture(scope="module")
def cool(tmp_path_factory, pixels) -> str:
    weight = np.linspace(0.5, 1.5, N1 + N2)
    weight[3] = np.nan
    uri = write_cool(tmp_path_factory.mktemp("cool") / "a.cool", pixels, make_bins(weight=weight, KR=weight * 2))
    with h5py.File(uri, "r+") as file:
        file["bins/weight"].attrs["ignore_diags"] = 2
    return uri


@pytest.fixture(scope="module")
def hic(tmp_path_factory, pixels) -> str:
    return write_hic(tmp_path_factory.mktemp("hic") / "a.hic", pixels)


@pytest.fixture(params=["cool", "hic"])
def file(request) -> ContactsFile:
    return open_contacts_file(request.getfixturevalue(request.param), BINSIZE)


def edit(uri: str, tmp_path: Path) -> Path:
    """Copy a .cool to be edited with h5py."""
    path = tmp_path / "edited.cool"
    path.write_bytes(Path(uri).read_bytes())
    return path


# Bands and marginals, every format


@pytest.mark.parametrize("chrom", ["chr1", "chr2"])
def test_band__equals_the_diagonals_of_the_square(file, pixels, chrom):
    first, n_bins = (0, N1) if chrom == "chr1" else (N1, N2)
    matrix = square(pixels)[first : first + n_bins, first : first + n_bins]
    expected = np.full((n_bins, 7), np.nan, dtype=np.float32)
    for k in range(7):
        expected[: n_bins - k, k] = np.diag(matrix, k)
    np.testing.assert_array_equal(file.band(chrom, 0, n_bins, 7), expected)


@pytest.mark.parametrize(("lo", "hi"), [(0, 1), (5, 17), (36, 41)])
def test_band__of_some_rows_is_those_rows_of_the_whole(file, lo, hi):
    np.testing.assert_array_equal(file.band("chr1", lo, hi, 7), file.band("chr1", 0, N1, 7)[lo:hi])


def test_band__may_be_wider_than_the_chromosome(file):
    band = file.band("chr2", 0, N2, N2 + 5)
    np.testing.assert_array_equal(np.isnan(band).sum(axis=1), np.arange(N2) + 5)


def test_band__does_not_depend_on_the_piece(file, monkeypatch):
    whole = file.band("chr1", 0, N1, 7)
    monkeypatch.setattr(contacts_cool, "_PIECE_PIXELS", 13)
    monkeypatch.setattr(contacts_hic, "_MAX_PIXELS", 20)
    np.testing.assert_array_equal(file.band("chr1", 0, N1, 7), whole)


def test_band__of_an_unlisted_chromosome_is_missing(file):
    assert np.isnan(file.band("chr3", 0, 4, 2)).all()


def test_band__reads_under_the_files_own_name(file):
    np.testing.assert_array_equal(file.band("2", 0, 5, 3, file_chrom="chr2"), file.band("chr2", 0, 5, 3))


def test_band__is_float32(file):
    assert file.band("chr1", 0, 2, 3).dtype == np.float32


@pytest.mark.parametrize(("lo", "hi"), [(-1, 3), (3, 3), (0, N1 + 1)])
def test_band__refuses_bins_off_the_chromosome(file, lo, hi):
    with pytest.raises(RegionError):
        file.band("chr1", lo, hi, 3)


@pytest.mark.parametrize(("chrom", "extent"), [("chr1", slice(0, N1)), ("chr2", slice(N1, N1 + N2))])
def test_marginals__are_the_row_sums_of_the_cis_square(file, pixels, chrom, extent):
    np.testing.assert_array_equal(file.marginals(chrom), square(pixels)[extent, extent].sum(axis=1))


def test_marginals__do_not_depend_on_the_piece(file, monkeypatch):
    whole = file.marginals("chr1")
    monkeypatch.setattr(contacts_cool, "_PIECE_PIXELS", 13)
    monkeypatch.setattr(contacts_hic, "_MAX_OBJECTS", 50)
    np.testing.assert_array_equal(file.marginals("chr1"), whole)


def test_marginals__refuse_an_unlisted_chromosome(file):
    with pytest.raises(InputFileError, match=r"does not list chromosome 'chr9'.*chr1, chr2"):
        file.marginals("chr9")


def test_contacts_file__survives_pickling(file):
    again = pickle.loads(pickle.dumps(file))
    np.testing.assert_array_equal(again.band("chr1", 3, 9, 4), file.band("chr1", 3, 9, 4))


def test_open_contacts_file__lists_binsizes_it_has(file):
    with pytest.raises(InputFileError, match=r"no contacts at 5,000 bp; it has 10,000"):
        open_contacts_file(file.info.path, 5000)


def test_info__gives_chromosomes_and_format(file):
    suffix = file.info.path.suffix[1:]
    assert (file.info.chrom_lengths, file.info.format, file.info.binsizes) == (CHROMS, suffix, (BINSIZE,))


# Contacts of one locus


#: Bins 10 to 24 of chr1; the half bins at both ends are not covered.
LOCUS = Region("chr1", 95_000, 255_000)


def test_extent__makes_every_pixel_with_an_end_outside_missing(file):
    band = file.band("chr1", 0, N1, 7)
    found = file.with_extent(LOCUS).band("chr1", 0, N1, 7)
    rows, ends = np.arange(N1)[:, None], np.arange(N1)[:, None] + np.arange(7)
    is_inside = (rows >= 10) & (ends < 25)
    np.testing.assert_array_equal(found, np.where(is_inside, band, np.nan))


@pytest.mark.parametrize(("lo", "hi"), [(0, 5), (3, 15), (12, 18), (20, 41), (30, 41)])
def test_extent__does_not_depend_on_the_rows_asked_for(file, lo, hi):
    file = file.with_extent(LOCUS)
    np.testing.assert_array_equal(file.band("chr1", lo, hi, 7), file.band("chr1", 0, N1, 7)[lo:hi])


def test_extent__leaves_other_chromosomes_missing(file):
    file = file.with_extent(LOCUS)
    assert np.isnan(file.band("chr2", 0, N2, 3)).all()
    assert np.isnan(file.marginals("chr2")).all()


def test_extent__sums_covered_pixels_only(file, pixels):
    found = file.with_extent(LOCUS).marginals("chr1")
    expected = np.full(N1, np.nan)
    expected[10:25] = square(pixels)[10:25, 10:25].sum(axis=1)
    np.testing.assert_array_equal(found, expected)


def test_extent__makes_bins_outside_bad(file):
    grid = Assembly.from_table("toy", CHROMS.items()).bins(BINSIZE)
    file = file.with_extent(LOCUS)
    sums = np.concatenate([file.marginals(chrom) for chrom in CHROMS])
    none = pd.DataFrame({"chrom": [], "start": [], "end": []})
    np.testing.assert_array_equal(np.flatnonzero(~bad_bins(grid, sums, none)), np.arange(10, 25))


def test_extent__reaches_a_partial_last_bin_at_the_chromosomes_end(file):
    assert np.isfinite(file.with_extent(Region("chr1", 300_000, 405_000)).band("chr1", 0, N1, 1)[30:]).all()
    assert np.isnan(file.with_extent(Region("chr1", 300_000, 404_999)).band("chr1", 0, N1, 1)[40])


def test_extent__of_a_whole_chromosome_changes_nothing_on_it(file):
    whole = file.with_extent(Region("chr1", 0, 405_000))
    np.testing.assert_array_equal(whole.band("chr1", 0, N1, 7), file.band("chr1", 0, N1, 7))
    np.testing.assert_array_equal(whole.marginals("chr1"), file.marginals("chr1"))


def test_extent__is_given_in_the_stores_name(file):
    renamed = file.with_extent(Region("1", 95_000, 255_000), "chr1")
    np.testing.assert_array_equal(
        renamed.band("1", 0, N1, 7, file_chrom="chr1"), file.with_extent(LOCUS).band("chr1", 0, N1, 7)
    )


def test_extent__makes_weights_outside_missing(cool):
    file = open_contacts_file(cool, BINSIZE).with_extent(LOCUS)
    whole = open_contacts_file(cool, BINSIZE).weights("weight", "chr1")
    found = file.weights("weight", "chr1")
    np.testing.assert_array_equal(found[10:25], whole[10:25])
    assert np.isnan(np.delete(found, np.arange(10, 25))).all()
    file.require_normalisations(["weight"])
    with pytest.raises(InputFileError, match="no valid bin"):
        file.require_normalisations(["weight"], ["chr2"])


def test_extent__survives_pickling(file):
    again = pickle.loads(pickle.dumps(file.with_extent(LOCUS)))
    assert np.isnan(again.band("chr1", 3, 9, 4)).all()


def test_extent__refuses_a_region_without_a_whole_bin(file):
    with pytest.raises(RegionError, match="no whole bin of 10,000 bp"):
        file.with_extent(Region("chr1", 95_000, 109_000))


def test_extent__refuses_a_region_off_the_chromosome(file):
    with pytest.raises(RegionError, match="has 405,000 bp"):
        file.with_extent(Region("chr1", 0, 405_001))
    with pytest.raises(InputFileError, match="does not list chromosome 'chr9'"):
        file.with_extent(Region("chr9", 0, 10_000))


# Counts


@pytest.mark.parametrize("write", [write_cool, write_hic])
def test_band__keeps_fractional_counts(tmp_path, write):
    pixels = pd.DataFrame({"bin1_id": [0, 1], "bin2_id": [2, 1], "count": [1.25, 0.5]})
    file = open_contacts_file(write(tmp_path / f"a.{write.__name__[6:]}", pixels), BINSIZE)
    assert file.band("chr1", 0, 2, 3).tolist() == [[0, 0, 1.25], [0.5, 0, 0]]


def test_band__keeps_negative_counts(tmp_path):
    pixels = pd.DataFrame({"bin1_id": [0], "bin2_id": [1], "count": [-2.5]})
    assert open_contacts_file(write_cool(tmp_path / "a.cool", pixels), BINSIZE).band("chr1", 0, 1, 2)[0, 1] == -2.5


def test_band__refuses_a_count_that_float32_rounds(tmp_path):
    pixels = pd.DataFrame({"bin1_id": [0, 4], "bin2_id": [1, 6], "count": [2**24, 2**24 + 1]})
    file = open_contacts_file(write_cool(tmp_path / "a.cool", pixels), BINSIZE)
    with pytest.raises(InputFileError, match=r"pixel \(4, 6\) of 'chr1' holds 16777217"):
        file.band("chr1", 0, N1, 3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_band__refuses_a_count_that_is_not_finite(tmp_path, value):
    pixels = pd.DataFrame({"bin1_id": [N1], "bin2_id": [N1 + 2], "count": [value]})
    file = open_contacts_file(write_cool(tmp_path / "a.cool", pixels), BINSIZE)
    with pytest.raises(InputFileError, match=r"pixel \(0, 2\) of 'chr2'.*finite"):
        file.band("chr2", 0, N2, 3)


@pytest.mark.parametrize(("bin1", "bin2"), [([4, 4], [6, 6]), ([4, 5], [6, 4])])
def test_band__refuses_pixels_that_would_be_lost(tmp_path, bin1, bin2):
    path = tmp_path / "a.cool"
    write_cool(path, pd.DataFrame({"bin1_id": [4, 5], "bin2_id": [6, 6], "count": 1}))
    with h5py.File(path, "r+") as file:
        file["pixels/bin1_id"][:] = bin1
        file["pixels/bin2_id"][:] = bin2
        file["indexes/bin1_offset"][:] = np.searchsorted(bin1, np.arange(N1 + N2 + 1))
    with pytest.raises(InputFileError, match="listed twice"):
        open_contacts_file(path, BINSIZE).band("chr1", 0, N1, 4)


def test_band__reads_rows_that_are_not_sorted(tmp_path):
    path = tmp_path / "a.cool"
    write_cool(path, pd.DataFrame({"bin1_id": [4, 4], "bin2_id": [5, 6], "count": [1, 2]}))
    with h5py.File(path, "r+") as file:
        file["pixels/bin2_id"][:], file["pixels/count"][:] = [6, 5], [2, 1]
    assert open_contacts_file(path, BINSIZE).band("chr1", 4, 5, 3).tolist() == [[0, 1, 2]]


# Layouts of HDF5 files


@pytest.fixture
def mcool(tmp_path, pixels) -> str:
    path = tmp_path / "a.mcool"
    write_cool(f"{path}::resolutions/10000", pixels)
    coarse = pd.DataFrame({"bin1_id": [0], "bin2_id": [1], "count": [7]})
    write_cool(f"{path}::resolutions/50000", coarse, make_bins(50_000), mode="a")
    return str(path)


def test_open_contacts_file__finds_the_binsize_in_an_mcool(mcool):
    file = open_contacts_file(mcool, 50_000)
    assert (file.info.format, file.info.binsizes, file.band("chr1", 0, 1, 2)[0, 1]) == ("mcool", (10_000, 50_000), 7)


def test_open_contacts_file__finds_the_binsize_in_the_old_layout(tmp_path, pixels):
    path = tmp_path / "a.mcool"
    write_cool(f"{path}::0", pixels)
    write_cool(f"{path}::1", make_pixels(1).iloc[:0], make_bins(50_000), mode="a")
    assert open_contacts_file(path, BINSIZE).info.uri.endswith("::/0")


def test_open_contacts_file__takes_a_named_group(mcool):
    assert open_contacts_file(f"{mcool}::resolutions/50000", 50_000).info.binsize == 50_000


def test_open_contacts_file__refuses_a_named_group_of_another_binsize(mcool):
    with pytest.raises(InputFileError, match=r"has bins of 50,000 bp, and 10,000 bp were asked for"):
        open_contacts_file(f"{mcool}::resolutions/50000", 10_000)


def test_open_contacts_file__lists_groups_if_one_is_missing(mcool):
    with pytest.raises(InputFileError, match=r"no contacts in the group 'nowhere'.*::/resolutions/10000"):
        open_contacts_file(f"{mcool}::nowhere", 10_000)


def test_open_contacts_file__lists_binsizes_of_an_mcool(mcool):
    with pytest.raises(InputFileError, match=r"no contacts at 25,000 bp; it has 10,000 bp.*50,000 bp"):
        open_contacts_file(mcool, 25_000)


def test_open_contacts_file__asks_which_of_two_groups_is_meant(tmp_path, pixels):
    path = tmp_path / "a.mcool"
    write_cool(f"{path}::raw", pixels)
    write_cool(f"{path}::merged", pixels, mode="a")
    with pytest.raises(InputFileError, match=r"2 groups of contacts at 10,000 bp.*Name one"):
        open_contacts_file(path, BINSIZE)


# Files that cannot be used


def test_open_contacts_file__refuses_variable_bins(tmp_path):
    bins = pd.DataFrame({"chrom": "chr1", "start": [0, 7_000, 21_000], "end": [7_000, 21_000, 30_000]})
    uri = write_cool(tmp_path / "a.cool", pd.DataFrame({"bin1_id": [0], "bin2_id": [1], "count": [1]}), bins)
    with pytest.raises(InputFileError, match="variable width"):
        open_contacts_file(uri, BINSIZE)


def test_open_contacts_file__refuses_uneven_bins_that_claim_to_be_even(cool, tmp_path):
    path = edit(cool, tmp_path)
    with h5py.File(path, "r+") as file:
        file["bins/end"][4], file["bins/start"][5] = 45_000, 45_000
    with pytest.raises(InputFileError, match="'chr1' are not all 10,000 bp wide"):
        open_contacts_file(path, BINSIZE)


def test_open_contacts_file__refuses_bins_that_do_not_start_at_zero(cool, tmp_path):
    path = edit(cool, tmp_path)
    with h5py.File(path, "r+") as file:
        file["bins/start"][:N1] = file["bins/start"][:N1] + 1_000_000
        file["bins/end"][:N1] = file["bins/end"][:N1] + 1_000_000
    with pytest.raises(InputFileError, match=r"'chr1' start at 1,000,000 and not at 0"):
        open_contacts_file(path, BINSIZE)


def test_open_contacts_file__names_every_chromosome_that_disagrees_with_its_bins(cool, tmp_path):
    path = edit(cool, tmp_path)
    with h5py.File(path, "r+") as file:
        file["chroms/length"][:] = [505_000, 190_000]
    with pytest.raises(InputFileError, match=r"(?s)'chr1' \(41, to 405,000 bp\) disagree.*'chr2'.*disagree"):
        open_contacts_file(path, BINSIZE)


def test_open_contacts_file__refuses_both_triangles(tmp_path, pixels):
    uri = write_cool(tmp_path / "a.cool", pixels, symmetric_upper=False, triucheck=False)
    with pytest.raises(InputFileError, match="both triangles"):
        open_contacts_file(uri, BINSIZE)


def test_open_contacts_file__refuses_an_index_that_does_not_fit(cool, tmp_path):
    path = edit(cool, tmp_path)
    with h5py.File(path, "r+") as file:
        file["indexes/bin1_offset"][-1] += 1
    with pytest.raises(InputFileError, match="index of rows"):
        open_contacts_file(path, BINSIZE)


def test_open_contacts_file__refuses_a_half_written_cooler(cool, tmp_path):
    path = edit(cool, tmp_path)
    with h5py.File(path, "r+") as file:
        del file["pixels/count"]
    with pytest.raises(InputFileError, match=r"pixels/count.*not written to its end"):
        open_contacts_file(path, BINSIZE)


def test_open_contacts_file__refuses_hdf5_without_contacts(tmp_path):
    path = tmp_path / "a.cool"
    with h5py.File(path, "w") as file:
        file["interactions"] = [1, 2]
    with pytest.raises(InputFileError, match=r"without contacts.*interactions"):
        open_contacts_file(path, BINSIZE)


def test_open_contacts_file__refuses_single_cells(tmp_path, pixels):
    path = tmp_path / "a.scool"
    cooler.create_scool(str(path), make_bins(), {"cell1": pixels, "cell2": pixels})
    with pytest.raises(InputFileError, match="single-cell"):
        open_contacts_file(path, BINSIZE)


@pytest.mark.parametrize("name", ["a.cool", "a.hic", "a.mcool"])
def test_open_contacts_file__refuses_text(tmp_path, name):
    (tmp_path / name).write_text("chr1\t0\t10000\tchr1\t0\t10000\t5\n")
    with pytest.raises(InputFileError, match="text file"):
        open_contacts_file(tmp_path / name, BINSIZE)


def test_open_contacts_file__refuses_hic_named_cool(hic, tmp_path):
    (tmp_path / "a.cool").write_bytes(Path(hic).read_bytes())
    with pytest.raises(InputFileError, match=r"not what its name says.*\.hic file"):
        open_contacts_file(tmp_path / "a.cool", BINSIZE)


def test_open_contacts_file__refuses_cool_named_hic(cool, tmp_path):
    (tmp_path / "a.hic").write_bytes(Path(cool).read_bytes())
    with pytest.raises(InputFileError, match=r"not what its name says.*HDF5"):
        open_contacts_file(tmp_path / "a.hic", BINSIZE)


@pytest.mark.parametrize("suffix", ["cool", "hic"])
def test_open_contacts_file__refuses_a_truncated_file(cool, hic, tmp_path, suffix):
    data = Path(cool if suffix == "cool" else hic).read_bytes()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data[: len(data) // 3])
    with pytest.raises(InputFileError, match="damaged"):
        open_contacts_file(path, BINSIZE)


def test_open_contacts_file__refuses_a_missing_file(tmp_path):
    with pytest.raises(InputNotFoundError):
        open_contacts_file(tmp_path / "a.hic", BINSIZE)


def test_open_contacts_file__refuses_a_group_in_a_hic(hic):
    with pytest.raises(InputFileError, match="no groups"):
        open_contacts_file(f"{hic}::resolutions/10000", BINSIZE)


# Weights


class FakeSource:
    """A source with given vectors, for the rules that do not depend on the format."""

    def __init__(self, **vectors: tuple[str | None, list[float]]) -> None:
        self.vectors = {name: np.array(values) for name, (_, values) in vectors.items()}
        self.info = ContactsInfo(
            uri="fake.hic",
            path=Path("fake.hic"),
            format="hic",
            binsize=10,
            binsizes=(10,),
            chrom_lengths={"chr1": 40},
            normalisations={name: Normalisation(name, told) for name, (told, _) in vectors.items()},  # type: ignore[arg-type]
            count_dtype="float32",
            software=None,
        )

    def iter_pixels(self, file_chrom: str, lo: int, hi: int, n_diagonals: int | None) -> Iterator[PixelPiece]:
        yield from ()

    def stored_weights(self, name: str, file_chrom: str) -> np.ndarray:
        return self.vectors[name]


def test_weights__invert_divisive_vectors():
    file = ContactsFile(FakeSource(KR=("divisive", [2.0, 4.0, 0.5, 1.0])))
    np.testing.assert_array_equal(file.weights("KR", "chr1"), [0.5, 0.25, 2.0, 1.0])


@pytest.mark.parametrize("told", ["divisive", "multiplicative"])
def test_weights__are_missing_in_bad_bins(told):
    file = ContactsFile(FakeSource(KR=(told, [np.nan, 0.0, np.inf, 1.0])))
    np.testing.assert_array_equal(file.weights("KR", "chr1"), [np.nan, np.nan, np.nan, 1.0])


def test_weights__refuse_an_unknown_convention():
    file = ContactsFile(FakeSource(KR=(None, [1.0] * 4)))
    with pytest.raises(InputFileError, match="weights_are"):
        file.weights("KR", "chr1")


def test_weights__list_what_is_there():
    file = ContactsFile(FakeSource(KR=("divisive", [1.0] * 4), VC=("divisive", [1.0] * 4)))
    with pytest.raises(InputFileError, match=r"no normalisation 'VCS'; it has KR, VC\. Did you mean 'VC'"):
        file.weights("VCS", "chr1")


def test_require_normalisations__collects_every_problem():
    file = ContactsFile(FakeSource(KR=("divisive", [np.nan] * 4), VC=(None, [1.0] * 4), ok=("divisive", [1.0] * 4)))
    with pytest.raises(InputFileError, match=r"(?s)3 problems.*'KR' has no valid bin.*'VC'.*weights_are.*'SCALE'"):
        file.require_normalisations(["ok", "KR", "VC", "SCALE"])


def test_require_normalisations__accepts_what_is_there():
    ContactsFile(FakeSource(KR=("divisive", [1.0, np.nan, 1.0, 1.0]))).require_normalisations(["KR"], ["chr1"])


def test_weights__of_a_cool_are_those_of_the_chromosome(cool):
    file = open_contacts_file(cool, BINSIZE)
    np.testing.assert_array_equal(file.weights("weight", "chr2"), np.linspace(0.5, 1.5, N1 + N2)[N1:])


def test_info__records_ignored_diagonals(cool):
    assert open_contacts_file(cool, BINSIZE).info.normalisations["weight"].ignore_diags == 2


def test_info__does_not_guess_what_kr_of_cooler_means(cool):
    assert open_contacts_file(cool, BINSIZE).info.normalisations["KR"].convention is None


@pytest.mark.parametrize(("said", "power"), [("divisive", -1), ("multiplicative", 1)])
def test_weights__follow_the_manifest_where_the_file_does_not_tell(cool, said, power):
    file = open_contacts_file(cool, BINSIZE, convention=said)
    np.testing.assert_allclose(file.weights("KR", "chr1")[0], (2 * 0.5) ** power)


def test_weights__of_cooler_ignore_what_the_manifest_says_of_others(cool):
    file = open_contacts_file(cool, BINSIZE, convention="divisive")
    assert file.weights("weight", "chr1")[0] == 0.5


def test_open_contacts_file__refuses_a_convention_that_the_file_contradicts(tmp_path, pixels):
    uri = write_cool(tmp_path / "a.cool", pixels, make_bins(weight=np.ones(N1 + N2)))
    with pytest.raises(InputFileError, match="weight is multiplicative"):
        open_contacts_file(uri, BINSIZE, convention="divisive")


def test_require_normalisations__says_that_a_hic_has_none(hic):
    with pytest.raises(InputFileError, match="none at this bin size"):
        open_contacts_file(hic, BINSIZE).require_normalisations(["KR"])


# Whole files as programs write them: one map, the same weights under each convention


CIS_WEIGHTS = ("KR", "VC", "VC_SQRT")


def juicer_vectors(pixels: pd.DataFrame) -> dict[str, np.ndarray]:
    """Divisive vectors of both chromosomes, as Juicer would store them in the `.hic`."""
    vectors = {name: [] for name in CIS_WEIGHTS}
    for first, n_bins in ((0, N1), (N1, N2)):
        inside = pixels[pixels["bin1_id"].ge(first) & pixels["bin2_id"].lt(first + n_bins)]
        builder = CisMapBuilder("chr", n_bins)
        builder.add(*(inside[c].to_numpy() - first for c in ("bin1_id", "bin2_id")), inside["count"].to_numpy())
        cis_map = builder.build()
        vectors["KR"].append(balance_kr(cis_map).divisive)
        vectors["VC"].append(1 / balance_vc(cis_map))
        vectors["VC_SQRT"].append(1 / balance_vc(cis_map, sqrt=True))
    return {name: np.concatenate(parts) for name, parts in vectors.items()}


def write_as(path: Path, software: str | None, pixels: pd.DataFrame, vectors: dict[str, np.ndarray]) -> str:
    """An `.mcool` with these columns, signed by a program; `weight` is cooler's own."""
    uri = write_cool(f"{path}::resolutions/{BINSIZE}", pixels, make_bins(**vectors))
    cooler.balance_cooler(cooler.Cooler(uri), store=True, mad_max=0, min_nnz=1)
    if software is not None:
        with h5py.File(path, "r+") as file:
            file[f"resolutions/{BINSIZE}"].attrs["generated-by"] = software
    return str(path)


def cis_spread(file: ContactsFile, name: str, pixels: pd.DataFrame) -> float:
    """Relative spread of chr1's balanced row sums."""
    weights = np.nan_to_num(file.weights(name, "chr1"))
    sums = weights * (square(pixels)[:N1, :N1] @ weights)
    return sums[weights > 0].std() / sums[weights > 0].mean()


@pytest.mark.parametrize(("software", "power"), [("hic2cool-0.4.2", -1), ("hic2cool-0.5.0", 1), ("hic2cool-0.8.3", 1)])
def test_weights__of_each_hic2cool_balance_the_map(tmp_path, pixels, software, power):
    divisive = juicer_vectors(pixels)
    stored = {name: vector**power for name, vector in divisive.items()}
    file = open_contacts_file(write_as(tmp_path / "a.mcool", software, pixels, stored), BINSIZE)
    assert cis_spread(file, "KR", pixels) < 1e-6
    for name in CIS_WEIGHTS:
        np.testing.assert_allclose(file.weights(name, "chr2"), 1 / divisive[name][N1:], rtol=1e-12)


def test_weights__of_4dn_files_multiply_in_weight_and_divide_in_juicers_columns(tmp_path, pixels):
    # Made by cooler, with Juicer's vectors added by `hic2cool extract-norms`, which signs nothing: the manifest must say.
    path = write_as(tmp_path / "4dn.mcool", None, pixels, juicer_vectors(pixels))
    silent = open_contacts_file(path, BINSIZE)
    with pytest.raises(InputFileError, match=r"(?s)3 problems.*'KR'.*weights_are.*'VC'.*'VC_SQRT'"):
        silent.require_normalisations(["weight", *CIS_WEIGHTS])
    told = open_contacts_file(path, BINSIZE, convention="divisive")
    told.require_normalisations(["weight", *CIS_WEIGHTS])
    assert cis_spread(told, "KR", pixels) < 1e-6
    stored = cooler.Cooler(f"{path}::resolutions/{BINSIZE}").bins()["weight"][:].to_numpy()
    np.testing.assert_array_equal(told.weights("weight", "chr1"), stored[:N1])


@pytest.mark.parametrize(
    ("name", "attrs", "software", "expected"),
    [
        ("weight", {}, "cooler-0.8.6", "multiplicative"),
        ("ICE", {"ignore_diags": 2, "tol": 1e-5}, "cooler-0.10.2", "multiplicative"),
        ("KR", {}, "hic2cool-0.4.2", "multiplicative"),
        ("KR", {}, "hic2cool-0.5.0", "divisive"),
        ("KR", {}, "hic2cool-0.4.10", "multiplicative"),
        ("KR", {}, "hic2cool-1.0.1", "divisive"),
        ("weight", {"ignore_diags": 2, "tol": 1e-5}, "hic2cool-0.8.3", "multiplicative"),
        ("VC_SQRT", {}, "hic2cool-0.8.3", "divisive"),
        ("KR", {"divisive_weights": True}, "hic2cool-0.4.2", "divisive"),
        ("KR", {"divisive_weights": False}, None, "multiplicative"),
        ("KR", {}, "cooler-0.8.6", None),
        ("KR", {}, None, None),
    ],
)
def test_weights_convention__follows_the_record(name, attrs, software, expected):
    assert weights_convention(name, attrs, software) == expected
