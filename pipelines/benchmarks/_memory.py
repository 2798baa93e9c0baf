"""Memory of a benchmark's process."""

from pathlib import Path


def peak_gb() -> float:
    """Peak resident memory of this process (Linux). ``ru_maxrss`` would begin at the parent's peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / 1e9
