"""Beginnings and ends: start, stop, a stop under requests, the death of the master."""

import signal
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor

from tests.benchmarks.peers.contenders import Contender
from tests.benchmarks.peers.running import Peer, answer_from, is_good, running
from tests.benchmarks.peers.tree import tree

REQUESTS = 20


def start_and_stop(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """Seconds from spawn to the first good answer and to ready, from SIGTERM to nothing left.

    It lives for so long in between: some lose a SIGTERM that comes right after the first answers.
    """
    with running(contender, children) as peer:
        peer.hear_for(seconds)
        return started(peer) | {"stop": peer.stop_all()}


def started(peer: Peer) -> dict[str, float]:
    return {
        "first_answer": peer.answered_at - peer.spawned_at,
        "start": peer.ready_at - peer.spawned_at,
    }


def graceful_stop(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """SIGTERM while requests of a second are in hand: how many get their answer, how long it takes.

    `begun` are those that the application had begun when the signal was sent, so many seconds after
    all had been sent; the others waited.
    """
    with running(contender, children) as peer, ThreadPoolExecutor(REQUESTS) as clients:
        asked = [clients.submit(answer_from, peer.port, b"/slow") for _ in range(REQUESTS)]
        begun = requests_begun(peer, seconds)
        stop = peer.stop_all()
        return {"begun": begun, "completed": sum(map(was_answered, asked)), "stop": stop}


def requests_begun(peer: Peer, seconds: float) -> int:
    by = time.monotonic() + seconds
    while (count := begun_so_far(peer)) < REQUESTS and (now := time.monotonic()) < by:
        peer.hear(by - now)
    return count


def begun_so_far(peer: Peer) -> int:
    return sum(word == "begun" for word, _ in peer.words)


def was_answered(answer: Future[bytes]) -> bool:
    try:
        return is_good(answer.result())
    except OSError:  # broken off, refused, or never answered
        return False


def master_killed(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """SIGKILL of the master: when its children are gone, or how many are not in so long."""
    with running(contender, children) as peer:
        below, killed_at = tree(peer.pid)[1:], time.monotonic()
        peer.tell(signal.SIGKILL)
        left = len(peer.wait_gone(below, seconds))
        ended = {} if left else {"ended": time.monotonic() - killed_at}
        port = {} if contender.family == "programs" else {"port_taken": port_is_taken(peer.port)}
        return {"left_behind": left, **ended, **port}


def port_is_taken(port: int) -> float:
    """1 if no other server could be started there now."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return 1.0
    return 0.0
