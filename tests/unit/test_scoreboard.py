"""The mapped file: what is written stands where readers look, and nothing else passes for one."""

import itertools
import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervisor.errors import ScoreboardError, StartError
from supervisor.scoreboard import layout, reader
from supervisor.scoreboard.layout import ServerState, State
from supervisor.scoreboard.lock import Lock
from supervisor.scoreboard.reader import Snapshot
from supervisor.scoreboard.records import KEPT, Description, History, Incident, Section
from supervisor.scoreboard.row import Counter, Names, Row
from supervisor.scoreboard.view import RowView
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system.clock import Instant
from supervisor.views.latency import histogram_of, percentile
from tests.support.scoreboards import report

SLOTS = 3
DESCRIPTION = Description("web", (Section("a", "tcp", 2, 8), Section("b", "tcp", 1, 8)))
STARTED_AT = Instant(1_000, 2_000)
WORD = 8
FULL = 2**64 - 1
HISTORY = History((report(),))


@pytest.fixture
def board(tmp_path):
    """A published scoreboard of three slots."""
    made = Scoreboard(tmp_path / "scoreboard", SLOTS, generation=2, started_at=STARTED_AT)
    made.describe(DESCRIPTION)
    made.publish()
    yield made
    made.close()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The bytes of a good scoreboard."""
    path = tmp_path_factory.mktemp("image") / "scoreboard"
    made = Scoreboard(path, SLOTS, generation=2, started_at=STARTED_AT)
    made.describe(DESCRIPTION)
    made.publish()
    made.close()
    return path.read_bytes()


def test_the_header_says_whose_it_is(board):
    """A reader finds the master, the generation and the size."""
    snapshot = board.snapshot()
    assert (snapshot.pid, snapshot.generation, len(snapshot.slots)) == (os.getpid(), 2, SLOTS)
    assert (snapshot.started_at, snapshot.begun_at) == (1e-6, 2_000)
    assert board.words[layout.H_SIZE] == layout.file_size(SLOTS)


def test_rows_do_not_touch_each_other(board):
    """A row written full changes no other row, no header word and no text."""
    board.set_history(HISTORY)
    before = bytes(board.words)
    base = board.row_base(1)
    for word in range(layout.STRIDE):
        board.words[base + word] = FULL
    after = bytes(board.words)
    assert after[base * WORD :][: layout.STRIDE * WORD] == b"\xff" * layout.STRIDE * WORD
    assert after[: base * WORD] == before[: base * WORD]
    assert after[(base + layout.STRIDE) * WORD :] == before[(base + layout.STRIDE) * WORD :]
    assert Snapshot(after).history == HISTORY


def test_the_parts_of_a_row_do_not_overlap():
    """Facts, names, histogram and counters follow one another and fill whole cache lines."""
    assert layout.RESPONSES + layout.CODE_CLASSES <= layout.NAMES
    assert WORD + 1 + layout.NAME_SIZE + 1 + layout.ID_SIZE == layout.PLACE * WORD
    assert layout.NAMED.size == layout.PLACE * WORD
    assert layout.NAMES + layout.PLACES * layout.PLACE <= layout.HISTOGRAM
    assert layout.HISTOGRAM + layout.BUCKETS <= layout.COUNTERS
    assert layout.COUNTERS + layout.MAX_COUNTERS <= layout.STRIDE
    assert layout.STRIDE * WORD % 64 == 0


def test_the_last_row_ends_the_file(board, tmp_path):
    """The file is as long as its rows need; the blocks of the sections end where they begin."""
    assert layout.section_base(SLOTS) == board.row_base(-1)
    end = (board.row_base(SLOTS - 1) + layout.STRIDE) * WORD
    assert (tmp_path / "scoreboard").stat().st_size == end == layout.file_size(SLOTS)


@given(st.integers(1, 1_000_000_000))
@example(1)
@example(1_000_000_000)
def test_a_latency_falls_into_its_bucket(microseconds):
    """From 1 us to 1000 s the bucket's bounds hold the latency."""
    lower, upper = layout.bucket_bounds(layout.bucket_of(microseconds * 1000))
    assert lower <= microseconds * 1000 < upper


@given(st.integers(1, 1_000_000_000))
def test_a_latency_is_told_with_little_error(microseconds):
    """From 1 us to 1000 s what a reader makes of the histogram errs by 12.5 % at most."""
    row = memoryview(bytearray(layout.STRIDE * WORD)).cast("Q")
    row[layout.HISTOGRAM + layout.bucket_of(microseconds * 1000)] = 1
    told = percentile(histogram_of([RowView(row)]), 0.5) * 1e6
    assert abs(told - microseconds) <= 0.125 * microseconds * (1 + 1e-9)


