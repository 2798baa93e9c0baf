"""The cache of fetched files: whole or not there, resumed only within one version, and errors that say what to do."""

import fcntl
import hashlib
import os
import socket

import fsspec
import numpy as np
import pytest

from epizarr.errors import InputFileError, LeaseError, OfflineError, RemoteError
from epizarr.io.remote import Cache
from epizarr.io.transport import Access, remote_size
from tests._http import Files, http_server

BODY = np.random.default_rng(0).bytes(500_000)
SHA256 = hashlib.sha256(BODY).hexdigest()
NAME = "/a/track.bw"


@pytest.fixture
def server():
    with http_server(Files({NAME: BODY})) as files:
        yield files


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", n_tries=3, wait_s=0.0)


def once(cache):
    """The same cache without further tries, so that a cut ends the call."""
    return Cache(cache.folder, cache.access, n_tries=0, wait_s=0.0)


def ranges(server):
    return [headers.get("Range") for _, headers in server.seen]


def cut(cache, server, after, **told):
    """Let a transfer be cut after so many bytes, and return how many of them are kept."""
    server.drops = [after]
    with pytest.raises(RemoteError, match="are kept: the same command goes on"):
        once(cache).fetch(server.url + NAME, **told)
    path = cache.path_of(server.url + NAME)
    assert not path.exists()
    return path.with_name(".partial").stat().st_size


def test_fetch__brings_the_file_and_its_checksum(server, cache):
    found = cache.fetch(server.url + NAME)
    assert (found.path.read_bytes(), found.size, found.sha256) == (BODY, len(BODY), SHA256)
    assert found.path.name == "track.bw"


def test_fetch__asks_for_a_file_once(server, cache):
    cache.fetch(server.url + NAME)
    cache.fetch(server.url + NAME, SHA256)
    assert len(server.seen) == 1


def test_fetch__leaves_nothing_half(server, cache):
    cache.fetch(server.url + NAME)
    folder = cache.path_of(server.url + NAME).parent
    assert sorted(p.name for p in folder.iterdir()) == [".lock", ".record.json", "track.bw"]


def test_fetch__a_cut_transfer_goes_on_in_the_same_call(server, cache):
    server.drops = [200_000, 100_000]
    assert cache.fetch(server.url + NAME).sha256 == SHA256
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in ranges(server)[1:]]
    # Less than one piece of 64 KiB is lost at each cut.
    assert starts[0] in range(200_000 - 65_536, 200_001)
    assert starts[1] in range(starts[0] + 100_000 - 65_536, starts[0] + 100_001)
    assert server.n_sent < len(BODY) + 2 * 65_536


def test_fetch__a_cut_transfer_goes_on_in_the_next_call(server, cache):
    kept = cut(cache, server, 300_000)
    server.seen.clear()
    assert cache.fetch(server.url + NAME).sha256 == SHA256
    assert [(h["Range"], h["If-Range"]) for _, h in server.seen] == [(f"bytes={kept}-", '"v1"')]
    assert kept > 200_000


def test_fetch__begins_anew_if_the_file_has_changed(server, cache):
    cut(cache, server, 300_000)
    server.content[NAME], server.etag = BODY[::-1], '"v2"'
    assert cache.fetch(server.url + NAME).path.read_bytes() == BODY[::-1]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_fetch__begins_anew_if_the_server_gives_no_version(server, cache, etag):
    server.etag = etag
    cut(cache, server, 300_000)
    server.seen.clear()
    server.content[NAME] = BODY[::-1]
    assert cache.fetch(server.url + NAME).path.read_bytes() == BODY[::-1]
    assert ranges(server) == [None]


def test_fetch__goes_on_without_a_version_if_the_checksum_is_stated(server, cache):
    server.etag = None
    kept = cut(cache, server, 300_000, sha256=SHA256)
    server.seen.clear()
    assert cache.fetch(server.url + NAME, SHA256).sha256 == SHA256
    assert ranges(server) == [f"bytes={kept}-"]


@pytest.mark.parametrize("length", [100, 400_000, 600_000])
def test_fetch__begins_anew_if_only_the_length_tells_a_change(server, cache, length):
    server.etag = None
    content = (BODY + BODY)[-length:]
    cut(cache, server, 300_000, sha256=SHA256)
    server.content[NAME] = content
    assert cache.fetch(server.url + NAME, hashlib.sha256(content).hexdigest()).path.read_bytes() == content


def test_fetch__begins_anew_if_the_server_cannot_do_ranges(server, cache):
    cut(cache, server, 300_000)
    server.does_ranges = False
    assert cache.fetch(server.url + NAME).path.read_bytes() == BODY


