"""The files that the simulator writes: real formats, given by the seed, never half-written."""

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import cooler
import numpy as np
import pandas as pd
import pyBigWig
import pytest
import xarray as xr

from epizarr.bands import balance_band, band_from_pixels
from epizarr.cli import run
from epizarr.errors import ConfigError, StoreError, StoreNotFoundError
from epizarr.ingest import load_manifest
from epizarr.simulate import (
    DEFAULT,
    STRANDLESS,
    MotifRule,
    TrackPosterior,
    cell_type_differences,
    expected_contacts,
    open_truth,
    simulate_world,
    write_genome,
)

SEED = 5
SHORT = replace(DEFAULT, chrom_lengths=(1_204_321, 1_002_050), span_bp=500_000)


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_genome(tmp_path_factory.mktemp("sim") / "genome", size="tiny", seed=SEED).parent


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_genome(tmp_path_factory.mktemp("sim") / "short", seed=SEED, config=SHORT, cell_types=["A"]).parent


def pixels(folder: Path, cell_type: str) -> pd.DataFrame:
    return cooler.Cooler(str(folder / cell_type / "contacts.cool")).pixels()[:]


def test_write_genome__manifest_names_files_that_are_there(genome: Path) -> None:
    manifest = tomllib.loads((genome / "manifest.toml").read_text())
    (cell,) = manifest["cell_type"]
    files = [genome / entry["file"] for entry in [*cell["tracks"], *cell["contacts"]]]
    assert [f.name for f in files if not f.is_file()] == []


def test_write_genome__everything_says_simulated(genome: Path) -> None:
    manifest = tomllib.loads((genome / "manifest.toml").read_text())
    (cell,) = manifest["cell_type"]
    origins = {entry["origin"] for entry in [*cell["tracks"], *cell["contacts"]]}
    info = cooler.Cooler(str(genome / "SIM1" / "contacts.cool")).info
    origins |= {info["metadata"]["origin"], open_truth(genome / "SIM1").attrs["simulated"]}
    assert all(origin.startswith("SIMULATED, epizarr ") and origin.endswith(f"seed {SEED}") for origin in origins)


