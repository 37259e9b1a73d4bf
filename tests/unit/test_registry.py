"""Names in the configuration become classes, or problems with their place and status."""

import sys
import textwrap

import pytest

from supervisor.child import names, registry
from supervisor.child.module import Module
from supervisor.child.worker import Worker
from supervisor.config import decode, schema
from supervisor.config import load as loading
from supervisor.errors import ConfigError, Exit, NameProblem, StartError, Stop, SystemFailure
from supervisor.master.cause import Cause

# Each becomes a module of this name; `code_` are those whose code raises.
SOURCES = {
    "code_raises": "def fail():\n    raise ValueError('no luck')\n\nfail()\n",
    "code_lacks": "import no_such_module_at_all\n",
    "code_exits": "raise SystemExit(3)\n",
    "code_interrupts": "raise GeneratorExit\n",
    "code_broken": "x = 1\ndef f(:\n",
    "code_types": "raise TypeError('bad')\n",
    "code_exhausts": "import errno\nraise OSError(errno.EMFILE, 'Too many open files')\n",
    "code_too_big": "raise MemoryError\n",
    "code_unmapped": "raise ImportError('x.so: failed to map segment from shared object')\n",
    "good": """
        from supervisor import Module, Worker
        from supervisor.config import Options

        class Speaker(Worker):
            class Options(Options, frozen=True):
                volume: int = 3

        class Choosy(Worker):
            def __init__(self, options):
                raise ValueError("not today")

        class Clumsy(Worker):
            def preload(self):
                raise KeyError("preload")

        class Memory(Module):
            pass

        def handler(connection, address):
            pass
    """,
    "package/__init__": "",
    "package/inner": "name = 'inner'\n",
    "stopped": "from supervisor import Stop\nraise Stop()\n",
}


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """The modules of SOURCES can be imported, and are forgotten afterwards."""
    for name, source in SOURCES.items():
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(source))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def problems():
    """No problem yet."""
    return decode.Problems("f")


@pytest.fixture
def load(tmp_path):
    """Load everything that a configuration names; returns what was loaded and the problems."""

    def read(text):
        file = tmp_path / "f.toml"
        file.write_text(text)
        loaded, problems = loading.load(file)
        found = registry.load(loaded, problems)
        return found, [line.replace(f"{file}: ", "") for line in problems.lines], problems

    return read


def section(kind, more=""):
    """Return a worker section `x` of a type."""
    return f"[workers.x]\ntype = '{kind}'\n{more}\n"


@pytest.mark.parametrize("name", ["good:handler", "package.inner:name", "os:path.join"])
def test_a_name_leads_to_its_object(name):
    """A module and an attribute, or an attribute's attribute."""
    assert names.load_object(name) is not None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "expected package.module:name"),
        ("good", "expected package.module:name"),
        ("good:", "expected package.module:name"),
        (":handler", "expected package.module:name"),
        ("absent:x", "no module named 'absent'"),
        ("absent.inner:x", "no module named 'absent'"),
        ("package.absent:x", "no module named 'package.absent'"),
        ("good.inner:x", "no module named 'good.inner'"),
        (".good:handler", "'.good' is not a module name"),
        ("good:handlr", "unknown name; did you mean 'handler'? in 'good'"),
        ("good:zzz", "unknown name in 'good'"),
        ("good:handler.zzz", "unknown name in 'good'"),
        ("good:handler.", "unknown name in 'good'"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(name, reason):
    """It is a mistake in the configuration: status 78, with the option that holds it."""
    with pytest.raises(NameProblem) as caught:
        names.load_object(name, "handler")
    assert reason in str(caught.value)
    assert (caught.value.exit_code, caught.value.key) == (Exit.CONFIG, "handler")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("code_raises", "ValueError: no luck ({path}/code_raises.py line 2)"),
        ("code_lacks", "No module named 'no_such_module_at_all' ({path}/code_lacks.py line 1)"),
        ("code_exits", "SystemExit: 3 ({path}/code_exits.py line 1)"),
        ("code_interrupts", "GeneratorExit ({path}/code_interrupts.py line 1)"),
        ("code_broken", "SyntaxError: invalid syntax ({path}/code_broken.py line 2)"),
        ("code_types", "TypeError: bad ({path}/code_types.py line 1)"),
    ],
)
def test_code_that_raises_is_told(tmp_path, name, reason):
    """It is a start failure: status 76, with the last line of its traceback and the place."""
    with pytest.raises(StartError) as caught:
        names.load_object(f"{name}:x")
    assert str(caught.value).startswith(f"{name!r} cannot be imported: ")
    assert str(caught.value).endswith(reason.format(path=tmp_path))
    assert caught.value.exit_code is Exit.START_FAILED


@pytest.mark.parametrize("name", ["code_exhausts", "code_too_big", "code_unmapped"])
def test_a_shortage_during_an_import_is_no_fault_of_the_code(load, name):
    """Out of descriptors, of memory, of address space for a library: status 71."""
    with pytest.raises((SystemFailure, MemoryError)) as caught:
        load(section(f"{name}:x"))
    assert Cause.by_error(caught.value).status is Exit.SYSTEM


