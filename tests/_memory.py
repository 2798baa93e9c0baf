"""How far the memory of a process rises while a function runs, the buffers of the libraries included. Linux only.

In a process of its own: what other tests have left free in the allocator, or allocated for more threads, would be counted too.
"""

import ctypes
import gc
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests._killing import run_child

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _status_bytes(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])


def peak_growth(function: Callable[..., object], first: Sequence[Any], then: Sequence[Any]) -> int:
    """Bytes by which resident memory rises at most while ``function(*then)`` runs, after ``function(*first)``.

    The first call makes the libraries allocate what they allocate once. The function must be importable; it runs on one thread.
    """
    with tempfile.TemporaryDirectory() as folder:
        child = run_child(_measure, (folder, function, first, then))
        assert child.exitcode == 0, child.error
        return int((Path(folder) / "growth").read_text())


def _measure(folder: str, function: Callable[..., object], first: Sequence[Any], then: Sequence[Any]) -> None:
    import torch

    torch.set_num_threads(1)
    function(*first)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    _CLEAR.write_text("5")  # the peak starts anew
    before = _status_bytes("VmRSS")
    function(*then)
    (Path(folder) / "growth").write_text(str(_status_bytes("VmHWM") - before))
