"""What the network benchmarks share: the unrolled reference, interleaved timing, the rate of matrix products."""

import importlib.util
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType

import torch


def load_unrolled() -> ModuleType:
    """Load the per-window reference from ``tests/_unrolled.py`` of this clone, where it exists once."""
    path = Path(__file__).resolve().parents[2] / "tests" / "_unrolled.py"
    spec = importlib.util.spec_from_file_location("unrolled", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(
            f"{path}: the benchmarks need the tests of a clone beside them, for the reference network."
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def interleaved_seconds(ways: dict[str, Callable[[], object]], n_rounds: int) -> dict[str, list[float]]:
    """Time each way once a round, after one call to warm up, so that a busy machine slows all of them alike."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for n_done in range(n_rounds + 1):
        for name, call in ways.items():
            start = time.perf_counter()
            call()
            if n_done:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def matrix_product() -> tuple[Callable[[], object], float]:
    """Return a large float32 product to time and its work in 10^9 operations."""
    n = 4096
    left, right, into = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
    return lambda: torch.mm(left, right, out=into), 2e-9 * n**3


def report(name: str, seconds: list[float]) -> None:
    """Print one way's times: the shortest, which the ratios use, and the median."""
    print(f"{name:<44} shortest {min(seconds):8.4f} s   median {median(seconds):8.4f} s   of {len(seconds)}")