def test_a_termination_passes_through_imports():
    """A signal that stops the start is no problem of the configuration."""
    with pytest.raises(Stop):
        names.import_module("stopped")


def raised(error):
    """Return the exception after it was raised here."""
    try:
        raise error
    except type(error) as caught:
        return caught


def noted():
    """Return an exception with a note."""
    error = ValueError("what")
    error.add_note("and a hint")
    return error


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("what"), "ValueError: what"),
        (KeyError("what"), "KeyError: 'what'"),
        (SystemExit(3), "SystemExit: 3"),
        (ValueError(), "ValueError"),
        (noted(), "ValueError: what"),
        (ExceptionGroup("all", [ValueError("a")]), "ExceptionGroup: all (1 sub-exception)"),
    ],
)
def test_an_exception_is_told_in_one_line(error, text):
    """Its type, its message, and the place that raised it, when there is one."""
    assert names.describe(error) == text
    line = raised.__code__.co_firstlineno + 3
    assert names.describe(raised(error)) == f"{text} ({__file__} line {line})"


def test_a_message_of_many_lines_is_told_in_one():
    """A line break in a message does not break the line."""
    assert len(names.describe(raised(ValueError("one\ntwo"))).splitlines()) == 1


def test_all_is_loaded_in_order(load):
    """Sections and modules come with their decoded options, in file order."""
    text = section("good:Speaker", "volume = 5\nchildren = 2") + "[modules.m]\ntype = 'good:Memory'"
    found, lines, _ = load("master.preload = ['package.inner']\n" + text)
    assert lines == []
    assert (found.sections[0].worker.options.volume, found.sections[0].children) == (5, 2)
    assert [(module.name, module.kind.__name__) for module in found.modules] == [("m", "Memory")]
    assert "package.inner" in sys.modules


def test_auto_children_are_counted(load):
    """`auto` becomes a number when the code is loaded."""
    found, _, _ = load(section("good:Speaker", "children = 'auto'"))
    assert found.sections[0].children >= 1


@pytest.mark.parametrize(
    ("text", "expected", "status"),
    [
        (section("absent:X"), "workers.x.type: no module named 'absent'", Exit.CONFIG),
        (section("good:Speakr"), "did you mean 'Speaker'? in 'good'", Exit.CONFIG),
        (section("good:handler"), "is not a subclass of supervisor.Worker", Exit.CONFIG),
        (section("good:Memory"), "is not a subclass of supervisor.Worker", Exit.CONFIG),
        (section("good:Speaker", "volum = 1"), "workers.x.volum: unknown key; did", Exit.CONFIG),
        (section("good:Choosy"), "workers.x: ValueError: not today (", Exit.START_FAILED),
        (section("good:Clumsy"), "workers.x: KeyError: 'preload' (", Exit.START_FAILED),
        (section("code_raises:X"), "ValueError: no luck (", Exit.START_FAILED),
        (section("tcp"), "workers.x.listen: missing: this type needs", Exit.CONFIG),
        ("master.preload = ['absent']", "master.preload[0]: no module named", Exit.CONFIG),
        ("master.preload = ['code_exits']", "master.preload[0]: 'code_exits'", Exit.START_FAILED),
        ("[modules.m]\ntype = 'good:Speaker'", "subclass of supervisor.Module", Exit.CONFIG),
        ("[modules.m]", "modules.m.type: 'm': unknown type", Exit.CONFIG),
        (
            section("tpc", "chidren = 1"),
            "workers.x.chidren: unknown key; did you mean",
            Exit.CONFIG,
        ),
        (section("tpc", "hander = 'a:b'"), "hander: unknown key; did you mean 'han", Exit.CONFIG),
        ("[modules.cahce]\nsiez = 1", "modules.cahce.siez: unknown key; did you", Exit.CONFIG),
    ],
)
def test_each_problem_has_place_and_status(load, text, expected, status):
    """The line names the key; the status tells a wrong name from code that failed."""
    more = "" if "workers" in text else section("good:Speaker")
    _, lines, problems = load(f"{text}\n{more}")
    assert any(expected in line for line in lines)
    with pytest.raises(ConfigError) as caught:
        problems.raise_if_any()
    assert caught.value.exit_code is status


def test_a_handler_that_does_not_exist_is_told_by_its_key(load):
    """A function's name is looked up before the start, and its option is named."""
    text = section("tcp", "listen = ['tcp://127.0.0.1:0']\nhandler = 'good:handlr'")
    _, lines, _ = load(text)
    assert lines == [
        "workers.x.handler: 'good:handlr': unknown name; did you mean 'handler'? in 'good'"
    ]


@pytest.mark.parametrize("kind", [*registry.WORKERS.values(), *registry.MODULES.values()])
def test_every_built_in_name_leads_to_its_class(kind):
    """The registry names classes that exist and have typed options."""
    found = names.load_object(kind)
    assert issubclass(found, Worker | Module)
    assert issubclass(found.Options, schema.Options)
