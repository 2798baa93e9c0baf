"""Run a function in a child process and kill it with SIGKILL at a chosen moment.

``run_child(function, args)`` runs to the end. ``kill_at=0.8`` kills 0.8 s after the function began;
``kill_at=Phase("os.replace", n=3)`` makes the child kill itself just before its third call of ``os.replace``, which is where
every atomic write of the package and of Zarr makes its file appear. ``count=[...]`` counts calls instead, so that a test can
choose ``n`` over the whole run::

    whole = run_child(job, (a, b), count=["os.replace"])
    for n in evenly(whole.counts["os.replace"], 20):
        assert killed_and_resumed(job, (a, b), Phase("os.replace", n))
        assert tree_digest(out) == expected

Functions must be importable (defined at a test module's top level), arguments picklable. Children are forked from one server
process that has imported the package and used nothing of it, so that starting one costs milliseconds and no thread is lost.
hictkpy must not be among what it has imported: its fork handler can hang the child.
"""

import hashlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# Each child imports the parent's main module, which is pytest: a second a child, unless the server has it already.
_PRELOAD = [
    "pytest",
    "epizarr.ingest.run",
    "epizarr.train.loop",
    "epizarr.predict",
    "epizarr.screen",
    "epizarr.io.contacts",
    "epizarr.io.bigwig",
]


@dataclass(frozen=True)
class Phase:
    """The ``n``-th call (from 1) of a function, such as ``"os.replace"`` or ``"epizarr.io.ledger:Ledger.mark"``.

    ``when="before"`` dies instead of calling, ``"after"`` dies when the call has returned.
    """

    target: str
    n: int = 1
    when: Literal["before", "after"] = "before"


@dataclass(frozen=True)
class ChildResult:
    """How a child ended. ``error`` is its traceback, if it raised; ``seconds`` is the time the function ran."""

    exitcode: int
    seconds: float
    error: str = ""
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def was_killed(self) -> bool:
        return self.exitcode == -signal.SIGKILL


def run_child(
    function: Callable[..., Any],
    args: Sequence[Any] = (),
    *,
    kill_at: float | Phase | None = None,
    count: Sequence[str] = (),
    timeout: float = 300.0,
) -> ChildResult:
    """Call ``function(*args)`` in a child process; see the module's text.

    A child that ends before the moment of its death simply ends: look at ``was_killed``. One that outlives ``timeout``
    seconds is killed and raises TimeoutError.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        receiver, sender = context.Pipe(duplex=False)
        phase = kill_at if isinstance(kill_at, Phase) else None
        child = context.Process(target=_child, args=(function, tuple(args), phase, tuple(count), str(report), sender))
        child.start()
        sender.close()
        try:
            receiver.recv()  # the function begins now
        except EOFError:
            pass  # it died while starting; the exit code says so
        began = time.monotonic()
        if isinstance(kill_at, (int, float)):
            child.join(kill_at)
            child.kill()
        child.join(timeout)
        seconds = time.monotonic() - began
        if child.exitcode is None:
            child.kill()
            child.join()
            raise TimeoutError(f"{function.__name__}: still running after {timeout} s")
        said = json.loads(report.read_text()) if report.exists() else {}
        return ChildResult(child.exitcode, seconds, said.get("error", ""), said.get("counts", {}))


def killed_and_resumed(function: Callable[..., Any], args: Sequence[Any], kill_at: float | Phase) -> bool:
    """Kill a call at a moment and make it again to its end; whether the first had not ended before."""
    was_killed = run_child(function, args, kill_at=kill_at).was_killed
    again = run_child(function, args)
    assert again.exitcode == 0, again.error
    return was_killed


def evenly(n_calls: int, n: int) -> list[int]:
    """Up to ``n`` call numbers spread over 1 … ``n_calls``, first and last included."""
    n = min(n, n_calls)
    if n < 2:
        return list(range(1, n + 1))
    return sorted({1 + round(i * (n_calls - 1) / (n - 1)) for i in range(n)})


def tree_digest(folder: Path, ignore: Iterable[str] = ()) -> dict[str, str]:
    """SHA-256 of every file under ``folder`` by relative path, without those that match a pattern of ``ignore``."""
    patterns = list(ignore)
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(path.relative_to(folder).match(pattern) for pattern in patterns)
    }


def _child(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    phase: Phase | None,
    count: tuple[str, ...],
    report: str,
    ready: Any,
) -> None:
    counts = {target: 0 for target in count}
    lock = threading.Lock()
    said: dict[str, Any] = {"counts": counts}
    for target in dict.fromkeys([*count, *([phase.target] if phase else [])]):
        _watch(target, counts, phase if phase and phase.target == target else None, lock)
    ready.send(None)
    ready.close()
    try:
        function(*args)
    except BaseException:
        said["error"] = traceback.format_exc()
        sys.stderr.write(said["error"])
    Path(report).write_text(json.dumps(said))
    # No clean-up of threads or event loops: what matters is on disk, and the test waits for the exit.
    sys.stderr.flush()
    os._exit(1 if "error" in said else 0)


def _watch(target: str, counts: dict[str, int], phase: Phase | None, lock: Any) -> None:
    """Wrap a function wherever the package holds a reference to it."""
    holder, name = _resolve(target)
    original = getattr(holder, name)
    calls = [0]

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        with lock:
            calls[0] += 1
            number = calls[0]
            if target in counts:
                counts[target] = number
        dies = phase is not None and number == phase.n
        if dies and phase is not None and phase.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(holder, name, wrapper)
    for module_name, module in list(sys.modules.items()):  # also where it was imported by name
        if module_name.startswith("epizarr"):
            for attribute, value in list(vars(module).items()):
                if value is original:
                    setattr(module, attribute, wrapper)


def _resolve(target: str) -> tuple[Any, str]:
    """Find the module or class that holds a target: ``module.function`` or ``module:Class.method``."""
    if ":" in target:
        module_name, _, path = target.partition(":")
    else:
        module_name, _, path = target.rpartition(".")
    holder: Any = importlib.import_module(module_name)
    *parents, name = path.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    return holder, name
