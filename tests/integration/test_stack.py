"""`stack`: what each child does now, without stopping it, and without the master."""

import os
import re
import signal
import subprocess

from supervisor.scoreboard import layout
from supervisor.scoreboard.reader import read
from tests.support.applications import asked, get, section
from tests.support.clients import ask, dial, line
from tests.support.configs import job, table, web
from tests.support.harness import DEADLINE, SUPERVISOR, environment

SOON = {"stop_timeout": 0.3}  # for children that never come back
PATIENT = ("--timeout", str(DEADLINE))


def stack(server, *arguments):
    """The output of the command, one text for each child."""
    done = server.command("stack", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip("\n").split("\n\n")


def test_a_request_in_c_code(serve):
    """The stack is told though the interpreter does not run; the tasks are not, and why."""
    server = serve(section("wsgi", app="stuck:wsgi", children=1), master=SOON)
    asked(server, "/cart")
    server.wait_for("begun cart")
    (told,) = stack(server, "--timeout", "0.2")
    assert re.match(r"0 web pid \d+ busy \d+\.\d s\n  in hand: GET /cart \d\.\d{3}s\n", told)
    assert re.search(r'  thread .*:\n +File ".*/stuck\.py", line \d+ in in_c\n', told)
    assert re.search(r'stuck\.py", line \d+ in wsgi\n +\(\d+ frames of libraries\)', told)
    assert "life.py" not in told
    assert told.endswith("no answer within 0.2 s: the interpreter, and its event loop, is blocked")
    server.stop()


def test_a_sleeping_request(serve):
    """time.sleep is C code in which Python's handlers run, and goes on afterwards."""
    server = serve(section("wsgi", children=1), master=SOON)
    asked(server, "/hang")
    server.wait_for("request begun")
    for _ in range(2):
        (told,) = stack(server, *PATIENT)
        assert re.search(r'thread MainThread:\n +File ".*applications\.py", line \d+ in wsgi', told)
        assert "no answer" not in told
    server.stop()


def test_what_a_task_awaits(serve):
    """The whole chain, through an asynchronous generator to the innermost."""
    server = serve(section("asgi", app="stuck:asgi", children=1), master=SOON)
    asked(server, "/cart")
    server.wait_for("begun cart")
    (told,) = stack(server, *PATIENT)
    assert "  in hand: GET /cart " in told
    chain = re.search(r"  task Task-\d+ waits:\n(.*/locks\.py.*in forever.*)", told, re.DOTALL)
    names = re.findall(r'stuck\.py", line \d+ in (\w+)', chain[1])
    assert names == ["forever", "parts", "reading", "asgi"]
    (whole,) = stack(server, "--full", *PATIENT)
    assert "frames of libraries" not in whole
    assert re.search(r"/served\.py", whole)
    server.stop()


def test_a_blocked_loop(serve):
    """The Python stack says where it is blocked, and a line that it did not answer."""
    server = serve(section("asgi", app="stuck:asgi", children=1), master=SOON)
    asked(server, "/block")
    server.wait_for("begun block")
    (told,) = stack(server, "--timeout", "0.2")
    assert re.search(r'stuck\.py", line \d+ in asgi', told)
    assert "its event loop, is blocked" in told
    server.stop()


def test_thousands_of_tasks_are_few_lines(serve):
    """Those at one place are told once."""
    server = serve(section("asgi", app="stuck:asgi", children=1), master=SOON)
    asked(server, "/many")
    server.wait_for("begun all")
    (told,) = stack(server, *PATIENT)
    assert re.search(r"  3000 tasks wait: Task-\d+, Task-\d+, Task-\d+, \.\.\.:\n", told)
    assert len(told.splitlines()) < 60
    server.stop()


def test_a_loop_in_another_thread(serve):
    """Its tasks are found as well, and threads have their names."""
    server = serve(table("workers.own", type="stuck:Threaded", children=1))
    server.wait_for("begun aside")
    (told,) = stack(server, *PATIENT)
    assert "  thread aside:\n" in told
    assert "  thread MainThread:\n" in told
    assert re.search(r"  task Task-1 waits:\n(.*\n)+.*in Threaded\._work$", told)
    assert server.stop() == -signal.SIGTERM


def test_every_type_of_child(serve):
    """A program has no Python stack, and is not signalled: RTMIN+1 would kill it."""
    server = serve(
        web("faults:serve", children=1)
        + table("workers.jobs", type="task", run="stuck:job", children=1)
        + table("workers.other", type="exec", command=["sleep", "1000"], children=1),
        master=SOON,
    )
    with dial(server) as connection:
        connection.sendall(b"announced\n")
        assert line(connection) == "taken"
        server.wait_for("begun job")
        before = server.children()
        tcp, task, program = stack(server, *PATIENT)
        assert re.search(r'thread MainThread:\n +File ".*faults\.py", line \d+ in announced', tcp)
        assert re.search(r'stuck\.py", line \d+ in job', task)
        assert re.fullmatch(r"2 other pid \d+ idle .* s\n  no Python stack to tell: .*", program)
        connection.sendall(b".")
        assert re.match(rb"announced 0 1 ", connection.recv(100))
    assert server.children() == before
    server.stop()


def test_while_the_master_is_stopped(serve):
    """It takes no part."""
    server = serve(web(children=2))
    server.freeze()
    one, other = stack(server, *PATIENT)
    assert re.match(r"0 web pid \d+ idle ", one)
    assert re.match(r"1 web pid \d+ idle ", other)
    assert "  thread MainThread:\n" in one
    server.signal(signal.SIGCONT)
    assert server.stop() == -signal.SIGTERM


def test_two_readers_at_once(serve):
    """Each is told all."""
    server = serve(section("asgi", app="stuck:asgi", children=2), master=SOON)
    asked(server, "/cart")
    server.wait_for("begun cart")
    command = [SUPERVISOR, "stack", "-c", str(server.config), *PATIENT]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, stdout=pipe, text=True, env=environment()) for _ in range(2)]
    for one in both:
        told, _ = one.communicate(timeout=DEADLINE)
        assert one.returncode == 0
        assert told.count("  thread MainThread:\n") == 2
        assert told.count(" in reading\n") == 1
        assert "no answer" not in told
    server.stop()


