"""From samples of the benchmarks to tables, plots, and the README's part."""

import xml.etree.ElementTree as ET

import pytest

from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.measures.crash import longest_gap
from tests.benchmarks.measures.load import figures
from tests.benchmarks.plan import CASES, GROUPS, MEASURES, chosen, steps_of
from tests.benchmarks.report.against import Comparison, against, slopes_of
from tests.benchmarks.report.columns import COLUMNS, SHORT, TABLES, TEXTS, Column
from tests.benchmarks.report.plots import LINE, PLOTS, apart
from tests.benchmarks.report.promises import PROMISES, promised
from tests.benchmarks.report.report import BEGIN, END, printed, readme_part, replaced
from tests.benchmarks.report.tables import Cell, cell, failures, losses, row

READY = Column("ready, s", "start 4", "start")
RATE = Column("rate", "start 4", "rate", "{:.0f}", "more")
OURS, PEER = "supervisor wsgi", "uwsgi"


def record(case="start 4", **samples):
    """Results of one case, by contender: `ours`, `peer`, or by name."""
    names = {"ours": OURS, "peer": PEER}
    return {
        "machine": {"cores": "2"},
        "versions": {"peer": "1.0"},
        "left_out": {"absent": "absent is not installed"},
        "cases": {
            case: {
                "date": "2026-01-02T03:04:05+00:00",
                "children": 4,
                "seconds": 0.5,
                "noise": [50.0],
                "samples": {names.get(name, name): found for name, found in samples.items()},
            }
        },
    }


def starts(*seconds):
    return [{"start": value} for value in seconds]


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], Cell("")),
        (starts(0.5), Cell("0.50", 0.5)),
        (starts(0.5, 0.7), Cell("0.60 (0.50 .. 0.70)", 0.6)),
        (starts(0.1, 0.2, 0.3, 0.4, 9.0), Cell("0.30 (0.20 .. 0.40)", 0.3)),
        (starts(0.5, 0.501), Cell("0.50", 0.5005)),
        ([{"error": "no"}], Cell("failed")),
        ([{"error": "no"}, *starts(0.5)], Cell("0.50, 1 of 2 failed", 0.5)),
        ([{"stop": 1.0}], Cell("-")),
    ],
)
def test_samples_become_a_cell(samples, expected):
    """Median, the spread where it shows, what failed; nothing where nothing was measured."""
    assert cell(record(ours=samples), OURS, READY) == expected


@pytest.mark.parametrize(
    ("ours", "peer", "lost"),
    [(0.2, 0.1, "ready, s (uwsgi 0.10, ours 0.20)"), (0.1, 0.2, ""), (0.103, 0.1, "")],
)
def test_losses_are_told(ours, peer, lost):
    """Where a peer is better than ours; what is nearly as good, or worse, is no loss."""
    taken = record(ours=starts(ours), peer=starts(peer))
    assert list(losses(taken, [READY], ["wsgi"])) == ([f"wsgi: {lost}."] if lost else [])


def test_the_best_of_its_kind_is_bold():
    """The least, or of rates the highest; nobody where all are alike."""
    assert row(record(ours=starts(0.3), peer=starts(0.9)), READY)[:4] == [
        "**0.30**",
        "",
        "",
        "0.90",
    ]
    assert row(record(ours=starts(0.5), peer=starts(0.5)), READY)[:4] == ["0.50", "", "", "0.50"]
    assert row(record(ours=[{"rate": 1}], peer=[{"rate": 2}]), RATE)[:4] == ["1", "", "", "**2**"]


def test_failures_are_told_with_their_reason():
    """How often, and why."""
    taken = record(ours=starts(0.1), peer=[{"error": "no answer"}, *starts(0.2)])
    assert list(failures(taken)) == ["uwsgi, start 4: 1 of 2 failed: no answer"]


def test_ours_is_compared_with_the_floor_of_the_same_round():
    """It may cost a factor times the floor, and an allowance; a doubtful verdict says so."""
    comparison = Comparison("tcp", READY, 2.0, 0.1)

    def verdict(*ours):
        taken = record(**{"supervisor tcp": starts(*ours), "floor": starts(*[0.1] * len(ours))})
        return comparison.cells(taken)[-2:]

    assert verdict(0.3) == ["0.30", "ok"]
    assert verdict(0.4) == ["0.30", "MISS"]
    assert verdict(0.2, 0.2, 0.4, 0.4, 0.4) == ["0.30", "MISS (in doubt)"]
    assert comparison.cells(record(ours=starts(0.1))) == []


def test_the_slope_at_both_ends():
    """The cost of one child more, between the two smallest and the two largest numbers of them."""
    assert slopes_of({4: 1.0, 8: 2.0, 16: 6.0}) == [0.25, 0.5]
    assert slopes_of({4: 1.0}) == []


def test_a_promise_is_held_by_all_of_ours():
    """The worst of the samples counts, of each; peers stand beside. Nothing without ours."""
    promise = promised("start 4", "ready, s: start 2", max, most=0.5)
    taken = record(ours=starts(0.1, 0.4), peer=starts(0.9))
    cells = ["ready, s", "<= 0.50", "0.40 (n = 2)", "", "", "", "uwsgi 0.90", "ok"]
    assert promise.cells(taken) == cells
    late = record(**{OURS: starts(0.1), "supervisor asgi": starts(0.2, 0.6)})
    assert promise.cells(late)[2:4] == ["0.10", "0.60 (n = 2)"]
    assert promise.cells(late)[-1] == "MISS"
    assert promise.cells(record(peer=starts(0.9))) == []
    assert promise._replace(least=0.5).allowed == "= 0.50"
    assert promise._replace(most=None).cells(taken)[1::6] == ["", ""]