def test_buckets_leave_no_gap():
    """Each bucket begins where the one before ends; what is longer than all falls into the last."""
    bounds = [layout.bucket_bounds(bucket) for bucket in range(layout.BUCKETS)]
    assert bounds[0][0] == 0
    assert all(upper == lower for (_, upper), (lower, _) in itertools.pairwise(bounds))
    assert layout.bucket_of(2**60) == layout.BUCKETS - 1


@pytest.mark.parametrize("state", State)
def test_state_and_instant_share_a_word(board, state):
    """A reader sees a state with the instant at which it began, never one of each."""
    board.set_state(0, state)
    first = board.state(0)
    board.set_state(0, state)
    second = board.state(0)
    assert first[0] is second[0] is state
    assert 0 < first[1] <= second[1]


@pytest.mark.parametrize("since", [0, 8, 2**63, 2**64 - 8])
@pytest.mark.parametrize("state", State)
def test_a_state_word_is_unpacked(state, since):
    """The low bits are the state, the others the instant."""
    assert layout.unpack_state(since | state) == (state, since)


def test_the_master_notes_begin_and_end_of_a_slot(board):
    """Starting before the fork; dead, or finished, after the reap."""
    seen = [board.state(0)[0]]
    board.begin_slot(0)
    seen.append(board.state(0)[0])
    board.end_slot(0)
    seen.append(board.state(0)[0])
    board.end_slot(0, finished=True)
    seen.append(board.state(0)[0])
    assert seen == [State.EMPTY, State.STARTING, State.DEAD, State.FINISHED]
    assert board.row(0).started_at > 0
    assert board.row(1).started_at == 0


def test_what_a_dead_child_had_in_hand_failed(board):
    """It counts as requests and as errors, so that no request is in no count."""
    base = board.row_base(0)
    for word, value in ((layout.REQUESTS, 10), (layout.ERRORS, 1), (layout.ACTIVE, 3)):
        board.words[base + word] = value
    board.end_slot(0)
    row = board.row(0)
    assert (row.requests, row.errors, row.active) == (13, 4, 0)
    board.words[base + layout.ACTIVE] = FULL
    board.end_slot(0)
    assert (board.row(0).requests, board.row(0).active) == (13, 0)


def test_what_the_master_tells_its_children(board):
    """The door, the drain and the number of forced ends are words of the header."""
    assert (board.door_is_closed, board.is_draining) == (False, False)
    board.close_door()
    board.begin_drain_delay()
    board.set_forced(1)
    assert (board.door_is_closed, board.is_draining) == (True, True)
    assert board.snapshot().forced == 1
    assert board.snapshot().is_draining
    board.set_server_state(ServerState.STOPPING)
    assert board.snapshot().state is ServerState.STOPPING


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "truncated"),
        (b"prefork\0", "truncated"),
        (bytes(layout.HEADER * WORD), "not a scoreboard"),
        (b"#!/bin/sh\n" * 1000, "not a scoreboard"),
    ],
)
def test_a_foreign_file_is_refused(data, reason):
    """Bytes that are no scoreboard are told so."""
    with pytest.raises(ScoreboardError, match=reason):
        Snapshot(data)


@pytest.mark.parametrize(
    ("word", "value", "reason"),
    [
        (layout.H_MAGIC, 0, "not a scoreboard"),
        (
            layout.H_VERSION,
            layout.VERSION + 1,
            "of version 5; this program reads version 4",
        ),
        (layout.H_VERSION, 0, "of version 0"),
        (layout.H_SIZE, FULL, "truncated"),
        (layout.H_SIZE, 0, "truncated"),
        (layout.H_SLOTS, SLOTS + 1, "truncated"),
        (layout.H_SLOTS, FULL, "truncated"),
        (layout.H_DESCRIPTION, 0, "damaged"),
        (layout.H_DESCRIPTION, 5, "damaged"),
        (layout.H_DESCRIPTION, FULL, "damaged"),
        (layout.H_STATE, 77, "damaged"),
    ],
)
def test_a_scoreboard_that_is_not_ours_is_refused(image, word, value, reason):
    """Another version, another size or a damaged description is an error, not a wrong number."""
    words = memoryview(bytearray(image)).cast("Q")
    words[word] = value
    with pytest.raises(ScoreboardError, match=reason):
        Snapshot(words.tobytes())


