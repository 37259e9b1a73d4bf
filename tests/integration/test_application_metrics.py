"""Module `metrics`: the application's own metrics, of all its processes, on one page."""

import os
import re
import signal
import urllib.request

import pytest

from tests.support.clients import dial, endpoint, line
from tests.support.configs import table, web
from tests.support.harness import DEADLINE

parser = pytest.importorskip("prometheus_client.parser")

STATUS = table("workers.status", type="status", listen=["tcp://127.0.0.1:0"])


def text(sections=("web",), **options):
    """Return a server with one child in each section, and a page of metrics."""
    webs = "".join(web("measured:serve", name=name, children=1) for name in sections)
    return table("modules.metrics", **options) + webs + STATUS


class Shop:
    """A connection to the child of a section."""

    def __init__(self, server, section="web"):
        self._connection = dial(server, section)
        self.pid = self.tell("hold")

    def tell(self, command):
        """Let the child do something; return its pid."""
        self._connection.sendall(f"{command}\n".encode())
        return int(line(self._connection))

    def close(self):
        """End the request."""
        self._connection.close()


def stop(server):
    """End all requests, then the server; return the status."""
    for connection in server.connections:
        connection.close()
    return server.stop()


def page(server):
    """Return the whole page of the status worker."""
    host, port = endpoint(server.address("status"))
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=DEADLINE) as answer:
        return answer.read().decode()


def samples(shown):
    """Return the application's series, as Prometheus' own parser reads them."""
    return {
        (sample.name, *(sample.labels.items())): sample.value
        for family in parser.text_string_to_metric_families(shown)
        for sample in family.samples
        if family.name.startswith("shop_")
    }


def test_counts_of_all_children_are_one_sum(serve):
    """Counters, summaries, histograms; labels that a child is the first to use; and what was
    counted at the import, in the master.
    """
    server = serve(text(("web", "shop")))
    for section, count in (("web", 2), ("shop", 3)):
        shop = Shop(server, section)
        shop.tell(f"order tea {count}")
        shop.tell(f"order {section} 1")
        shop.tell(f"wait {count / 4}")
        shop.tell(f"size {count}")
    found = samples(page(server))
    assert found["shop_orders_total", ("kind", "tea")] == 5
    assert found["shop_orders_total", ("kind", "web")] == 1
    assert found["shop_orders_total", ("kind", "shop")] == 1
    assert found[("shop_visits_total",)] == 100
    assert (found[("shop_size_bytes_count",)], found[("shop_size_bytes_sum",)]) == (2, 5)
    queue = ("queue", "main")
    buckets = [
        found["shop_wait_seconds_bucket", ("le", le), queue] for le in ("0.1", "1.0", "+Inf")
    ]
    assert buckets == [0, 2, 2]
    assert found["shop_wait_seconds_count", queue] == 2
    assert found["shop_wait_seconds_sum", queue] == 1.25
    assert stop(server) == -signal.SIGTERM


def test_each_mode_of_a_gauge(serve):
    """As prometheus-client has them, of living processes that have set the gauge."""
    server = serve(text(("web", "shop", "idle")))
    shops = [Shop(server, "web"), Shop(server, "shop")]
    for shop, number in zip(shops, (3, 2), strict=True):
        for mode in ("all", "max", "min", "sum", "mostrecent"):
            shop.tell(f"set {mode} {number}")
            shop.tell(f"set live{mode} {number}")
    found = samples(page(server))
    for mode, expected in (("max", 3), ("min", 2), ("sum", 5), ("mostrecent", 2)):
        assert found[(f"shop_{mode}",)] == expected
        assert found[(f"shop_live{mode}",)] == expected
    for mode in ("all", "liveall"):
        pids = {key[1]: value for key, value in found.items() if key[0] == f"shop_{mode}"}
        assert pids == {("pid", str(shops[0].pid)): 3, ("pid", str(shops[1].pid)): 2}
    assert found["shop_build", ("pid", str(server.pid)), ("version", "1.2")] == 1
    assert stop(server) == -signal.SIGTERM


def test_counts_go_on_over_crashes_and_gauges_do_not(serve):
    """Five generations: no count is lost or told twice, whoever writes where the dead wrote."""
    server = serve(text(), master={"restart": "on-crash"})
    for generation in range(1, 6):
        shop = Shop(server)
        shop.tell("order tea 1")
        shop.tell(f"order kind{generation} 1")
        shop.tell("wait 0.5")
        shop.tell("set livesum 7")
        shop.tell("set liveall 7")
        found = samples(page(server))
        assert found["shop_orders_total", ("kind", "tea")] == generation
        assert found["shop_wait_seconds_count", ("queue", "main")] == generation
        assert found[("shop_livesum",)] == 7
        assert found["shop_liveall", ("pid", str(shop.pid))] == 7
        os.kill(shop.pid, signal.SIGKILL)
        server.wait_for(rf"server ready .*generation={generation + 1}\b")
        found = samples(page(server))
        assert found["shop_orders_total", ("kind", "tea")] == generation
        assert found[("shop_livesum",)] == 0
        assert ("shop_liveall", ("pid", str(shop.pid))) not in found
    assert [found["shop_orders_total", ("kind", f"kind{n}")] for n in range(1, 6)] == [1] * 5
    assert found[("shop_visits_total",)] == 100
    assert stop(server) == -signal.SIGTERM


