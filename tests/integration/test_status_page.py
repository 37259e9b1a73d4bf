"""The status page in a real browser: headless Chromium, as Debian packages it."""

import os
import signal
from importlib.resources import files

import pytest

from tests.support.browser import ENTER, MISSING, TAB, Browser
from tests.support.clients import ask
from tests.support.configs import table, web

pytestmark = pytest.mark.skipif(MISSING, reason="needs chromium and chromium-driver")

STATUS = table("workers.status", type="status", listen=["tcp://127.0.0.1:0"])


@pytest.fixture
def browser():
    """A browser of the test's own."""
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def watched(serve, browser):
    """A server with its page open in the browser."""

    def start(text, **options):
        server = serve(text + STATUS, **options)
        browser.open(server.address("status").replace("tcp", "http"))
        browser.until("last !== null")
        return server

    return start


def test_the_page_shows_the_children_and_the_load(watched, browser):
    """A tile for each child; the counts grow with the load; nothing is blocked or foreign."""
    server = watched(web(children=5))
    assert browser.run("document.querySelectorAll('.tile').length") == 6
    assert browser.text("#name") == "test"
    assert browser.text("#state") == "running"
    for _ in range(50):
        ask(server)
    browser.until("last.workers[0].requests === 50 && points.some((one) => one.rate.web > 0)")
    assert "web" in browser.text("#plot-rate")
    assert "50" in browser.text("#workers").split()
    browser.run("document.querySelector('.tile').click()")
    assert str(server.children()[0]) in browser.text("#child")
    sources = "performance.getEntriesByType('resource').map((one) => new URL(one.name).origin)"
    assert browser.run(f"{sources}.every((one) => one === location.origin)")
    assert browser.complaints() == []
    assert server.stop() == -signal.SIGTERM


def test_the_page_shows_a_crash(watched, browser):
    """After a child was killed the page goes on with the next generation and says who died."""
    server = watched(web(children=2), master={"restart": "on-crash"})
    assert browser.run("document.getElementById('crash').hidden")
    os.kill(server.children()[1], signal.SIGKILL)
    browser.until(
        "last.generation === 2 && document.getElementById('state').innerText === 'running'"
    )
    assert "web/1" in browser.text("#crash-line")
    assert "SIGKILL" in browser.text("#crash-line")
    os.kill(server.children()[0], signal.SIGSEGV)
    browser.until("last.generation === 3")
    browser.run("document.querySelector('#crash summary').click()")
    assert "Segmentation fault" in browser.text("#crash-traceback")
    assert browser.run("document.querySelectorAll('#history li').length") == 2
    assert browser.text("#history").index("SIGSEGV") < browser.text("#history").index("SIGKILL")
    browser.run("document.querySelector('#crash-dismiss').click()")
    assert browser.run("document.getElementById('crash').hidden")
    assert server.stop() == -signal.SIGTERM


def test_the_page_says_that_the_server_is_gone(watched, browser):
    """The last facts stay, the banner says since when nobody answers, and that it asks on."""
    server = watched(web())
    assert server.stop() == -signal.SIGTERM
    browser.until("document.body.dataset.state === 'gone'")
    assert browser.text("#notice").startswith("The server is gone: no answer since ")
    assert browser.run("document.querySelectorAll('.tile').length") == 3


