"""What a manifest's words stand for: local path, address, or accession of a portal. No network."""

import pytest

from epizarr.errors import RemoteError
from epizarr.io.remote_uri import remote_url, url_name

ENCODE, FOURDN = "https://www.encodeproject.org/files", "https://data.4dnucleome.org/files-processed"


@pytest.mark.parametrize("path", ["ctcf.bw", "/data/ctcf.bw", "../a:b.bw", "C:\\data\\x.bw", "", "encode/x.bw"])
def test_remote_url__leaves_local_paths(path):
    assert remote_url(path) is None


@pytest.mark.parametrize("url", ["https://h/x.bw", "http://h:80/x", "s3://b/x.mcool", "gs://b/x", "memory://b/x"])
def test_remote_url__takes_addresses_as_they_are(url):
    assert remote_url(url) == url


@pytest.mark.parametrize(
    ("uri", "url", "name"),
    [
        ("encode:ENCFF123ABC", f"{ENCODE}/ENCFF123ABC/@@download", "ENCFF123ABC"),
        ("encode:ENCFF123ABC.bigWig", f"{ENCODE}/ENCFF123ABC/@@download/ENCFF123ABC.bigWig", "ENCFF123ABC.bigWig"),
        ("ENCODE:ENCFF420VPZ.bed.gz", f"{ENCODE}/ENCFF420VPZ/@@download/ENCFF420VPZ.bed.gz", "ENCFF420VPZ.bed.gz"),
        ("4dn:4DNFI18UHVRO", f"{FOURDN}/4DNFI18UHVRO/@@download", "4DNFI18UHVRO"),
        ("4DN:4DNFI18UHVRO.mcool", f"{FOURDN}/4DNFI18UHVRO/@@download/4DNFI18UHVRO.mcool", "4DNFI18UHVRO.mcool"),
    ],
)  # fmt: skip
def test_remote_url__resolves_accessions(uri, url, name):
    assert (remote_url(uri), url_name(url)) == (url, name)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("encode:ENCSR000AKB", "ENCSR stands for an experiment, which has several. Choose one on the portal"),
        ("4dn:4DNESI7DEJTM", "4DNES stands for a set of experiments"),
        ("encode:ENCFF12ABCD", r"does not name a file\. The accession of a file is ENCFF"),
        ("encode:ENCFF123ABC/../x", "does not name a file"),
        ("4dn:ENCFF123ABC", "as in '4dn:4DNFI1234ABC.mcool'"),
        ("encode:", "does not name a file"),
        ("https:///x.bw", "is not a complete address"),
        ("s3://", "is not a complete address"),
        ("memory://", "is not a complete address"),
        ("htps://h/x.bw", "htps:// is not understood"),
        ("file:///data/x.bw", "file:// is not understood. Inputs are local paths"),
        ("https://me:hunter2@h/x.bw", "has a password in it"),
    ],
)
def test_remote_url__refuses(uri, message):
    with pytest.raises(RemoteError, match=message) as caught:
        remote_url(uri)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://h/a/x%20y.bw?download=1", "x_y.bw"),
        ("https://h/", "file"),
        ("https://h/a/..", "file"),
        ("https://h/.hidden.bw", "hidden.bw"),
        ("s3://bucket/" + "n" * 300 + ".bw", "n" * 97 + ".bw"),
    ],
)
def test_url_name__is_a_plain_name_with_the_ending(url, name):
    assert url_name(url) == name
