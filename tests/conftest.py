"""Fixtures shared by all tests."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import settings

from tests._object_stores import environment, s3_server

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


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """Environment variables of a local server of S3, set for the session."""
    with s3_server() as variables, environment(variables):
        yield variables


@pytest.fixture
def bucket(s3_environment: dict[str, str]) -> str:
    """Address of a new bucket."""
    name = f"test-{uuid.uuid4().hex}"
    fsspec.filesystem("s3").mkdir(name)
    return f"s3://{name}"
