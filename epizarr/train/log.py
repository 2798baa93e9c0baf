"""What is logged of each epoch, and where: ``log.csv`` always, TensorBoard's event files if they are asked for.

Together with ``provenance.json`` these are the only files of a run that hold times.
"""

import csv
import io
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from epizarr.errors import ConfigError
from epizarr.io.files import replace_file

CSV_FILE, TENSORBOARD_FOLDER = "log.csv", "tensorboard"


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
        Learning rate of the epoch's last step.
    train_loss
        Mean squared error over the valid pixels of the epoch's steps, dropout on.
    train_adversarial, train_discriminator
        Mean cross entropy of the generator's and of the discriminator's adversarial loss (ln 2 and 2 ln 2 where it cannot tell
        real from predicted), over the windows that were judged; NaN without an adversarial loss.
    validation_loss, validation_pearson, validation_spearman, validation_skill
        See :class:`~epizarr.train.validation.ValidationScores`. NaN where undefined, and where a version that did not know the
        score wrote the row.
    seconds
        Wall time of the epoch in this process.
    """

    epoch: int
    step: int
    lr: float
    train_loss: float
    train_adversarial: float
    train_discriminator: float
    validation_loss: float
    validation_pearson: float
    validation_spearman: float
    validation_skill: float
    seconds: float


class EpochLog(Protocol):
    """Where a run's epochs are logged."""

    def append(self, row: EpochRow) -> None:
        """Log a finished, validated epoch, before its checkpoint is written."""

    def close(self) -> None:
        """Write down what is left and let go of files."""


class RunLog:
    """``log.csv`` of one run folder: a line an epoch.

    Parameters
    ----------
    path
        The file; made if it is not there.
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

    def close(self) -> None:
        """Nothing is left: each row is on disk when it is written."""


class TensorBoardLog:
    """Event files for TensorBoard, one curve a column of ``log.csv``, over steps.

    Parameters
    ----------
    folder
        Where they lie; a resumed run adds a file.
    step
        Step of the checkpoint to go on from: TensorBoard hides what was written of later steps, which are done again.

    Raises
    ------
    ConfigError
        As :func:`require_tensorboard`.
    """

    def __init__(self, folder: Path, step: int) -> None:
        require_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def append(self, row: EpochRow) -> None:
        """Write one point a column; a NaN leaves a gap."""
        for name, value in asdict(row).items():
            if name not in ("epoch", "step") and not math.isnan(value):
                self._writer.add_scalar(name.replace("validation_", "validation/"), value, row.step)
        self._writer.flush()

    def close(self) -> None:
        """Write down what is left."""
        self._writer.close()


def require_tensorboard() -> None:
    """Refuse ``execution.tensorboard`` where the package is missing.

    Raises
    ------
    ConfigError
        Says which extra has it.
    """
    if find_spec("tensorboard") is None:
        raise ConfigError(
            "execution.tensorboard = true: the package tensorboard is not installed. Install epizarr with its extra "
            "`tensorboard`, or set execution.tensorboard=false; log.csv has the same numbers."
        )


def _read_rows(path: Path) -> list[EpochRow]:
    if not path.is_file():
        return []
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for record in csv.DictReader(file):
            if not all(record.values()):  # the last line of a killed process
                break
            epoch, step = int(record["epoch"]), int(record["step"])
            numbers = [float(record.get(f.name, "nan")) for f in fields(EpochRow)[2:]]
            rows.append(EpochRow(epoch, step, *numbers))
    return rows


def _table(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
