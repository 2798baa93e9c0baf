"""A window read backwards is the window of the mirrored genome, and stranded tracks find their partners."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from epizarr.bands import mirror_band
from epizarr.errors import ConfigError
from epizarr.genome import Assembly
from epizarr.strands import strand_partners
from epizarr.train.reader import ExampleReader, Geometry, Stretch
from epizarr.train.sources import Source
from epizarr.transforms import Transform
from epizarr.windows import Segment

STRIDE, HALO, K, N_BINS = 10, 35, 8, 12
N = 90  # bins of the chromosome
PARTNERS = (0, 2, 1)
LINEAR = Transform("linear", ())


def source_of(signal: np.ndarray, band: np.ndarray, bad: np.ndarray) -> Source:
    assembly = Assembly.from_table("toy", [("chr1", N * 1000)])
    return Source(
        cell_type="A",
        grid=assembly.bins(1000),
        track_grid=assembly.bins(100),
        signal=tuple(xr.DataArray(da.from_array(s), dims="bin") for s in signal),
        blacklisted=xr.DataArray(da.zeros(N * STRIDE, dtype=bool), dims="bin"),
        band=xr.DataArray(da.from_array(band), dims=("bin", "diagonal")),
        bad_bin=bad,
        inputs={},
    )


def reader_of(source: Source, segment: Segment, mask_channels: bool) -> ExampleReader:
    geometry = Geometry(N_BINS, K, STRIDE, HALO, 1, mask_channels)
    stretches = [Stretch(0, segment, True)]
    options = {"partners": PARTNERS, "cache_bytes": 2**24, "read_threads": 1}
    return ExampleReader([source], stretches, geometry, LINEAR, [[LINEAR] * 3], **options)


def cut(reader: ExampleReader, start: int, *, mirrored: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    geometry = reader.geometry
    signal = np.full((reader.n_channels, geometry.n_track_bins), -1, dtype=np.float32)
    target = np.full((N_BINS, K), -1, dtype=np.float32)
    valid = np.zeros(target.shape, dtype=bool)
    pieces = reader.request(reader.keys(0, start, start + N_BINS))
    (reader.cut_mirrored if mirrored else reader.cut)(0, start, pieces, signal, target, valid)
    return signal, target, valid


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**31),
    st.integers(0, 20),
    st.integers(60, N),
    st.integers(-N_BINS + 1, N - 1),
    st.booleans(),
)
def test_cut_mirrored__is_the_window_of_the_mirrored_genome(seed, lo, hi, start, mask_channels):
    start = int(np.clip(start, lo - N_BINS + 1, hi - 1))
    rng = np.random.default_rng(seed)
    signal = rng.gamma(1.0, 1.0, (3, N * STRIDE)).astype(np.float32)
    signal[rng.random(signal.shape) < 0.1] = np.nan
    band = rng.gamma(1.0, 1.0, (N, K)).astype(np.float32)
    band[np.arange(N)[:, None] + np.arange(K) >= N] = np.nan
    bad = rng.random(N) < 0.1
    forward = reader_of(source_of(signal, band, bad), Segment("chr1", lo, hi, N), mask_channels)
    mirrored_signal = signal[list(PARTNERS), ::-1]
    backward = reader_of(
        source_of(mirrored_signal, mirror_band(band), bad[::-1]), Segment("chr1", N - hi, N - lo, N), mask_channels
    )
    found = cut(forward, start, mirrored=True)
    wanted = cut(backward, N - start - N_BINS, mirrored=False)
    for reader in (forward, backward):
        reader.close()
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_cut_mirrored__needs_partners():
    source = source_of(np.zeros((3, N * STRIDE), np.float32), np.ones((N, K), np.float32), np.zeros(N, bool))
    reader = reader_of(source, Segment("chr1", 0, N, N), False)
    reader.partners = None
    with pytest.raises(ValueError, match="forwards only"):
        cut(reader, 0, mirrored=True)
    reader.close()


@pytest.mark.parametrize(
    ("names", "strands", "partners"),
    [
        (["RNA-plus", "CTCF", "RNA-minus"], "+.-", (2, 1, 0)),
        (["a.fwd", "b+", "b-", "a.rev"], "++--", (3, 2, 1, 0)),
        (["Motif.Minus", "Motif.Plus"], "-+", (1, 0)),
        (["CTCF"], ".", (0,)),
        # The word for the strand is not the only one of its letters in the name.
        (["pos2-pos", "pos2-neg"], "+-", (1, 0)),
    ],
)
def test_strand_partners__are_found_by_name(names, strands, partners):
    assert strand_partners(names, list(strands)) == partners


@pytest.mark.parametrize(
    ("names", "strands"), [(["RNA-plus"], "+"), (["RNA-plus", "RNA-minus"], "+."), (["x-plus", "y-minus"], "+-")]
)
def test_strand_partners__refuses_a_track_without_partner(names, strands):
    with pytest.raises(ConfigError, match="no partner on the other strand"):
        strand_partners(names, list(strands))
