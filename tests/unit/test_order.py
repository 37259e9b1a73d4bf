"""The order to stop, as the threads of a child see it."""

import os
import signal
import threading

from supervisor.system.descriptors import is_readable
from tests.support.harness import DEADLINE


def test_the_first_callback_hears_it_at_once_where_it_was_given_already(order):
    """Before and after the order: called once each."""
    heard = []
    order.when_given(lambda: heard.append("before"))
    assert not heard
    order.give(signal.SIGTERM)
    order.when_given(lambda: heard.append("after"))
    assert heard == ["before", "after"]
    assert order.signum is signal.SIGTERM


def test_every_thread_is_woken(order):
    """Four threads wait, and all come back."""
    threads = [threading.Thread(target=order.wait, args=(DEADLINE,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    order.give(signal.SIGTERM)
    for thread in threads:
        thread.join(DEADLINE)
        assert not thread.is_alive()


def test_a_thread_leaves_the_main_threads_news_alone(order, recorder):
    """The byte that a signal wrote is still there for the main thread after a thread has waited."""
    recorder.watch(signal.SIGUSR2)
    signal.raise_signal(signal.SIGUSR2)
    order.give(signal.SIGTERM)
    thread = threading.Thread(target=order.wait, args=(DEADLINE,))
    thread.start()
    thread.join(DEADLINE)
    assert is_readable(recorder.fileno())
    order.wait(DEADLINE)
    assert not is_readable(recorder.fileno())


def test_a_thread_waits_for_a_descriptor_after_the_order_too(order):
    """A lock that another holds is waited for in a request that is in hand, without spinning."""
    order.give(signal.SIGTERM)
    reader, writer = os.pipe()
    thread = threading.Thread(target=order.wait, args=(None, reader))
    thread.start()
    os.write(writer, b"x")
    thread.join(DEADLINE)
    assert not thread.is_alive()
    os.close(reader)
    os.close(writer)
