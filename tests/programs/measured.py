"""An application with metrics of its own, of every kind that prometheus-client counts."""

import os
import socket
import threading
from typing import Any

from prometheus_client import Counter, Gauge, Histogram, Summary

MODES = sorted(Gauge._MULTIPROC_MODES)

ORDERS = Counter("shop_orders", "Orders by kind.", ["kind"])
VISITS = Counter("shop_visits", "Visits.")
WAITS = Histogram("shop_wait_seconds", "Waiting.", ["queue"], buckets=[0.1, 1.0])
SIZES = Summary("shop_size_bytes", "Sizes.")
GAUGES = {mode: Gauge(f"shop_{mode}", f"Mode {mode}.", multiprocess_mode=mode) for mode in MODES}
BUILD = Gauge("shop_build", "The build, set once, in the master.", ["version"])
BUILD.labels("1.2").set(1)
VISITS.inc(100)


def serve(connection: socket.socket, address: Any) -> None:
    """Obey lines: `order KIND COUNT`, `wait SECONDS`, `size BYTES`, `set MODE NUMBER`, `fill`,
    `threads`, `fork`, `hold`; answer each with the pid.
    """
    with connection.makefile("r") as lines:
        for line in lines:
            verb, *words = line.split()
            ACTS[verb](*words)
            connection.sendall(b"%d\n" % os.getpid())


def order(kind: str, count: str) -> None:
    ORDERS.labels(kind).inc(float(count))


def wait(seconds: str) -> None:
    WAITS.labels("main").observe(float(seconds))


def size(count: str) -> None:
    SIZES.observe(float(count))


def set_gauge(mode: str, number: str) -> None:
    GAUGES[mode].set(float(number))


def fill() -> None:
    """More series than fit."""
    for number in range(3000):
        ORDERS.labels(f"kind {number}").inc()


def threads() -> None:
    """80,000 visits and as many orders by eight threads at once."""

    def work() -> None:
        for number in range(10_000):
            VISITS.inc()
            ORDERS.labels(f"thread {number % 7}").inc()

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def fork() -> None:
    """A process of the application's own, which counts as well."""
    pid = os.fork()
    if pid == 0:
        VISITS.inc(1_000_000)
        ORDERS.labels("foreign").inc()
        os._exit(0)
    os.waitpid(pid, 0)


ACTS = {
    "order": order,
    "wait": wait,
    "size": size,
    "set": set_gauge,
    "fill": fill,
    "threads": threads,
    "fork": fork,
    "hold": lambda: None,
}
