"""How a server of an application starts, or says why it does not."""

import signal

import pytest

from tests.support.applications import ENGINES, get, section


@pytest.mark.parametrize(
    ("app", "status", "words"),
    [
        ("nowhere:app", 78, "no module named 'nowhere'"),
        ("applications:nothing", 78, "unknown name"),
        ("applications:THREADS_IN_MASTER", 78, "is not callable"),
        ("applications", 78, "has neither application nor app"),
        ("broken:app", 76, "broken.py line "),
    ],
)
@pytest.mark.parametrize("kind", ["wsgi", "asgi", "rsgi"])
def test_an_application_that_cannot_be_loaded(launch, kind, app, status, words):
    """A name that leads nowhere is a configuration error, code that raises a start failure."""
    server = launch(section(kind, app=app))
    assert server.wait() == status
    assert words in server.wait_for("^supervisor: error: .*")[0][0]


@pytest.mark.parametrize("kind", ["wsgi", "asgi", "rsgi"])
def test_a_start_failure_is_final(launch, kind):
    """Code that raises is imported once, though sockets stay and crashes would restart."""
    server = launch(section(kind, app="raising:app"), master={"restart": "on-crash"})
    assert server.wait() == 76
    assert server.log.count("raising is imported") == 1
    assert "server restarting" not in server.log


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("applications:fails_to_start", "RuntimeError: no database"),
        ("applications:says_that_it_failed", "RuntimeError: no cache"),
    ],
)
@pytest.mark.parametrize("engine", ["asgi"])
def test_a_lifespan_that_fails(launch, engine, app, words):
    """A lifespan that does not come up is a start failure with the exception's last line."""
    server = launch(section(engine, app=app))
    assert server.wait() == 76
    assert words in server.wait_for("^supervisor: error: .*")[0][0]


def test_a_lifespan_that_hangs(launch):
    """A lifespan that never answers ends at start_timeout, and may be interrupted before."""
    server = launch(section("asgi", app="applications:never_starts"), master={"start_timeout": 0.5})
    assert server.wait() == 76
    server = launch(section("asgi", app="applications:never_starts"), name="told")
    server.wait_for("listening ")
    assert server.stop() == -signal.SIGTERM


def test_without_a_lifespan(serve):
    """An application that knows no lifespan is served all the same, unless it must have one."""
    server = serve(section("asgi", app="applications:without_lifespan"))
    assert get(server) == (200, b"hello")


def test_a_lifespan_that_is_demanded(launch):
    """With lifespan = "on" an application without one does not start."""
    server = launch(section("asgi", app="applications:without_lifespan", lifespan="on"))
    assert server.wait() == 76
    server.wait_for("^supervisor: error: .*AssertionError: lifespan")


def test_the_lifespan_ends(serve):
    """The application's own shutdown runs, in every child, before the server is down."""
    server = serve(section("asgi"))
    assert server.stop() == -signal.SIGTERM
    assert server.log.count("lifespan is over") == 2


@pytest.mark.parametrize("preload", [True, False])
def test_a_factory(serve, preload):
    """A function may make the application, in the master or in each child."""
    server = serve(section("wsgi", app="applications:make", factory=True, preload=preload))
    assert get(server) == (200, b"hello")


@pytest.mark.parametrize("preload", [True, False])
def test_a_factory_that_raises(launch, preload):
    """Its exception is the reason of the start failure."""
    server = launch(section("wsgi", app="applications:make_nothing", factory=True, preload=preload))
    assert server.wait() == 76
    server.wait_for("^supervisor: error: .*LookupError: nothing to make")


def test_a_module_that_is_missing_without_preload(launch):
    """A package that does not exist is a configuration error also where it is not imported."""
    server = launch(section("wsgi", app="nowhere.at.all:app", preload=False))
    assert server.wait() == 78
    server.wait_for("^supervisor: error: .*no module named 'nowhere'")


@pytest.mark.parametrize(
    ("package", "values", "extra"),
    [("websockets", {}, "http"), ("granian", {"http": "2"}, "http2")],
)
def test_a_missing_package(launch, tmp_path, package, values, extra):
    """Where it is not installed, one line says what to install."""
    text = f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')\n"
    (tmp_path / f"{package}.py").write_text(text)
    server = launch(section("asgi", **values), master={"working_directory": str(tmp_path)})
    assert server.wait() == 78
    server.wait_for(rf"^supervisor: error: .*pip install 'prefork-supervisor\[{extra}\]'")


@pytest.mark.parametrize(
    ("engine", "values", "key"),
    [
        ("wsgi", {"static": {'"/static"': "/nowhere"}}, "static"),
        ("wsgi", {"tls": {"certificate": "/nowhere", "key": "/nowhere"}}, "tls.certificate"),
        ("wsgi", {"threads": 0}, "threads"),
    ],
)
def test_options_that_cannot_be(launch, engine, values, key):
    """An option that cannot be obeyed is a configuration error that names the key."""
    server = launch(section(engine, **values))
    assert server.wait() == 78
    server.wait_for(rf"^supervisor: error: .*workers\.web\.{key}: ")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_master_has_one_thread(serve, engine):
    """No thread of an engine lives in the master, where a fork would break it."""
    server = serve(section(engine))
    status = (f"/proc/{server.pid}/status",)
    with open(*status) as file:
        assert "Threads:\t1\n" in file.readlines()
    assert "ends at the fork" not in server.log
