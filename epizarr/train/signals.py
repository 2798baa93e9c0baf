"""Stopping a run from outside: SIGTERM (shells, queues) and SIGUSR1 (a queue's warning before its time is over).

A handler only sets a flag. The training loop looks at it between steps, saves a checkpoint and returns, so that nothing is
interrupted half-way.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: Signals that ask a run to stop; not every system has SIGUSR1.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name))


class StopRequest:
    """Whether a run was asked to stop, and by which signal; handed to :func:`~epizarr.train.loop.train_model`.

    Attributes
    ----------
    signal
        The first signal that arrived, None before.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def is_set(self) -> bool:
        """Whether somebody asked."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Exit status of a process that a signal ended, as shells count: 143 for SIGTERM; 0 without a signal."""
        return 0 if self.signal is None else 128 + self.signal

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Ask the run to stop; the handler of a signal."""
        if self.signal is None:
            self.signal = signal.Signals(number)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Let :data:`STOP_SIGNALS` ask for a stop while the block runs; the handlers from before come back after it.

    Python allows handlers in the main thread only: in another one this does nothing, and the request is never set.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.ask) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def outlive_first_signal(worker: int = 0) -> None:
    """Let this process ignore the first of each of :data:`STOP_SIGNALS`: for the processes that make batches.

    Queues and shells signal all processes of a job at once. Should the helpers die then, the run would end with their error
    before it has saved anything. A second signal ends them: that is how they are cleaned up.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, lambda n, _: signal.signal(n, signal.SIG_DFL) and None)
