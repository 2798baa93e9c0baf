import os
import signal
import threading

import pytest

from epizarr.train.signals import STOP_SIGNALS, outlive_first_signal, stop_on_signals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_stop_on_signals__sets_the_flag_and_gives_the_handler_back(number):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert (stop.is_set, stop.exit_code) == (False, 0)
        os.kill(os.getpid(), number)
        assert (stop.signal, stop.exit_code) == (number, 128 + number)
    assert signal.getsignal(number) is before


def test_stop_on_signals__gives_handlers_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError), stop_on_signals():
        raise RuntimeError
    assert signal.getsignal(signal.SIGTERM) is before


def test_stop_on_signals__does_nothing_in_another_thread():
    before = signal.getsignal(signal.SIGTERM)
    inside = []

    def elsewhere() -> None:
        with stop_on_signals() as stop:
            inside.append((signal.getsignal(signal.SIGTERM), stop.is_set))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert inside == [(before, False)]


def test_outlive_first_signal__the_second_one_ends_the_process():
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        outlive_first_signal()
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
