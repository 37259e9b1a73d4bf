"""What a server costs by being there: memory after some requests, and what it does while idle."""

from concurrent.futures import ThreadPoolExecutor

from tests.benchmarks.peers.contenders import Contender
from tests.benchmarks.peers.lives import started
from tests.benchmarks.peers.running import answer_from, running
from tests.benchmarks.peers.tree import cpu_seconds, memory, tree, wake_ups

# Ready comes before the last process has gone to sleep for the first time.
SETTLE = 1.0
WAVES = 5


def standing(contender: Contender, children: int, seconds: float) -> dict[str, float]:
    """PSS in MiB; then wake-ups a second and % of a CPU, of all processes, while idle so long."""
    with running(contender, children) as peer:
        if contender.family != "programs":
            ask_all(peer.port, 2 * children)
        peer.hear_for(SETTLE)
        pids = tree(peer.pid)
        size = memory(pids)
        before = wake_ups(pids), cpu_seconds(pids)
        peer.hear_for(seconds)
        figures = {
            "memory": size,
            "wake_ups": (wake_ups(pids) - before[0]) / seconds,
            "cpu": (cpu_seconds(pids) - before[1]) / seconds * 100,
        }
        return started(peer) | figures | {"stop": peer.stop_all()}


def ask_all(port: int, count: int) -> None:
    """So many requests at once, some times over: nobody says which child takes one."""
    with ThreadPoolExecutor(count) as clients:
        list(clients.map(answer_from, [port] * count * WAVES))
