"""Module `metrics`: the application's metrics, of prometheus-client, summed over all processes."""

from __future__ import annotations

import os
import threading
import weakref
from array import array
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.module import Module
from supervisor.child.shared import Server
from supervisor.config.schema import Options
from supervisor.log.entries import log
from supervisor.scoreboard.series import FILE, Name, Region, SeriesFile

_SET: Final = 1.0  # the stamp of a gauge that was set, where its mode asks for no time


class MetricsOptions(Options, frozen=True):
    """Options of module `metrics`."""

    size: Annotated[
        int,
        Meta(
            ge=65_536,
            le=2**30,
            description="of the series of one process; memory is taken only as it is needed",
            extra={"unit": "bytes"},
        ),
    ] = 1_048_576


class Metrics(Module):
    """The application's own Counters, Gauges, Histograms and Summaries, summed over all children.

    They appear beside the server's under `/metrics` of type `status` and in `stats --prometheus`.
    """

    Options: ClassVar[type[Options]] = MetricsOptions
    needs: ClassVar[Mapping[str, str]] = {"prometheus_client": "metrics"}

    @classmethod
    def preload(cls, options: Any) -> None:
        """From now on prometheus-client makes its values by us."""
        from prometheus_client import values

        if _values() is None:
            values.ValueClass = Values().make

    def init(self, server: Server) -> None:
        """Have the file, one for all generations, and in it a bank for this one."""
        self._values = _values() or Values()
        if self._values.file is None or not self._values.file.is_there():
            path = server.file(FILE)
            self._values.file = SeriesFile(path, self.options.size, server.children)
            self._values.bind(self._values.file.own)
        self._file = self._values.file
        self._bank = self._file.take_bank()

    def child_init(self, child: Child) -> None:
        self._region = self._file.region(self._bank, child.slot)
        self._values.bind(self._region)

    def child_exit(self, child: Child) -> None:
        self._region.leave()

    def destroy(self) -> None:
        self._file.give_back(self._bank)


class Value:
    """One number of a metric, as prometheus_client.values describes it.

    It stands in shared memory once its process has a region, and before that, or where the region
    is full, in memory of its own. `inc` needs no lock among threads: between reading and storing
    nothing is called that gives the interpreter's lock away.
    """

    __slots__ = ("__weakref__", "_name", "_place")

    def __init__(self, name: bytes) -> None:
        self._name = name
        # Both at once: a thread must not meet the numbers of one place with the index of another.
        self._place: tuple[Any, int] = (array("d", (0.0, 0.0)), 0)

    def inc(self, amount: float) -> None:
        """Add."""
        numbers, at = self._place
        numbers[at] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Replace."""
        numbers, at = self._place
        numbers[at], numbers[at + 1] = value, timestamp or _SET

    def get(self) -> float:
        """The number of this process alone."""
        numbers, at = self._place
        return float(numbers[at])

    def set_exemplar(self, exemplar: object) -> None:
        """Exemplars are not kept, as in prometheus-client's own multiprocess mode."""

    def get_exemplar(self) -> None:
        """None."""

    def leave_region(self, own: array[float], at: int) -> None:
        """Count in memory of this process, from the zero that stands there."""
        self._place = own, at

    def enter(self, region: Region) -> bool:
        """Count in a region from now on, what was counted so far included. False: it is full."""
        at = region.add(self._name)
        if at is None:
            return False
        (numbers, here), self._place = self._place, (region.numbers, at)
        if isinstance(numbers, array):  # else they stand in another region, and go on to count
            self._carry(*numbers[here : here + 2])
        return True

    def _carry(self, value: float, stamp: float) -> None:
        if value:
            self.inc(value)


class Gauge(Value):
    """One that also notes that it was set: else a process that never did would count as zero."""

    __slots__ = ()

    def inc(self, amount: float) -> None:
        """Add."""
        numbers, at = self._place
        numbers[at] += amount
        numbers[at + 1] = _SET

    def _carry(self, value: float, stamp: float) -> None:
        if stamp:
            self.set(value, stamp)


class Values:
    """All values of this process. `make` takes the place of prometheus-client's ValueClass."""

    def __init__(self) -> None:
        self.file: SeriesFile | None = None  # made by the first generation, in the master
        self._all: weakref.WeakSet[Value] = weakref.WeakSet()
        self._region: Region | None = None
        self._lock = threading.Lock()
        self._has_warned = False
        # A process that somebody forks from a child must not write where that child does.
        os.register_at_fork(after_in_child=self._leave_region)

    def make(
        self,
        kind: str,
        metric: str,
        series: str,
        label_names: Sequence[str],
        label_values: Sequence[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_: object,
    ) -> Value:
        """A value, for prometheus-client."""
        labels = {
            name: value.encode(errors="replace").decode()
            for name, value in sorted(zip(label_names, label_values, strict=True))
        }
        name = Name(kind, multiprocess_mode, metric, series, labels, help_text)  # type: ignore[arg-type]
        value = (Gauge if kind == "gauge" else Value)(msgspec.json.encode(name))
        with self._lock:
            self._all.add(value)
            if self._region is not None:
                self._enter(value, self._region)
        return value

    def bind(self, region: Region) -> None:
        """Count in this region from now on."""
        with self._lock:
            self._region = region
            for value in self._all:
                self._enter(value, region)

    def _enter(self, value: Value, region: Region) -> None:
        if not value.enter(region) and not self._has_warned:
            self._has_warned = True
            log.warning("metrics full: series are not counted", hint="raise the module's size")

    def _leave_region(self) -> None:
        self._lock, self._region, self._has_warned = threading.Lock(), None, False
        own = array("d", bytes(16 * len(self._all)))
        for number, value in enumerate(self._all):
            value.leave_region(own, 2 * number)


def _values() -> Values | None:
    """Those of this process, where prometheus-client makes its values by us."""
    from prometheus_client import values

    owner = getattr(values.ValueClass, "__self__", None)
    return owner if isinstance(owner, Values) else None
