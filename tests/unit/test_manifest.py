"""Manifests: every key read, every problem found in one go."""

from pathlib import Path

import pytest

from epizarr.errors import InputNotFoundError, ManifestError
from epizarr.ingest.manifest import load_manifest
from epizarr.ingest.prefetch import remote_inputs
from epizarr.io.remote import Cache

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
    assert load(tmp_path, GOOD).cell_types[0].tracks[0].files[0].input.path == tmp_path / "ctcf.bw"


def test_load_manifest__expands_variables_and_parts_the_group(tmp_path):
    found = load(tmp_path, GOOD).cell_types[0].contacts[0].files[0].input
    assert (found.path, found.group) == (Path("/data/map.mcool"), "resolutions/10000")


def test_load_manifest__records_paths_as_written(tmp_path):
    assert load(tmp_path, GOOD).cell_types[0].contacts[0].files[0].input.uri == "${DATA}/map.mcool::resolutions/10000"


REMOTE = GOOD.replace('"ctcf.bw"', '"encode:ENCFF123ABC.bigWig"').replace('"${DATA}/map', '"s3://${DATA}/map')


def load_remote(tmp_path, text):
    (tmp_path / "m.toml").write_text(text)
    return load_manifest(tmp_path / "m.toml", {"DATA": "bucket"}, cache=Cache(tmp_path / "cache"))


def test_load_manifest__gives_remote_files_their_place_in_the_cache(tmp_path):
    cell = load_remote(tmp_path, REMOTE).cell_types[0]
    track, contacts = cell.tracks[0].files[0].input, cell.contacts[0].files[0].input
    assert track.url == "https://www.encodeproject.org/files/ENCFF123ABC/@@download/ENCFF123ABC.bigWig"
    assert (contacts.url, contacts.group) == ("s3://bucket/map.mcool", "resolutions/10000")
    for file in (track, contacts):
        assert file.path == Cache(tmp_path / "cache").path_of(file.url)
    assert (track.uri, contacts.uri) == ("encode:ENCFF123ABC.bigWig", "s3://${DATA}/map.mcool::resolutions/10000")


def test_load_manifest__finds_every_remote_file(tmp_path):
    more = 'assembly = "hg38"\nchrom_sizes = "https://h/hg38.sizes"\nblacklist = "https://h/b.bed.gz"'
    found = remote_inputs(load_remote(tmp_path, REMOTE.replace('assembly = "hg38"', more)))
    assert {f.path.name for f in found} == {"hg38.sizes", "b.bed.gz", "ENCFF123ABC.bigWig", "map.mcool"}


def test_load_manifest__needs_a_cache_for_remote_files(tmp_path):
    with pytest.raises(ManifestError, match=r"(?s)2 problems.*encode:ENCFF123ABC.bigWig is remote: say where"):
        load(tmp_path, REMOTE)


def test_load_manifest__lists_accessions_it_cannot_resolve_with_the_rest(tmp_path):
    with pytest.raises(ManifestError, match=r"(?s)2 problems.*ENCSR stands for an experiment.*needs 'assembly'"):
        load_remote(tmp_path, REMOTE.replace('assembly = "hg38"', "").replace("ENCFF123ABC.bigWig", "ENCSR123ABC"))


@pytest.mark.parametrize("stated", ["a" * 64, "b" * 64])
def test_remote_inputs__one_file_has_one_checksum(tmp_path, stated):
    again = '[[cell_type]]\nname = "{}"\n[[cell_type.tracks]]\nname = "x"\nfile = "https://h/x.bw"\nuncovered = "nan"\n'
    text = REMOTE + again.format("A") + again.format("B") + f'sha256 = "{"a" * 64}"\n'
    manifest = load_remote(tmp_path, text + again.format("C") + f'sha256 = "{stated}"\n')
    if stated.startswith("b"):
        with pytest.raises(ManifestError, match=r"https://h/x.bw is listed with sha256 aaa.* and with bbb"):
            remote_inputs(manifest)
    else:
        assert [f.sha256 for f in remote_inputs(manifest) if f.uri == "https://h/x.bw"] == ["a" * 64]


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