def test_a_draining_generation_still_counts(serve):
    """Both generations are in the sums while both live, and after the old one is gone."""
    server = serve(text(("web", "shop")), master={"restart": "on-crash"})
    old = Shop(server, "shop")
    old.tell("order tea 1")
    old.tell("set livesum 1")
    os.kill(Shop(server).pid, signal.SIGKILL)
    server.wait_for(r"server ready .*generation=2\b")
    new = Shop(server, "shop")
    for shop in (old, new):
        shop.tell("order tea 1")
    new.tell("set livesum 1")
    found = samples(page(server))
    assert found["shop_orders_total", ("kind", "tea")] == 3
    assert found[("shop_livesum",)] == 2
    old.close()
    server.wait_for("generation gone generation=1")
    found = samples(page(server))
    assert found["shop_orders_total", ("kind", "tea")] == 3
    assert found[("shop_livesum",)] == 1
    assert stop(server) == -signal.SIGTERM


def test_the_reader_does_not_need_the_master(serve):
    """`stats --prometheus` and the page read while the master is stopped."""
    server = serve(text())
    Shop(server).tell("order tea 2")
    server.freeze()
    done = server.command("stats", "--prometheus")
    assert samples(done.stdout)["shop_orders_total", ("kind", "tea")] == 2
    assert samples(page(server))["shop_orders_total", ("kind", "tea")] == 2
    server.signal(signal.SIGCONT)
    assert stop(server) == -signal.SIGTERM


def test_threads_lose_nothing(serve):
    """Eight threads add to the same numbers, and make the same series."""
    server = serve(text())
    Shop(server).tell("threads")
    found = samples(page(server))
    assert found[("shop_visits_total",)] == 80_100
    orders = [value for key, value in found.items() if key[0] == "shop_orders_total"]
    assert (len(orders), sum(orders)) == (7, 80_000)
    assert stop(server) == -signal.SIGTERM


def test_a_process_that_the_application_forks_does_not_count(serve):
    """Two writers of one region would lose each other's counts."""
    server = serve(text())
    shop = Shop(server)
    shop.tell("fork")
    shop.tell("order tea 1")
    found = samples(page(server))
    assert found[("shop_visits_total",)] == 100
    assert found["shop_orders_total", ("kind", "tea")] == 1
    assert ("shop_orders_total", ("kind", "foreign")) not in found
    assert stop(server) == -signal.SIGTERM


def test_too_many_series_are_one_warning(serve):
    """A series that does not fit is not counted; the others, and the application, go on."""
    server = serve(text(size=65_536))
    shop = Shop(server)
    shop.tell("fill")
    shop.tell("order late 1")
    shop.tell("order 0 1")
    found = samples(page(server))
    assert found["shop_orders_total", ("kind", "kind 0")] == 1
    assert 100 < len(found) < 3000
    assert ("shop_orders_total", ("kind", "late")) not in found
    assert stop(server) == -signal.SIGTERM
    assert len(re.findall("WARNING .*metrics full", server.log)) == 1


@pytest.mark.root
def test_a_full_disk_is_the_same(serve, tmp_path):
    """Pages are wanted before they are written: one that is merely touched would be SIGBUS."""
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    script = f'mount -t tmpfs -o size=600k none {runtime}; exec "$@"'
    prefix = ["unshare", "-m", "sh", "-c", script, "sh"]
    master = {"runtime_directory": str(runtime)}
    server = serve(text(), prefix=prefix, master=master)
    shop = Shop(server)
    for _ in range(3):
        assert shop.tell("fill") == shop.pid
    found = samples(page(server))
    assert found["shop_orders_total", ("kind", "kind 0")] == 3
    assert ("shop_orders_total", ("kind", "kind 2999")) not in found
    assert stop(server) == -signal.SIGTERM
    assert len(re.findall("WARNING .*metrics full", server.log)) == 1


def test_without_the_module_they_are_not_there(serve):
    """prometheus-client is left as it is."""
    server = serve(web("measured:serve", children=1) + STATUS)
    Shop(server).tell("order tea 1")
    assert samples(page(server)) == {}
    assert stop(server) == -signal.SIGTERM


def test_nothing_is_left_of_a_killed_master(serve):
    """The next start removes the file of the dead, and counts from zero in one of its own."""
    server = serve(text())
    shop = Shop(server)
    shop.tell("order tea 1")
    (old,) = server.runtime.glob("metrics.*")
    server.signal(signal.SIGKILL)
    shop.close()
    server.wait_gone()
    server = serve(text())
    (new,) = server.runtime.glob("metrics.*")
    assert new != old
    assert ("shop_orders_total", ("kind", "tea")) not in samples(page(server))
    assert stop(server) == -signal.SIGTERM


def test_a_file_that_somebody_removed_is_made_again(serve):
    """The next generation has a new one, which readers find."""
    server = serve(text(), master={"restart": "on-crash"})
    (file,) = server.runtime.glob("metrics.*")
    file.unlink()
    os.kill(Shop(server).pid, signal.SIGKILL)
    server.wait_for(r"server ready .*generation=2\b")
    Shop(server).tell("order tea 1")
    assert samples(page(server))["shop_orders_total", ("kind", "tea")] == 1
    assert stop(server) == -signal.SIGTERM


def test_one_process_without_a_fork(serve):
    """`--dont-fork`: what was counted at the import and what comes later are one sum."""
    server = serve(text(), arguments=["--dont-fork"])
    Shop(server).tell("order tea 1")
    found = samples(server.command("stats", "--prometheus").stdout)
    assert found[("shop_visits_total",)] == 100
    assert found["shop_orders_total", ("kind", "tea")] == 1
    assert stop(server) == -signal.SIGTERM
