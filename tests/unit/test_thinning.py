"""Thinning draws binomial counts, the same ones however a map is cut."""

import pickle
from hashlib import blake2b

import numpy as np
import pytest
from scipy import stats

from epizarr import thinning
from epizarr.errors import InputFileError, TransformError
from epizarr.genome import Region
from epizarr.io.contacts import ContactsFile
from epizarr.io.contacts_merged import merge_contacts
from epizarr.io.contacts_source import ContactsInfo, Normalisation, PixelPiece
from epizarr.io.contacts_thinned import thin_contacts
from epizarr.thinning import fraction_for_depth, thin_counts

N_BINS = 300


def grid(n_bins=N_BINS):
    return np.triu_indices(n_bins)


def thin(count, fraction, *, where=None, seed=1, chrom="chr1"):
    bin1, bin2 = grid() if where is None else where
    return thin_counts(bin1, bin2, np.broadcast_to(count, bin1.shape), fraction=fraction, seed=seed, chrom=chrom)


# The distribution. Seeds are fixed; a bound of 5 standard deviations would be missed by chance once in a million seeds.


@pytest.mark.parametrize(("n", "fraction"), [(1, 0.3), (2, 0.5), (7, 0.1), (20, 0.9), (40, 0.25)])
def test_thin_counts__draws_binomial_counts(n, fraction):
    kept = thin(n, fraction)
    outcomes = np.arange(n + 1)
    expected = stats.binom.pmf(outcomes, n, fraction) * len(kept)
    # Up to ten groups of outcomes, as a chi-square test cannot use rare ones.
    group = np.minimum(stats.binom.cdf(outcomes, n, fraction) * 10, 9).astype(int)
    observed = np.bincount(group, np.bincount(kept, minlength=n + 1))
    expected = np.bincount(group, expected)
    assert stats.chisquare(observed[expected > 0], expected[expected > 0]).pvalue > 1e-3


def test_thin_counts__has_the_mean_and_variance_of_a_binomial_for_large_counts():
    n, fraction = 5000, 0.2
    where = np.arange(2000), np.arange(2000) + 3
    kept = thin(n, fraction, where=where)
    mean, variance = n * fraction, n * fraction * (1 - fraction)
    assert abs(kept.mean() - mean) < 5 * np.sqrt(variance / len(kept))
    assert abs(kept.var() / variance - 1) < 5 * np.sqrt(2 / len(kept))


def test_thin_counts__has_a_binomial_sum_for_each_seed():
    where = grid(40)
    count = 1 + (where[0] * where[1]) % 5
    sums = np.array([thin(count, 0.4, where=where, seed=seed).sum() for seed in range(300)])
    n = count.sum()
    assert stats.kstest((sums - 0.4 * n) / np.sqrt(n * 0.24), "norm").pvalue > 1e-3


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (1, 1), (2, 7)])
def test_thin_counts__of_neighbours_are_uncorrelated(shift):
    square = np.full((N_BINS, N_BINS), np.nan)
    square[grid()] = thin(3, 0.5)
    a, b = square[: N_BINS - shift[0], : N_BINS - shift[1]].ravel(), square[shift[0] :, shift[1] :].ravel()
    both = np.isfinite(a) & np.isfinite(b)
    assert abs(np.corrcoef(a[both], b[both])[0, 1]) < 5 / np.sqrt(both.sum())


@pytest.mark.parametrize("other", [{"seed": 2}, {"chrom": "chr2"}])
def test_thin_counts__of_another_seed_or_chromosome_are_independent(other):
    a, b = thin(3, 0.5), thin(3, 0.5, **other)
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(len(a))


def test_thin_counts__of_a_smaller_fraction_keep_no_more():
    assert (thin(6, 0.2) <= thin(6, 0.3)).all()


# Which pieces a map comes in


def test_thin_counts__do_not_depend_on_the_pieces():
    bin1, bin2 = grid(60)
    count = (bin1 * 7 + bin2) % 11
    whole = thin(count, 0.3, where=(bin1, bin2))
    order = np.random.default_rng(0).permutation(len(count))
    again = np.zeros_like(whole)
    for part in np.array_split(order, 17):
        again[part] = thin(count[part], 0.3, where=(bin1[part], bin2[part]))
    np.testing.assert_array_equal(again, whole)


