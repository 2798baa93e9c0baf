"""Remote inputs from the command line: planned without a download, fetched once, ingested as if they were local."""

import json
import socket

import pytest

from epizarr.cli import run
from epizarr.errors import OfflineError, RemoteError
from epizarr.ingest import fetch_inputs, ingest_manifest, load_manifest
from epizarr.io.files import file_sha256
from epizarr.io.remote import Cache
from epizarr.io.store import open_tracks
from tests._http import Files, http_server
from tests._inputs import make_inputs, write_manifest
from tests._killing import tree_digest

NAMES = ["CTCF.bw", "DNase.bw", "contacts.cool", "sizes.tsv", "blacklist.bed"]


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A server with small inputs, and a manifest that names them by address."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    inputs = make_inputs(tmp_path / "inputs")
    with http_server(Files({f"/{name}": (inputs.folder / name).read_bytes() for name in NAMES})) as files:
        files.local = write_manifest(inputs)
        text = files.local.read_text()
        for name in NAMES:
            text = text.replace(f'"{name}"', f'"{files.url}/{name}"')
        files.manifest = tmp_path / "remote.toml"
        files.manifest.write_text(text)
        yield files


def test_prefetch__prints_files_sizes_and_checksums(remote, tmp_path, capsys):
    assert run(["prefetch", str(remote.manifest), "--cache", str(tmp_path / "cache")]) == 0
    printed = capsys.readouterr().out
    for name in NAMES:
        local = remote.local.parent / name
        assert f"{remote.url}/{name}" in printed
        assert f"{local.stat().st_size:,}" in printed
        assert file_sha256(local) in printed
    assert run(["prefetch", str(remote.manifest), "--cache", str(tmp_path / "cache")]) == 0
    assert capsys.readouterr().out.count("there already") == len(NAMES) == len(remote.seen)


def test_prefetch__keeps_files_in_the_user_s_cache_by_default(remote, tmp_path):
    assert run(["prefetch", str(remote.manifest)]) == 0
    assert {p.name for p in (tmp_path / "xdg" / "epizarr").glob("*/[!.]*")} == set(NAMES)


def test_prefetch__says_that_nothing_is_remote(remote, capsys):
    assert run(["prefetch", str(remote.local)]) == 0
    assert "names no remote file" in capsys.readouterr().out


def test_prefetch__fetches_the_rest_and_tells_everything_that_failed(remote, tmp_path, capsys):
    del remote.content["/CTCF.bw"], remote.content["/sizes.tsv"]
    assert run(["prefetch", str(remote.manifest), "--cache", str(tmp_path / "cache")]) == 1
    said = capsys.readouterr().err
    assert "2 problems" in said
    assert f"{remote.url}/CTCF.bw: the server answers 404" in said
    assert len(list((tmp_path / "cache").glob("*/[!.]*"))) == len(NAMES) - 2


def test_prefetch__stated_checksums_are_checked(remote, tmp_path, capsys):
    text = remote.manifest.read_text()
    remote.manifest.write_text(text.replace('name = "CTCF"', f'name = "CTCF"\nsha256 = "{"0" * 64}"'))
    assert run(["prefetch", str(remote.manifest), "--cache", str(tmp_path / "cache")]) == 1
    said = capsys.readouterr().err
    assert f"{'0' * 64} is stated" in said
    assert file_sha256(remote.local.parent / "CTCF.bw") in said


def test_fetch_inputs__stops_at_once_without_a_network(remote, tmp_path):
    cache = Cache(tmp_path / "cache")
    with socket.socket() as taken:  # bound and not listening: refused
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        remote.manifest.write_text(remote.manifest.read_text().replace(remote.url, dead))
        manifest = load_manifest(remote.manifest, cache=cache)
        with pytest.raises(RemoteError, match=r"no connection to 127\.0\.0\.1") as caught:
            fetch_inputs(manifest, cache)
    assert "problems" not in str(caught.value)
    assert issubclass(OfflineError, RemoteError)


def test_ingest__dry_run_says_what_is_to_be_fetched_and_fetches_nothing(remote, tmp_path, capsys):
    out, cache = tmp_path / "s.zarr", tmp_path / "cache"
    assert run(["ingest", str(remote.manifest), "-o", str(out), "--dry-run", "--cache", str(cache)]) == 1
    printed = capsys.readouterr()
    for name in NAMES:
        assert f"{(remote.local.parent / name).stat().st_size:,}" in printed.out
    assert f"epizarr prefetch {remote.manifest}" in printed.err
    assert remote.n_sent == len(NAMES)  # one byte each, to learn the size
    assert not cache.exists()
    assert not out.exists()


def test_ingest__dry_run_goes_through_when_all_is_there(remote, tmp_path, capsys):
    out, cache = tmp_path / "s.zarr", tmp_path / "cache"
    assert run(["prefetch", str(remote.manifest), "--cache", str(cache)]) == 0
    remote.statuses = [500] * 100
    assert run(["ingest", str(remote.manifest), "-o", str(out), "--dry-run", "--cache", str(cache)]) == 0
    assert "signal" in capsys.readouterr().out


def test_ingest__remote_inputs_give_the_store_that_local_ones_give(remote, tmp_path):
    far, near, cache = tmp_path / "far.zarr", tmp_path / "near.zarr", tmp_path / "cache"
    assert run(["ingest", str(remote.manifest), "-o", str(far), "--cache", str(cache), "--threads", "1"]) == 0
    ingest_manifest(remote.local, near, n_threads=1)
    found, expected = (
        {k: v for k, v in tree_digest(store).items() if not str(k).endswith("zarr.json")} for store in (far, near)
    )
    assert found == expected
    recorded = [json.loads(open_tracks(s, "K562").attrs["inputs"]) for s in (far, near)]
    assert [e["uri"] for e in recorded[0]] == [f"{remote.url}/{e['uri']}" for e in recorded[1]]
    assert [e["sha256"] for e in recorded[0]] == [e["sha256"] for e in recorded[1]]
    # The same command again needs no network, and does nothing.
    remote.statuses = [500] * 100
    assert run(["ingest", str(remote.manifest), "-o", str(far), "--cache", str(cache), "--threads", "1"]) == 0
    assert run(["check", str(far), "--deep", "--manifest", str(remote.manifest), "--cache", str(cache)]) == 0


def test_ingest__the_library_fetches_into_the_cache_it_is_given(remote, tmp_path):
    told = []
    cache = Cache(tmp_path / "cache")
    ingest_manifest(
        remote.manifest, tmp_path / "s.zarr", n_threads=1, cache=cache, progress=lambda *step: told.append(step)
    )
    assert told[0][0] == f"fetch {remote.url}/sizes.tsv, MB"
    assert len(remote.seen) == len(NAMES)
