from epizarr.train.log import EpochRow, RunLog

ROWS = [EpochRow(e, 10 * e, 1e-4, 0.1 / e, 1 / 3, float("nan"), 1.5) for e in (1, 2, 3)]


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