def test_each_promise_is_of_a_case():
    """A renamed case must not leave an empty row."""
    assert {one.column.cases for one in PROMISES} <= {case.name for case in CASES}


@pytest.mark.parametrize("group", GROUPS)
def test_all_that_was_measured_is_printed(group):
    """Machine, versions, noise, who is missing; no table without figures."""
    text = printed(record(**{"supervisor exec": starts(0.1)}), group)
    for part in ("cores 2", "peer 1.0", "50 ms", "absent is not installed"):
        assert part in text
    assert ("| programs | supervisor exec | 0.100 |" in text) == (group in ("floor", "peers"))
    assert "## Requests" not in text
    assert not against(record(ours=starts(0.1)))


def test_the_readme_is_replaced_between_its_marks_only():
    """The text around the marks stays; done twice it is the same."""
    page = f"before\n{BEGIN}\nstale\n{END}\nafter\n"
    once = replaced(page, "new")
    assert once == page.replace("stale", "new")
    assert replaced(once, "new") == once
    assert replaced("no marks", "new") == "no marks"


def test_the_part_of_the_readme():
    """The measured rows, losses and plots; nothing of what was not measured."""
    text = readme_part(record("standing", ours=starts(0.2), peer=starts(0.1)), "results/")
    assert "| 32 children ready, s | 0.20 |  |  | **0.10** |  |  |  |" in text
    assert "uwsgi 0.10, ours 0.20" in text
    assert "stopped" not in text
    assert "results/" not in text
    assert "results/crash.svg" in readme_part(crashes(), "results/")


def crashes():
    """Enough for the plot of crashes."""
    taken = record("crash every 1 s", ours=[{"answered": 99.0, "gap": 0.1}])
    return taken | {
        "cases": dict.fromkeys(
            ("crash every 1 s", "crash every 2 s"), taken["cases"]["crash every 1 s"]
        )
    }


@pytest.mark.parametrize("plot", PLOTS, ids=[plot.file for plot in PLOTS])
def test_a_plot_shows_what_was_measured(plot):
    """Well-formed, with a name for each contender; no file where nothing was measured."""
    assert plot.draw(record(ours=starts(0.1))) == ""
    figures = {column.value: 0.5 for column in plot.panels}
    cases = [f"{kind} {n}" for kind in ("start", "again") for n in (4, 32, 128)]
    cases += [case for column in plot.panels for case in column.cases.split("|")]
    one = record(**{name: [figures] for name in plot.names})["cases"]["start 4"]
    texts = [
        node.text
        for node in ET.fromstring(plot.draw(record() | {"cases": dict.fromkeys(cases, one)})).iter()
    ]
    assert set(plot.names) <= set(texts)


def test_names_at_the_ends_of_lines_do_not_overlap():
    """They stay in order, and above the lowest place."""
    assert apart([10.0, 50.0], 100.0) == [10.0, 50.0]
    assert apart([50.0, 50.0], 100.0) == [50.0, 50.0 + LINE]
    assert apart([99.0, 98.0, 97.0], 100.0) == [100.0, 100.0 - LINE, 100.0 - 2 * LINE]


def test_everybody_takes_turns():
    """As many lives for each as there are rounds, and each round is begun by another one."""
    group = GROUPS["floor"]
    case = chosen(group, smoke=False, only=["start"], rounds=3)[0]
    names = [one.name for one in case.contenders(group)]
    steps = [step.contender.name for step in steps_of(case, group)]
    assert sorted(steps) == sorted(names * 3)
    assert [steps[n * len(names)] for n in range(3)] == [names[n % len(names)] for n in range(3)]


def test_peers_may_have_fewer_lives():
    """A case that takes twenty rounds of ours takes only as many of theirs as it says."""
    (case,) = chosen(GROUPS["peers"], smoke=False, only=["in hand"], rounds=None)
    assert {case.rounds_of(one) for one in case.contenders(GROUPS["peers"])} <= {20, 3}


def test_every_figure_in_a_table_belongs_to_a_case():
    """A renamed case must not leave an empty column."""
    names = {case.name for case in CASES}
    assert {name for column in (*COLUMNS, *SHORT) for name in column.cases.split("|")} <= names
    assert list(TABLES) == list(TEXTS)


def test_a_smoke_run_takes_every_measure():
    """`--quick` leaves none out."""
    for group in GROUPS.values():
        taken = chosen(group, smoke=True, only=(), rounds=None)
        assert {case.measure for case in taken} == set(group.measures)
    assert {measure for group in GROUPS.values() for measure in group.measures} == set(MEASURES)


def test_contenders_have_names_of_their_own():
    """And measures that exist."""
    assert len({one.name for one in CONTENDERS}) == len(CONTENDERS)
    assert {name for one in CONTENDERS for name in one.only} <= set(MEASURES)


def test_the_longest_gap():
    """Between neighbours, the ends included."""
    assert longest_gap([1.0, 1.5, 4.0, 4.5]) == 2.5


def test_what_wrk_says():
    """Rate, 99th percentile in ms, and errors of sockets and of statuses together."""
    said = (
        "  Latency Distribution\n     50%  700.00us\n     99%    1.25ms\n"
        "  1234 requests in 1.00s, 1.00MB read\n"
        "  Socket errors: connect 1, read 2, write 3, timeout 4\n"
        "  Non-2xx or 3xx responses: 5\nRequests/sec:  1234.50\n"
    )
    assert figures(said) == {"requests": 1234, "rate": 1234.5, "slowest": 1.25, "failed": 15}
    less = {"requests": 9, "rate": 10, "slowest": 0, "failed": 0}
    assert figures("9 requests in 1.00s\nRequests/sec: 10.0\n") == less
