"""What cell types of one simulated genome share: motifs, and all that the table of differences does not list."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyBigWig
import pytest

from epizarr.errors import ConfigError
from epizarr.simulate import DEFAULT, MotifRule, cell_type_differences, expected_contacts, simulate_world
from epizarr.simulate.motifs import write_motif_bigwigs

TWO = replace(DEFAULT, chrom_lengths=(12_000_000, 1_500_000))
MOTIFS = replace(TWO, motifs=MotifRule())


@pytest.fixture(scope="module")
def pair():
    return [simulate_world(TWO, 3, name) for name in ("A", "B")]


def _keys(world, kinds):
    sites = world.sites[world.sites["kind"].isin(kinds)]
    return set(zip(sites["chrom"], sites["position"], sites["kind"], sites["strand"], strict=True))


def test_cell_type_differences__list_exactly_what_one_of_them_lacks(pair):
    a, b = pair
    table = cell_type_differences(a, b)
    sites = table[table["end"] == table["start"] + 1]
    kinds = ("ctcf", "decoy", "enhancer", "promoter", "artefact")
    for own, other, has, lacks in ((a, b, "strength_a", "strength_b"), (b, a, "strength_b", "strength_a")):
        only = sites[sites[has].notna() & sites[lacks].isna()]
        listed = set(zip(only["chrom"], only["start"], only["kind"], only["strand"], strict=True))
        assert listed == _keys(own, kinds) - _keys(other, kinds)
    assert set(table["kind"]) == {"ctcf", "decoy", "enhancer", "promoter", "polycomb", "compartment"}
    flipped = table[table["kind"] == "compartment"]
    assert (flipped["strength_a"] == -flipped["strength_b"]).all()


def test_cell_type_differences__contacts_are_equal_where_nothing_listed_acts(pair):
    a, b = pair
    table = cell_type_differences(a, b)
    table = table[(table["chrom"] == "sim1") & ~table["kind"].isin(["decoy", "artefact"])]
    n_bins, n_diagonals = 1200, 60
    edge = int(TWO.compartment_edge_bp / TWO.binsize) + 2
    differs = np.zeros(n_bins + 1, dtype=np.int64)
    for start, end in table[["start", "end"]].itertuples(index=False):
        lo, hi = max(start // TWO.binsize - edge, 0), min(end // TWO.binsize + edge, n_bins)
        differs[lo:hi] = 1
    before = np.concatenate([[0], np.cumsum(differs[:-1])])
    bands = [expected_contacts(w, "sim1", 0, n_bins, n_diagonals) for w in pair]
    first = np.arange(n_bins)[:, None]
    last = np.minimum(first + np.arange(n_diagonals) + 1, n_bins)
    clean = (before[last] == before[first]) & ~np.isnan(bands[0])
    assert clean.sum() > 500
    np.testing.assert_array_equal(bands[0][clean], bands[1][clean])
    assert (bands[0][~clean & ~np.isnan(bands[0])] != bands[1][~clean & ~np.isnan(bands[1])]).mean() > 0.3


def test_cell_type_differences__of_a_cell_type_with_itself_are_none(pair):
    assert cell_type_differences(pair[0], pair[0]).empty


def test_cell_type_differences__refuses_genomes_that_share_nothing(pair):
    with pytest.raises(ConfigError, match=r"seed 3.*seed 4"):
        cell_type_differences(pair[0], simulate_world(TWO, 4, "B"))


def test_motifs__change_nothing_else_of_a_genome(pair):
    world = simulate_world(MOTIFS, 3, "A")
    assert world.sites.equals(pair[0].sites)
    assert world.domains.equals(pair[0].domains)
    assert len(pair[0].motifs) == 0


def test_motifs__are_the_same_in_all_cell_types_and_lie_at_their_stopping_sites():
    worlds = [simulate_world(MOTIFS, 3, name) for name in ("A", "B")]
    assert worlds[0].motifs.equals(worlds[1].motifs)
    found = worlds[0].motifs
    instances = set(zip(found["chrom"], found["position"], found["strand"], strict=True))
    for world in worlds:
        ctcf = world.sites[world.sites["kind"] == "ctcf"]
        assert set(zip(ctcf["chrom"], ctcf["position"], ctcf["strand"], strict=True)) <= instances
        decoys = world.sites[world.sites["kind"] == "decoy"]
        assert not decoys["position"].isin(found["position"]).any()


def test_motifs__score_grows_with_the_barrier():
    world = simulate_world(MOTIFS, 3, "A")
    ctcf = world.sites[world.sites["kind"] == "ctcf"].merge(world.motifs, on=["chrom", "position", "strand"])
    noise = np.log(ctcf["score"] / (MOTIFS.motifs.score * -np.log1p(-ctcf["strength"])))
    assert noise.mean() == pytest.approx(0.0, abs=0.06)
    assert noise.std() == pytest.approx(MOTIFS.motifs.log_sd, abs=0.04)


def test_write_motif_bigwigs__covers_each_instance_with_its_score(tmp_path: Path):
    world = simulate_world(MOTIFS, 3, "A")
    write_motif_bigwigs(tmp_path, world)
    n_covered = 0
    for track, strand in zip(MOTIFS.motifs.tracks, "+-", strict=True):
        own = world.motifs[(world.motifs["strand"] == strand) & (world.motifs["chrom"] == "sim1")]
        with pyBigWig.open(str(tmp_path / f"{track}.bw")) as file:
            assert file.chroms() == dict(world.assembly)
            for position, score in own[["position", "score"]].itertuples(index=False):
                (at_site,) = file.values("sim1", position, position + 1)
                assert at_site >= score * (1 - 1e-6)
            n_covered += int((~np.isnan(file.values("sim1", 0, TWO.chrom_lengths[0], numpy=True))).sum())
    total = MOTIFS.motifs.width_bp * (world.motifs["chrom"] == "sim1").sum()
    assert 0.98 * total <= n_covered <= total


def test_write_motif_bigwigs__refuses_rules_without_motifs(tmp_path: Path, pair):
    with pytest.raises(ConfigError, match="have no motifs"):
        write_motif_bigwigs(tmp_path, pair[0])
