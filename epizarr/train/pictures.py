"""``RUNDIR/pictures``: after each epoch, what the network predicts for a few windows of the validation regions.

The windows and the colour scale are the same in all epochs of a run, so that its pictures can be leafed through. Their maps
come from the validation itself. Drawing three windows was measured at 0.6 s an epoch for 200 bins and 100 offsets, 1.2 s for
400 and 200.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from epizarr.bands import stripe_on_chromosome
from epizarr.io.files import replace_file, sweep_partial
from epizarr.report.figures import figure_png, value_label
from epizarr.report.validation_figures import MapPair, validation_figure
from epizarr.train.sampler import Sampler
from epizarr.train.validation import ValidationScores
from epizarr.transforms import Transform

PICTURE_FOLDER = "pictures"
#: Windows of a picture, if there are so many.
N_WINDOWS = 3


class ValidationPictures:
    """Draws the pictures of one run.

    Parameters
    ----------
    run_dir
        The run's folder; what a killed writer left in its folder of pictures is removed.
    held_out
        The validation regions.
    variable, transform
        The target and its transform, which say what the colours mean.

    Attributes
    ----------
    examples
        Examples of the validation whose maps :meth:`draw` needs: of each third of them, the one with the most good bins.
    """

    def __init__(self, run_dir: Path, held_out: Sampler, variable: str, transform: Transform) -> None:
        self._folder = run_dir / PICTURE_FOLDER
        sweep_partial(self._folder)
        self._label = value_label(transform, variable)
        self._reader = held_out.reader
        self._plan = held_out.plan(0)
        good = np.array([self._n_good_bins(example) for example in range(len(self._plan))])
        parts = np.array_split(np.arange(len(good)), min(N_WINDOWS, len(good)))
        self.examples = tuple(int(part[np.argmax(good[part])]) for part in parts)

    def draw(self, epoch: int, maps: Mapping[int, tuple[np.ndarray, np.ndarray]], scores: ValidationScores) -> Path:
        """Write ``epoch-0001.png``, …; an older one of this epoch is replaced.

        Parameters
        ----------
        epoch
            Counted from 1.
        maps
            Prediction and target of at least the windows in ``examples``; see :func:`~epizarr.train.validation.validate`.
        scores
            Of all validation regions, for the title.
        """
        title = (
            f"epoch {epoch}   validation: loss {scores.loss:.4g}, mean Pearson {scores.pearson:.3f}, "
            f"mean Spearman {scores.spearman:.3f}, skill {scores.skill:.3f}"
        )
        pairs = [self._pair(example, *maps[example]) for example in self.examples]
        path = self._folder / f"epoch-{epoch:04d}.png"
        replace_file(path, figure_png(validation_figure(pairs, title=title, value_label=self._label)))
        return path

    def _pair(self, example: int, prediction: np.ndarray, target: np.ndarray) -> MapPair:
        source, segment, _ = self._reader.stretches[int(self._plan.stretch[example])]
        start, binsize = int(self._plan.start[example]), self._reader.sources[source].grid.binsize
        end = start + len(target)
        # The network was never told what lies on the first diagonals or outside the region; what it says there is no prediction.
        drawn = prediction.copy()
        drawn[:, : self._reader.geometry.min_diagonal] = np.nan
        drawn[~stripe_on_chromosome(start - segment.lo, len(target), segment.hi - segment.lo, target.shape[1])] = np.nan
        region = f"{segment.chrom}:{start * binsize:,}-{end * binsize:,}"
        return MapPair(f"{self._reader.sources[source].cell_type}  {region}", start * binsize, binsize, drawn, target)

    def _n_good_bins(self, example: int) -> int:
        source_index, segment, _ = self._reader.stretches[int(self._plan.stretch[example])]
        source, start = self._reader.sources[source_index], int(self._plan.start[example])
        first, _ = source.grid.chrom_extent(segment.chrom)
        lo, hi = max(start, segment.lo), min(start + self._reader.geometry.n_bins, segment.hi)
        return int((~source.bad_bin[first + lo : first + hi]).sum())
