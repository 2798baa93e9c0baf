"""Replicates merged: the sum of the files, however they are cut into pieces."""

import pickle
from dataclasses import replace

import cooler
import hictkpy
import numpy as np
import pandas as pd
import pytest

from epizarr.errors import AssemblyMismatchError, InputFileError
from epizarr.genome import Region
from epizarr.io import contacts_cool
from epizarr.io.contacts import ContactsFile, open_contacts_file
from epizarr.io.contacts_merged import merge_contacts
from epizarr.io.contacts_source import PixelPiece

BINSIZE = 10_000
CHROMS = {"chr1": 405_000, "chr2": 200_000}
N1 = 41


def write_cool(path, seed, chroms=CHROMS, binsize=BINSIZE, dtype=np.int32, weight=None):
    bins = cooler.binnify(pd.Series(chroms), binsize)
    if weight is not None:
        bins["weight"] = weight
    rng = np.random.default_rng(seed)
    bin1, bin2 = np.triu_indices(len(bins))
    kept = rng.random(len(bin1)) < 0.4
    count = rng.integers(1, 50, kept.sum()).astype(dtype)
    pixels = pd.DataFrame({"bin1_id": bin1[kept], "bin2_id": bin2[kept], "count": count})
    cooler.create_cooler(str(path), bins, pixels, dtypes={"count": dtype})
    return open_contacts_file(path, binsize)


def write_hic(path, cool: ContactsFile, prefix="chr"):
    pixels = cooler.Cooler(cool.info.uri).pixels()[:]
    chroms = {name.replace("chr", prefix): length for name, length in CHROMS.items()}
    writer = hictkpy.hic.FileWriter(path, chroms, BINSIZE, tmpdir=path.parent)
    writer.add_pixels_from_dict({name: column.tolist() for name, column in pixels.items()})
    writer.finalize()
    return open_contacts_file(path, BINSIZE)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicates")
    return [write_cool(folder / f"{seed}.cool", seed) for seed in range(3)]


def summed_band(files, chrom="chr1", n_bins=N1):
    return np.sum([file.band(chrom, 0, n_bins, n_bins) for file in files], axis=0)


def pieces(file, lo=0, hi=N1, n_diagonals=None):
    return list(file.source.iter_pixels("chr1", lo, hi, n_diagonals))


@pytest.mark.parametrize("chrom", ["chr1", "chr2"])
def test_merge_contacts__sums_counts(files, chrom):
    n_bins = files[0].info.n_bins(chrom)
    merged = merge_contacts(files)
    np.testing.assert_array_equal(merged.band(chrom, 0, n_bins, n_bins), summed_band(files, chrom, n_bins))
    np.testing.assert_array_equal(merged.marginals(chrom), np.sum([file.marginals(chrom) for file in files], axis=0))


def test_merge_contacts__agrees_with_cooler_merge(files, tmp_path):
    uri = str(tmp_path / "merged.cool")
    cooler.merge_coolers(uri, [file.info.uri for file in files], mergebuf=10_000)
    np.testing.assert_array_equal(
        merge_contacts(files).band("chr1", 0, N1, N1), open_contacts_file(uri, BINSIZE).band("chr1", 0, N1, N1)
    )


def test_merge_contacts__sums_a_cool_and_a_hic_of_other_names(files, tmp_path):
    hic = write_hic(tmp_path / "b.hic", files[1], prefix="")
    merged = merge_contacts([files[0], hic], [{"chr1": "chr1", "chr2": "chr2"}, {"chr1": "1", "chr2": "2"}])
    np.testing.assert_array_equal(merged.band("chr1", 0, N1, N1), summed_band(files[:2]))
    assert (merged.info.count_dtype, merged.info.format) == ("float64", "merged")


@pytest.mark.parametrize("piece_pixels", [1, 13, 100])
@pytest.mark.parametrize(("lo", "hi", "n_diagonals"), [(0, N1, None), (5, 30, 7), (39, 40, 2)])
def test_merged_pixels__do_not_depend_on_the_pieces(files, monkeypatch, piece_pixels, lo, hi, n_diagonals):
    monkeypatch.setattr(contacts_cool, "_PIECE_PIXELS", piece_pixels)
    expected = summed_band(files)[lo:hi, :n_diagonals]
    found = np.where(np.isnan(expected), np.nan, 0)
    for piece in pieces(merge_contacts(files), lo, hi, n_diagonals):
        found[piece.bin1 - lo, piece.bin2 - piece.bin1] += piece.count
    np.testing.assert_array_equal(found, expected)


def test_merged_pixels__come_once_and_in_order(files, monkeypatch):
    monkeypatch.setattr(contacts_cool, "_PIECE_PIXELS", 50)
    key = np.concatenate([piece.bin1 * N1 + piece.bin2 for piece in pieces(merge_contacts(files))])
    assert (np.diff(key) > 0).all()


def test_merged_pixels__hold_a_piece_and_a_row_of_each_file(files, monkeypatch):
    monkeypatch.setattr(contacts_cool, "_PIECE_PIXELS", 50)
    # Whatever is yielded was held: at most a piece of 50 pixels, or a row where that is longer, and a row of each file.
    assert max(len(piece.bin1) for piece in pieces(merge_contacts(files))) <= 3 * (50 + N1)


