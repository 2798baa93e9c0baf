"""How far the memory of this process rises while a function runs, the buffers of the libraries included. Linux only."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def _status_bytes(key: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(key))
    return 1024 * int(line.split()[1])


def peak_growth(run: Callable[[], object]) -> int:
    """Bytes by which resident memory rose at most; what was free in the allocator is given back before."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    _CLEAR.write_text("5")  # the peak starts anew
    before = _status_bytes("VmRSS")
    run()
    return _status_bytes("VmHWM") - before
