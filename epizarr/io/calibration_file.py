"""Files of ``epizarr calibrate``: the factors of predicted standard deviations, as JSON."""

from pathlib import Path

from epizarr.calibration import Calibration
from epizarr.errors import InputNotFoundError
from epizarr.io.files import replace_file


def read_calibration(file: str | Path) -> Calibration:
    """Read a file of ``epizarr calibrate``.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    CalibrationError
        As :meth:`epizarr.calibration.Calibration.from_json`.
    """
    path = Path(file)
    if not path.is_file():
        raise InputNotFoundError(f"calibration {file}: no such file. Make one with `epizarr calibrate`.")
    return Calibration.from_json(path.read_text(encoding="utf-8"), str(file))


def write_calibration(calibration: Calibration, file: str | Path) -> None:
    """Write a calibration, replacing an older one in one step."""
    replace_file(Path(file), calibration.to_json().encode())