def test_fetch__finishes_what_was_killed_before_the_file_got_its_name(server, cache, monkeypatch):
    monkeypatch.setattr("epizarr.io.remote.replace_file", _killed_at_record)
    with pytest.raises(KeyboardInterrupt):
        cache.fetch(server.url + NAME)
    monkeypatch.undo()
    assert not cache.path_of(server.url + NAME).exists()
    assert cache.fetch(server.url + NAME).sha256 == SHA256
    assert len(server.seen) == 1


def _killed_at_record(path, data):
    if path.name == ".record.json":
        raise KeyboardInterrupt
    path.write_bytes(data)


def test_fetch__takes_a_file_whose_size_is_not_told(server, cache):
    server.tells_size = False
    assert cache.fetch(server.url + NAME).sha256 == SHA256


def test_fetch__keeps_a_file_as_it_is_although_the_server_calls_it_encoded(server, cache):
    server.headers["Content-Encoding"] = "gzip"
    assert cache.fetch(server.url + NAME).path.read_bytes() == BODY


def test_fetch__asks_for_no_encoding(server, cache):
    cache.fetch(server.url + NAME)
    assert server.seen[0][1]["Accept-Encoding"] == "identity"


def test_fetch__follows_redirects_as_portals_use_them(server, cache):
    server.redirects["/files/X/@@download"] = server.url + NAME
    found = cache.fetch(server.url + "/files/X/@@download")
    assert (found.sha256, found.path.name) == (SHA256, "X")


def test_fetch__tells_progress_in_bytes(server, cache):
    told = []
    cache.fetch(server.url + NAME, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_fetch__a_wrong_checksum_names_both_and_leaves_nothing(server, cache):
    other = "0" * 64
    with pytest.raises(InputFileError, match=f"(?s){SHA256}.*{other} is stated"):
        cache.fetch(server.url + NAME, other)
    folder = cache.path_of(server.url + NAME).parent
    assert [p.name for p in folder.iterdir()] == [".lock"]


def test_fetch__a_wrong_checksum_of_a_cached_file_names_it_and_leaves_it(server, cache):
    path = cache.fetch(server.url + NAME).path
    with pytest.raises(InputFileError, match="remove the file to fetch it again") as caught:
        cache.fetch(server.url + NAME, "0" * 64)
    assert str(path) in str(caught.value)
    assert path.exists()


def test_fetch__hashes_again_what_was_put_there_by_hand(server, cache):
    path = cache.fetch(server.url + NAME).path
    path.write_bytes(b"other")
    assert cache.fetch(server.url + NAME).sha256 == hashlib.sha256(b"other").hexdigest()


def test_fetch__a_folder_without_network_and_records_is_enough(server, cache):
    path = cache.path_of(server.url + NAME)
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    assert cache.fetch(server.url + NAME, SHA256).sha256 == SHA256
    assert server.seen == []


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "404 Not Found. There is no such file: check the address"),
        (403, r"wants a login: write `machine 127.0.0.1 login NAME"),
        (418, "418 I'm a Teapot"),
    ],
)
def test_fetch__refusals_say_what_to_do(server, cache, status, message):
    server.statuses = [status]
    with pytest.raises(RemoteError, match=message):
        cache.fetch(server.url + NAME)
    assert len(server.seen) == 1


def test_fetch__tries_again_if_the_server_is_busy(server, cache):
    server.statuses = [503, 429]
    assert cache.fetch(server.url + NAME).sha256 == SHA256


def test_fetch__gives_up_on_a_server_that_stays_busy(server, cache):
    server.statuses = [503] * 10
    with pytest.raises(RemoteError, match=r"503 Service Unavailable\. It may be busy"):
        cache.fetch(server.url + NAME)
    assert len(server.seen) == cache.n_tries


@pytest.mark.parametrize("headers", [{}, {"Content-Range": "bytes 0-499999/500000"}])
def test_fetch__refuses_another_part_than_it_asked_for(server, cache, headers):
    kept = cut(cache, server, 300_000)
    server.statuses, server.headers = [206], headers
    with pytest.raises(RemoteError, match="sent another part of the file"):
        cache.fetch(server.url + NAME)
    assert ranges(server)[-1] == f"bytes={kept}-"


def test_fetch__says_that_there_is_no_connection(cache):
    with socket.socket() as taken:  # bound and not listening: refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/x.bw"
        with pytest.raises(OfflineError, match=r"no connection to 127.0.0.1.*epizarr prefetch.*refused"):
            cache.fetch(url)
    assert not cache.path_of(url).exists()


def test_fetch__says_that_the_folder_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RemoteError, match=r"cache folder .* cannot be written.*--cache"):
        Cache(tmp_path / "file" / "cache").fetch(server.url + NAME)


def test_fetch__one_process_at_a_time(server, cache):
    folder = cache.path_of(server.url + NAME).parent
    folder.mkdir(parents=True)
    with open(folder / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LeaseError, match="by another process"):
            cache.fetch(server.url + NAME)
    assert server.seen == []