def test_merge_contacts__passes_through_a_chromosome_without_pixels_in_one_file(tmp_path, files):
    bins = cooler.binnify(pd.Series(CHROMS), BINSIZE)
    nothing = pd.DataFrame({"bin1_id": [60], "bin2_id": [60], "count": [1]})
    cooler.create_cooler(str(tmp_path / "none.cool"), bins, nothing)
    merged = merge_contacts([open_contacts_file(tmp_path / "none.cool", BINSIZE), files[0]])
    np.testing.assert_array_equal(merged.band("chr1", 0, N1, 5), files[0].band("chr1", 0, N1, 5))


def test_merge_contacts__keeps_fractions(tmp_path, files):
    other = write_cool(tmp_path / "f.cool", 9, dtype=np.float64)
    halves = ContactsFile(_Halved(other.source))
    merged = merge_contacts([files[0], halves])
    np.testing.assert_array_equal(merged.band("chr1", 0, N1, N1), summed_band([files[0], halves]))
    assert (merged.band("chr1", 0, N1, N1) % 1 == 0.5).any()


class _Halved:
    def __init__(self, source):
        self.source, self.info = source, source.info

    def iter_pixels(self, *where):
        for piece in self.source.iter_pixels(*where):
            yield replace(piece, count=piece.count / 2)


def test_merge_contacts__can_be_pickled(files):
    merged = pickle.loads(pickle.dumps(merge_contacts(files)))
    np.testing.assert_array_equal(merged.band("chr1", 0, N1, 4), summed_band(files)[:, :4])


def test_merge_contacts__takes_an_extent_afterwards(files):
    merged = merge_contacts(files).with_extent(Region("chr1", 50_000, 200_000))
    sums = merged.marginals("chr1")
    assert np.isnan(sums[:5]).all()
    assert np.isfinite(sums[5:20]).all()


def test_merged_source__refuses_pieces_out_of_order(files):
    class Backwards:
        info = files[0].info

        def iter_pixels(self, *where):
            for row in (3, 2):
                yield PixelPiece(np.array([row]), np.array([row]), np.array([1]))

    with pytest.raises(RuntimeError, match="row 2 came after row 3"):
        pieces(merge_contacts([ContactsFile(Backwards()), files[1]]))


def test_merge_contacts__offers_no_stored_weights(tmp_path, files):
    balanced = write_cool(tmp_path / "w.cool", 5, weight=1.0)
    balanced.require_normalisations(["weight"])
    merged = merge_contacts([balanced, files[0]])
    for ask in (
        lambda: merged.require_normalisations(["weight"]),
        lambda: merged.weights("weight", "chr1"),
        lambda: merged.source.stored_weights("weight", "chr1"),
    ):
        with pytest.raises(InputFileError, match=r"merged from 2 files.*Compute the normalisation"):
            ask()


def test_merge_contacts__lists_bin_sizes_that_differ(tmp_path, files):
    coarse = write_cool(tmp_path / "c.cool", 1, binsize=20_000)
    with pytest.raises(InputFileError, match=r"0\.cool::/: 10,000 bp; .*c\.cool::/: 20,000 bp"):
        merge_contacts([files[0], coarse])


def test_merge_contacts__lists_all_chromosomes_that_differ(tmp_path, files):
    other = write_cool(tmp_path / "o.cool", 1, chroms={"chr1": 400_000, "chr3": 100_000})
    with pytest.raises(AssemblyMismatchError) as caught:
        merge_contacts([files[0], other])
    message = str(caught.value)
    assert "chr1 has 405,000 bp" in message
    assert "400,000 bp in" in message
    assert "chr2 is not in" in message
    assert "chr3 is not in" in message


def test_merge_contacts__leaves_out_chromosomes_that_are_not_wanted(tmp_path, files):
    other = write_cool(tmp_path / "o.cool", 1, chroms={"chr1": 405_000, "chrM": 16_000})
    merged = merge_contacts([files[0], other], [{"chr1": "chr1"}] * 2)
    assert merged.info.chrom_lengths == {"chr1": 405_000}
    with pytest.raises(InputFileError, match="does not list"):
        merged.marginals("chr2")


def test_merge_contacts__says_that_a_name_is_not_in_the_file(files):
    with pytest.raises(AssemblyMismatchError, match=r"chr1 is not in .*1\.cool"):
        merge_contacts(files[:2], [{"chr1": "chr1"}, {"chr1": "1"}])


def test_merge_contacts__refuses_a_file_given_twice(files):
    with pytest.raises(InputFileError, match="given 2 times"):
        merge_contacts([files[0], files[1], files[0]])


def test_merge_contacts__refuses_a_single_file(files):
    with pytest.raises(InputFileError, match="at least two"):
        merge_contacts(files[:1])


def test_merge_contacts__refuses_an_extent(files):
    with pytest.raises(InputFileError, match="merge the files first"):
        merge_contacts([files[0], files[1].with_extent(Region("chr1", 0, 200_000))])


def test_n_contacts__counts_each_pixel_once(files):
    assert files[0].n_contacts("chr1") == np.nansum(files[0].band("chr1", 0, N1, N1))


def test_n_contacts__counts_what_the_extent_covers(files):
    part = files[0].with_extent(Region("chr1", 50_000, 200_000))
    assert part.n_contacts("chr1") == np.nansum(part.band("chr1", 5, 20, 15)) > 0
    assert part.n_contacts("chr2") == 0
