"""The application's series in shared memory: one writes, the next takes over, anybody reads."""

import os

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor.errors import ScoreboardError
from supervisor.scoreboard import series
from supervisor.scoreboard.series import Name, Region, SeriesFile

parser = pytest.importorskip("prometheus_client.parser")

from supervisor.views import application, metrics, statistics  # noqa: E402
from tests.support.scoreboards import board  # noqa: E402

SIZE = 65_536


def name(metric="shop_orders", kind="counter", series="shop_orders_total", mode="", **labels):
    """Return the name of a series as it stands in the file."""
    return msgspec.json.encode(Name(kind, mode, metric, series, labels, "Orders."))


def gauge(mode, metric="shop_hands"):
    """Return the name of a gauge."""
    return name(metric, "gauge", metric, mode)


@pytest.fixture
def file(tmp_path):
    """Return a file with one bank of two regions."""
    made = SeriesFile(tmp_path / "metrics", SIZE, 2)
    assert made.take_bank() == 0
    return made


def put(region, name, value, stamp=0.0):
    """Write a number."""
    at = region.add(name)
    region.numbers[at], region.numbers[at + 1] = value, stamp


def shown(file, *, alive=True):
    """Return every sample of the merged metrics, by name and labels."""
    merged = application.merge(series.read(file.path), lambda _: alive)
    return {(s.name, *s.labels.items()): s.value for metric in merged for s in metric.samples}


def test_a_series_is_found_again(file):
    """By its name, at the same index; others have their own."""
    region = file.region(0, 0)
    first, second = region.add(name(kind_="tea")), region.add(name(kind_="milk"))
    assert first != second
    assert region.add(name(kind_="tea")) == first


def test_all_regions_are_summed(file):
    """The master's own too."""
    for region in (file.own, file.region(0, 0), file.region(0, 1)):
        put(region, name(), 2.0)
    assert shown(file) == {("shop_orders_total",): 6.0}


def test_the_next_writer_goes_on(file):
    """With the counts of the dead, wherever they stand; their gauges begin at zero."""
    put(file.region(0, 0), name(), 2.0)
    put(file.region(0, 1), gauge("sum"), 5.0, 1.0)
    for slot in (0, 1):
        region = file.region(0, slot)
        region.numbers[region.add(name())] += 1.0
    assert shown(file) == {("shop_orders_total",): 4.0, ("shop_hands",): 0.0}


def test_a_bank_is_used_again_when_it_was_given_back(file):
    """Two generations beside each other have one each."""
    assert file.take_bank() == 1
    put(file.region(1, 1), name(), 1.0)
    file.give_back(0)
    assert file.take_bank() == 0
    assert shown(file) == {("shop_orders_total",): 1.0}


def test_gauges_are_those_of_the_living(file):
    """One whose writer has left, or is dead, or whose bank was given back, does not count."""
    put(file.region(0, 0), gauge("all"), 5.0, 1.0)
    region = file.region(0, 1)
    put(region, gauge("all"), 6.0, 1.0)
    assert list(shown(file).values()) == [6.0]
    assert shown(file, alive=False) == {}
    region.leave()
    assert [n.pid for n in series.read(file.path)] == [os.getpid(), 0]
    file.give_back(0)
    assert {n.pid for n in series.read(file.path)} == {0}


def test_a_gauge_that_nobody_set_is_no_least_value(file):
    """A process that has it by the import alone says nothing; of a sum it is a zero."""
    put(file.region(0, 0), gauge("min", "least"), 5.0, 1.0)
    region = file.region(0, 1)
    region.add(gauge("min", "least"))
    region.add(gauge("livesum", "sum"))
    assert shown(file) == {("least",): 5.0, ("sum",): 0.0}


def test_a_full_region(file):
    """Refuses new series; those that it has stay."""
    region = file.region(0, 0)
    found = [region.add(name(number=str(number))) for number in range(1000)]
    fitted = found.index(None)
    assert fitted > 400
    assert not any(found[fitted:])
    put(region, name(number="0"), 7.0)
    assert shown(file)["shop_orders_total", ("number", "0")] == 7.0


