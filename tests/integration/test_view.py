"""The interactive page's server: its values are the store's, it refuses what it must, and a browser draws them."""

import http.client
import io
import json
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import epizarr as ez
from epizarr.bands import gather_stripes
from epizarr.cli import run as run_command
from epizarr.errors import FigureError, StoreError
from epizarr.view.api import TILE_RUNS, ByteCache, StoreView
from epizarr.view.pixels import read_stripes
from epizarr.view.server import _ASSETS, open_server
from tests._browser import find_browser, open_page
from tests._runs import ASSEMBLY, BINSIZE, N_DIAGONALS, draw_contacts, draw_signal, write_prediction, write_store

GRID, FINE = ASSEMBLY.bins(BINSIZE), ASSEMBLY.bins(100)
ICE, COUNT, RUN, CTCF = (
    "A/contacts/1000/ice",
    "A/contacts/1000/count",
    "A/predictions/first/1000/contact",
    "A/tracks/100/CTCF",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("view")
    path = write_store(folder / "atlas.zarr")
    write_prediction(path, "A", "first", draw_contacts(draw_signal(0), 0, noise=0.0))
    (folder / "genes.bed").write_text("chr1\t2400000\t2450000\tALPHA\t0\t+\nchr2\t5\t50\tBETA\t0\t-\n")
    return path


@pytest.fixture(scope="module")
def view(store) -> StoreView:
    return StoreView(store, store.parent / "genes.bed")


@pytest.fixture(scope="module")
def port(view) -> Iterator[int]:
    with open_server(view, view.start(cell_types=["A"], runs=["first"])) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def get(port, path, parameters=None, *, method="GET", host=None):
    """Status, headers and body of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    address = path + (f"?{urlencode(parameters, doseq=True)}" if parameters else "")
    connection.request(method, address, headers={} if host is None else {"Host": host})
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return reply.status, reply.headers, body


def stored_stripes(store, variable, chrom, *, prediction=False):
    """Stripes of a chromosome, taken with xarray from what the store opens as."""
    if prediction:
        array = ez.open_prediction(store, "A", "first", BINSIZE)["contact"]
    else:
        array = ez.open_contacts(store, "A", BINSIZE)[variable]
    band = ez.select(array, chrom).values.astype(np.float32)
    return gather_stripes(band, 0, len(band), N_DIAGONALS)


@settings(max_examples=40)
@given(st.sampled_from(["chr1", "chr2", "chr3"]), st.integers(0, 8).map(lambda z: 2**z), st.data())
def test_map_tile__is_the_mean_of_the_stores_stripes(store, view, chrom, factor, data):
    first, last = GRID.chrom_extent(chrom)
    tile = data.draw(st.integers(0, (last - first - 1) // (TILE_RUNS * factor)))
    variable = data.draw(st.sampled_from(["ice", "count"]))
    tile_values = view.map_tile(f"A/contacts/1000/{variable}", chrom, factor, tile)
    lo = tile * TILE_RUNS * factor
    stripes = stored_stripes(store, variable, chrom)[lo : lo + TILE_RUNS * factor].astype(np.float64)
    n_runs = -(-len(stripes) // factor)
    padded = np.full((n_runs * factor, N_DIAGONALS), np.nan)
    padded[: len(stripes)] = stripes
    runs = padded.reshape(n_runs, factor, N_DIAGONALS)
    known = (~np.isnan(runs)).sum(axis=1)
    wanted = np.where(known > 0, np.nansum(runs, axis=1) / np.maximum(known, 1), np.nan)
    assert tile_values.shape == wanted.shape
    np.testing.assert_allclose(tile_values, wanted, rtol=1e-6)
    if factor == 1:
        np.testing.assert_array_equal(tile_values, stripes.astype(np.float32))


def test_map_tile__a_prediction_hides_what_it_was_not_trained_on(store, view):
    tile = view.map_tile(RUN, "chr1", 1, 0)
    wanted = stored_stripes(store, "contact", "chr1", prediction=True)[:TILE_RUNS]
    assert np.isnan(tile[:, 0]).all()
    assert not np.isnan(wanted[:, 0]).any()
    np.testing.assert_array_equal(tile[:, 1:], wanted[:, 1:])


@pytest.mark.parametrize("factor", [1, 3, 64, 4096])
def test_signal_tile__is_the_mean_of_what_was_measured(store, view, factor):
    signal = ez.select(ez.open_tracks(store, "A")["signal"].sel(track="CTCF"), "chr1").values
    tile = min(3, (len(signal) - 1) // (TILE_RUNS * factor))
    values = view.signal_tile(CTCF, "chr1", factor, tile)
    part = signal[tile * TILE_RUNS * factor :][: TILE_RUNS * factor].astype(np.float64)
    for run, value in enumerate(values):
        known = part[run * factor : (run + 1) * factor]
        known = known[~np.isnan(known)]
        np.testing.assert_allclose(value, known.mean() if len(known) else np.nan, rtol=1e-6)


def test_read_stripes__small_reads_give_the_same(view, monkeypatch):
    source, lo, hi = view.map_source(ICE), 130, 2_777
    whole = read_stripes(view.place, source, GRID, "chr1", lo, hi, 5)
    monkeypatch.setattr("epizarr.view.pixels.BLOCK_VALUES", 7 * 5 * N_DIAGONALS)
    np.testing.assert_array_equal(read_stripes(view.place, source, GRID, "chr1", lo, hi, 5), whole)


def test_expected__is_the_mean_of_each_diagonal(store, view):
    band = ez.select(ez.open_contacts(store, "A", BINSIZE)["ice"], "chr2").values.astype(np.float64)
    np.testing.assert_allclose(view.expected(ICE, "chr2"), np.nanmean(band, axis=0), rtol=1e-6)


def test_byte_cache__keeps_what_was_used_last():
    made = []

    def make(key):
        made.append(key)
        return np.zeros(10, np.uint8)

    cache = ByteCache(25)
    for key in ("a", "b", "a", "c", "a", "b"):
        cache.get(key, lambda key=key: make(key))
    assert made == ["a", "b", "c", "b"]
    assert cache.n_bytes == 20


def test_server__tiles_carry_their_shape_and_the_stores_values(port, view):
    status, headers, body = get(port, "/api/map", {"map": ICE, "chrom": "chr1", "factor": 4, "tile": 2})
    shape = [int(n) for n in headers["X-Shape"].split(",")]
    wanted = view.map_tile(ICE, "chr1", 4, 2)
    assert status == 200
    np.testing.assert_array_equal(np.frombuffer(body, "<f4").reshape(shape), wanted)


def test_server__reads_regions_as_the_library_does(port):
    for text in ("chr1:1,000,000-3,000,000", " chr2 ", "chr1:500-"):
        status, _, body = get(port, "/api/region", {"text": text})
        assert status == 200
        assert json.loads(body) == ASSEMBLY.region(text)._asdict()
    for text in ("chr9", "chr1:9-5", "chr1:1-99,000,000", "gibberish:x-y"):
        status, _, body = get(port, "/api/region", {"text": text})
        assert status == 400
        with pytest.raises(ez.EpizarrError) as error:
            ASSEMBLY.region(text)
        assert json.loads(body)["error"] == str(error.value)


@pytest.mark.parametrize(
    ("path", "parameters", "status"),
    [
        ("/api/map", {}, 400),
        ("/api/map", {"map": "../../etc/passwd", "chrom": "chr1", "factor": 1, "tile": 0}, 400),
        ("/api/map", {"map": "A/contacts/1000/bad_bin", "chrom": "chr1", "factor": 1, "tile": 0}, 400),
        ("/api/map", {"map": ICE, "chrom": "chr9", "factor": 1, "tile": 0}, 400),
        ("/api/map", {"map": ICE, "chrom": "chr1", "factor": 0, "tile": 0}, 400),
        ("/api/map", {"map": ICE, "chrom": "chr1", "factor": -1, "tile": 0}, 400),
        ("/api/map", {"map": ICE, "chrom": "chr1", "factor": "9" * 30, "tile": 0}, 400),
        ("/api/map", {"map": ICE, "chrom": "chr1", "factor": 1, "tile": 999}, 400),
        ("/api/signal", {"track": "A/tracks/100/none", "chrom": "chr1", "factor": 1, "tile": 0}, 400),
        ("/api/genes", {"chrom": "chr9"}, 400),
        ("/download.csv", {"map": ICE, "region": "chr9"}, 400),
        ("/download.png", {"map": ICE, "region": "chr1:0-100,000", "second": "none"}, 400),
        ("/nowhere", {}, 404),
        ("/../pyproject.toml", {}, 404),
        ("/%2e%2e/%2e%2e/etc/passwd", {}, 404),
        ("/static/../server.py", {}, 404),
        ("/zarr.json", {}, 404),
    ],
)
def test_server__refuses_with_a_reason(port, path, parameters, status):
    found, headers, body = get(port, path, parameters)
    assert found == status
    assert headers["Content-Type"] == "application/json"
    assert len(json.loads(body)["error"]) > 10


def test_server__answers_to_this_machines_names_only(port):
    assert get(port, "/", host="evil.example")[0] == 403
    assert get(port, "/", host=f"evil.example:{port}")[0] == 403
    assert get(port, "/", host=f"localhost:{port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_server__is_read_only(port, method):
    assert get(port, "/api/store", method=method)[0] == 501


def test_server__serves_its_own_page_and_nothing_from_elsewhere(port):
    for path, (name, kind) in _ASSETS.items():
        status, headers, body = get(port, path)
        assert (status, headers["Content-Type"]) == (200, kind), name
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert b"http://" not in body.replace(b"http://www.w3.org", b"")
        assert b"https://" not in body
    assert get(port, "/", method="HEAD")[2] == b""


def test_server__a_taken_port_is_named(port, view):
    with pytest.raises(StoreError, match=f"port {port} of this machine cannot be used"):
        open_server(view, view.start(), port)


def test_server__table_has_the_stores_pixels(store, port):
    _, headers, body = get(port, "/download.csv", {"map": ICE, "region": "chr1:1,000,000-1,030,000"})
    table = pd.read_csv(io.BytesIO(body))
    band = ez.select(ez.open_contacts(store, "A", BINSIZE)["ice"], "chr1").values
    i = table["start1"].to_numpy() // BINSIZE
    k = table["start2"].to_numpy() // BINSIZE - i
    np.testing.assert_allclose(table["ice"], band[i, k], rtol=1e-6)
    inside = sum((~np.isnan(band[row, : min(N_DIAGONALS, 1_030 - row)])).sum() for row in range(1_000, 1_030))
    assert len(table) == inside
    assert (table["end1"] - table["start1"] == BINSIZE).all()
    assert headers["Content-Disposition"] == 'attachment; filename="chr1-1000000-1030000.csv"'


def test_server__picture_of_two_maps_and_their_difference(port):
    asked = {"map": ICE, "second": RUN, "region": "chr1:1,000,000-1,100,000", "difference": "1", "track": [CTCF]}
    status, headers, body = get(port, "/download.png", asked)
    assert (status, headers["Content-Type"], body[:4]) == (200, "image/png", b"\x89PNG")


def test_store_view__a_picture_is_refused_as_the_figure_is(tmp_path):
    path = write_store(tmp_path / "scores.zarr")
    write_prediction(path, "A", "scores", draw_contacts(draw_signal(0), 0), target="akita")
    view, scores = StoreView(path), RUN.replace("first", "scores")
    region = ASSEMBLY.region("chr1:1,000,000-1,100,000")
    with pytest.raises(FigureError, match="different quantities"):
        view.picture(ICE, scores, region, [], oe=False, difference=True)
    assert view.picture(ICE, scores, region, [], oe=False, difference=False).startswith(b"\x89PNG")


def test_store_view__starts_where_there_are_values(view):
    region = view.first_region(view.map_source(ICE))
    assert region.chrom == "chr1"
    assert region.start == 0  # the whole chromosome is shorter than the first window
    assert region.end == ASSEMBLY.length("chr1")


def test_view_command__says_what_is_missing(tmp_path, capsys):
    assert run_command(["view", str(tmp_path / "no.zarr"), "--no-browser"]) == 1
    empty = write_store(tmp_path / "tracks.zarr", with_contacts=())
    assert run_command(["view", str(empty), "--no-browser"]) == 1
    assert "no finished contacts or predictions to show" in capsys.readouterr().err


def pixels_of(png: bytes) -> np.ndarray:
    from matplotlib.image import imread

    return np.round(imread(io.BytesIO(png), format="png")[..., :3] * 255).astype(int)


@pytest.mark.parametrize("size", [(1400, 900), (800, 600)])
def test_page__draws_maps_and_tracks_without_complaints(store, port, tmp_path, size):
    find_browser()
    with open_page(tmp_path / "profile") as page:
        page.resize(*size)
        page.open(f"http://127.0.0.1:{port}/")
        page.wait_for("document.body.dataset.state === 'drawn'")
        assert int(page.ask("document.body.dataset.known")) > 10_000
        seen = pixels_of(page.screenshot())
        assert seen.shape == (size[1], size[0], 3)
        # Shades of the maps' colours, and the first track's: not an empty page.
        assert len(np.unique(seen.reshape(-1, 3), axis=0)) > 100
        assert (np.abs(seen - [0x00, 0x72, 0xB2]).sum(axis=2) < 12).sum() > 50

        # Region box, keys and controls do what they say.
        page.ask("document.getElementById('region').value = 'chr1:1,000,000-2,000,000'")
        page.ask("document.getElementById('go').requestSubmit()")
        page.wait_for("location.hash.includes('1%2C000%2C000-2%2C000%2C000')")
        page.press("+")
        page.wait_for("document.getElementById('region').value === 'chr1:1,250,000-1,750,000'")
        page.press("ArrowRight")
        page.wait_for("document.getElementById('region').value === 'chr1:1,350,000-1,850,000'")
        page.mouse("mousePressed", size[0] / 2, 400, button="left", clickCount=1)
        page.mouse("mouseMoved", size[0] / 2 + 40, 400, button="left", buttons=1)
        page.mouse("mouseReleased", size[0] / 2 + 40, 400, button="left", clickCount=1)
        page.wait_for("!document.getElementById('region').value.startsWith('chr1:1,350,000')")
        page.ask("document.getElementById('difference').click()")
        page.wait_for("document.body.dataset.state === 'drawn'")
        page.ask("document.querySelector('#mode').value = 'oe'; document.querySelector('#mode').onchange()")
        page.wait_for("document.body.dataset.state === 'drawn'")
        assert page.ask("document.querySelectorAll('.legend').length") == 2

        # Hovering reads the store's value.
        box = page.ask("(b => [b.left, b.top, b.width])(document.getElementById('stage').getBoundingClientRect())")
        page.mouse("mouseMoved", box[0] + box[2] / 2, box[1] + 60)
        page.wait_for("!document.getElementById('tip').hidden")
        said = page.ask("document.getElementById('tip').textContent").splitlines()
        assert said[0].startswith("observed / expected: ")
        region = ASSEMBLY.region(said[1])
        i, k = region.start // BINSIZE, (ASSEMBLY.region(said[2]).start - region.start) // BINSIZE
        band = ez.select(ez.open_contacts(store, "A", BINSIZE)["ice"], "chr1").values
        wanted = band[i, k] / np.nanmean(band[:, k])
        assert math.isclose(float(said[0].split(": ")[1]), wanted, rel_tol=1e-3)
        assert page.complaints == []

        # An error is said, and goes away.
        page.ask("document.getElementById('region').value = 'chr7'")
        page.ask("document.getElementById('go').requestSubmit()")
        page.wait_for("!document.getElementById('banner').hidden")
        assert "chr7" in page.ask("document.getElementById('banner').textContent")
        page.press("Escape")
        page.wait_for("document.getElementById('banner').hidden")
        assert all(address.startswith((f"http://127.0.0.1:{port}/", "data:")) for address in page.requested)