def test_one_slot(serve):
    """Named as an argument; one that is not there is a wrong command line, and a dead server 3."""
    server = serve(web(children=2))
    (told,) = stack(server, "1", *PATIENT)
    assert told.startswith("1 web pid ")
    done = server.command("stack", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no slot 2: there are 0 to 1" in done.stderr
    assert server.stop() == -signal.SIGTERM
    done = server.command("stack")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)


def test_a_stack_is_no_crash(serve):
    """Nothing is logged, and the report of a later death has nothing of it."""
    server = serve(web("faults:serve", children=1), master={"restart": "on-crash"})
    stack(server, *PATIENT)
    assert ask(server, b"hello\n").startswith(b"hello 0 1 ")
    assert server.stats()["crashes"] == []
    assert ask(server, b"exit\n") == b""
    server.wait_for("server ready .*generation=2")
    assert server.stats()["last_crash"]["traceback"] == ""
    assert stack(server, *PATIENT)[0].startswith("0 web pid ")
    assert ask(server, b"segv\n") == b""
    server.wait_for("server ready .*generation=3")
    assert server.stats()["last_crash"]["traceback"].startswith("Fatal Python error")
    assert server.stop() == -signal.SIGTERM


def test_signals_that_nobody_asked_for(serve):
    """The master ignores them; a child answers into a pipe that holds a page, and no more."""
    server = serve(web("faults:serve", children=1))
    (child,) = server.children().values()
    for _ in range(500):
        os.kill(server.pid, signal.SIGRTMIN + 1)
        os.kill(child, signal.SIGRTMIN + 1)
    assert ask(server, b"hello\n").startswith(b"hello 0 1 ")
    (told,) = stack(server, *PATIENT)
    assert told.count("thread MainThread:") == 1
    assert server.stop() == -signal.SIGTERM


def test_a_child_that_is_not_ready(launch):
    """A hang in `init` can be looked at before `start_timeout` ends it."""
    server = launch(job(init="spin"), master=SOON)
    server.wait_for("worker init")
    (told,) = stack(server, *PATIENT)
    assert re.match(r"0 job pid \d+ starting ", told)
    assert re.search(r'thread MainThread:\n +File ".*acts\.py", line \d+ in spin', told)
    server.stop()


def test_a_child_that_is_stopped(serve):
    """It could not answer, and would when it goes on: it is not asked."""
    server = serve(web(children=1))
    (child,) = server.children().values()
    os.kill(child, signal.SIGSTOP)
    assert os.read(os.open(f"/proc/{child}/stat", os.O_RDONLY), 100)
    (told,) = stack(server, "--timeout", "0.2")
    assert told.endswith("is stopped, by a signal or a debugger")
    os.kill(child, signal.SIGCONT)
    assert server.stop() == -signal.SIGTERM


def test_a_scoreboard_that_lies(serve):
    """Who is no child of the master, or does not catch the signal, is not sent it."""
    program = table("workers.other", type="exec", command=["sleep", "1000"], children=1)
    server = serve(web(children=2) + program)
    other = server.children()[2]
    with subprocess.Popen(["sleep", "1000"]) as ours:
        name_as_children(server, {0: ours.pid, 1: other})
        one, two, _ = stack(server, *PATIENT)
        assert one.endswith("is no child of the master any more")
        assert "no Python stack to tell" in two
        assert ours.poll() is None
        ours.kill()
    assert ask(server).startswith(b"hello ")
    assert server.stop() == -signal.SIGTERM


def name_as_children(server, pids):
    """Write other pids into the rows of slots, as a child gone wild may do."""
    path = server.runtime / "scoreboard"
    slots = len(read(path).slots)
    with path.open("r+b") as file:
        for slot, pid in pids.items():
            file.seek((layout.row_base(slot, slots) + layout.PID) * 8)
            file.write(pid.to_bytes(8, "little"))


def test_one_process(serve):
    """With --dont-fork the master is the child."""
    server = serve(section("wsgi", children=1), arguments=["--dont-fork"])
    assert get(server) == (200, b"hello")
    (told,) = stack(server, *PATIENT)
    assert re.match(rf"0 web pid {server.pid} idle ", told)
    assert "  thread MainThread:\n" in told
    assert server.stop() == -signal.SIGTERM
