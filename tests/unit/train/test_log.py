import importlib.util

import pytest

from epizarr.errors import ConfigError
from epizarr.train import log as log_module
from epizarr.train.log import EpochRow, RunLog, TensorBoardLog

ROWS = [EpochRow(e, 10 * e, 1e-4, 0.1 / e, float("nan"), 1.25, 1 / 3, float("nan"), 0.25, -0.5, 1.5) for e in (1, 2, 3)]


def write(path):
    log = RunLog(path, 0)
    for row in ROWS:
        log.append(row)


def test_run_log__reads_back_what_it_wrote(tmp_path):
    write(tmp_path / "log.csv")
    assert [str(row) for row in RunLog(tmp_path / "log.csv", 3).rows] == [str(row) for row in ROWS]


def test_run_log__drops_rows_of_work_that_is_done_again(tmp_path):
    write(tmp_path / "log.csv")
    RunLog(tmp_path / "log.csv", 1).append(ROWS[1])
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "1", "2"]


def test_run_log__drops_half_a_line(tmp_path):
    write(tmp_path / "log.csv")
    file = tmp_path / "log.csv"
    file.write_text(file.read_text()[:-20])
    assert len(RunLog(file, 3).rows) == 2


def test_run_log__drops_a_line_that_ends_before_its_last_field(tmp_path):
    write(tmp_path / "log.csv")
    file = tmp_path / "log.csv"
    file.write_text(file.read_text().removesuffix("1.5\n"))
    assert len(RunLog(file, 3).rows) == 2


def test_run_log__reads_the_columns_of_an_older_version(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("epoch,step,lr,train_loss,validation_loss,validation_pearson,seconds\n1,8,0.001,0.5,0.4,0.3,2.0\n")
    nan = float("nan")
    assert str(RunLog(file, 1).rows) == str([EpochRow(1, 8, 0.001, 0.5, nan, nan, 0.4, 0.3, nan, nan, 2.0)])


def read_events(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), purge_orphaned_data=True).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensor_board_log__has_the_columns_of_the_table_and_hides_work_that_is_done_again(tmp_path):
    pytest.importorskip("tensorboard")
    first = TensorBoardLog(tmp_path, 0)
    first.append(ROWS[0])
    first.append(ROWS[2])  # step 30, beyond the checkpoint of step 10
    first.close()
    second = TensorBoardLog(tmp_path, 10)
    second.append(ROWS[1])
    second.close()
    found = read_events(tmp_path)
    assert set(found) == {
        "lr", "train_loss", "train_discriminator", "validation/loss", "validation/spearman", "validation/skill", "seconds",
    }  # fmt: skip
    assert found["train_loss"] == [(10, pytest.approx(0.1)), (20, pytest.approx(0.05))]


def test_tensor_board_log__says_which_extra_it_needs(tmp_path, monkeypatch):
    known = importlib.util.find_spec
    monkeypatch.setattr(log_module, "find_spec", lambda name: None if name == "tensorboard" else known(name))
    with pytest.raises(ConfigError, match="extra `tensorboard`"):
        TensorBoardLog(tmp_path, 0)
