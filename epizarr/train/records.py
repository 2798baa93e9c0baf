"""What a run writes of each epoch: the table, TensorBoard's events, pictures."""

import math
from collections.abc import Collection
from pathlib import Path

from epizarr.train.card import ModelCard
from epizarr.train.checkpoint import Position
from epizarr.train.config import OptimSettings, TrainConfig
from epizarr.train.log import CSV_FILE, TENSORBOARD_FOLDER, EpochLog, EpochRow, RunLog, TensorBoardLog
from epizarr.train.pictures import ValidationPictures
from epizarr.train.sampler import Sampler
from epizarr.train.schedule import learning_rate
from epizarr.train.validation import Validation, ValidationScores


class EpochRecords:
    """What the lead writes of each epoch: the table, TensorBoard's events, pictures."""

    def __init__(
        self, run_dir: Path, card: ModelCard, position: Position, held_out: Sampler, config: TrainConfig
    ) -> None:
        self.table = RunLog(run_dir / CSV_FILE, position.log_rows)
        self._logs: list[EpochLog] = [self.table]
        if config.execution.tensorboard:
            self._logs.append(TensorBoardLog(run_dir / TENSORBOARD_FOLDER, position.step))
        self._pictures: ValidationPictures | None = None
        if config.execution.pictures:
            self._pictures = ValidationPictures(run_dir, held_out, card.target_variable, card.target_transform)

    @property
    def examples(self) -> Collection[int]:
        """Validation windows whose maps are drawn."""
        return () if self._pictures is None else self._pictures.examples

    def add(self, row: EpochRow, validation: Validation) -> None:
        """Write an epoch."""
        for each in self._logs:
            each.append(row)
        if self._pictures is not None:
            self._pictures.draw(row.epoch, validation.maps, validation.scores)

    def close(self) -> None:
        """Let go of open files."""
        for each in self._logs:
            each.close()


def epoch_row(
    position: Position,
    epoch: int,
    n_steps: int,
    settings: OptimSettings,
    scores: ValidationScores,
    seconds: float,
) -> EpochRow:
    """What is logged of a finished epoch (from 0) of ``n_steps`` steps that took so many seconds."""
    return EpochRow(
        epoch=epoch + 1,
        step=position.step,
        lr=learning_rate(settings, epoch + 1 - 1 / n_steps, position.step - 1),
        train_loss=position.loss_sum / max(position.n_pixels, 1),
        train_adversarial=_mean(position.adversarial_sum, position.n_shown),
        train_discriminator=_mean(position.discriminator_sum, position.n_shown),
        validation_loss=scores.loss,
        validation_pearson=scores.pearson,
        validation_spearman=scores.spearman,
        validation_skill=scores.skill,
        seconds=round(seconds, 3),
    )


def _mean(total: float, number: int) -> float:
    return total / number if number else math.nan