TWO = """replicates = [
  { name = "a", file = "a.cool", chrom = "chr1" },
  { name = "b", file = "s3://bucket/b.mcool::resolutions/10000", rename_chroms = { "1" = "chr1" } },
]"""
STORED = 'normalisations = { ice = "weight", kr = "KR" }'
FILE = 'file = "${DATA}/map.mcool::resolutions/10000"'
REPLICATES = GOOD.replace(FILE, TWO).replace(STORED, 'compute = ["kr"]')


def test_load_manifest__reads_replicates_like_files(tmp_path):
    entry = load_remote(tmp_path, REPLICATES).cell_types[0].contacts[0]
    assert [(f.name, f.input.group, f.chrom, f.rename_chroms) for f in entry.files] == [
        ("a", "", "chr1", {}),
        ("b", "resolutions/10000", None, {"1": "chr1"}),
    ]
    assert [f.uri for f in remote_inputs(load_remote(tmp_path, REPLICATES))] == [
        "s3://bucket/b.mcool::resolutions/10000"
    ]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("thin = { depth = 1_000 }", (1000, None, 0)),
        ("thin = { fraction = 1, seed = 4 }", (None, 1.0, 4)),
        ("[cell_type.contacts.thin]\nfraction = 0.25", (None, 0.25, 0)),
    ],
)
def test_load_manifest__reads_thinning(tmp_path, text, read):
    thin = load_remote(tmp_path, REPLICATES + text).cell_types[0].contacts[0].thin
    assert (thin.depth, thin.fraction, thin.seed) == read


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TWO, f'{TWO}\nfile = "c.cool"', "contacts at 10000 bp: has 'replicates' and 'file': replicates stand in place"),
        (TWO, f"{TWO}\nrename_chroms = {{}}", "what belongs to one file goes into its own table"),
        ('name = "b", ', "", "replicate None: needs 'name'"),
        ('name = "b"', 'name = "a"', "has replicate 'a' more than once"),
        ('name = "b"', 'name = "a/b"', "replicate 'a/b': has name 'a/b' cannot be used"),
        ('name = "b"', 'name = "b", binsize = 5', "replicate 'b': has an unknown key 'binsize'"),
        (TWO, 'replicates = [{ name = "a", file = "a.cool" }]', "has 1 of 'replicates', at least two are needed"),
        ('compute = ["kr"]', STORED, "has 'replicates' beside 'normalisations': weights that a file stores were fitted"),
        ('compute = ["kr"]', 'weights_are = "divisive"', "has 'replicates' beside 'weights_are'"),
        ('compute = ["kr"]', "thin = {}", "thin needs 'depth'"),
        ('compute = ["kr"]', "thin = { depth = 5, fraction = 0.5 }", "thin needs 'depth'.*one of the two"),
        ('compute = ["kr"]', "thin = { fraction = 1.5 }", "'fraction' is 1.5, a number in"),
        ('compute = ["kr"]', "thin = { depth = 0 }", "'depth' is 0, a positive whole number"),
        ('compute = ["kr"]', "thin = { depth = 5, seed = -1 }", "'seed' is -1, a whole number"),
        ('file = "ctcf.bw"', f"{TWO}", "track 'CTCF': replicate 'a': has an unknown key 'chrom'"),
    ],
)  # fmt: skip
def test_load_manifest__refuses_replicates(tmp_path, old, new, message):
    with pytest.raises(ManifestError, match=message):
        load_remote(tmp_path, REPLICATES.replace(old, new, 1))


def test_load_manifest__refuses_stored_weights_of_thinned_counts(tmp_path):
    with pytest.raises(ManifestError, match="has 'thin' beside 'normalisations'"):
        load(tmp_path, GOOD + "thin = { fraction = 0.5 }")


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
