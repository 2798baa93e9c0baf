import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu, ranksums

from epizarr.domains.differential import differential_domains, split_conserved
from epizarr.errors import AssemblyMismatchError
from epizarr.genome import Assembly
from tests._bands import band_array, band_from_squares, random_square

GRID = Assembly.from_table("test", [("chr1", 6000), ("chr2", 3000)]).bins(100)
DOMAINS = pd.DataFrame(
    [("chr1", 3000, 4500), ("chr1", 500, 1500), ("chr1", 1500, 3000), ("chr2", 0, 1000), ("chr2", 1200, 3000)],
    columns=["chrom", "start", "end"],
)


@pytest.fixture
def squares():
    """Two maps of the same domains; contacts between the first two of chr1 are stronger in the first map."""
    rng = np.random.default_rng(5)
    target = {"chr1": random_square(rng, 60, 0.05), "chr2": random_square(rng, 30, 0.0)}
    control = {chrom: square + rng.gamma(2.0, 0.05, square.shape) for chrom, square in target.items()}
    target["chr1"][5:15, 15:30] += 3
    return target, control


def _tested(squares, n_diagonals=60, **kwargs):
    bands = [band_array(band_from_squares(s, n_diagonals), GRID) for s in squares]
    return differential_domains(*bands, DOMAINS, **kwargs)


def _blocks(square, rows, columns):
    return square[slice(*rows), slice(*columns)].ravel()


def test_differential_domains__equal_rank_sum_tests_on_squares(squares):
    target, control = squares
    table = _tested(squares)
    assert table["start"].tolist() == [500, 1500, 3000, 0, 1200]
    places = {
        (1, "left"): ("chr1", (5, 15), (15, 30)),
        (1, "right"): ("chr1", (15, 30), (30, 45)),
        (4, "left"): ("chr2", (0, 12), (12, 30)),
    }
    for (row, part), (chrom, rows, columns) in places.items():
        x, y = (_blocks(np.triu(m[chrom]), rows, columns) for m in (target, control))
        both = ~np.isnan(x) & ~np.isnan(y)
        x, y = x[both], y[both]
        found = table.loc[row]
        assert found[f"n_{part}"] == len(x)
        assert found[[f"statistic_{part}", f"pvalue_{part}"]].tolist() == pytest.approx(list(ranksums(x, y)))
        share = mannwhitneyu(x, y).statistic / (len(x) * len(y))
        assert found[f"effect_{part}"] == pytest.approx(2 * share - 1)
        assert found[f"log2_ratio_{part}"] == pytest.approx(np.log2(x.mean() / y.mean()))


def test_differential_domains__compare_the_whole_square_within_a_domain(squares):
    target, control = squares
    upper = [np.triu(m["chr2"][:10, :10]) for m in (target, control)]
    x, y = ((u + np.triu(u, 1).T).ravel() for u in upper)
    assert _tested(squares).loc[3, "pvalue_intra"] == pytest.approx(ranksums(x, y).pvalue)


def test_differential_domains__find_what_was_changed(squares):
    table = _tested(squares, significance=1e-3)
    assert table["is_differential"].tolist() == [True, True, False, False, False]
    assert (table.loc[[0], "effect_right"] > 0.5).all()
    conserved, different = split_conserved(table)
    assert set(different["start"]) == {500, 1500}
    assert conserved["pvalue"].is_monotonic_decreasing
    assert len(conserved) + len(different) == len(DOMAINS)


def test_differential_domains__have_no_test_where_there_is_no_neighbour(squares):
    table = _tested(squares, reject="all")
    assert table["pvalue_left"].isna().tolist() == [True, False, False, True, False]
    assert table["pvalue_right"].isna().tolist() == [False, False, True, False, True]
    # Both must reject: without one of them there is no decision.
    assert table["pvalue"].isna().tolist() == [True, False, True, True, True]


def test_differential_domains__of_a_map_with_itself_differ_nowhere(squares):
    table = _tested((squares[0], squares[0]), parts=("left", "right", "intra"))
    assert not table["is_differential"].any()
    assert (table["effect_intra"].abs() < 1e-12).all()


def test_differential_domains__leave_out_what_the_band_does_not_hold(squares):
    wide, narrow = _tested(squares), _tested(squares, n_diagonals=8)
    assert (narrow["n_right"][:2] < wide["n_right"][:2]).all()


def test_differential_domains__refuse_maps_on_other_bins(squares):
    band = band_array(band_from_squares(squares[0], 10), GRID)
    other = Assembly.from_table("test", [("chr1", 12_000), ("chr2", 6000)]).bins(200)
    with pytest.raises(AssemblyMismatchError, match="bins of 100 bp, control on 'test' in bins of 200 bp"):
        differential_domains(band, band_array(band.values, other), DOMAINS)


def test_differential_domains__refuse_an_unknown_part(squares):
    with pytest.raises(ValueError, match="give some of"):
        _tested(squares, parts=("inter",))
