"""Maps of other programs: read from every format, put on the store's grid, and scored as any prediction is."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from epizarr.bands import mask_band, square_from_band
from epizarr.cli import run
from epizarr.errors import (
    AssemblyMismatchError,
    ConfigError,
    EpizarrError,
    InputFileError,
    InputNotFoundError,
    RegionError,
    SplitError,
    StoreError,
)
from epizarr.evaluate import evaluate_run, score
from epizarr.evaluate.score import PREDICTION, TRAINING_MEAN
from epizarr.io.export import export_contacts
from epizarr.io.store import group_path, has_group, open_evaluation, open_prediction
from epizarr.map_import import import_map
from tests._inputs import make_inputs
from tests._runs import (
    ASSEMBLY,
    BINSIZE,
    MIN_DIAGONAL,
    N_DIAGONALS,
    SPLITS,
    draw_contacts,
    draw_signal,
    write_prediction,
    write_store,
)

GRID = ASSEMBLY.bins(BINSIZE)
FIRST, END = GRID.chrom_extent("chr2")
#: What is known of the model that made the map, as of our own.
TOLD = {"train": SPLITS["train"], "trained_cell_types": ["A"], "test": ["chr2"]}


@pytest.fixture(scope="module")
def predicted() -> np.ndarray:
    """What another program predicts for cell type B: near the truth, with a hole."""
    band = draw_contacts(draw_signal(1), seed=7, noise=0.6)
    band[:, :MIN_DIAGONAL] = np.nan
    measured = np.ones(GRID.n_bins + N_DIAGONALS - 1, dtype=bool)
    measured[FIRST + 200 : FIRST + 210] = False
    return mask_band(band, measured)


@pytest.fixture(scope="module")
def made(tmp_path_factory, predicted) -> Path:
    """A store in which the map is run ``own``, as if this program had predicted it."""
    store = write_store(tmp_path_factory.mktemp("made") / "atlas.zarr")
    band = predicted.copy()
    band[:FIRST] = band[END:] = np.nan
    return write_prediction(store, "B", "own", band)


@pytest.fixture
def store(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "atlas.zarr"))


def _export(ending: str) -> Callable[[Path, Path, np.ndarray], tuple[Path, dict]]:
    def write(folder: Path, store: Path, _: np.ndarray) -> tuple[Path, dict]:
        return export_contacts(store, folder / f"map{ending}", cell_type="B", run="own"), {}

    return write


def _windows(folder: Path, _: Path, chr2: np.ndarray) -> tuple[Path, dict]:
    """Overlapping windows, as C.Origami names them."""
    (folder / "npy").mkdir()
    for start in range(0, len(chr2), 100):
        window = square_from_band(chr2[start : start + 160])
        np.save(folder / "npy" / f"chr2_{start * BINSIZE}.npy", window)
    return folder / "npy", {"file_binsize": BINSIZE}


def _one_window(folder: Path, _: Path, chr2: np.ndarray) -> tuple[Path, dict]:
    np.save(folder / "window.npy", square_from_band(chr2))
    return folder / "window.npy", {"file_binsize": BINSIZE, "chrom": "chr2", "start": 0}


def _triangle(folder: Path, _: Path, chr2: np.ndarray) -> tuple[Path, dict]:
    square = square_from_band(chr2)
    np.save(folder / "chr2_0.npy", square[np.triu_indices(len(square), 1)])
    return folder / "chr2_0.npy", {"file_binsize": BINSIZE, "triangle": 1}


def _npz(folder: Path, _: Path, chr2: np.ndarray) -> tuple[Path, dict]:
    np.savez(folder / "map.npz", band=chr2, chrom="chr2", start=0, binsize=BINSIZE)
    return folder / "map.npz", {}


def _npz_bands(folder: Path, _: Path, chr2: np.ndarray) -> tuple[Path, dict]:
    starts = [0, 1_000_000]
    bands = np.stack([chr2[:1000], np.append(chr2[1000:], np.full((500, N_DIAGONALS), np.nan), axis=0)])
    bands[0, 989:] = np.nan  # what crosses into the second window is in neither
    np.savez_compressed(folder / "map.npz", band=bands[:, :500], chrom=["chr2"] * 2, start=starts, binsize=BINSIZE)
    return folder / "map.npz", {}


def _h5(folder: Path, _: Path, chr2: np.ndarray) -> tuple[Path, dict]:
    with h5py.File(folder / "map.h5", "w") as file:
        file["band"] = chr2
        file["band"].attrs.update({"chrom": "chr2", "start": 0})
        file.attrs["binsize"] = BINSIZE
    return folder / "map.h5", {}


WRITERS = {
    "cool": _export(".cool"),
    "mcool": _export(".mcool"),
    "hic": _export(".hic"),
    "npy-folder": _windows,
    "npy": _one_window,
    "triangle": _triangle,
    "npz": _npz,
    "h5": _h5,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_import_map__gives_back_what_was_written(store, predicted, tmp_path, kind):
    path, how = WRITERS[kind](tmp_path, store, predicted[FIRST:END])
    import_map(path, store, cell_type="B", run="theirs", n_threads=1, **how, **TOLD)
    own, theirs = (open_prediction(store, "B", name, BINSIZE)["contact"].values for name in ("own", "theirs"))
    np.testing.assert_allclose(theirs, own, rtol=1e-6)


@pytest.mark.slow
def test_import_map__of_an_exported_prediction_scores_the_same(store, predicted, tmp_path):
    path, how = WRITERS["mcool"](tmp_path, store, predicted[FIRST:END])
    import_map(path, store, cell_type="B", run="theirs", n_threads=1, **how, **TOLD)
    theirs = evaluate_run(store, "theirs", cell_type="B", n_threads=1).load()
    own = import_reference(store)
    for name, values in theirs.data_vars.items():
        np.testing.assert_allclose(values, own[name], rtol=1e-6, err_msg=str(name))


def import_reference(store: Path) -> xr.Dataset:
    """Scores of the run ``own`` by the transform and baselines of the imported one."""
    attrs = open_prediction(store, "B", "theirs", BINSIZE).attrs
    path = store / group_path("predictions", "B", BINSIZE, "own") / "zarr.json"
    content = json.loads(path.read_text())
    content["attributes"] |= {"transform": attrs["transform"], "track_binsize": 0}
    path.write_text(json.dumps(content))
    return evaluate_run(store, "own", cell_type="B", n_threads=1).load()


def test_import_map__several_windows_in_one_npz(store, predicted, tmp_path):
    path, how = _npz_bands(tmp_path, store, predicted[FIRST:END])
    import_map(path, store, cell_type="B", run="theirs", n_threads=1, **how, **TOLD)
    theirs = open_prediction(store, "B", "theirs", BINSIZE)
    assert json.loads(theirs.attrs["regions"]) == ["chr2:0-500,000", "chr2:1,000,000-1,500,000"]
    expected = np.full_like(predicted, np.nan)
    for lo in (FIRST, FIRST + 1000):
        expected[lo : lo + 500] = square_band(predicted[lo : lo + 500])
    np.testing.assert_allclose(theirs["contact"].values, expected, rtol=1e-6)


def square_band(band: np.ndarray) -> np.ndarray:
    """Without the pixels whose second bin is not among the rows."""
    inside = np.arange(len(band))[:, None] + np.arange(band.shape[1]) < len(band)
    return np.where(inside, band, np.nan)


def test_import_map__scale_of_values_is_undone_before_the_mean(store, tmp_path):
    """Pixels of 500 bp in pairs: the mean of contacts, not of their logarithms."""
    contacts = np.random.default_rng(0).gamma(2.0, 3.0, (60, 60))
    contacts += contacts.T
    np.save(tmp_path / "chr2_30000.npy", np.log1p(contacts).astype(np.float32))
    import_map(
        tmp_path / "chr2_30000.npy", store, cell_type="B", run="x", file_binsize=500, values="log1p", test=["chr2"]
    )
    got = open_prediction(store, "B", "x", BINSIZE)["contact"].values[FIRST + 30 : FIRST + 60]
    means = contacts.reshape(30, 2, 30, 2).mean(axis=(1, 3))
    for k in range(N_DIAGONALS):
        np.testing.assert_allclose(got[: 30 - k, k], np.diagonal(means, k), rtol=1e-5)


def test_import_map__other_units_are_matched_by_one_number(store, predicted, tmp_path):
    for name, factor in (("plain", 1.0), ("thousandfold", 1000.0)):
        np.savez(tmp_path / f"{name}.npz", band=factor * predicted[FIRST:END], chrom="chr2", start=0, binsize=BINSIZE)
        import_map(tmp_path / f"{name}.npz", store, cell_type="B", run=name, match_scale=True, **TOLD)
    plain, thousandfold = (open_prediction(store, "B", name, BINSIZE) for name in ("plain", "thousandfold"))
    np.testing.assert_allclose(thousandfold["contact"], plain["contact"], rtol=1e-5)
    assert plain.attrs["scale"] == pytest.approx(1000 * thousandfold.attrs["scale"], rel=1e-6)
    assert 0.5 < plain.attrs["scale"] < 2
    notes = json.loads(evaluate_run(store, "thousandfold", cell_type="B").attrs["notes"])
    assert "multiplied by" in notes[0]


def test_import_map__reports_progress_over_both_readings(store, predicted, tmp_path):
    path, how = _npz(tmp_path, store, predicted[FIRST:END])
    ticks = []
    import_map(
        path,
        store,
        cell_type="B",
        run="x",
        match_scale=True,
        n_threads=1,
        progress=lambda *tick: ticks.append(tick),
        **how,
        **TOLD,
    )
    assert ticks == [(done, len(ticks)) for done in range(1, len(ticks) + 1)]
    assert len(ticks) % 2 == 0


def test_evaluate__of_unknown_training_fits_baselines_outside_the_scored_regions(
    store, predicted, tmp_path, monkeypatch
):
    path, how = _npz(tmp_path, store, predicted[FIRST:END])
    import_map(path, store, cell_type="B", run="theirs", **how)
    with pytest.raises(SplitError, match="--region"):
        evaluate_run(store, "theirs", cell_type="B")
    seen = []
    original = score.fit_sums
    monkeypatch.setattr(score, "fit_sums", lambda task: seen.append(task) or original(task))
    scores = evaluate_run(store, "theirs", cell_type="B", regions=["chr2:500,000-1,000,000"], n_threads=1)
    assert {task.maps.cell_type for task in seen} == {"B"}
    margin = N_DIAGONALS
    assert all(t.rows.end <= FIRST + 500 - margin or t.rows.lo >= FIRST + 1000 + margin for t in seen)
    notes = " ".join(json.loads(scores.attrs["notes"]))
    assert "not stated: it may have seen the scored regions" in notes
    assert "ridge: n/a, this prediction names no tracks" in notes
    assert float(scores["skill"].sel(predictor=TRAINING_MEAN)) == 0.0


def test_import_map__again_does_nothing_and_another_needs_overwrite(store, predicted, tmp_path):
    path, how = _npz(tmp_path, store, predicted[FIRST:END])
    group = import_map(path, store, cell_type="B", run="theirs", **how, **TOLD)
    chunk = next(file for file in sorted((store / group / "contact").rglob("*")) if file.is_file())
    before = chunk.stat().st_mtime_ns
    moved = path.rename(tmp_path / "moved.npz")
    import_map(moved, store, cell_type="B", run="theirs", **how, **TOLD)
    assert chunk.stat().st_mtime_ns == before
    with pytest.raises(StoreError, match=r"input_id.*--overwrite"):
        import_map(moved, store, cell_type="B", run="theirs", values="log1p", **how, **TOLD)
    import_map(moved, store, cell_type="B", run="theirs", values="log1p", overwrite=True, **how, **TOLD)
    assert json.loads(open_prediction(store, "B", "theirs", BINSIZE).attrs["imported"])["values"] == "log1p"


def test_import_map__needs_no_tracks(tmp_path, predicted):
    store = write_store(tmp_path / "a.zarr")
    shutil.rmtree(store / "B" / "tracks")
    path, how = _npz(tmp_path, store, predicted[FIRST:END])
    import_map(path, store, cell_type="B", run="theirs", **how, **TOLD)
    assert float(evaluate_run(store, "theirs", cell_type="B")["mean_pearson"].sel(predictor=PREDICTION)) > 0.3


# ------------------------------------------------------------------------------------------------------------ bad input


def _save(folder: Path, array: np.ndarray, name: str = "chr2_0.npy") -> Path:
    np.save(folder / name, array)
    return folder / name


SQUARE = np.ones((20, 20))


@pytest.mark.parametrize(
    ("array", "name", "how", "error", "says"),
    [
        (SQUARE, "chr2_0.npy", {}, InputFileError, r"does not say how wide its bins are.*--file-binsize"),
        (SQUARE, "x.npy", {"file_binsize": 1000}, InputFileError, r"not CHROM_START\.npy.*--chrom, --start"),
        (SQUARE, "chrZ_0.npy", {"file_binsize": 1000}, RegionError, "'chrZ' is not in assembly"),
        (
            SQUARE,
            "chr2_1490000.npy",
            {"file_binsize": 1000},
            InputFileError,
            r"do not lie on chr2, which has 1,500,000 bp",
        ),
        (SQUARE[:5], "chr2_0.npy", {"file_binsize": 1000}, InputFileError, r"\(5, 20\) is not square"),
        (SQUARE[0], "chr2_0.npy", {"file_binsize": 1000}, InputFileError, "--triangle"),
        (
            SQUARE[0],
            "chr2_0.npy",
            {"file_binsize": 1000, "triangle": 2},
            InputFileError,
            "20 values are no upper triangle",
        ),
        (SQUARE * np.nan, "chr2_0.npy", {"file_binsize": 1000}, InputFileError, "all of it is missing"),
        (SQUARE * 1000, "chr2_0.npy", {"file_binsize": 1000, "values": "log1p"}, ConfigError, "not log1p of contacts"),
        (SQUARE, "chr2_0.npy", {"file_binsize": 1000, "values": "ln"}, ConfigError, "one of linear, log1p"),
        (SQUARE, "chr2_0.npy", {"file_binsize": 1000, "variable": "kr"}, StoreError, "no variable 'kr'.*count, ice"),
        (SQUARE, "chr2_0.npy", {"file_binsize": 1000, "variable": "bad_bin"}, ConfigError, "not a map of contacts"),
        (SQUARE, "chr2_0.npy", {"file_binsize": 1000, "normalisation": "KR"}, InputFileError, "--normalisation"),
        (SQUARE, "chr2_0.npy", {"file_binsize": 1000, "trained_cell_types": ["Z"]}, StoreError, "no contacts .* of Z"),
        (np.array([["a"]]), "chr2_0.npy", {"file_binsize": 1000}, InputFileError, "numbers are needed"),
        (np.array([[{}]]), "chr2_0.npy", {"file_binsize": 1000}, InputFileError, "no plain array"),
    ],
)
def test_import_map__refuses(made, tmp_path, array, name, how, error, says):
    with pytest.raises(error, match=says):
        import_map(_save(tmp_path, array, name), made, cell_type="B", run="bad", **how)
    assert not has_group(made, group_path("predictions", "B", BINSIZE, "bad"))


def test_import_map__refuses_files_that_are_something_else(made, tmp_path):
    (tmp_path / "x.npy").write_text("chr1\t0\t100\n")
    with pytest.raises(InputFileError, match="by its first bytes it is a text file"):
        import_map(tmp_path / "x.npy", made, cell_type="B", run="bad")
    with pytest.raises(InputNotFoundError, match=r"none\.npy does not exist"):
        import_map(tmp_path / "none.npy", made, cell_type="B", run="bad")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputFileError, match=r"holds no \.npy file"):
        import_map(tmp_path / "folder", made, cell_type="B", run="bad")
    _save(tmp_path / "folder", SQUARE, "chr2_0_del_500_1000_padding_zero.npy")
    with pytest.raises(InputFileError, match=r"chr2_0_del_500_1000_padding_zero\.npy: the name is not"):
        import_map(tmp_path / "folder", made, cell_type="B", run="bad", file_binsize=1000)
    np.savez(tmp_path / "x.npz", matrix=SQUARE)
    with pytest.raises(InputFileError, match=r"holds \['matrix'\]; one array 'contact'"):
        import_map(tmp_path / "x.npz", made, cell_type="B", run="bad")
    np.savez(tmp_path / "x.npz", contact=SQUARE, binsize=1000, start=0)
    with pytest.raises(InputFileError, match="does not say 'chrom'"):
        import_map(tmp_path / "x.npz", made, cell_type="B", run="bad")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["contact"] = SQUARE[:5]
    with pytest.raises(InputFileError, match=r"\(5, 20\); \(bin, bin\) or"):
        import_map(tmp_path / "x.h5", made, cell_type="B", run="bad")


def test_import_map__refuses_another_assembly(made, tmp_path):
    inputs = make_inputs(tmp_path / "inputs")  # chromosomes named without "chr", of other lengths
    with pytest.raises(AssemblyMismatchError, match="--rename-chrom"):
        import_map(inputs.folder / "contacts.cool", made, cell_type="B", run="bad")


@pytest.mark.slow
def test_import_map__whole_genome_without_regions_kept_for_scores(store, predicted, tmp_path):
    write_prediction(store, "B", "all", predicted)
    path = export_contacts(store, tmp_path / "all.mcool", cell_type="B", run="all")
    with pytest.raises(SplitError, match="--test"):
        import_map(path, store, cell_type="B", run="theirs")
    import_map(path, store, cell_type="B", run="theirs", test=["chr2"])
    theirs = open_prediction(store, "B", "theirs", BINSIZE)
    np.testing.assert_allclose(theirs["contact"], predicted, rtol=1e-6)
    fitted_on = json.loads(theirs.attrs["imported"])["fitted_on"]
    assert fitted_on == ["chr1:0-4,700,450", "chr3:0-30,020"]


# --------------------------------------------------------------------------------------------------------- command line


@pytest.mark.parametrize("kind", [pytest.param("mcool", marks=pytest.mark.slow), "npy-folder"])
def test_evaluate__scores_a_map_with_one_command(store, predicted, tmp_path, capsys, kind):
    path, how = WRITERS[kind](tmp_path, store, predicted[FIRST:END])
    options = ["--file-binsize", str(how["file_binsize"])] if how else []
    report = tmp_path / "report.html"
    words = ["--map", str(path), "--run", "theirs", "--cell-type", "B", "--region", "chr2", "--report", str(report)]
    assert run(["evaluate", str(store), *words, *options]) == 0
    printed = capsys.readouterr().out
    for word in ("prediction", "Imported map", "not stated: it may have seen"):
        assert word in printed
    text = report.read_text()
    assert "imported: file" in text
    before = open_evaluation(store, "B", "theirs", BINSIZE).load()
    assert run(["evaluate", str(store), *words, *options]) == 0
    assert before.identical(open_evaluation(store, "B", "theirs", BINSIZE).load())


@pytest.mark.slow
def test_import_map__then_plot_and_export(store, predicted, tmp_path, capsys):
    path, _ = _npz(tmp_path, store, predicted[FIRST:END])
    assert run(["import-map", str(path), str(store), "--cell-type", "B", "--run", "theirs", "--test", "chr2"]) == 0
    assert "Next: epizarr evaluate" in capsys.readouterr().out
    picture, exported = tmp_path / "x.png", tmp_path / "x.cool"
    plot = ["plot", str(store), "--region", "chr2:100,000-400,000", "--cell-type", "B", "--run", "theirs"]
    assert run([*plot, "-o", str(picture)]) == 0
    assert run(["export", str(store), "--cell-type", "B", "--run", "theirs", "-o", str(exported)]) == 0
    assert picture.stat().st_size > 0
    import_map(exported, store, cell_type="B", run="again", test=["chr2"])
    for name in ("theirs", "again"):
        assert open_prediction(store, "B", name, BINSIZE)["contact"].notnull().any()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--values", "log1p", "--region", "chr2"], "--map"),
        (["--map", "x.npy"], "--region"),
        (["--map", "x.npy", "--region", "chr2", "--rename-chrom", "21"], "FILE=STORE"),
    ],
)
def test_evaluate__options_of_a_map_that_do_not_fit(made, capsys, words, says):
    assert run(["evaluate", str(made), "--run", "own", "--cell-type", "B", *words]) == 2
    assert says in capsys.readouterr().err


def test_export__expected_of_unknown_training_is_refused(store, predicted, tmp_path):
    path, how = _npz(tmp_path, store, predicted[FIRST:END])
    import_map(path, store, cell_type="B", run="theirs", **how)
    with pytest.raises(EpizarrError, match="expected is for observed over expected"):
        export_contacts(store, tmp_path / "x.cool", cell_type="B", run="theirs", expected="training")
