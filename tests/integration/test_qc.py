"""The quality of a store: nothing stands out in a clean one, and each injected fault gives its sentence."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from epizarr import __version__
from epizarr.bands import balance_band, band_on_chromosome
from epizarr.errors import StoreNotFoundError
from epizarr.genome import Assembly, BinGrid
from epizarr.ingest.masks import good_diagonal_sums
from epizarr.ingest.qc import StoreQuality, assess_store
from epizarr.ingest.qc_page import write_quality_page
from epizarr.io.store import (
    TRACK_CHUNK,
    TRACK_SHARD,
    ArraySpec,
    create_group,
    create_store,
    finish_group,
    grid_coords,
    write_region,
)
from epizarr.transforms import mean_of_sums
from tests import _runs

ASSEMBLY = Assembly.from_table("toy", [("chr1", 4_000_000), ("chr2", 2_000_050)])
FINE, GRID = ASSEMBLY.bins(100), ASSEMBLY.bins(10_000)
K, MIN_DIAGONAL = 30, 1
TRACKS, CONTACTS = "X/tracks/100", "X/contacts/10000"
CHR2 = slice(FINE.chrom_extent("chr2")[0], None)
CHR2_BINS = slice(GRID.chrom_extent("chr2")[0], None)
GAP = slice(200, 220)


@dataclass
class Inputs:
    """What a store is made of; tests spoil one thing."""

    names: list[str] = field(default_factory=lambda: ["CTCF", "DNase", "H3K27ac"])
    signal: np.ndarray = field(default_factory=lambda: np.zeros(0))
    blacklisted: np.ndarray = field(default_factory=lambda: np.zeros(FINE.n_bins, dtype=bool))
    count: np.ndarray = field(default_factory=lambda: np.zeros(0))
    weight: np.ndarray = field(default_factory=lambda: np.zeros(0))
    bad: np.ndarray = field(default_factory=lambda: np.zeros(GRID.n_bins, dtype=bool))


def clean_inputs() -> Inputs:
    """Peaks over a background; counts that fall with distance and differ by a bias that the weights take back; one gap."""
    rng = np.random.default_rng(0)
    inputs = Inputs()
    shape = (len(inputs.names), FINE.n_bins)
    inputs.signal = (rng.gamma(2.0, 0.3, shape) + 20 * (rng.random(shape) < 0.005)).astype(np.float32)
    inputs.signal[:, GAP.start * 100 : GAP.stop * 100] = np.nan
    inputs.bad[GAP] = True
    bias = rng.uniform(0.6, 1.6, GRID.n_bins)
    bias[GAP] = 0
    second = np.lib.stride_tricks.sliding_window_view(np.append(bias, np.zeros(K - 1)), K)
    count = rng.poisson(500 / (1.0 + np.arange(K)) * bias[:, None] * second).astype(np.float32)
    inputs.count = np.where(band_on_chromosome(GRID, 0, GRID.n_bins, K), count, np.nan)
    with np.errstate(divide="ignore"):
        inputs.weight = np.where(inputs.bad, np.nan, 0.01 / bias)
    return inputs


def write_store(path: Path, inputs: Inputs) -> Path:
    create_store(path, ASSEMBLY)
    entry = {"name": "n", "kind": "track", "uri": "n.bw", "sha256": "0", "size": 1, "origin": "test"}
    attrs = {"epizarr_version": __version__, "manifest": "schema = 1", "inputs": json.dumps([entry])}
    n = len(inputs.names)
    signal = ArraySpec(("track", "bin"), (n, FINE.n_bins), "f4", (1, TRACK_CHUNK), (1, TRACK_SHARD))
    text = {
        name: np.array(values, dtype=object)
        for name, values in (("track", inputs.names), ("accession", [""] * n), ("strand", ["."] * n))
    }
    write_group(
        path,
        TRACKS,
        grid_coords(FINE, bin_table=False) | text,
        {"signal": inputs.signal, "blacklisted": inputs.blacklisted},
        {"signal": signal, "blacklisted": ArraySpec(("bin",), (FINE.n_bins,), "b1")},
        {**attrs, "binsize": 100},
    )
    bands = {"count": inputs.count, "ice": balance_genome(GRID, inputs)}
    tables: dict[str, np.ndarray] = {}
    for name, band in bands.items():
        sums = [diagonal_sums_of(inputs, band, lo, hi) for _, lo, hi in GRID.extents()]
        total, number = (np.stack(part) for part in zip(*sums, strict=True))
        tables |= {f"expected_{name}": mean_of_sums(total, number), f"n_valid_{name}": number}
    values = {**bands, **tables, "weight_ice": inputs.weight, "bad_bin": inputs.bad}
    dims = {2: ("bin", "diagonal"), 1: ("bin",)}
    specs = {
        name: ArraySpec(
            ("chroms", "diagonal") if name in tables else dims[v.ndim],
            v.shape,
            "f4" if name in bands else v.dtype.str[1:],
        )
        for name, v in values.items()
    }
    extra = {
        "binsize": GRID.binsize,
        "span_bp": K * GRID.binsize,
        "ignore_diags": json.dumps({"ice": MIN_DIAGONAL}),
        "min_diagonal": MIN_DIAGONAL,
        "bad_bin_rule": "test",
    }
    write_group(path, CONTACTS, grid_coords(GRID, K), values, specs, {**attrs, **extra})
    return path


def write_group(path, group, coords, values, specs, attrs) -> None:
    create_group(path, group, group.split("/")[1], coords=coords, arrays=specs, attrs=attrs)
    for name, value in values.items():
        if name == "signal":
            for row in range(len(value)):
                write_region(path, group, name, {"track": slice(row, row + 1)}, value[row : row + 1])
        else:
            write_region(path, group, name, {}, value)
    finish_group(path, group)


def balance_genome(grid: BinGrid, inputs: Inputs) -> np.ndarray:
    padded = np.append(inputs.weight, np.full(K - 1, np.nan))
    return balance_band(inputs.count, padded, MIN_DIAGONAL).astype(np.float32)


def diagonal_sums_of(inputs: Inputs, band: np.ndarray, lo: int, hi: int) -> tuple[np.ndarray, np.ndarray]:
    good = np.append(~inputs.bad[lo:hi], np.zeros(K - 1, dtype=bool))
    return good_diagonal_sums(band[lo:hi], good, MIN_DIAGONAL)


@pytest.fixture
def quality_of(tmp_path) -> Callable[[Callable[[Inputs], None]], StoreQuality]:
    """Measure a store whose inputs were spoilt."""

    def measure(spoil: Callable[[Inputs], None]) -> StoreQuality:
        inputs = clean_inputs()
        spoil(inputs)
        return assess_store(write_store(tmp_path / "s.zarr", inputs), n_threads=1)

    return measure


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> StoreQuality:
    return assess_store(write_store(tmp_path_factory.mktemp("qc") / "s.zarr", clean_inputs()), n_threads=1)


def test_assess_store__finds_nothing_in_a_clean_store(clean):
    assert [str(w) for w in clean.warnings] == []


# ------------------------------------------------------------------------------------------------------------------ faults


def outlier(inputs: Inputs) -> None:
    inputs.signal[1, 5_000] = 40_000


def zero_chromosome(inputs: Inputs) -> None:
    inputs.signal[0, CHR2] = 0


def lost_part(inputs: Inputs) -> None:
    inputs.signal[2, 5_000:15_000] = np.nan


def lost_chromosome(inputs: Inputs) -> None:
    inputs.signal[2, CHR2] = np.nan


def empty_track(inputs: Inputs) -> None:
    inputs.signal[2] = np.nan


def same_file_twice(inputs: Inputs) -> None:
    inputs.signal[1] = inputs.signal[0]


def peaks_only(inputs: Inputs) -> None:
    inputs.signal[0] = np.where(inputs.signal[0] < 20, 0, inputs.signal[0])


def gaps_everywhere(inputs: Inputs) -> None:
    inputs.signal[:, ::3] = np.nan
    inputs.signal[:, 1::3] = np.nan


def log_ratio(inputs: Inputs) -> None:
    inputs.signal[1] -= 3


def infinite(inputs: Inputs) -> None:
    inputs.signal[1, 7] = np.inf


def everything_blacklisted(inputs: Inputs) -> None:
    inputs.blacklisted[: FINE.n_bins // 2] = True


def no_contacts(inputs: Inputs) -> None:
    inputs.count[CHR2_BINS] *= 0
    inputs.bad[CHR2_BINS] = True
    inputs.weight[CHR2_BINS] = np.nan


def mis_scaled_weights(inputs: Inputs) -> None:
    inputs.weight = 1e-4 / inputs.weight  # as if they divided


def strict_filter(inputs: Inputs) -> None:
    inputs.weight[::6] = np.nan


def lost_weights(inputs: Inputs) -> None:
    inputs.weight[CHR2_BINS] = np.nan


def ratio_map(inputs: Inputs) -> None:
    inputs.count *= (1.0 + np.arange(K, dtype=np.float32)) ** 1.5


def shallow(inputs: Inputs) -> None:
    inputs.count = np.round(inputs.count * 0.2)


def odd_depth(inputs: Inputs) -> None:
    inputs.count[CHR2_BINS] *= 8


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (outlier, "track 'DNase': maximum 4e+04 at chr1:500,000 is "),
        (zero_chromosome, "track 'CTCF': all zero on chr2: "),
        (lost_part, "track 'H3K27ac': 25% of chr1 is missing here and measured in another track: "),
        (lost_chromosome, "track 'H3K27ac': nothing is measured on chr2: "),
        (empty_track, "track 'H3K27ac': no bin is measured: "),
        (same_file_twice, "tracks CTCF and DNase are identical: "),
        (peaks_only, "track CTCF (99.5%): so many measured bins are exactly zero: "),
        (log_ratio, "track 'DNase': values are negative, down to -"),
        (infinite, "track 'DNase': 1 values are infinite on chr1: "),
        (everything_blacklisted, "blacklist: it covers 50% of the bins: "),
        (no_contacts, "no contacts on chr2: "),
        (mis_scaled_weights, "ice: marginals after balancing vary by "),
        (strict_filter, "ice: 17% of the bins of chr2 that have contacts have no weight (likewise chr1): "),
        (lost_weights, "ice: every value is missing on chr2, which has contacts: "),
        (shallow, "the depth supports bins of 20 kb, the map has bins of 10 kb: "),
        (odd_depth, "a bin of chr2 has 8"),
    ],
)
def test_assess_store__tells_one_fault_in_one_sentence(quality_of, spoil, sentence):
    said = [w.message for w in quality_of(spoil).warnings]
    assert len(said) == 1, said
    assert said[0].startswith(sentence)


def test_assess_store__tells_of_tracks_that_list_few_bins(quality_of):
    said = [w.message for w in quality_of(gaps_everywhere).warnings]
    assert len(said) == 3
    assert all("32% of the bins are measured" in text for text in said)


def test_assess_store__tells_of_a_decay_curve_that_rises(quality_of):
    said = [w.message for w in quality_of(ratio_map).warnings]
    assert [text.partition(" on chr")[0] for text in said] == [
        "count: the decay curve rises with distance",
        "ice: the decay curve rises with distance",
    ]


def test_assess_store__does_not_tell_of_outliers_in_the_blacklist(quality_of):
    def spoil(inputs: Inputs) -> None:
        outlier(inputs)
        inputs.blacklisted[5_000] = True

    assert quality_of(spoil).warnings == ()


# ----------------------------------------------------------------------------------------------------------------- figures


def test_assess_store__track_figures_are_those_of_the_values(clean):
    figures, signal = clean.tracks[TRACKS], clean_inputs().signal
    for t in range(3):
        chr2 = signal[t, CHR2]
        one = figures.isel(track=t, chroms=1)
        assert float(one["mean"]) == pytest.approx(chr2.mean(dtype=float))
        np.testing.assert_allclose(one["percentile_value"], np.percentile(chr2, [50, 99, 99.9]), rtol=1e-6)
        assert float(one["maximum"]) == chr2.max()
        assert int(one["maximum_start"]) == 100 * np.argmax(chr2)
        assert int(figures["histogram"][t].sum()) == np.count_nonzero(signal[t] > 0)
    np.testing.assert_allclose(figures["measured_share"][:, 0], 1 - 2_000 / 40_000)
    assert figures["n_bins"].values.tolist() == [40_000, 20_001]


def test_assess_store__profiles_are_means_of_windows(clean):
    figures, signal = clean.tracks[TRACKS], clean_inputs().signal
    width = 6_100 // 100  # a thousandth of the genome in whole bins
    np.testing.assert_allclose(figures["profile"][0, 1], signal[0, width : 2 * width].mean(), rtol=1e-5)
    assert int(figures["window_end"][-1]) == 6_000_050
    assert np.isnan(figures["profile"].values[:, GAP.start * 100 // width + 1]).all()


def test_assess_store__contact_figures_are_those_of_the_values(clean):
    figures, inputs = clean.contacts[CONTACTS], clean_inputs()
    n_chr1 = int(GRID.chrom_n_bins[0])
    assert figures["n_contacts"].values.tolist() == [
        np.nansum(inputs.count[:n_chr1], dtype=float), np.nansum(inputs.count[n_chr1:], dtype=float),
    ]  # fmt: skip
    ice = balance_genome(GRID, inputs)
    on = band_on_chromosome(GRID, 0, GRID.n_bins, K)[:, MIN_DIAGONAL:]
    share = np.isnan(ice[:n_chr1, MIN_DIAGONAL:])[on[:n_chr1]].mean()
    assert float(figures["nan_share"].sel(variable="ice")[0]) == pytest.approx(share)
    assert float(figures["unweighted_share"].sel(variable="ice")[0]) == pytest.approx(20 / n_chr1)
    assert float(figures["unweighted_seen_share"].sel(variable="ice")[0]) == 0
    np.testing.assert_allclose(figures["bad_share"], [20 / n_chr1, 0])
    assert figures.attrs["supported_binsize"] == 10_000


def test_assess_store__balanced_marginals_vary_by_counting_noise_alone(clean):
    """Gaps and chromosome ends leave no mark: they would add more than a tenth."""
    spread = clean.contacts[CONTACTS]["marginal_cv"]
    assert (spread.sel(variable="ice") < 0.04).all()
    assert (spread.sel(variable="count") > 0.2).all()


@pytest.mark.parametrize("variable", ["count", "ice"])
def test_assess_store__decay_exponent_is_that_of_the_rule(clean, variable):
    k = np.arange(1, K)
    wanted = np.polyfit(np.log(k), np.log(1 / (1.0 + k)), 1)[0]
    slopes = clean.contacts[CONTACTS]["decay_exponent"].sel(variable=variable)
    np.testing.assert_allclose(slopes, wanted, atol=0.02)


def test_assess_store__threads_change_nothing(clean):
    again = assess_store(clean.path, n_threads=3)
    for mine, theirs in ((clean.tracks, again.tracks), (clean.contacts, again.contacts)):
        for group, ds in mine.items():
            assert ds.identical(theirs[group])


def test_assess_store__leaves_out_groups_that_are_not_complete(tmp_path):
    store = write_store(tmp_path / "s.zarr", clean_inputs())
    file = store / CONTACTS / "zarr.json"
    file.write_text(file.read_text().replace('"complete"', '"writing"'))
    quality = assess_store(store, n_threads=1)
    assert list(quality.tracks) == [TRACKS]
    assert not quality.contacts


def test_assess_store__an_unknown_cell_type_is_refused(clean):
    with pytest.raises(StoreNotFoundError, match="no cell type 'Y'"):
        assess_store(clean.path, cell_type="Y")


def test_assess_store__does_without_weights_and_expected_values(tmp_path):
    """Stores of other makers have neither; what needs them is undefined, and no reason to warn."""
    store = _runs.write_store(tmp_path / "s.zarr", cell_types=("A",))
    quality = assess_store(store, cell_type="A", n_threads=1)
    figures = quality.contacts["A/contacts/1000"]
    assert np.isnan(figures["marginal_cv"]).all()
    assert np.isnan(figures["decay_exponent"]).all()
    assert figures["supported_binsize"][:2].values.tolist() == [50_000, 50_000]
    assert not any("ice" in w.message for w in quality.warnings)
    assert write_quality_page(quality, tmp_path / "qc.html").read_text().count("<img") == 3


def test_write_quality_page__shows_the_warnings_first(quality_of, tmp_path):
    text = write_quality_page(quality_of(zero_chromosome), tmp_path / "qc.html").read_text()
    assert text.index("all zero on chr2") < text.index(CONTACTS, text.index("all zero")) < text.index("<img")
    assert text.count("<img") == 5


@pytest.mark.parametrize(
    ("spoil", "is_told"), [(lambda w: w, False), (lambda w: np.roll(w, 1), True), (lambda w: w * np.where(w > 0.01, 2, 1), True)]
)  # fmt: skip
def test_assess_store__tells_weights_of_another_map_from_the_right_ones(quality_of, spoil, is_told):
    def change(inputs: Inputs) -> None:
        inputs.weight = spoil(inputs.weight)

    said = [w.message for w in quality_of(change).warnings]
    assert any(text.startswith("ice: marginals after balancing vary") for text in said) == is_told
