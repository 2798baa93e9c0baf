"""``log.csv``: one row an epoch. The only file of a run that holds wall times."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from epizarr.io.files import replace_file


@dataclass(frozen=True)
class EpochRow:
    """What is logged of an epoch.

    Parameters
    ----------
    epoch
        Counted from 1.
    step
        Steps done in all.
    lr
        Learning rate of the epoch.
    train_loss
        Mean squared error over the valid pixels of the epoch's steps, dropout on.
    validation_loss, validation_pearson
        See :class:`~epizarr.train.validation.ValidationScores`.
    seconds
        Wall time of the epoch in this process.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    validation_loss: float
    validation_pearson: float
    seconds: float


class RunLog:
    """The log of one run folder.

    Parameters
    ----------
    path
        ``log.csv``; made if it is not there.
    n_rows
        Rows that the checkpoint to go on from knows: later ones are of work that is done again, and are dropped.
    """

    def __init__(self, path: Path, n_rows: int) -> None:
        self.path = path
        self.rows = _read_rows(path)[:n_rows]
        replace_file(path, _table([[f.name for f in fields(EpochRow)], *map(astuple, self.rows)]))

    def append(self, row: EpochRow) -> None:
        """Write one row, down to the disk."""
        self.rows.append(row)
        with self.path.open("ab") as file:
            file.write(_table([astuple(row)]))
            file.flush()
            os.fsync(file.fileno())


def _read_rows(path: Path) -> list[EpochRow]:
    if not path.is_file():
        return []
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for record in csv.DictReader(file):
            if not all(record.values()):  # the last line of a killed process
                break
            epoch, step, *numbers = record.values()
            rows.append(EpochRow(int(epoch), int(step), *map(float, numbers)))
    return rows


def _table(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
