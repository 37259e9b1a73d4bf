"""Start, standing idle, stop, a stop under requests, the death of the master."""

import resource
import signal
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from tests.benchmarks.contenders import ANSWERS_HTTP, Contender
from tests.benchmarks.kernel import can_bind, cpu_seconds, memory, page_faults, tree, wake_ups
from tests.benchmarks.running import Running, answer_from, is_good, running

REQUESTS: Final = 20
SETTLE: Final = 1.0  # s: ready comes before the last process has gone to sleep for the first time
WAVES: Final = 5


def life(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """From spawn to the first good answer and to ready, from SIGTERM to nothing left; its CPU time.

    It lives for so long in between: some lose a SIGTERM that comes right after the first answers.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with running(contender, children) as server:
        facts = effort(server)
        server.hear_for(seconds)
        facts["stop"] = server.stop()
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = {"user": now.ru_utime - before.ru_utime, "system": now.ru_stime - before.ru_stime}
    return facts | used


def effort(server: Running) -> dict[str, float]:
    """The cost of a start: seconds until ready and of CPU, page faults; a child's are a mean."""
    master, *others = tree(server.pid)
    return {
        "start": server.ready_at - server.spawned_at,
        "cpu_master": cpu_seconds([master]),
        "cpu_children": cpu_seconds(others),
        "faults_master": page_faults([master]),
        "faults_child": page_faults(others) / len(others),
    }


def standing(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """PSS in MiB; then wake-ups a second and % of a CPU, of all processes, while idle so long."""
    with running(contender, children) as server:
        if contender.family in ANSWERS_HTTP:
            ask_all(server.port, 2 * children)
        server.hear_for(SETTLE)
        pids = tree(server.pid)
        size, master = memory(pids), memory(pids[:1])
        before = wake_ups(pids), cpu_seconds(pids)
        server.hear_for(seconds)
        figures = {
            "memory": size,
            "memory_master": master,
            "memory_children": size - master,
            "wake_ups": (wake_ups(pids) - before[0]) / seconds,
            "cpu": (cpu_seconds(pids) - before[1]) / seconds * 100,
        }
        return {"start": server.ready_at - server.spawned_at} | figures | {"stop": server.stop()}


def ask_all(port: int, count: int) -> None:
    """So many requests at once, some times over: nobody says which child takes one."""
    with ThreadPoolExecutor(count) as clients:
        list(clients.map(answer_from, [port] * count * WAVES))


def graceful_stop(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """SIGTERM while requests of a second are in hand: how many get their answer, how long it takes.

    `begun` are those that the application had begun when the signal was sent, so many seconds after
    all had been sent; the others waited.
    """
    with running(contender, children) as server, ThreadPoolExecutor(REQUESTS) as clients:
        asked = [clients.submit(answer_from, server.port, b"/slow") for _ in range(REQUESTS)]
        begun = requests_begun(server, REQUESTS, seconds)
        stop = server.stop()
        return {"begun": begun, "completed": sum(map(was_answered, asked)), "stop": stop}


def requests_begun(server: Running, wanted: int, seconds: float) -> int:
    """How many slow requests the application has begun within so long, this many at most."""
    by = time.monotonic() + seconds
    while (
        begun := sum(word == "begun" for word, _ in server.words)
    ) < wanted and time.monotonic() < by:
        server.hear(by)
    return begun


def was_answered(answer: Future[bytes]) -> bool:
    try:
        return is_good(answer.result())
    except OSError:  # broken off, refused, or never answered
        return False


def master_killed(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """SIGKILL of the master: when its children are gone, or how many are not in so long."""
    with running(contender, children) as server:
        took, left = server.ended_after(signal.SIGKILL, tree(server.pid)[1:], seconds)
        listens = contender.family in ANSWERS_HTTP
        port = {"port_taken": float(not can_bind(("127.0.0.1", server.port)))} if listens else {}
        return {"left_behind": len(left)} | ({} if left else {"ended": took}) | port