def test_what_a_client_names_is_never_markup(watched, browser):
    """Text of the server is text on the page."""
    server = watched(web())
    shown = browser.run(
        """(() => {
        show({...last, children: [{...last.children[0], in_hand: [['<img src=x>', 1, '']]}],
          counters: {'<b>x</b>': 1}, last_crash: {worker: '<i>', slot: 0, pid: 1, cause: '<u>',
          state: 'busy', lock: null, generation: 1, at: 1, requests: ['GET /<s>'],
          traceback: '<script>1</script>'}});
        document.querySelector('#crash details').open = true;
        return [document.querySelector('.tile span').innerText,
          document.getElementById('crash-line').innerText.includes(' while serving GET /<s>, in '),
          document.getElementById('crash-traceback').innerText,
          document.querySelectorAll('main img, main script, main i, main u, main s').length];
        })()"""
    )
    assert shown == ["<img src=x>", True, "in hand: GET /<s>\n<script>1</script>", 0]
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_both_lights_and_on_a_phone(watched, browser, tmp_path, scheme):
    """Each has its own background with readable text; a narrow screen does not scroll sideways."""
    server = watched(web(children=8))
    browser.colours(scheme)
    browser.size(390, 844)
    assert browser.run("document.documentElement.scrollWidth <= 390")
    light = browser.run(
        "['backgroundColor', 'color'].map((key) => getComputedStyle(document.body)[key]"
        ".match(/\\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b) / 3)"
    )
    background, ink = light
    assert (background > ink) == (scheme == "light")
    assert abs(background - ink) > 160
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert server.stop() == -signal.SIGTERM


# Every rule that the page breaks, with how bad that is and where.
AXE = """axe.run(document).then((found) => found.violations.map(
  (one) => [one.impact, one.id, ...one.nodes.map((node) => node.html)]))"""


@pytest.fixture
def crashed(watched, browser):
    """The page of a server after two crashes, on which nothing is opened."""
    server = watched(web(children=2), master={"restart": "on-crash"})
    for generation in (1, 2):
        os.kill(server.children()[1], signal.SIGSEGV)
        browser.until(f"last.generation === {generation + 1} && last.state === 'running'")
    return server


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screen_reader_finds_its_way(crashed, browser, scheme):
    """axe-core has nothing to object to, with all opened that can be."""
    browser.colours(scheme)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.run("document.querySelector('.tile').click()")
    browser.load(files("axe_core_python").joinpath("axe.min.js").read_text())
    assert browser.run(AXE) == []
    assert crashed.stop() == -signal.SIGTERM
    browser.until("document.body.dataset.state === 'gone'")
    assert browser.run(AXE) == []


def focused(browser):
    """The element that has the focus, by its id, its slot, or its text."""
    return browser.run(
        "((one) => one.id || one.dataset.slot || one.getAttribute('aria-label') ||"
        " one.innerText.slice(0, 7))(document.activeElement)"
    )


def test_the_page_without_a_mouse(crashed, browser):
    """Tab reaches everything in the order of the page; Enter opens the crash, and a child."""
    reached = []
    for _ in range(11):
        browser.press(TAB)
        reached.append(focused(browser))
        if reached[-1] in ("crash-line", "0"):
            browser.press(ENTER)
    assert reached == [
        *("crash-line", "crash-traceback", "crash-dismiss", "0", "1", "2"),
        *("Table of the worker sections", reached[7], reached[8], "JSON", "metrics"),
    ]
    assert reached[7].startswith("20")  # the year: the history's crashes
    assert browser.run("document.querySelector('#crash details').open")
    assert "Segmentation fault" in browser.text("#crash-traceback")
    assert str(crashed.children()[0]) in browser.text("#child")
    assert crashed.stop() == -signal.SIGTERM


def test_no_label_of_a_plot_covers_another(crashed, browser):
    """Nor do the marks of the restarts cover a curve: their labels stand above all of them."""
    browser.until("points.length >= 4")
    boxes = browser.run(
        """[...document.querySelectorAll('.plot > svg')].map((svg) =>
          [...svg.querySelectorAll('text')].map((one) => one.getBoundingClientRect())
          .map((box) => [box.left, box.top, box.right, box.bottom]))"""
    )
    assert len(boxes) == 3
    for texts in boxes:
        assert not [1 for one in texts for two in texts if one is not two and overlap(one, two)]
    marks = browser.run(
        "[...document.querySelectorAll('.mark-text')].map((one) => Number(one.getAttribute('y')))"
    )
    assert marks
    assert max(marks) < browser.run("TOP")
    assert crashed.stop() == -signal.SIGTERM


def overlap(one, two):
    """True for two boxes that share some of their area."""
    return max(one[0], two[0]) < min(one[2], two[2]) and max(one[1], two[1]) < min(one[3], two[3])
