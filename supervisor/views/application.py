"""The application's own metrics (module `metrics`), merged as prometheus-client itself merges those
of many processes.

Every name and number comes out of memory that a wild child may have written over: what would make
the page unreadable is left out. Raises MissingExtra at import without prometheus-client.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final

from supervisor.errors import MissingExtra
from supervisor.scoreboard import series
from supervisor.scoreboard.series import Name, Number
from supervisor.system import observe
from supervisor.system.runtime import file_of

try:
    from prometheus_client.core import Metric
    from prometheus_client.multiprocess import MultiProcessCollector
except ImportError as error:
    raise MissingExtra("Prometheus' format", "prometheus-client", "metrics") from error

_SUFFIXES: Final = {
    "counter": ("_total",),
    "gauge": ("",),
    "summary": ("_count", "_sum"),
    "histogram": ("_sum", "_bucket"),
}
_MODES: Final = ("all", "min", "max", "sum", "mostrecent")
_OURS: Final = "supervisor_"  # two families of one name, and nobody could read the page


def read(directory: Path, pid: int) -> list[Metric]:
    """The metrics of the application whose master, `pid`, has this runtime directory; none without
    the module. Raises ScoreboardError.
    """
    return merge(series.read(file_of(directory, series.FILE, pid)), cache(observe.is_alive))


def merge(numbers: Iterable[Number], is_alive: Callable[[int], bool]) -> list[Metric]:
    """One family for each metric. Counts are of all processes, gauges of the living."""
    metrics: dict[str, Metric] = {}
    for number in numbers:
        if _makes_sense(number) and (number.name.kind != "gauge" or _lives(number, is_alive)):
            name = number.name
            metric = metrics.setdefault(name.metric, _family(name))
            if metric.type == name.kind:
                metric.add_sample(name.series, _labels(number), number.value, number.stamp)
    # Private, but the one place that says what each mode of a gauge means.
    collector: Any = MultiProcessCollector
    return list(collector._accumulate_metrics(metrics, accumulate=True))


def _family(name: Name) -> Metric:
    metric: Any = Metric(name.metric, name.help, name.kind)
    metric._multiprocess_mode = name.mode
    return metric  # type: ignore[no-any-return]


def _labels(number: Number) -> Any:
    """As the collector wants them: pairs, and for gauges the pid."""
    labels = tuple(sorted(number.name.labels.items()))
    return (*labels, ("pid", str(number.pid))) if number.name.kind == "gauge" else labels


def _lives(number: Number, is_alive: Callable[[int], bool]) -> bool:
    """True for the gauge of a living process that has set it. A child of another section has it as
    well, since the master imported the code of all, and its zero would be the least of all.
    """
    is_set = number.stamp != 0.0 or number.name.mode.endswith("sum")
    return is_set and is_alive(number.pid)


def _makes_sense(number: Number) -> bool:
    name = number.name
    if name.metric.startswith(_OURS) or name.series not in _series_of(name):
        return False
    if name.kind == "gauge":
        return name.mode.removeprefix("live") in _MODES
    if name.series.endswith("_bucket") and not _is_number(name.labels.get("le", "")):
        return False
    return name.series.endswith("_sum") or 0 <= number.value < math.inf


def _series_of(name: Name) -> tuple[str, ...]:
    return tuple(name.metric + suffix for suffix in _SUFFIXES[name.kind])


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False
