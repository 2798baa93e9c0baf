"""``provenance.json``: with what each start of a run was made. A log, which may hold times; nothing reads it back but people.

A run that is resumed adds an entry, so that a change of version or machine in the middle of a run can be seen.
"""

import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from epizarr import __version__
from epizarr.io.files import replace_file
from epizarr.train.sources import TrainingData

PROVENANCE_FILE = "provenance.json"
#: Packages whose version may change a number or a file.
PACKAGES = ("torch", "numpy", "scipy", "zarr", "zarrs", "xarray", "dask", "safetensors")
_CHECKOUT = Path(__file__).resolve().parents[2]


def describe_start(data: TrainingData, device: torch.device, *, step: int, command: Sequence[str]) -> dict[str, Any]:
    """Describe one start of a run.

    Parameters
    ----------
    data
        What it reads.
    device
        Where the network runs.
    step
        Steps done before this start.
    command
        Command line, empty if the run was started from Python.

    Returns
    -------
    Values for JSON. ``git`` is None where the package does not run from a checkout.
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "command": list(command),
        "epizarr": __version__,
        "git": _git_state(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch_threads": torch.get_num_threads(),
        "stores": {
            source.cell_type: {name: source.inputs[name] for name in ("tracks", "contacts")} for source in data.sources
        },
    }


def append_start(run_dir: Path, entry: dict[str, Any]) -> None:
    """Add an entry to the run folder's file; one that cannot be read is begun anew."""
    file = run_dir / PROVENANCE_FILE
    starts: list[Any] = []
    if file.is_file():
        try:
            starts = list(json.loads(file.read_text(encoding="utf-8"))["starts"])
        except (ValueError, KeyError, TypeError):
            starts = []
    replace_file(file, (json.dumps({"starts": [*starts, entry]}, indent=1) + "\n").encode())


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout that the package runs from, and whether files of it were changed since."""
    if not (_CHECKOUT / ".git").exists():  # installed: a repository around the environment is not ours
        return None
    try:
        commit = _git("rev-parse", "HEAD").strip()
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "epizarr").strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "is_changed": bool(changed)}


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(_CHECKOUT), *arguments], capture_output=True, text=True, check=True, timeout=10
    ).stdout


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
