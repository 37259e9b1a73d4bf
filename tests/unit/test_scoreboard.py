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
from supervisor.scoreboard.row import Counter, Row
from supervisor.scoreboard.writer import Scoreboard
from supervisor.views import picture

SLOTS = 3
DESCRIPTION = {"name": "web", "workers": [], "counters": {}, "locks": []}
WORD = 8
FULL = 2**64 - 1


@pytest.fixture
def board(tmp_path):
    """A published scoreboard of three slots."""
    made = Scoreboard(tmp_path / "scoreboard", SLOTS, generation=2, started_at=1_000)
    made.publish(DESCRIPTION)
    yield made
    made.close()


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The bytes of a good scoreboard."""
    path = tmp_path_factory.mktemp("image") / "scoreboard"
    made = Scoreboard(path, SLOTS, generation=2, started_at=1_000)
    made.publish(DESCRIPTION)
    made.close()
    return path.read_bytes()


def test_the_header_says_whose_it_is(board):
    """A reader finds the master, the generation and the size."""
    words = board.snapshot().words
    assert words[layout.H_MASTER] == os.getpid()
    assert words[layout.H_GENERATION] == 2
    assert words[layout.H_SLOTS] == SLOTS
    assert words[layout.H_STARTED_AT] == 1_000
    assert words[layout.H_SIZE] == layout.file_size(SLOTS)


def test_rows_do_not_touch_each_other(board):
    """A row written full changes no other row, no header word and no text."""
    board.set_crash({"traceback": "t"})
    before = board.snapshot()
    base = board.row_base(1)
    for word in range(layout.STRIDE):
        board.words[base + word] = FULL
    after = board.snapshot()
    assert all(word == FULL for word in after.row(1))
    for slot in (-1, 0, 2):
        assert after.row(slot) == before.row(slot)
    assert after.words[: layout.HEADER] == before.words[: layout.HEADER]
    assert (after.description, after.crash) == (DESCRIPTION, {"traceback": "t"})


def test_the_parts_of_a_row_do_not_overlap():
    """Facts, text, histogram and counters follow one another and fill whole cache lines."""
    assert layout.LATENCY_MAX < layout.TEXT
    assert layout.TEXT + layout.TEXT_SIZE // WORD <= layout.HISTOGRAM
    assert layout.HISTOGRAM + layout.BUCKETS <= layout.COUNTERS
    assert layout.COUNTERS + layout.MAX_COUNTERS <= layout.STRIDE
    assert layout.STRIDE * WORD % 64 == 0


def test_the_last_row_ends_the_file(board, tmp_path):
    """The file is as long as its rows need."""
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
    histogram = [0] * layout.BUCKETS
    histogram[layout.bucket_of(microseconds * 1000)] = 1
    told = picture.percentile(histogram, 0.5) * 1e6
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
    assert board.started_at(0) > 0
    assert board.started_at(1) == 0


def test_readiness_of_the_server_has_an_instant(board):
    """Only running means ready."""
    board.set_server_state(ServerState.STOPPING)
    assert board.words[layout.H_READY_AT] == 0
    board.set_server_state(ServerState.RUNNING)
    assert board.words[layout.H_READY_AT] > 0


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
            "of version 2; this program reads version 1",
        ),
        (layout.H_VERSION, 0, "of version 0"),
        (layout.H_SIZE, FULL, "truncated"),
        (layout.H_SIZE, 0, "truncated"),
        (layout.H_SLOTS, SLOTS + 1, "truncated"),
        (layout.H_SLOTS, FULL, "truncated"),
        (layout.H_DESCRIPTION, 0, "damaged"),
        (layout.H_DESCRIPTION, 5, "damaged"),
        (layout.H_DESCRIPTION, FULL, "damaged"),
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
    words[layout.H_CRASH] = length
    snapshot = Snapshot(words.tobytes())
    assert (snapshot.crash, snapshot.description) == (None, DESCRIPTION)


def test_readers_see_nothing_before_it_is_described(tmp_path):
    """The file appears when its words have a meaning, and not before."""
    path = tmp_path / "scoreboard"
    made = Scoreboard(path, 1, generation=1, started_at=0)
    with pytest.raises(FileNotFoundError):
        reader.read(path)
    made.publish(DESCRIPTION)
    assert reader.read(path).description == DESCRIPTION
    made.close()


def test_what_was_never_published_goes_with_close(tmp_path):
    """A scoreboard of a start that failed leaves no file."""
    Scoreboard(tmp_path / "scoreboard", 1, generation=1, started_at=0).close()
    assert list(tmp_path.iterdir()) == []


def test_too_many_names_are_refused(tmp_path):
    """A description that does not fit is a start error, not a cut one."""
    made = Scoreboard(tmp_path / "scoreboard", 1, generation=1, started_at=0)
    with pytest.raises(StartError, match="too many names"):
        made.publish({"name": 70_000 * "x"})
    made.close()


def test_a_reader_copies_and_cannot_write(board, tmp_path):
    """A read disturbs nothing, and later writes do not reach the copy."""
    path = tmp_path / "scoreboard"
    before = path.read_bytes()
    snapshot = reader.read(path)
    board.words[board.row_base(0) + layout.REQUESTS] = 7
    assert snapshot.row(0)[layout.REQUESTS] == 0
    assert reader.read(path).row(0)[layout.REQUESTS] == 7
    with pytest.raises(TypeError):
        snapshot.words[layout.H_STATE] = 1
    board.words[board.row_base(0) + layout.REQUESTS] = 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", ['  File "a.py", line 1\n', "x", "é", "\N{GRINNING FACE}"])
def test_a_long_crash_record_loses_its_beginning(board, line):
    """Of a full black box that does not fit the end is kept, which says what happened."""
    full = 65_536 // len(line.encode()) * line
    board.set_crash({"cause": "SIGSEGV", "traceback": full + "ValueError: the end"})
    crash = board.snapshot().crash
    assert crash["cause"] == "SIGSEGV"
    assert crash["traceback"].startswith("...")
    assert crash["traceback"].endswith(line + "ValueError: the end")


def test_a_crash_record_is_kept_and_forgotten(board):
    """A record that fits is kept whole; None leaves no crash."""
    crash = {"cause": "exit 3", "traceback": "é\n" * 100, "lock": None}
    board.set_crash(crash)
    assert board.snapshot().crash == crash
    board.set_crash(None)
    assert board.snapshot().crash is None


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"GET /", "GET /"),
        (b"x" * layout.TEXT_SIZE, "x" * layout.TEXT_SIZE),
        (b"caf\xc3", "caf\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_row_names_its_request(data, text):
    """The text ends at its first NUL or at its place's end; a cut letter is shown as such."""
    row = memoryview(bytearray(layout.STRIDE * WORD))
    start = layout.TEXT * WORD
    row[start : start + len(data)] = data
    assert layout.text_of(row.cast("Q")) == text


def test_a_counter_adds_in_its_own_row(board):
    """Adding changes one word of the process's own row."""
    row = Row()
    row.words, row.base = board.words, board.row_base(1)
    before = board.snapshot()
    counter = Counter(row, layout.COUNTERS)
    counter.add()
    counter.add(41)
    after = board.snapshot()
    assert after.row(1)[layout.COUNTERS] == 42
    assert sum(after.words) - sum(before.words) == 42


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