@pytest.mark.parametrize("n_contacts", [1, 7, 1000])
def test_thin_counts__do_not_depend_on_the_contacts_hashed_at_a_time(monkeypatch, n_contacts):
    bin1, bin2 = grid(12)
    count = np.where(bin1 == bin2, 50, (bin1 + bin2) % 3)
    whole = thin(count, 0.3, where=(bin1, bin2))
    monkeypatch.setattr(thinning, "_MAX_CONTACTS", n_contacts)
    np.testing.assert_array_equal(thin(count, 0.3, where=(bin1, bin2)), whole)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64])
def test_thin_counts__do_not_depend_on_the_dtype(dtype):
    where = grid(20)
    np.testing.assert_array_equal(thin(np.dtype(dtype).type(9), 0.5, where=where), thin(9, 0.5, where=where))


def test_thin_counts__stay_what_they_were():
    """Stores that were made must come out the same with every later version."""
    where = np.array([0, 0, 0, 5]), np.array([0, 1, 2, 24_000])
    assert thin(100, 0.3, where=where, seed=7).tolist() == [23, 32, 25, 33]


def test_thin_counts__agree_with_splitmix64_contact_by_contact():
    def mix(x):
        mask = 2**64 - 1
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return x ^ (x >> 31)

    golden, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    key = int.from_bytes(blake2b(b"3\tchrX", digest_size=8).digest(), "little")
    bin1, bin2 = grid(5)
    expected = []
    for i, j in zip(bin1.tolist(), bin2.tolist(), strict=True):
        state = (i << 32 | j) ^ key
        state = mix((mix((state + golden) & mask) + golden) & mask)
        expected.append(sum(mix((state + (c + 1) * golden) & mask) < 0.3 * 2**64 for c in range(10)))
    assert thin(10, 0.3, where=(bin1, bin2), seed=3, chrom="chrX").tolist() == expected


# Edges and refusals


def test_thin_counts__of_fraction_one_are_the_counts():
    count = np.arange(len(grid()[0])) % 100
    np.testing.assert_array_equal(thin(count, 1.0), count)


def test_thin_counts__of_no_pixel_are_none():
    nothing = np.zeros(0, dtype=np.int64)
    assert len(thin(nothing, 0.5, where=(nothing, nothing))) == 0


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, np.nan])
def test_thin_counts__refuses_a_fraction_outside_0_to_1(fraction):
    with pytest.raises(TransformError, match="fraction in"):
        thin(1, fraction, where=grid(2))


@pytest.mark.parametrize("value", [1.5, -1.0, np.nan, np.inf])
def test_thin_counts__refuses_what_is_not_a_count(value):
    count = np.array([1.0, value, 2.0])
    with pytest.raises(TransformError, match=r"pixel \(0, 1\)"):
        thin(count, 0.5, where=grid(2))


def test_fraction_for_depth__refuses_more_than_there_is():
    assert fraction_for_depth(100, 100) == 1
    with pytest.raises(TransformError, match="the map has 100"):
        fraction_for_depth(101, 100)


@pytest.mark.parametrize("depth", [0, -5, np.nan])
def test_fraction_for_depth__refuses_a_depth_that_is_not_positive(depth):
    with pytest.raises(TransformError, match="positive"):
        fraction_for_depth(depth, 100)


# Files


class SquareSource:
    """Counts of chr1 and chr2 in memory, in pieces of some rows."""

    def __init__(self, n_rows=7, seed=0, scale=1):
        bin1, bin2 = grid(50)
        count = np.random.default_rng(seed).poisson(40 / (1 + bin2 - bin1)) * scale
        self.pixels, self.n_rows = (bin1, bin2, count), n_rows
        self.info = ContactsInfo(
            uri=f"memory{seed}",
            path=None,
            format="cool",
            binsize=10,
            binsizes=(10,),
            chrom_lengths={"chr1": 500, "chr2": 500},
            normalisations={"weight": Normalisation("weight", "multiplicative")},
            count_dtype="int64",
            software=None,
        )

    def iter_pixels(self, file_chrom, lo, hi, n_diagonals):
        bin1, bin2, count = self.pixels
        for first in range(lo, hi, self.n_rows):
            take = (
                (bin1 >= first)
                & (bin1 < min(hi, first + self.n_rows))
                & (bin2 - bin1 < (n_diagonals or 50))
                & (count > 0)
            )
            yield PixelPiece(bin1[take], bin2[take], count[take])

    def stored_weights(self, name, file_chrom):
        return np.ones(50)


def band_of(file, lo=0, hi=50):
    return file.band("chr1", lo, hi, 50)


@pytest.fixture
def file():
    return ContactsFile(SquareSource())