def test_what_is_no_such_file(tmp_path):
    """Nothing for one that is missing or strange; an error for one that cannot be read."""
    assert series.read(tmp_path / "none") == []
    huge = series._HEADER.pack(series.MAGIC, series.VERSION, 2**40) + bytes(SIZE)
    for number, data in enumerate((b"", b"text", bytes(SIZE), b"\xff" * SIZE, huge)):
        (tmp_path / f"{number}").write_bytes(data)
        assert series.read(tmp_path / f"{number}") == []
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ScoreboardError):
        series.read(tmp_path / "fifo")


SCRIBBLES = st.one_of(
    st.binary(min_size=1, max_size=64),
    st.sampled_from([b"\0", b"\xff", b"7", b'"', b"\x7f"]).map(lambda byte: byte * 64),
    st.floats().map(lambda number: series._NUMBERS.pack(number, number)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1200), SCRIBBLES), max_size=8))
def test_a_wild_writer_costs_numbers_only(tmp_path_factory, scribbles):
    """The page stays one that Prometheus reads, and the next writer finds its way."""
    directory = tmp_path_factory.mktemp("wild")
    file = SeriesFile(directory / "metrics", SIZE, 1)
    file.take_bank()
    region = file.region(0, 0)
    put(region, name(), 2.0)
    put(region, gauge("all"), 5.0, 1.0)
    put(region, name("w", "histogram", "w_bucket", le="1.0"), 1.0)
    put(region, name("w", "histogram", "w_sum"), 1.0)
    for at, data in scribbles:
        region._map[at : at + len(data)] = data
    read_page(directory, file)
    again = file.region(0, 0)
    again.add(name(new="one"))
    read_page(directory, file)


def read_page(directory, file):
    """Let Prometheus' own parser read the whole page."""
    scoreboard = board(directory)
    facts = statistics.of(scoreboard.snapshot())
    own = application.merge(series.read(file.path), lambda _: True)
    body = metrics.expose(facts, own).body.decode()
    scoreboard.close()
    assert list(parser.text_string_to_metric_families(body))


@pytest.mark.parametrize(
    "wrong",
    [
        name("supervisor_ready", series="supervisor_ready_total"),
        name(series="other_total"),
        name(series="shop_orders"),
        name(mode="sum", kind="gauge", series="shop_orders_total"),
        gauge("livenothing"),
        name("w", "histogram", "w_bucket", le="wide"),
        name("w", "histogram", "w_bucket"),
        name("w", "histogram", "w_bucket", le="nan"),
        b'["counter","","a b","a b_total",{},""]',
        b'["counter","","a","a_total",{"a b":"1"},""]',
        b'["info","","a","a_info",{},""]',
        b'["counter","","a","a_total",{},"\xff"]',
        b"[" * 10_000,
        b"text",
    ],
)
def test_names_that_make_no_sense(file, wrong):
    """They are left out, one by one; ours are not the application's to give."""
    region = file.region(0, 0)
    put(region, wrong, 1.0, 1.0)
    put(region, name("good", series="good_total"), 1.0)
    assert shown(file) == {("good_total",): 1.0}


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_counts_that_cannot_be(file, value):
    """A counter is a number from zero on; a gauge may be any."""
    region = file.region(0, 0)
    put(region, name(), value)
    put(region, gauge("sum"), value, 1.0)
    assert list(shown(file)) == [("shop_hands",)]


def test_a_metric_of_two_kinds_is_the_first_one(file):
    """One name has one meaning on a page."""
    region = file.region(0, 0)
    put(region, name("a", series="a_total"), 1.0)
    put(region, gauge("sum", "a"), 5.0, 1.0)
    assert shown(file) == {("a_total",): 1.0}


def test_regions_are_whole_pages(tmp_path):
    """Any size will do."""
    file = SeriesFile(tmp_path / "metrics", SIZE + 1, 1)
    file.take_bank()
    assert isinstance(file.region(0, 0), Region)
    assert file.path.stat().st_size % series.GRANULE == 0
