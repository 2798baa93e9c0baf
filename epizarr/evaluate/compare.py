"""What is compared: the observed map and every predictor's, read block by block, on the same pixels."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from epizarr.evaluate.ceilings import References
from epizarr.evaluate.maps import Maps, Rows
from epizarr.io.places import Place
from epizarr.metrics.baselines import LinearFit, pixel_features
from epizarr.schema import SIGNED_VARIABLES

OBSERVED = "observed"


@dataclass(frozen=True)
class Bands:
    """Maps of some rows by name, the observed one first; all float32 (row, diagonal).

    Parameters
    ----------
    values
        After the target's transform. NaN wherever one of the maps has no value.
    contacts
        Linear contacts at the same pixels, at least 0. Empty where the target is no contact (z-scores); a map that comes
        transformed is left out where the transform has no inverse.
    n_observed
        Observed pixels, whether or not all predictors have a value there.
    """

    values: dict[str, np.ndarray]
    contacts: dict[str, np.ndarray]
    n_observed: int


@dataclass(frozen=True)
class Comparison:
    """Where all maps come from. Small and picklable.

    Parameters
    ----------
    maps
        Observed contacts and tracks.
    predictions
        Name, store and group of each prediction.
    fits
        Baselines.
    references
        Ceilings that are maps.
    scales
        A factor a diagonal for each of the references.
    """

    maps: Maps
    predictions: tuple[tuple[str, Place, str], ...]
    fits: tuple[LinearFit, ...]
    references: References
    scales: Mapping[str, np.ndarray]

    @property
    def has_contacts(self) -> bool:
        """Whether the target is a contact, so that linear maps mean something."""
        return self.maps.variable not in SIGNED_VARIABLES

    def predicted(self, rows: Rows) -> dict[str, np.ndarray]:
        """Predictions of some rows as they are stored, (row, diagonal)."""
        return {name: self.maps.predicted(home, group, rows) for name, home, group in self.predictions}

    def _read(self, rows: Rows, linear: bool) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Transformed and, if asked for, linear maps of some rows, each with its own missing pixels."""
        maps = self.maps
        own = maps.observed(rows)
        stored = {OBSERVED: own, **self.predicted(rows)}
        features = pixel_features(maps.bin_tracks(rows), *own.shape)
        fitted = {fit.name: fit.predict(features) for fit in self.fits}
        referred = {
            name: band * self.scales[name].astype(np.float32)
            for name, band in self.references.bands(maps, rows, own).items()
        }
        values = {name: maps.transformed(band) for name, band in stored.items()} | fitted
        values |= {name: maps.transformed(band) for name, band in referred.items()}
        if not linear or not self.has_contacts:
            return values, {}
        if maps.transform.has_inverse:
            with np.errstate(divide="ignore", invalid="ignore"):
                stored |= {name: maps.transform.invert(band) for name, band in fitted.items()}
        return values, {name: np.maximum(band, 0) for name, band in (stored | referred).items()}

    def bands(self, rows: Rows, diagonals: tuple[int, int] | None = None, *, linear: bool = True) -> Bands:
        """Maps of some rows on the pixels that all of them have.

        Parameters
        ----------
        rows
            Which.
        diagonals
            First and one-past-last to return; all by default.
        linear
            Whether linear contacts are wanted, too.
        """
        columns = slice(*(diagonals or (0, self.maps.n_diagonals)))
        values, contacts = (
            {name: band[:, columns] for name, band in each.items()} for each in self._read(rows, linear)
        )
        counts = np.all([np.isfinite(band) for band in values.values()], axis=0)
        n_observed = int(np.isfinite(values[OBSERVED]).sum())
        masked, kept = (
            {name: np.where(counts, band, np.nan).astype(np.float32, copy=False) for name, band in each.items()}
            for each in (values, contacts)
        )
        return Bands(masked, kept, n_observed)


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Maps of consecutive blocks, in one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
