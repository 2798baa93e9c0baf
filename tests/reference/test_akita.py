"""Akita's target against the output of ``akita_data_read.py``, stage by stage; refs/akita_preproc says how it was made."""

import os
from pathlib import Path

import numpy as np
import pytest

from epizarr.normalize import akita

pytestmark = pytest.mark.reference

DEFAULT = Path(__file__).resolve().parents[2] / ".." / "shared"
FOLDER = Path(os.environ.get("EPIZARR_SHARED", DEFAULT)) / "refs" / "akita_preproc"
#: Names of the windows; one that cannot be there where the folder is absent, so that the tests are seen to be skipped.
TAGS = sorted(p.name.removesuffix("_input.npz") for p in FOLDER.glob("*_input.npz")) or ["absent"]

VARIANTS = {
    "obsexp_log_clip2_k0": akita.AkitaParameters(),
    "obsexp_log_clip2_k1": akita.AkitaParameters(smoothing_sd_bins=1),
    "obsexp_nolog_clip5_k1": akita.AkitaParameters(log=False, clip=5.0, smoothing_sd_bins=1),
    "balanced_k1": akita.AkitaParameters(as_obsexp=False, log=False, clip=None, smoothing_sd_bins=1),
}


@pytest.fixture(params=TAGS)
def window(request, shared):
    """Input and stages of one window: two dicts of arrays."""
    folder = shared / "refs" / "akita_preproc"
    with np.load(folder / f"{request.param}_input.npz") as file:
        given = dict(file)
    with np.load(folder / f"{request.param}_stages_float64.npz") as file:
        return given, dict(file)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-9)


def test_clip_contacts__equals_the_original(window):
    given, stages = window
    clipped, median = akita.clip_contacts(given["balanced"])
    close(median, stages["clipval"])
    close(clipped, stages["clipped"])


def test_coarsegrain__equals_the_original(window):
    given, stages = window
    close(akita.coarsegrain(stages["clipped"], given["raw"]), stages["coarse"])


def test_obs_over_exp__equals_the_original(window):
    _, stages = window
    found = akita.obs_over_exp(stages["coarse"])
    np.testing.assert_array_equal(found.edges, stages["dist_bins"])
    np.testing.assert_array_equal(found.number, stages["n_pixels"])
    close(found.total, stages["sum_pixels"])
    close(found.square, stages["oe"])


def test_log_and_clip__equals_the_original(window):
    _, stages = window
    close(akita.log_and_clip(stages["oe"]), stages["log_clip2"])


def test_interpolate_missing__equals_the_original(window):
    _, stages = window
    found = akita.interpolate_missing(stages["log_clip2"])
    akita.set_near_diagonals(found, 0.0, 2)
    close(found, stages["interp"])


def test_smooth__equals_the_original(window):
    _, stages = window
    kernel = akita.gaussian_kernel(1)
    close(np.outer(kernel, kernel), stages["kernel"])
    close(akita.smooth(stages["interp"], 1), stages["final_k1"])


def test_akita_square__equals_the_original_from_end_to_end(window):
    given, stages = window
    close(akita.akita_square(given["raw"], given["balanced"]), stages["interp"])
    close(akita.akita_square(given["raw"], given["balanced"], VARIANTS["obsexp_log_clip2_k1"]), stages["final_k1"])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("tag", TAGS)
def test_akita_square__gives_the_originals_float16_targets(shared, tag, variant):
    folder = shared / "refs" / "akita_preproc"
    with np.load(folder / f"{tag}_input.npz") as file:
        square = akita.akita_square(file["raw"], file["balanced"], VARIANTS[variant])
    with np.load(folder / f"{tag}_{variant}_targets_f16.npz") as file:
        wanted = file["targets"]
    np.testing.assert_array_equal(square[np.triu_indices(len(square), 2)].astype(np.float16), wanted)
