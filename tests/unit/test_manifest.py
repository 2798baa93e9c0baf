"""Manifests: every key read, every problem found in one go."""

from pathlib import Path

import pytest

from epizarr.errors import InputNotFoundError, ManifestError
from epizarr.ingest.manifest import load_manifest

STORES = Path(__file__).resolve().parents[2] / "stores"

GOOD = """
schema = 1
[store]
assembly = "hg38"
chromosomes = ["chr1", "chr2"]
[[cell_type]]
name = "K562"
[[cell_type.tracks]]
name = "CTCF"
file = "ctcf.bw"
uncovered = "zero"
[[cell_type.contacts]]
file = "${DATA}/map.mcool::resolutions/10000"
binsize = 10_000
normalisations = { ice = "weight", kr = "KR" }
"""


def load(tmp_path, text, env=None):
    (tmp_path / "m.toml").write_text(text)
    return load_manifest(tmp_path / "m.toml", {"DATA": "/data"} if env is None else env)


def test_load_manifest__takes_paths_relative_to_itself(tmp_path):
    assert load(tmp_path, GOOD).cell_types[0].tracks[0].input.path == tmp_path / "ctcf.bw"


def test_load_manifest__expands_variables_and_parts_the_group(tmp_path):
    found = load(tmp_path, GOOD).cell_types[0].contacts[0].input
    assert (found.path, found.group) == (Path("/data/map.mcool"), "resolutions/10000")


def test_load_manifest__records_paths_as_written(tmp_path):
    assert load(tmp_path, GOOD).cell_types[0].contacts[0].input.uri == "${DATA}/map.mcool::resolutions/10000"


def test_load_manifest__fills_in_defaults(tmp_path):
    manifest = load(tmp_path, GOOD)
    assert (manifest.span_bp, manifest.track_binsize, manifest.blacklist) == (2_000_000, 100, None)


def test_load_manifest__reads_no_environment_by_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", "/data")
    with pytest.raises(ManifestError, match=r"\$\{DATA\}, which is not set"):
        load(tmp_path, GOOD, {})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "needs schema = 1, it has 2"),
        ('assembly = "hg38"', "", "needs 'assembly'"),
        ('assembly = "hg38"', 'assembly = "hg38"\nspan = 1', r"unknown key 'span'. Did you mean 'span_bp'"),
        ('uncovered = "zero"', "", r"track 'CTCF': needs 'uncovered'"),
        ('uncovered = "zero"', 'uncovered = "none"', "it is one of 'nan', 'zero'"),
        ('uncovered = "zero"', 'uncoverd = "zero"', "Did you mean 'uncovered'"),
        ('uncovered = "zero"', 'uncovered = "zero"\nstrand = "f"', "'strand' is 'f'"),
        ('uncovered = "zero"', 'uncovered = "zero"\nsha256 = "12"', "64 hexadecimal digits"),
        ('uncovered = "zero"', 'uncovered = "zero"\nrename_chroms = ["a"]', "a table of names"),
        ('name = "CTCF"', 'name = "../CTCF"', "cannot be used"),
        ('name = "K562"', 'name = "K562/../x"', "cannot be used"),
        ("binsize = 10_000", "binsize = -1", "a positive whole number"),
        ("binsize = 10_000", "binsize = 3_000_000", "span_bp = 2000000 is not a multiple"),
        ("binsize = 10_000", "binsize = 10_050", "not a multiple of track_binsize"),
        ('kr = "KR"', 'kr2 = "KR"', "names 'kr2', which is no variable of the store. Did you mean 'kr'"),
        ('kr = "KR" }', 'kr = "KR" }\nweights_are = "inverse"', "one of 'multiplicative', 'divisive'"),
        ("[[cell_type]]", "[[cell_type]]\n[[cell_type]]", "has neither"),
        ("[[cell_type.tracks]]", '[[cell_type.tracks]]\nname = "CTCF"\nfile = "a.bw"\nuncovered = "nan"\n[[cell_type.tracks]]',
         "'CTCF' more than once"),
    ],
)  # fmt: skip
def test_load_manifest__refuses(tmp_path, old, new, message):
    with pytest.raises(ManifestError, match=message):
        load(tmp_path, GOOD.replace(old, new, 1))


def test_load_manifest__lists_all_problems_at_once(tmp_path):
    text = GOOD.replace('assembly = "hg38"', "").replace('uncovered = "zero"', "").replace("binsize = 10_000", "")
    with pytest.raises(ManifestError, match="3 problems"):
        load(tmp_path, text)


def test_load_manifest__refuses_what_is_not_toml(tmp_path):
    with pytest.raises(ManifestError, match="is not TOML"):
        load(tmp_path, "schema: 1")


def test_load_manifest__says_that_there_is_none(tmp_path):
    with pytest.raises(InputNotFoundError, match="no such manifest"):
        load_manifest(tmp_path / "none.toml")


@pytest.mark.parametrize("name", ["template.toml", "gm12878-chr21.toml"])
def test_load_manifest__reads_the_manifests_we_ship(name):
    assert load_manifest(STORES / name, {"EPIZARR_SHARED": "/shared", "DATA": "/data"}).cell_types