@given(st.data())
def test_a_cut_scoreboard_is_refused(image, data):
    """Wherever the file ends too early, the reader says so."""
    length = data.draw(st.integers(0, len(image) - 1))
    with pytest.raises(ScoreboardError, match="truncated"):
        Snapshot(image[:length])


@pytest.mark.parametrize("length", [1, 5, FULL])
def test_a_crash_that_is_being_written_is_left_out(image, length):
    """A half written crash record costs the reader nothing else."""
    words = memoryview(bytearray(image)).cast("Q")
    words[layout.H_HISTORY] = length
    snapshot = Snapshot(words.tobytes())
    assert (snapshot.history, snapshot.description) == (History(), DESCRIPTION)


def test_readers_see_nothing_before_it_is_described(tmp_path):
    """The file appears when its words have a meaning, and not before."""
    path = tmp_path / "scoreboard"
    made = Scoreboard(path, SLOTS, generation=1, started_at=STARTED_AT)
    with pytest.raises(FileNotFoundError):
        reader.read(path)
    made.describe(DESCRIPTION)
    made.publish()
    assert reader.read(path).description == DESCRIPTION
    made.close()


def test_what_was_never_published_goes_with_close(tmp_path):
    """A scoreboard of a start that failed leaves no file."""
    Scoreboard(tmp_path / "scoreboard", 1, generation=1, started_at=STARTED_AT).close()
    assert list(tmp_path.iterdir()) == []


def test_too_many_names_are_refused(tmp_path):
    """A description that does not fit is a start error, not a cut one."""
    made = Scoreboard(tmp_path / "scoreboard", 1, generation=1, started_at=STARTED_AT)
    with pytest.raises(StartError, match="too many names"):
        made.describe(Description(70_000 * "x", ()))
    made.close()


def test_a_reader_copies_and_cannot_write(board, tmp_path):
    """A read disturbs nothing, and later writes do not reach the copy."""
    path = tmp_path / "scoreboard"
    before = path.read_bytes()
    snapshot = reader.read(path)
    board.words[board.row_base(0) + layout.REQUESTS] = 7
    assert snapshot.slots[0].row.requests == 0
    assert reader.read(path).slots[0].row.requests == 7
    board.words[board.row_base(0) + layout.REQUESTS] = 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", ['  File "a.py", line 1\n', "x", "é", "\N{GRINNING FACE}", "\0"])
def test_a_long_crash_record_loses_its_beginning(board, line):
    """Of full black boxes that do not fit the ends are kept, which say what happened."""
    full = 70_000 // len(line.encode()) * line
    history = History()
    for number in range(KEPT):
        history.add_crash(report(at=number, traceback=full + "ValueError: the end"))
    board.set_history(history)
    crashes = board.snapshot().history.crashes
    assert [crash.at for crash in crashes] == list(reversed(range(KEPT)))
    assert all(crash.traceback.startswith("...") for crash in crashes)
    assert all(crash.traceback.endswith(line + "ValueError: the end") for crash in crashes)
    assert len(crashes[0].traceback) > len(crashes[1].traceback)


def test_the_newest_are_remembered(board):
    """Crashes and incidents, the newest first; deaths are counted by cause however many."""
    history = History()
    for number in range(KEPT + 5):
        history.add_crash(report(at=number, cause=f"exit {number % 2}"))
        incident = Incident(at=number, kind="forced stop", generation=1, reason="late")
        history.add_incident(incident)
    board.set_history(history)
    kept = board.snapshot().history
    assert kept == history
    newest = list(range(KEPT + 4, 4, -1))
    assert [one.at for one in kept.crashes] == [one.at for one in kept.incidents] == newest
    assert [(one.cause, one.count) for one in kept.deaths] == [("exit 0", 8), ("exit 1", 7)]


def test_what_fails_again_and_again_is_remembered_once():
    """The first cause is not driven out by starts that fail after it."""
    history = History()
    history.add_crash(report(at=1, cause="SIGSEGV"))
    for number in range(2, 3 * KEPT):
        history.add_crash(report(at=number, cause="exit 1", was_ready=False))
        failed = Incident(at=number, kind="failed restart", generation=number, reason="no mood")
        history.add_incident(failed)
    assert [(one.at, one.cause) for one in history.crashes] == [
        (3 * KEPT - 1, "exit 1"),
        (1, "SIGSEGV"),
    ]
    assert [one.generation for one in history.incidents] == [3 * KEPT - 1]


