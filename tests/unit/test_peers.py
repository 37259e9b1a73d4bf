"""From samples to the tables of the comparison with other servers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.peers.columns import TABLES, Column, Table
from tests.benchmarks.peers.contenders import CONTENDERS
from tests.benchmarks.peers.crash import longest_gap
from tests.benchmarks.peers.plan import CASES, MEASURES, QUICK, chosen, steps_of
from tests.benchmarks.peers.report import document, parts, replaced
from tests.benchmarks.peers.tables import Cell, cell, failures, losses, rows
from tests.benchmarks.peers.throughput import figures

ROOT = Path(__file__).parents[2]
LESS = Column("ready, 4", "start 4", "start", "{:.2f}")
MORE = Column("rate", "throughput", "kept_rate", "{:.0f}", "more")
TABLE = Table("Start", "Seconds.", (LESS, MORE))


def contender(name, *, is_ours=False, family="wsgi"):
    return {
        "name": name,
        "family": family,
        "is_ours": is_ours,
        "command": f"{name} -p $port",
        "config": "",
    }


def record(**samples):
    """Results of one case, `start 4`, with the first contender ours."""
    names = list(samples)
    case = {"date": "2026-01-02T03:04:05+00:00", "children": 4, "seconds": 0.5, "noise": [50.0]}
    return {
        "machine": {"cores": "2"},
        "versions": {"peer": "1.0"},
        "left_out": {"absent": "absent is not installed"},
        "contenders": [contender(name, is_ours=name == names[0]) for name in names],
        "cases": {"start 4": case | {"samples": samples}},
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
    assert cell(samples, LESS) == expected


def test_the_best_is_bold_and_ours_comes_first():
    """So is what is nearly as good as the best; columns without samples stay empty."""
    taken = record(ours=starts(0.3), slow=starts(0.9), fast=starts(0.29))
    assert list(rows(TABLE, taken, "wsgi")) == [
        ["WSGI", "ours", "**0.30**", ""],
        ["", "slow", "0.90", ""],
        ["", "fast", "**0.29**", ""],
    ]


def test_nobody_is_best_where_all_are_alike():
    """Bold print for everybody says nothing."""
    texts = [row[2] for row in rows(TABLE, record(ours=starts(1.0), other=starts(1.0)), "wsgi")]
    assert texts == ["1.00", "1.00"]


def test_losses_are_told():
    """Where a peer is better than ours; what is nearly as good, or worse, is no loss."""
    assert list(losses(record(ours=starts(0.2), other=starts(0.1)))) == [
        "Start and stop, WSGI, ready, 4: other 0.100, ours 0.200"
    ]
    assert not list(losses(record(ours=starts(0.1), other=starts(0.2))))
    assert not list(losses(record(ours=starts(0.103), other=starts(0.1))))


def test_more_is_better_where_it_is():
    """Of rates the highest wins."""
    taken = record(ours=[], other=[])
    taken["cases"] = {
        "throughput": {"samples": {"ours": [{"kept_rate": 10.0}], "other": [{"kept_rate": 20.0}]}}
    }
    assert [row[3] for row in rows(TABLE, taken, "wsgi")] == ["10", "**20**"]


def test_failures_are_told_with_their_reason():
    """How often, and why."""
    taken = record(ours=starts(0.1), other=[{"error": "no answer"}, *starts(0.2)])
    assert list(failures(taken)) == ["other, start 4: 1 of 2 failed: no answer"]


def test_the_document_has_all_that_was_measured():
    """Machine, versions, noise, who is missing, tables, commands; no table without figures."""
    text = document(record(ours=starts(0.1), other=starts(0.2)))
    for part in (
        "cores 2",
        "peer 1.0",
        "50 ms",
        "absent is not installed",
        "| WSGI | ours | **0.100** |",
        "start 4: 4 children, 0.5 s, n = 1",
        "other -p $port",
    ):
        assert part in text
    assert "Requests" not in text


def test_the_readme_is_replaced_between_its_marks_only():
    """What stands around the marks, and between others, stays; done twice it is the same."""
    page = "before\n<!-- peers:begin -->\nstale\n<!-- peers:end -->\n<!-- scale:begin -->after\n"
    once = replaced(page, "peers", "new")
    assert once == page.replace("stale", "new")
    assert replaced(once, "peers", "new") == once
    assert replaced(page, "scale", "new") == page
    assert replaced("no marks", "peers", "new") == "no marks"


def test_what_stands_in_the_readme_is_the_report(tmp_path):
    """The peers' tables name the place of the plots; the scale is there once it was measured."""
    taken = record(ours=starts(0.1))
    (found,) = parts(taken, tmp_path, "results/")
    assert found[0] == "peers"
    assert "results/peers.md" in found[1]
    (tmp_path / "scale.md").write_text("| a table |\n")
    assert list(parts(taken, tmp_path, "results/"))[1][1].startswith("| a table |\n")


def test_a_report_without_results_is_one_line(tmp_path):
    """It says what is missing, with status 1."""
    command = [sys.executable, "-m", "tests.benchmarks.peers.report", str(tmp_path / "peers.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"no results yet: {tmp_path / 'peers.json'}\n"


def test_a_record_survives_its_file():
    """JSON and back is the same report."""
    taken = record(ours=starts(0.1), other=[{"error": "late"}])
    assert document(json.loads(json.dumps(taken))) == document(taken)


def test_everybody_takes_turns():
    """As many lives for each as there are rounds, and each round is begun by another one."""
    case = chosen(quick=False, only=["start"], rounds=3)[0]
    names = [one.name for one in case.contenders()]
    steps = [step.contender.name for step in steps_of(case)]
    begins = [steps[number * len(names)] for number in range(3)]
    assert sorted(steps) == sorted(names * 3)
    assert begins == [names[number % len(names)] for number in range(3)]


def test_every_figure_in_a_table_belongs_to_a_case():
    """A renamed case must not leave an empty column."""
    names = {case.name for case in CASES}
    for table in TABLES:
        for column in table.columns:
            of = {column.cases} if isinstance(column.cases, str) else set(column.cases)
            assert of <= names


def test_a_smoke_run_takes_every_measure():
    """`--quick` leaves none out."""
    assert {case.measure for case in QUICK} == set(MEASURES)


def test_contenders_take_part_in_measures_that_exist():
    """And have names of their own."""
    assert len({one.name for one in CONTENDERS}) == len(CONTENDERS)
    assert {name for one in CONTENDERS for name in one.only} <= set(MEASURES)


def test_the_longest_gap():
    """Between neighbours, the ends included."""
    assert longest_gap([1.0, 1.5, 4.0, 4.5]) == 2.5


def test_what_wrk_says():
    """Rate, 99th percentile in ms, and errors of sockets and of statuses together."""
    said = (
        "  Latency Distribution\n     50%  700.00us\n     99%    1.25ms\n"
        "  Socket errors: connect 1, read 2, write 3, timeout 4\n"
        "  Non-2xx or 3xx responses: 5\nRequests/sec:  1234.50\n"
    )
    assert figures(said) == {"rate": 1234.5, "slowest": 1.25, "failed": 15.0}
    assert figures("Requests/sec: 10.0\n") == {"rate": 10.0, "slowest": 0.0, "failed": 0.0}
