"""Attributions of a small network: against finite differences, complete, local, the same again; and their group in a store."""

import json

import numpy as np
import pytest
import torch

from epizarr.attribute import attribute_contacts, attribution_task_bytes
from epizarr.attribute.function import TargetFunction, Tiling
from epizarr.attribute.methods import attribute, check_method
from epizarr.attribute.targets import parse_target
from epizarr.errors import AttributionError, MemoryBoundError, StoreError
from epizarr.io.store import open_attribution, open_prediction
from epizarr.nn import NetworkConfig, differentiable
from epizarr.predict import predict_contacts
from epizarr.train.checkpoint import load_checkpoint
from tests._runs import (
    ASSEMBLY,
    BINSIZE,
    MIN_DIAGONAL,
    N_DIAGONALS,
    TRACK_BINSIZE,
    blacklist,
    draw_signal,
    write_checkpoint,
    write_store,
)

GRID = ASSEMBLY.bins(BINSIZE)
TEXTS = {
    "pixel": "pixel:chr1:2,000,000-2,006,000",
    "stripe": "stripe:chr1:2,000,000-2,003,000",
    "rectangle": "rectangle:chr1:2,000,000-2,004,000:chr1:2,006,000-2,009,000",
    "boundary": "boundary:chr1:2,000,000-2,001,000",
    "at the end": "stripe:chr1:4,695,000-4,700,450",
}
RUN = {"cell_type": "B", "tile_bins": 40, "overlap_bins": 10}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attribute")
    return write_store(folder / "s.zarr", with_contacts=()), write_checkpoint(folder / "run")


@pytest.fixture(scope="module")
def card(made):
    return load_checkpoint(made[1])


def function_of(card, text, dtype=torch.float64, tile_bins=40):
    """The target of cell type B's chr1, with its raw tracks."""
    target = parse_target(text, GRID, N_DIAGONALS, MIN_DIAGONAL)
    n_chrom = GRID.chrom_extent("chr1")[1]
    tiling = Tiling.of(n_chrom, target.lo, target.hi, tile_bins, tile_bins // 4)
    model = card.model().to(dtype)
    lo, hi = tiling.track_bins(model)
    fine = ASSEMBLY.bins(TRACK_BINSIZE).chrom_extent("chr1")[1]
    signal = draw_signal(1)[:, :fine].astype(np.float64)
    padded = np.full((2, hi - lo), np.nan)
    listed = np.zeros(hi - lo, dtype=bool)
    a, b = max(lo, 0), min(hi, fine)
    padded[:, a - lo : b - lo] = signal[:, a:b]
    listed[a - lo : b - lo] = blacklist()[a:b]
    transforms = tuple(card.track_transforms[name] for name in card.tracks)
    raw = padded.astype(np.float64 if dtype == torch.float64 else np.float32)
    return TargetFunction(model, target, tiling, raw, listed, transforms, card.target_transform, 8), raw


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_saliency__is_the_derivative_in_raw_signal(card, text):
    function, raw = function_of(card, text)
    found = attribute(function, raw, np.zeros_like(raw), "saliency").attribution
    known = np.flatnonzero(~np.isnan(found[0]))
    largest = known[np.argsort(-np.abs(found[0][known]))[:3]]
    step = 1e-4  # the network is fed float32
    for place in [*largest, known[0]]:
        values = []
        for sign in (1, -1):
            moved = raw.copy()
            moved[0, place] += sign * step
            values.append(function.value(function.tensor(moved)))
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(found[0, place]), rel=1e-2, abs=1e-7)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_integrated_gradients__add_up_to_the_difference(card, text):
    function, raw = function_of(card, text, torch.float32)
    baseline = np.full_like(raw, 0.3)
    found = attribute(function, raw, baseline, "integrated-gradients")
    explained = found.value - found.baseline_value
    assert explained == pytest.approx(function.value(function.tensor(raw)) - function.value(function.tensor(baseline)))
    total, size = float(np.nansum(found.attribution, dtype=np.float64)), float(np.nansum(np.abs(found.attribution)))
    assert total == pytest.approx(explained, rel=0.01, abs=0.001 * size)
    assert total - explained == pytest.approx(found.completeness_error, abs=1e-6)


def test_gradient_shap__is_complete_on_average_and_the_same_again(card):
    function, raw = function_of(card, TEXTS["stripe"], torch.float32)
    found = [attribute(function, raw, np.zeros_like(raw), "gradient-shap") for _ in range(2)]
    np.testing.assert_array_equal(found[0].attribution, found[1].attribution)
    explained = found[0].value - found[0].baseline_value
    assert float(np.nansum(found[0].attribution)) == pytest.approx(explained, rel=0.5)


def test_attribution__is_missing_where_the_network_sees_nothing_and_reaches_through_the_tile(card):
    function, raw = function_of(card, "pixel:chr1:1,999,000-2,003,000", torch.float64)
    found = attribute(function, raw, np.zeros_like(raw), "saliency").attribution
    np.testing.assert_array_equal(np.isnan(found), function.missing)
    halo = function.model.config.halo
    own = slice(
        (function.target.lo - function.tiling.first) * 10, (function.target.hi - function.tiling.first) * 10 + 2 * halo
    )
    beyond = np.nan_to_num(found).copy()
    beyond[:, own] = 0
    assert np.abs(beyond).max() > 0  # through the LSTM