def test_thin_contacts__gives_marginals_of_the_band_it_gives(file):
    thinned = thin_contacts(file, fraction=0.3, seed=5)
    band = np.nan_to_num(band_of(thinned))
    square = np.zeros((50, 50))
    for k in range(50):
        square[np.arange(50 - k), np.arange(k, 50)] = square[np.arange(k, 50), np.arange(50 - k)] = band[: 50 - k, k]
    np.testing.assert_array_equal(thinned.marginals("chr1"), square.sum(axis=0))
    assert thinned.n_contacts("chr1") == band.sum() < file.n_contacts("chr1")


def test_thin_contacts__does_not_depend_on_blocks_and_pieces(file):
    whole = band_of(thin_contacts(file, fraction=0.3, seed=5))
    other = thin_contacts(ContactsFile(SquareSource(n_rows=3)), fraction=0.3, seed=5)
    np.testing.assert_array_equal(np.concatenate([band_of(other, lo, lo + 10) for lo in range(0, 50, 10)]), whole)


def test_thin_contacts__differs_between_chromosomes(file):
    thinned = thin_contacts(file, fraction=0.3, seed=5)
    assert (np.nan_to_num(band_of(thinned)) != np.nan_to_num(thinned.band("chr2", 0, 50, 50))).any()


def test_thin_contacts__reaches_a_depth_on_average(file):
    n = file.n_contacts("chr1") + file.n_contacts("chr2")
    left = [
        thinned.n_contacts("chr1") + thinned.n_contacts("chr2")
        for seed in range(20)
        for thinned in [thin_contacts(file, depth=1000, seed=seed)]
    ]
    assert abs(np.mean(left) - 1000) < 5 * np.sqrt(1000 * (1 - 1000 / n) / 20)


def test_thin_contacts__counts_depth_in_the_extent_and_chromosomes_asked_for(file):
    part = file.with_extent(Region("chr1", 100, 300))
    thinned = thin_contacts(part, depth=100, seed=1)
    assert thinned.source.fraction == 100 / part.n_contacts("chr1")
    assert np.isnan(thinned.marginals("chr1")[:10]).all()
    one = thin_contacts(file, depth=100, seed=1, file_chroms=["chr2"])
    assert one.source.fraction == 100 / file.n_contacts("chr2")


def test_thin_contacts__refuses_a_depth_that_is_not_there(file):
    with pytest.raises(TransformError, match=r"contacts memory0 .* thinning adds none"):
        thin_contacts(file, depth=10**7, seed=1)


def test_thin_contacts__of_fraction_one_is_the_file(file):
    np.testing.assert_array_equal(band_of(thin_contacts(file, fraction=1, seed=1)), band_of(file))


def test_thin_contacts__names_the_file_whose_counts_are_not_whole():
    halves = ContactsFile(SquareSource(scale=0.5))
    with pytest.raises(InputFileError, match=r"memory0 .* only whole, raw counts"):
        band_of(thin_contacts(halves, fraction=0.5, seed=1))


@pytest.mark.parametrize("given", [{}, {"fraction": 0.5, "depth": 10}])
def test_thin_contacts__needs_a_fraction_or_a_depth(file, given):
    with pytest.raises(ValueError, match="either"):
        thin_contacts(file, seed=1, **given)


def test_thin_contacts__offers_no_stored_weights(file):
    file.require_normalisations(["weight"])
    thinned = thin_contacts(file, fraction=0.5, seed=1)
    with pytest.raises(InputFileError, match=r"thinned to 0\.5 of its contacts, seed 1.*Compute the normalisation"):
        thinned.require_normalisations(["weight"])
    with pytest.raises(InputFileError, match="fitted to all contacts"):
        thinned.source.stored_weights("weight", "chr1")


def test_thin_contacts__of_merged_replicates_can_be_pickled(file):
    merged = merge_contacts([file, ContactsFile(SquareSource(seed=1))])
    thinned = thin_contacts(merged, fraction=0.5, seed=1)
    assert thinned.info.derived == "merged from 2 files; thinned to 0.5 of its contacts, seed 1"
    np.testing.assert_array_equal(band_of(pickle.loads(pickle.dumps(thinned))), band_of(thinned))


def test_merge_contacts__of_independent_halves_has_less_than_the_whole(file):
    halves = merge_contacts([thin_contacts(file, fraction=0.5, seed=seed) for seed in (1, 2)])
    n = file.n_contacts("chr1")
    assert abs(halves.n_contacts("chr1") - n) < 5 * np.sqrt(n / 2)