def test_causes_of_deaths_are_bounded():
    """A program that exits with ever other causes does not fill the scoreboard."""
    history = History()
    for number in range(1000):
        history.count_death("web", f"cause {number}")
    assert len(history.deaths) <= 101
    assert sum(one.count for one in history.deaths) == 1000


@pytest.fixture
def names(board):
    """The names of slot 1."""
    base = board.row_base(1)
    return Names(board.words[base : base + layout.STRIDE])


def test_requests_in_hand_are_named_oldest_first(board, names):
    """Each with its beginning and its id, as long as it is in hand."""
    names.add(3_000, b"GET /b")
    first = names.add(2_000, b"GET /a", b"7f")
    told = [one.told(1_000_002_000) for one in board.row(1).in_hand()]
    assert told == ["GET /a 1.000s id=7f", "GET /b 1.000s"]
    names.remove(first)
    assert [one.name for one in board.row(1).in_hand()] == ["GET /b"]
    names.add(4_000, b"G")
    assert [one.name for one in board.row(1).in_hand()] == ["GET /b", "G"]


def test_only_so_many_requests_are_named(board, names):
    """A request that finds no place is not named, and removing it frees none."""
    places = [names.add(begun, b"%d" % begun) for begun in range(1, layout.PLACES + 3)]
    assert places[layout.PLACES :] == [-1, -1]
    names.remove(-1)
    assert len(board.row(1).in_hand()) == layout.PLACES
    for place in places[: layout.PLACES]:
        names.remove(place)
    assert board.row(1).in_hand() == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"GET /", "GET /"),
        (b"x" * 1000, "x" * layout.NAME_SIZE),
        (b"caf\xc3", "caf\N{REPLACEMENT CHARACTER}"),
        (b"a\nb\x1b[2J", "a\ufffdb\ufffd[2J"),
    ],
)
def test_a_name_is_cut_and_harmless(board, names, name, text):
    """A long name ends at its place's end; a cut letter and a control character are shown as
    such.
    """
    names.add(1, name, b"i" * 1000)
    assert board.row(1).in_hand() == [(1, text, "i" * layout.ID_SIZE)]


def test_the_children_of_a_section_share_a_block(board):
    """A word that one writes the others of its section read, and no other section; the mean is of
    their connections.
    """
    one, other, foreign = board.block(0), board.block(0), board.block(2)
    one.be_slow_until(1_000)
    assert other.words[layout.SLOW_UNTIL] == 1_000
    assert foreign.words[layout.SLOW_UNTIL] == 0
    for slot, connections in enumerate((3, 6, 100)):
        board.words[board.row_base(slot) + layout.CONNECTIONS] = connections
    assert (one.mean_connections(), foreign.mean_connections()) == (4.5, 100)
    one.words[layout.CHILDREN] = FULL
    assert one.mean_connections() == 109 / 3


def test_a_counter_adds_in_its_own_row(board):
    """Adding changes one word of the process's own row."""
    row = Row()
    row.words, row.base = board.words, board.row_base(1)
    before = sum(board.words)
    counter = Counter(row, layout.COUNTERS)
    counter.add()
    counter.add(41)
    assert board.row(1).counter(layout.COUNTERS) == 42
    assert sum(board.words) - before == 42


@pytest.fixture
def lock():
    """A free lock with the number 5, on a row of its own."""
    made = Lock(5, Row())
    made.renew()
    yield made
    made.close()


def test_a_lock_is_noted_while_held(board, lock):
    """The owner's row carries the lock's number; nobody else takes it meanwhile."""
    row = Row()
    row.words, row.base = board.words, board.row_base(2)
    held = Lock(7, row)
    held.renew()
    with held:
        assert board.lock_of(2) == 7
        assert board.state_of_owner(7) is State.EMPTY
        assert not held.acquire(timeout=0)
    assert board.lock_of(2) == 0
    assert board.state_of_owner(7) is None
    assert held.try_take()
    held.close()


def test_locks_nest(lock):
    """The inner lock is the one noted; leaving it brings the outer one back."""
    row = lock._row
    inner = Lock(6, row)
    inner.renew()
    noted = []
    with lock:
        noted.append(row.words[layout.LOCK])
        with inner:
            noted.append(row.words[layout.LOCK])
        noted.append(row.words[layout.LOCK])
    noted.append(row.words[layout.LOCK])
    inner.close()
    assert noted == [5, 6, 5, 0]


def test_a_lock_is_free_in_the_next_generation(lock):
    """A lock that died with its owner is made anew."""
    assert lock.try_take()
    assert not lock.try_take()
    lock.renew()
    assert lock.try_take()
