"""The drawing of `top`, from statistics to the characters of a screen."""

import io

import pytest
from msgspec.structs import replace

from supervisor.scoreboard.layout import State
from supervisor.scoreboard.records import Description, Section
from supervisor.views import statistics
from tests.support.scoreboards import board, write

screen = pytest.importorskip("supervisor.cli.screen")
console = pytest.importorskip("rich.console")


@pytest.fixture
def facts(tmp_path):
    """A server of one busy child with a request in hand."""
    made = board(tmp_path, Description("shop", (Section("web", "tcp", 1, 8),)))
    write(made, 0, State.BUSY, PID=4711, REQUESTS=100, ACTIVE=1, READY_AT=1)
    facts = statistics.of(made.snapshot())
    made.close()
    child = replace(facts.children[0], in_hand=(("GET /cart", 0.5, ""),))
    return replace(facts, children=(child,), reason="", ready=True)


def drawn(shown, width=100, height=24):
    """Return the lines of a screen of that size."""
    out = console.Console(file=io.StringIO(), width=width, height=height)
    out.print(shown.draw(width, height))
    return out.file.getvalue().splitlines()


def row(lines, head):
    """Return the words of a table's first row, by its heads."""
    at = next(n for n, line in enumerate(lines) if line.split()[:1] == [head])
    return lines[at].split(), lines[at + 1].split()


@pytest.fixture
def shown(facts):
    """A screen after one look."""
    made = screen.Screen()
    made.see(facts)
    return made


def test_the_first_look_shows_no_false_zeros(shown, facts):
    """A rate needs two looks; until then there is a dash."""
    _, section = row(drawn(shown), "section")
    assert section[:3] == ["web", "-", "-"]
    assert "CPU -" in "\n".join(drawn(shown))
    worker = replace(facts.workers[0], requests=150)
    shown.see(replace(facts, monotonic=facts.monotonic + 1, workers=(worker,)))
    _, section = row(drawn(shown), "section")
    assert section[:2] == ["web", "50.0"]


@pytest.mark.parametrize(
    ("width", "heads"),
    [
        (100, "slot section pid state req/s CPU PSS MiB hand errors request"),
        (80, "slot section pid state req/s CPU PSS MiB request"),
        (60, "slot section state req/s CPU request"),
        (40, "slot state req/s request"),
    ],
)
def test_a_narrow_screen_drops_what_matters_least(shown, width, heads):
    """The columns that are left are whole, and no line is longer than the screen."""
    lines = drawn(shown, width)
    found, first = row(lines, "slot")
    assert " ".join(found) == heads
    assert first[0] == "0"
    assert all(len(line) <= width for line in lines)


@pytest.mark.parametrize("width", [40, 60, 80, 110])
def test_a_request_in_hand_is_shown(shown, facts, width):
    """Also on a narrow screen; a long one is cut, and no other column for it."""
    assert row(drawn(shown, width), "slot")[1][-2:] == ["GET", "/cart"]
    child = replace(facts.children[0], in_hand=(("GET /" + "c" * 200, 0.5, ""),))
    shown.see(replace(facts, children=(child,)))
    lines = [line.rstrip() for line in drawn(shown, width)]
    (line,) = [line for line in lines if "GET /ccc" in line]
    assert line.endswith("c\N{HORIZONTAL ELLIPSIS}")
    assert width - 25 < len(line) <= width
    assert row(lines, "slot")[1][0] == "0"


@pytest.mark.parametrize(("width", "height"), [(39, 24), (80, 9)])
def test_a_screen_that_is_too_small_says_so(shown, width, height):
    """Instead of a torn picture."""
    assert drawn(shown, width, height) == ["shop: too small, 40x10 at least"]


def test_the_keys_are_explained(shown):
    """By the key that everybody tries; any other key brings the children back."""
    shown.press("?")
    assert any("sort the children by CPU" in line for line in drawn(shown))
    shown.press("s")
    assert row(drawn(shown), "slot")
