"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# No test is timed: machines are shared. CI draws the same examples each time, so that a red run can be repeated.
settings.register_profile("epizarr", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("epizarr")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real files and reference outputs; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[1] / ".." / "shared"
    folder = Path(os.environ.get("EPIZARR_SHARED", default)).resolve()
    if not (folder / "data").is_dir():
        pytest.skip(
            f"no reference data: set EPIZARR_SHARED to the folder that holds data/ and refs/ (looked in {folder.name}/)"
        )
    return folder