def test_write_genome__bigwig_covers_the_chromosome_but_its_gaps(genome: Path) -> None:
    world = simulate_world(DEFAULT, SEED, "SIM1")
    length = world.assembly.length("sim1")
    with pyBigWig.open(str(genome / "SIM1" / "CTCF.bw")) as file:
        assert file.chroms() == dict(world.assembly)
        seen = ~np.isnan(file.values("sim1", 0, length, numpy=True))
    expected = np.ones(length, dtype=bool)
    for start, end in world.domains_of("sim1", "gap")[["start", "end"]].itertuples(index=False):
        expected[start // 100 * 100 : -(-end // 100) * 100] = False
    np.testing.assert_array_equal(seen, expected)


def test_write_genome__last_run_ends_with_the_chromosome(tmp_path: Path) -> None:
    config = replace(SHORT, telomere_bp=0, small_gap_per_mb=0.0)
    out = write_genome(tmp_path / "g", seed=1, config=config, cell_types=["A"]).parent
    with pyBigWig.open(str(out / "A" / "DNase.bw")) as file:
        assert file.intervals("sim1")[-1][:2] == (1_204_300, 1_204_321)


def test_write_genome__balancing_converged(genome: Path) -> None:
    clr = cooler.Cooler(str(genome / "SIM1" / "contacts.cool"))
    with clr.open("r") as file:
        assert np.all(file["bins/weight"].attrs["converged"])
        assert file["bins/weight"].attrs["ignore_diags"] == 2


def test_write_genome__weights_are_missing_where_there_is_nothing_to_map(genome: Path) -> None:
    bins = cooler.Cooler(str(genome / "SIM1" / "contacts.cool")).bins()[:]
    truth = open_truth(genome / "SIM1")
    unmappable = np.isnan(truth["contact"].values[:, 0])
    assert unmappable.any()
    assert bins["weight"][unmappable].isna().all()


def test_write_genome__truth_is_the_expected_contacts(genome: Path) -> None:
    world = simulate_world(DEFAULT, SEED, "SIM1")
    first, last = world.assembly.bins(10_000).chrom_extent("sim2")
    stored = open_truth(genome / "SIM1")["contact"].values[first:last]
    expected = expected_contacts(world, "sim2", 0, last - first, 200).astype(np.float32)
    np.testing.assert_array_equal(stored, np.where(np.isnan(stored), np.nan, expected))


def test_write_genome__truth_is_missing_in_gaps_and_off_the_chromosome_only(genome: Path) -> None:
    world = simulate_world(DEFAULT, SEED, "SIM1")
    missing = np.isnan(open_truth(genome / "SIM1")["contact"].values)
    first, last = world.assembly.bins(10_000).chrom_extent("sim2")
    gap = np.zeros(last - first + 200, dtype=bool)
    for start, end in world.domains_of("sim2", "gap")[["start", "end"]].itertuples(index=False):
        gap[-(-start // 10_000) : end // 10_000] = True
    i, k = np.indices((last - first, 200))
    sure = gap[i] | gap[i + k] | (i + k >= last - first)
    assert missing[first:last][sure].all()
    assert missing[first:last].mean() < sure.mean() + 0.05


def test_write_genome__balanced_contacts_follow_the_truth(genome: Path) -> None:
    clr = cooler.Cooler(str(genome / "SIM1" / "contacts.cool"))
    truth = open_truth(genome / "SIM1")["contact"].values
    found = clr.pixels()[:]
    n = len(truth)
    count = band_from_pixels(
        found["bin1_id"].to_numpy(), found["bin2_id"].to_numpy(), found["count"].to_numpy(), n_bins=n, n_diagonals=200
    )
    weight = np.append(clr.bins()["weight"][:].to_numpy(), np.full(199, np.nan))
    balanced = balance_band(count, weight, ignore_diags=2)
    scores = []
    for k in range(2, 100):
        valid = ~np.isnan(truth[:, k]) & ~np.isnan(balanced[:, k])
        scores.append(np.corrcoef(truth[valid, k], balanced[valid, k])[0, 1])
    assert 0.7 < np.mean(scores) < 0.95


def test_write_genome__same_seed_same_bytes(short: Path, tmp_path: Path) -> None:
    again = write_genome(tmp_path / "again", seed=SEED, config=SHORT, cell_types=["A"]).parent
    same = ["manifest.toml", "features.tsv", "chrom.sizes", *(f"A/{track}.bw" for track in SHORT.tracks)]
    same += [str(p.relative_to(short)) for p in (short / "A" / "truth.zarr").rglob("*") if p.is_file()]
    assert [name for name in same if (short / name).read_bytes() != (again / name).read_bytes()] == []
    pd.testing.assert_frame_equal(pixels(short, "A"), pixels(again, "A"))


def test_write_genome__a_cell_type_does_not_depend_on_its_neighbours(short: Path, tmp_path: Path) -> None:
    both = write_genome(tmp_path / "both", seed=SEED, config=SHORT, cell_types=["B", "A"]).parent
    pd.testing.assert_frame_equal(pixels(short, "A"), pixels(both, "A"))
    assert (short / "A" / "CTCF.bw").read_bytes() == (both / "A" / "CTCF.bw").read_bytes()
    assert not pixels(both, "A").equals(pixels(both, "B"))


def test_write_genome__features_hold_every_site_and_domain(short: Path) -> None:
    table = pd.read_csv(short / "features.tsv", sep="\t")
    world = simulate_world(SHORT, SEED, "A")
    assert len(table) == len(world.sites) + len(world.domains)
    assert set(table["kind"]) >= {"ctcf", "decoy", "compartment", "gap"}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cell types, with motifs and what is expected given the tracks."""
    config = replace(SHORT, motifs=MotifRule())
    folder = tmp_path_factory.mktemp("sim") / "two"
    return write_genome(folder, seed=SEED, config=config, cell_types=["A", "B"], redraws=3).parent


def test_write_genome__motif_tracks_are_stranded_and_zero_elsewhere(two: Path) -> None:
    manifest = load_manifest(two / "manifest.toml", {})
    for cell in manifest.cell_types:
        assert [track.strand for track in cell.tracks if "motif" in track.name] == ["+", "-"]
        assert [track.name for track in cell.tracks][:5] == list(DEFAULT.tracks)
    raw = tomllib.loads((two / "manifest.toml").read_text())
    motifs = [entry for entry in raw["cell_type"][0]["tracks"] if "motif" in entry["name"]]
    assert {entry["uncovered"] for entry in motifs} == {"zero"}
    assert all((two / entry["file"]).is_file() for entry in motifs)


@pytest.mark.parametrize(
    ("words", "config", "redraws"),
    [
        ([], DEFAULT, 0),
        (["--motifs", "--redraws", "7"], replace(DEFAULT, motifs=MotifRule()), 7),
        (["--rules", "strandless"], STRANDLESS, 0),
    ],
)
def test_cli__simulate_hands_on_its_options(
    words: list[str], config: object, redraws: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def spy(out: Path, **settings: object) -> Path:
        seen.update(settings)
        return out / "manifest.toml"

    monkeypatch.setattr("epizarr.simulate.write_genome", spy)
    assert run(["simulate", str(tmp_path / "g"), "--size", "tiny", *words]) == 0
    assert (seen["config"], seen["redraws"]) == (config, redraws)


def test_cli__simulate_names_the_nearest_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", str(tmp_path / "g"), "--rules", "strandles"]) == 1
    assert "Did you mean 'strandless'" in " ".join(capsys.readouterr().err.split())


def test_write_genome__motifs_and_redraws_change_no_other_file(two: Path, short: Path) -> None:
    for name in ("A/CTCF.bw", "A/contacts.cool"):
        assert (two / name).stat().st_size == (short / name).stat().st_size
    xr.testing.assert_equal(open_truth(two / "A").load(), open_truth(short / "A").load())


def test_write_genome__expected_given_tracks_is_the_mean_over_redraws(two: Path) -> None:
    config = replace(SHORT, motifs=MotifRule())
    world = simulate_world(config, SEED, "A")
    written = open_truth(two / "A" / "truth_given_tracks.zarr")
    assert written.attrs["simulated"].endswith("mean of 3 redraws given the tracks")
    found, true = written["contact"].values, open_truth(two / "A")["contact"].values
    np.testing.assert_array_equal(np.isnan(found), np.isnan(true))
    n_bins = -(-SHORT.chrom_lengths[0] // SHORT.binsize)
    each = [expected_contacts(w, "sim1", 0, n_bins, 50) for w in TrackPosterior(world, "sim1").redraws(3)]
    mean = np.mean(each, axis=0)
    here = ~np.isnan(found[:n_bins])
    np.testing.assert_allclose(found[:n_bins][here], mean[here], rtol=1e-6)
    assert not np.allclose(found[:n_bins][here], true[:n_bins][here], rtol=1e-3)


def test_write_genome__differences_of_cell_types_lie_beside_the_truth(two: Path, short: Path) -> None:
    table = pd.read_csv(two / "differences.tsv", sep="\t")
    a, b = (simulate_world(SHORT, SEED, name) for name in ("A", "B"))
    pd.testing.assert_frame_equal(table, cell_type_differences(a, b), rtol=1e-5, check_dtype=False)
    assert not (short / "differences.tsv").exists()


def test_write_genome__refuses_redraws_of_rules_without_noise_before_any_work(tmp_path: Path) -> None:
    peaks = tuple(replace(rule, log_sd=0.0) for rule in SHORT.peaks)
    with pytest.raises(ConfigError, match=r"`log_sd` is 0 for artefact in CTCF"):
        write_genome(tmp_path / "g", seed=1, config=replace(SHORT, peaks=peaks), redraws=2)
    assert list(tmp_path.iterdir()) == []


def test_write_genome__refuses_to_replace_a_genome_unasked(short: Path) -> None:
    with pytest.raises(StoreError, match="overwrite=True"):
        write_genome(short, seed=SEED, config=SHORT)


def test_write_genome__never_replaces_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(StoreError, match="not a simulated genome"):
        write_genome(tmp_path / "mine", seed=SEED, config=SHORT, overwrite=True)


def test_write_genome__overwrite_replaces_a_genome(tmp_path: Path) -> None:
    out = write_genome(tmp_path / "g", seed=1, config=SHORT, cell_types=["A"]).parent
    before = pixels(out, "A")
    write_genome(out, seed=2, config=SHORT, cell_types=["A"], overwrite=True)
    assert not pixels(out, "A").equals(before)


def test_write_genome__interrupted_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    def stop(what: str, share: float) -> None:
        if what == "A: truth":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_genome(tmp_path / "g", seed=1, config=SHORT, cell_types=["A"], progress=stop)
    assert [p.name for p in tmp_path.iterdir()] == ["g.partial"]
    with pytest.raises(StoreError, match="state"):
        open_truth(tmp_path / "g.partial" / "A")


def test_write_genome__sweeps_what_an_interrupted_call_left(tmp_path: Path) -> None:
    (tmp_path / "g.partial").mkdir()
    (tmp_path / "g.partial" / "SIMULATED.txt").touch()
    (tmp_path / "g.partial" / "stale").touch()
    out = write_genome(tmp_path / "g", seed=1, config=SHORT).parent
    assert not (out / "stale").exists()
    assert not (tmp_path / "g.partial").exists()


def test_write_genome__lists_every_problem_of_a_request(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seed is -1.*'\.\./A'"):
        write_genome(tmp_path / "g", seed=-1, config=SHORT, cell_types=["../A"])


def test_open_truth__says_where_the_truth_would_be(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="epizarr simulate OUT"):
        open_truth(tmp_path / "nothing")


def test_open_truth__refuses_a_folder_that_is_no_truth(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        open_truth(tmp_path)


_PEAK_MEMORY = """
import json, resource, sys
from dataclasses import replace
from epizarr.simulate import DEFAULT, write_genome
write_genome(sys.argv[1], seed=1, config=replace(DEFAULT, chrom_lengths=(int(sys.argv[2]),)))
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""


@pytest.mark.slow
def test_write_genome__memory_does_not_grow_with_the_genome(tmp_path: Path) -> None:
    peak_mb = {}
    for length in (5_000_000, 50_000_000, 200_000_000):
        command = [sys.executable, "-c", _PEAK_MEMORY, str(tmp_path / str(length)), str(length)]
        peak_mb[length] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    # 5 Mb does not fill the blocks; from 50 to 200 Mb only tables of some kB per Mb may grow.
    assert peak_mb[200_000_000] < peak_mb[50_000_000] + 60
    assert peak_mb[200_000_000] < peak_mb[5_000_000] + 250