def test_target__is_the_mean_of_the_predicted_pixels(made, card, tmp_path):
    store, checkpoint = made
    predict_contacts(store, checkpoint, run="p", regions=["chr1"], out=tmp_path / "p.zarr", **RUN)
    band = open_prediction(tmp_path / "p.zarr", "B", "p", BINSIZE)["contact"].values
    function, raw = function_of(card, TEXTS["rectangle"], torch.float32)
    i, j = np.meshgrid(np.arange(2000, 2004), np.arange(2006, 2009), indexing="ij")
    scaled = card.target_transform.apply(band)[i, j - i]
    assert function.value(function.tensor(raw)) == pytest.approx(scaled.mean(), rel=1e-4)
    function, raw = function_of(card, TEXTS["boundary"], torch.float32)
    i, j = np.meshgrid(np.arange(1995, 2001), np.arange(2000, 2006), indexing="ij")
    linear = band[i, j - i][(j - i >= MIN_DIAGONAL) & (j - i < N_DIAGONALS)]
    assert function.value(function.tensor(raw)) == pytest.approx(float(np.log2(linear.mean())), rel=1e-4)


def test_attribute_contacts__writes_a_group_and_resumes(made, tmp_path):
    store, checkpoint = made
    call = {"targets": [TEXTS["boundary"], "pixel:chr2:0-5,000"], "out": tmp_path / "o.zarr", **RUN}
    group = attribute_contacts(store, checkpoint, report=tmp_path / "figures", **call)
    assert group == f"B/attributions/run/{TRACK_BINSIZE}"
    ds = open_attribution(tmp_path / "o.zarr", "B", "run").load()
    explained = ds["value"] - ds["baseline_value"]
    np.testing.assert_allclose(
        ds["attribution"].sum(("track", "bin")), explained + ds["completeness_error"], rtol=1e-4, atol=1e-6
    )
    first, end = ASSEMBLY.bins(TRACK_BINSIZE).chrom_extent("chr2")
    on_chr2 = ds["attribution"].isel(target=1, track=0).values
    assert np.isnan(on_chr2[:first]).all()
    assert np.isnan(on_chr2[end:]).all()
    assert not np.isnan(on_chr2[first : first + 100]).any()
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {f"attribution-{i:03d}.png" for i in range(2)}
    assert attribute_contacts(store, checkpoint, **call) == group
    with pytest.raises(StoreError, match="another targets"):
        attribute_contacts(store, checkpoint, **call | {"targets": [TEXTS["pixel"]]})


def test_attribute_contacts__against_another_cell_type_adds_up_to_their_difference(made, tmp_path):
    store, checkpoint = made
    values = {}
    for cell_type, baseline in (("B", "A"), ("A", "zero")):
        out = tmp_path / f"{cell_type}.zarr"
        call = RUN | {"cell_type": cell_type}
        attribute_contacts(store, checkpoint, targets=[TEXTS["boundary"]], baseline=baseline, out=out, **call)
        values[cell_type] = open_attribution(out, cell_type, "run").load()
    assert float(values["B"]["baseline_value"][0]) == pytest.approx(float(values["A"]["value"][0]), rel=1e-5)
    assert json.loads(values["A"].attrs["method"])["method"] == "integrated-gradients"


def test_attribute_contacts__refuses(made, tmp_path):
    store, checkpoint = made
    call = {"out": tmp_path / "o.zarr", **RUN}
    for targets, said in (
        ([], "at least one target"),
        (["pixl:chr1:1-2"], "Did you mean 'pixel'"),
        (["pixel:chr1"], "one region"),
        (["rectangle:chr1:0-10:chr2:0-10"], "one chromosome"),
        (["pixel:chr1:0-900,000"], "no pixel"),
        (["pixel:chr9:0-10"], "chr9"),
    ):
        with pytest.raises(AttributionError, match=said):
            attribute_contacts(store, checkpoint, targets=targets, **call)
    with pytest.raises(AttributionError, match="LSTM's gates"):
        attribute_contacts(store, checkpoint, targets=[TEXTS["pixel"]], method="deeplift-shap", **call)
    bound = attribution_task_bytes(load_checkpoint(checkpoint).network, n_tiles=1, tile_bins=40)
    with pytest.raises(MemoryBoundError, match="for the gradient"):
        attribute_contacts(store, checkpoint, targets=[TEXTS["pixel"]], max_task_bytes=bound // 4, **call)


@pytest.mark.parametrize("core", ["conv", "dilated", "transformer"])
def test_check_method__says_why_deeplift_is_refused(core):
    with pytest.raises(AttributionError, match="not valid here"):
        check_method("deeplift-shap", NetworkConfig(core=core, hidden=16, n_layers=1))
    check_method("saliency", NetworkConfig(core=core, hidden=16, n_layers=1))


def test_differentiable__switches_cudnn_off_and_leaves_the_network_as_it_was(card):
    model = card.model().train()
    with differentiable(model):
        assert not torch.backends.cudnn.enabled
        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.backends.cudnn.enabled
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
