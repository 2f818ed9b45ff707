"""Signals that ask a run to stop."""

from __future__ import annotations

import signal
import threading

import pytest

from training.interruption import StopRequest


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_is_noted_and_then_ends_processes_as_before(name: str) -> None:
    number = getattr(signal, name, None)
    if number is None:
        pytest.skip(f"no {name} here")
    before = signal.getsignal(number)
    with StopRequest() as request:
        assert request.signal is None
        signal.raise_signal(number)
        assert request.signal == name
    assert signal.getsignal(number) == before


def test_the_first_interrupt_is_noted_and_the_second_ends_at_once() -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with StopRequest() as request:
            signal.raise_signal(signal.SIGINT)
            assert request.signal == "SIGINT"
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts in the background
        with StopRequest() as request:
            signal.raise_signal(signal.SIGINT)
            assert request.signal is None
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_cannot_listen_and_trains_all_the_same() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[str | None] = []

    def enter() -> None:
        with StopRequest() as request:
            seen.append(request.signal)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [None]
    assert signal.getsignal(signal.SIGTERM) == before
