"""Signals end commands wherever the system delivers them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from parsing_rcnn_client.signals import signals_interrupt, signals_wait

_PATIENCE = 60.0  # seconds after which a read that no signal ends is answered, so that the test fails and does not hang


@contextmanager
def nobody_answers() -> Iterator[int]:
    """A pipe from which a read waits; something else than an answer has to end it."""
    reader, writer = os.pipe()
    answers: list[int] = []
    answer = threading.Timer(_PATIENCE, lambda: answers.append(os.write(writer, b"late")))
    answer.daemon = True
    answer.start()
    try:
        yield reader
    finally:
        answer.cancel()
        answer.join()
        os.close(reader)
        os.close(writer)
    assert not answers


def taken_by_another_thread(number: int) -> None:
    """Send a signal to this process as the system does where it chooses another thread, once the main one waits."""

    def take() -> None:
        time.sleep(0.3)
        signal.pthread_kill(threading.get_ident(), number)

    threading.Thread(target=take, daemon=True).start()


def test_a_signal_does_not_wait_for_an_output_that_hangs(handlers: None) -> None:
    def hang(reader: int) -> None:
        with signals_wait():
            os.kill(os.getpid(), signal.SIGTERM)
            os.read(reader, 1)

    with nobody_answers() as reader, signals_interrupt(), pytest.raises(KeyboardInterrupt):
        hang(reader)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_another_thread_took_ends_what_the_main_thread_waits_for(number: int, handlers: None) -> None:
    taken_by_another_thread(number)
    with nobody_answers() as reader, signals_interrupt(), pytest.raises(KeyboardInterrupt):
        os.read(reader, 1)


def test_so_does_the_alarm_of_an_output_that_hangs(handlers: None) -> None:
    def hang(reader: int) -> None:
        with signals_wait():
            os.kill(os.getpid(), signal.SIGTERM)
            signal.setitimer(signal.ITIMER_REAL, 0)  # in place of the one to come, which any thread could take
            taken_by_another_thread(signal.SIGALRM)
            os.read(reader, 1)

    with nobody_answers() as reader, signals_interrupt(), pytest.raises(KeyboardInterrupt):
        hang(reader)


def test_an_output_that_fails_after_a_signal_was_ended_by_it(handlers: None) -> None:
    """Ctrl-C ends the reader of a pipe as well: what it leaves behind is no fault that would cost a video."""

    def fail() -> None:
        with signals_wait():
            os.kill(os.getpid(), signal.SIGINT)
            raise BrokenPipeError

    with signals_interrupt(), pytest.raises(KeyboardInterrupt):
        fail()


def test_a_signal_that_was_ignored_stays_so(handlers: None) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals_interrupt():
        taken_by_another_thread(signal.SIGHUP)
        time.sleep(0.6)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_nothing_of_it_stays(handlers: None) -> None:
    threads, before = threading.active_count(), signal.set_wakeup_fd(-1)
    for _ in range(50):
        with signals_interrupt():
            assert threading.active_count() == threads + 1
    assert (threading.active_count(), signal.set_wakeup_fd(before)) == (threads, -1)
