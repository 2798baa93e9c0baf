"""Property tests run thousands of small calls, which the coverage tracer slows down to half: they are left out of it."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items):
    folder = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(folder):
            item.add_marker(pytest.mark.no_cover)