def test_fetch__takes_the_login_from_netrc_only_if_told_to(server, cache, tmp_path, monkeypatch):
    server.login = ("key", "secret")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login key password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(RemoteError, match="wants a login"):
        cache.fetch(server.url + NAME)
    assert Cache(cache.folder, Access(trust_env=True)).fetch(server.url + NAME).sha256 == SHA256


def test_remote_size__reads_no_content(server):
    assert remote_size(server.url + NAME, Access()) == len(BODY)
    assert server.n_sent == 1


def test_remote_size__of_a_server_without_ranges(server):
    server.does_ranges = False
    assert remote_size(server.url + NAME, Access()) == len(BODY)


def test_remote_size__of_an_empty_file(server):
    server.content[NAME] = b""
    assert remote_size(server.url + NAME, Access()) == 0


def test_remote_size__is_not_that_of_an_error_page(server):
    with pytest.raises(RemoteError, match="404"):
        remote_size(server.url + "/none", Access())


# ------------------------------------------------------------------------------------------------------------------ fsspec


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    fs.pipe("/bucket/track.bw", BODY)
    yield fs
    fs.store.clear()


def test_fetch__reads_object_stores_through_fsspec(memory, cache):
    found = cache.fetch("memory://bucket/track.bw")
    assert (found.sha256, found.path.name) == (SHA256, "track.bw")
    assert remote_size("memory://bucket/track.bw", Access()) == len(BODY)


class _CutFile:
    """A file whose reads fail after so many bytes."""

    def __init__(self, file, after, seeks):
        self.file, self.left, self.seeks = file, after, seeks

    def seek(self, offset):
        self.seeks.append(offset)
        return self.file.seek(offset)

    def read(self, n):
        if self.left <= 0:
            raise TimeoutError("read timed out")
        piece = self.file.read(min(n, self.left))
        self.left -= len(piece)
        return piece

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.mark.parametrize("is_changed", [False, True])
def test_fetch__an_object_goes_on_within_one_version(memory, cache, monkeypatch, is_changed):
    seeks, whole, cuts = [], type(memory).open, [200_000]

    def cut_open(self, path, mode="rb", **options):
        file = whole(self, path, mode, **options)
        return _CutFile(file, cuts.pop(0) if cuts else 10**9, seeks) if mode == "rb" else file

    monkeypatch.setattr(type(memory), "open", cut_open)
    with pytest.raises(RemoteError, match="TimeoutError: read timed out"):
        once(cache).fetch("memory://bucket/track.bw")
    body = BODY[::-1] if is_changed else BODY
    if is_changed:
        memory.pipe("/bucket/track.bw", body)
    assert cache.fetch("memory://bucket/track.bw").path.read_bytes() == body
    assert seeks[-1] == (0 if is_changed else 200_000)


def test_fetch__says_that_an_object_is_not_there(memory, cache):
    with pytest.raises(RemoteError, match="there is no such file"):
        cache.fetch("memory://bucket/none.bw")


def test_fetch__says_that_a_prefix_is_no_file(memory, cache):
    with pytest.raises(RemoteError, match="is a folder"):
        cache.fetch("memory://bucket")


@pytest.mark.parametrize(("scheme", "extra"), [("s3", "s3"), ("gs", "gs"), ("gcs", "gs")])
def test_fetch__names_the_package_that_is_missing(cache, monkeypatch, scheme, extra):
    def missing(url, **options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(RemoteError, match=rf"pip install 'epizarr\[{extra}\]'"):
        cache.fetch(f"{scheme}://bucket/x.bw")


@pytest.mark.parametrize(
    ("url", "anonymous", "expected"),
    [
        ("s3://bucket/x.bw", True, {"anon": True}),
        ("gs://bucket/x.bw", True, {"token": "anon"}),
        ("s3://bucket/x.bw", False, {}),
        ("memory://bucket/x.bw", True, {}),
    ],
)
def test_fetch__asks_object_stores_without_credentials_if_told_to(cache, monkeypatch, url, anonymous, expected):
    asked = []

    def note(url, **options):
        asked.append(options)
        raise ImportError("enough")

    monkeypatch.setattr("fsspec.core.url_to_fs", note)
    with pytest.raises(RemoteError):
        Cache(cache.folder, Access(anonymous=anonymous)).fetch(url)
    assert asked == [expected]


def test_path_of__tells_addresses_apart_and_stays_in_the_folder(cache):
    urls = ["https://h/a/x.bw", "https://h/b/x.bw", "https://h/a/x.bw?v=2", "https://h/..", "https://h/%2e%2e%2fx"]
    paths = [cache.path_of(url) for url in urls]
    assert len(set(paths)) == len(urls)
    for path in paths:
        assert os.path.normpath(path) == str(path)
        assert path.parent.parent == cache.folder
