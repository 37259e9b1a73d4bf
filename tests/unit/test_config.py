"""TOML in, frozen values out, and every problem told in one line with its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.child import registry
from supervisor.config import load as loading
from supervisor.config import schema
from supervisor.config.address import Address, parse_address
from supervisor.config.decode import Problems, decode
from supervisor.errors import ConfigError

WEB = 'type = "tcp"\nlisten = ["tcp://127.0.0.1:0"]\nhandler = "m:f"\n'


@pytest.fixture
def load(tmp_path):
    """Read a configuration given as text or bytes, with settings; a problem raises ConfigError."""

    def read(text, *settings):
        file = tmp_path / "conf.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        loaded, problems = loading.load(file, settings)
        registry.check_built_in(loaded, problems)
        problems.raise_if_any()
        return loaded

    return read


@pytest.fixture
def refused(load, tmp_path):
    """Return the problems of a configuration, the file called by its name alone."""

    def read(text, *settings):
        with pytest.raises(ConfigError) as caught:
            load(text, *settings)
        return [line.replace(f"{tmp_path}/", "") for line in caught.value.problems]

    return read


def web(keys=""):
    """Return a good section, `web`, with more keys."""
    return f"[workers.web]\n{WEB}{keys}\n"


def test_the_smallest_file_has_all_defaults(load):
    """One worker section is enough; the name is the file's stem."""
    loaded = load(web())
    assert loaded.name == "conf"
    assert loaded.master == schema.MasterOptions()
    assert loaded.log == schema.LogOptions()
    assert [section.name for section in loaded.workers] == ["web"]
    assert loaded.workers[0].common.children == 1


def test_sections_keep_the_order_of_the_file(load):
    """Sections start in file order."""
    names = ["zebra", "ant", "mole"]
    loaded = load("".join(f"[workers.{name}]\n{WEB}" for name in names))
    assert [section.name for section in loaded.workers] == names


def test_values_are_frozen(load):
    """Nobody changes a configuration that was read."""
    loaded = load(web())
    for value in (loaded, loaded.master, loaded.log, loaded.workers[0], loaded.workers[0].common):
        with pytest.raises(AttributeError):
            setattr(value, value.__struct_fields__[0], "other")


def test_all_problems_are_told_together(refused):
    """One look shows every problem, in every table, one line each."""
    text = """
nam = "x"
[master]
stop_timeout = 0
preload = ["a", 1]
[log]
level = "loud"
[workers.web]
type = "tcp"
chidren = 4
backlog = "many"
listen = ["tcp://h:99999", { address = "unix:///s", mode = "9" }, "udp://127.0.0.1:7"]
[workers.files]
type = "htpp"
[modules.counters]
"""
    assert [line.removeprefix("conf.toml: ") for line in refused(text)] == [
        "nam: unknown key; did you mean 'name'?",
        "master.preload: entry [1]: expected str, got int",
        "master.stop_timeout: expected float > 0.0",
        "log.level: expected 'debug' or 'info' or 'warning' or 'error', got 'loud'",
        "workers.web.backlog: expected int, got str",
        "workers.web.listen[0]: 'tcp://h:99999': port '99999' is not a number from 0 to 65535",
        "workers.web.listen[1].mode: expected octal digits such as 0022",
        "workers.web.chidren: unknown key; did you mean 'children'?",
        "workers.web.handler: missing",
        "workers.web.listen: udp://127.0.0.1:7: type 'tcp' listens on tcp://, unix://",
        "workers.files.type: 'htpp': unknown type; did you mean 'http'?; "
        f"known: {', '.join(registry.WORKERS)}, or package.module:Class",
        "modules.counters.path: missing",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("wrkers = {}", "wrkers: unknown key; did you mean 'workers'?"),
        ("master.user_name = ''", "master.user_name: unknown key"),
        ("master.stoptimeout = 1", "master.stoptimeout: unknown key; did you mean 'stop_timeout'?"),
        ("modules.counter = {}", "modules.counter.type: 'counter': unknown type; did you mean"),
        (
            "modules.counters = { path = '', pth = '' }",
            "modules.counters.pth: unknown key; did you",
        ),
        ("master = 1", "master: expected a table, got int"),
        ("log = []", "log: expected a table, got an array"),
        ("modules = 'x'", "modules: expected tables, [modules.NAME], got str"),
        ("modules.counters = 1", "modules.counters: expected a table, got int"),
        ("modules.counters.type = 1", "modules.counters.type: expected str, got int"),
        ("modules.counters.path = 1", "modules.counters.path: expected str, got int"),
        ("name = 1", "name: expected letters"),
        ("name = 'a/b'", "name: expected letters"),
        ("name = ''", "name: expected letters"),
        ("name = '..'", "name: expected letters"),
        (f"name = '{65 * 'a'}'", "name: expected letters"),
        ("master.umask = 18", "master.umask: expected str, got int"),
        ("master.umask = '9'", "master.umask: expected octal digits"),
        ("master.umask = ''", "master.umask: expected octal digits"),
        ("master.restart = true", "master.restart: expected"),
        (
            "master.restart = 'always'",
            "master.restart: expected 'never' or 'on-crash', got 'always'",
        ),
        ("master.preload = 'x'", "master.preload: expected array, got str"),
        ("master.preload = ['a', 1]", "master.preload: entry [1]: expected str, got int"),
        ("master.stop_timeout = 0", "master.stop_timeout: expected float > 0.0"),
        ("log.file = 1", "log.file: expected str, got int"),
    ],
)
def test_a_problem_outside_the_sections_is_told(refused, text, expected):
    """The line names the key path and what was expected, or meant."""
    (line,) = refused(f"{text}\n{web()}")
    assert line.startswith(f"conf.toml: {expected}")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("hander = 'm:f'", "hander: unknown key; did you mean 'handler'?"),
        ("chidren = 4", "chidren: unknown key; did you mean 'children'?"),
        ("lisen = []", "lisen: unknown key; did you mean 'listen'?"),
        ("xyz = 4", "xyz: unknown key"),
        ('"a b" = 1', '"a b": unknown key'),
        ("children = true", "children: expected int"),
        ("children = 1.5", "children: expected int"),
        ("children = []", "children: expected int"),
        ("children = 0", "children: expected int >= 1"),
        ("children = 65537", "children: expected int <= 65536"),
        (f"children = {30 * '9'}", "children: expected int"),
        ("children = 'many'", "children: expected int or 'auto', got 'many'"),
        ("backlog = -1", "backlog: expected int >= 1"),
        ("backlog = 'big'", "backlog: expected int, got str"),
        ("request_timeout = '1'", "request_timeout: expected float, got str"),
        ("request_timeout = -1", "request_timeout: expected float >= 0.0"),
        (f"request_timeout = {400 * '9'}", "request_timeout: number out of range"),
        ("connection_timeout = 0", "connection_timeout: expected float > 0.0"),
    ],
)
def test_a_problem_in_a_section_is_told(refused, keys, expected):
    """The line names the section, the key and what was expected, or meant."""
    (line,) = refused(web(keys))
    assert line.startswith(f"conf.toml: workers.web.{expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "workers: no worker section"),
        ("[workers]", "workers: no worker section"),
        ("workers = []", "workers: expected tables, [workers.NAME], got an array"),
        ("[[workers.web]]", "workers.web: expected a table, got an array"),
        ("[workers.web]", "workers.web.type: missing"),
        ("[workers.web]\ntype = 1", "workers.web.type: expected str, got int"),
        ("[workers.web]\ntype = 'htpp'", "workers.web.type: 'htpp': unknown type; did you mean"),
    ],
)
def test_sections_that_are_none_are_told(refused, text, expected):
    """Without a worker section there is nothing to run."""
    assert refused(text)[0].startswith(f"conf.toml: {expected}")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400"])
@pytest.mark.parametrize("key", ["request_timeout", "connection_timeout"])
def test_a_number_that_is_not_finite_is_refused(refused, key, value):
    """A duration is a finite number of seconds."""
    (line,) = refused(web(f"{key} = {value}"))
    assert line.startswith(f"conf.toml: workers.web.{key}: expected ")


class Ratio(schema.Options, frozen=True):
    """Options with a float of any size."""

    ratio: float = 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_an_option_without_bounds_is_finite_too(value):
    """A user's own float option need not say that it is finite."""
    problems = Problems("conf.toml")
    decode(Ratio, {"ratio": value}, "workers.x", problems)
    assert problems.lines == ["conf.toml: workers.x.ratio: expected a finite number"]


class Inner(schema.Options, frozen=True):
    """A table in a table."""

    key: str
    size: int = 1


class Outer(schema.Options, frozen=True):
    """Options with a table."""

    inner: Inner | None = None


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"inner": {"key": "k", "sise": 2}}, ["x.inner.sise: unknown key; did you mean 'size'?"]),
        ({"inner": {"size": "s"}}, ["x.inner.key: missing", "x.inner.size: expected int, got str"]),
        ({"inner": 3}, ["x.inner: expected object | null, got int"]),
    ],
)
def test_a_nested_table_is_checked_as_deeply(table, expected):
    """A table among the options tells its problems with the whole path."""
    problems = Problems("f")
    decode(Outer, table, "x", problems)
    assert problems.lines == [f"f: {line}" for line in expected]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("x", "line 1, column 2: "),
        ("a = 1\nb = \n", "line 2, column 5: "),
        ("a = 1\na = 2", "line 2, column 6: "),
        ('a = "x', "line 1, column 7: "),
        ("[a\n", "line 1, column 3: "),
        ("a = 1\r\nb =\r\n", "line 2, column 4: "),
        (b'a = 1\nb = "\xff"', "line 2, column 6: not UTF-8"),
        (b"\xfe", "line 1, column 1: not UTF-8"),
        (b"\xef\xbb\xbfa = 1", "line 1, column 1: "),
    ],
)
def test_what_is_no_toml_is_told_with_line_and_column(refused, text, place):
    """The line says where to look."""
    (line,) = refused(text)
    assert line.startswith(f"conf.toml: {place}")


@pytest.mark.parametrize("value", ["[" * 5000, "9" * 5000], ids=["deep", "long"])
def test_toml_beyond_what_can_be_read_is_told(refused, value):
    """Nesting without end and a number of thousands of digits are one line as well."""
    (line,) = refused(f"a = {value}")
    assert line.startswith("conf.toml: ")


def test_a_missing_file_is_told(tmp_path):
    """One line with the path and the reason."""
    with pytest.raises(ConfigError, match=r"absent\.toml: No such file or directory"):
        loading.load(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("workers.web.children=8", 8),
        ("workers.web.children = 8", 8),
        ('workers.web.children="auto"', "auto"),
        ("workers.web.children=auto", "auto"),
        ('workers."web".children=8', 8),
        ("workers.web={ children = 8 }", 8),
    ],
)
def test_a_setting_overrides_one_key(load, setting, value):
    """A value is TOML, or else a string; the rest of the file stays."""
    section = load(web("children = 2"), setting).workers[0]
    assert section.common.children == value
    assert section.options == {"handler": "m:f"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/srv/x", "/srv/x"),
        ("a b", "a b"),
        ("", ""),
        ("it's", "it's"),
        ('"', '"'),
        ("C:\\x", "C:\\x"),
        ("é", "é"),
        ("/srv/\N{GRINNING FACE}", "/srv/\N{GRINNING FACE}"),
    ],
)
def test_a_setting_that_is_no_toml_is_a_string(load, value, expected):
    """No quotes are needed on the command line."""
    assert load(web(), f"master.pid_file={value}").master.pid_file == expected


def test_the_last_setting_wins_and_may_make_tables(load):
    """Settings apply in order, on top of the file, also where it has no such table."""
    loaded = load(web(), "log.level=debug", "log.level=error", "modules.counters.path=/x")
    assert loaded.log.level == "error"
    assert [module.name for module in loaded.modules] == ["counters"]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("workers.web.children=x", "--set: workers.web.children: expected int or 'auto', got 'x'"),
        ("workers.web.chidren=1", "--set: workers.web.chidren: unknown key"),
        ("nonsense=1", "--set: nonsense: unknown key"),
        ("workers.web=1", "--set: workers.web: expected a table, got int"),
        ('workers.web.listen=["bad"]', "--set: workers.web.listen[0]: 'bad': expected tcp://"),
        ("workers.web.handler.x=1", "--set: workers.web.handler.x: 'handler' is not a table"),
        ("a b=1", "--set: a b: not a key"),
        ("=1", "--set: : not a key"),
        ("#=1", "--set: #: not a key"),
        ("a=1\nb=2", "--set: a: one value only"),
    ],
)
def test_a_bad_setting_is_told_as_such(refused, setting, expected):
    """The line says that the command line is wrong, not the file."""
    assert refused(web(), setting)[0].startswith(expected)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp://127.0.0.1:80", Address("tcp", host="127.0.0.1", port=80)),
        ("tcp://localhost:0", Address("tcp", host="localhost", port=0)),
        ("tcp://[::1]:65535", Address("tcp", host="::1", port=65535)),
        ("udp://0.0.0.0:53", Address("udp", host="0.0.0.0", port=53)),
        ("udp://[::]:53", Address("udp", host="::", port=53)),
        ("unix:///run/web.sock", Address("unix", path="/run/web.sock")),
        ("unix:///" + 106 * "x", Address("unix", path="/" + 106 * "x")),
    ],
)
def test_an_address_is_read_and_written(text, address):
    """An address means what it says, and is printed as it was written."""
    assert parse_address(text) == address
    assert str(address) == text
    assert address.is_fixed == (not text.endswith(":0"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected tcp://"),
        ("127.0.0.1:80", "expected tcp://"),
        ("http://127.0.0.1:80", "expected tcp://"),
        ("TCP://127.0.0.1:80", "expected tcp://"),
        ("tcp://", "expected tcp://HOST:PORT"),
        ("tcp://:80", "expected tcp://HOST:PORT"),
        ("tcp://[]:80", "expected tcp://HOST:PORT"),
        ("tcp://host", "expected tcp://HOST:PORT"),
        ("tcp://host:", "port '' is not a number"),
        ("tcp://host:http", "port 'http' is not a number"),
        ("tcp://host:65536", "port '65536' is not a number"),
        ("tcp://host:-1", "port '-1' is not a number"),
        ("tcp://host:٣", "is not a number"),
        ("tcp://::1:80", "in brackets"),
        ("unix://run/web.sock", "absolute path"),
        ("unix://", "absolute path"),
        ("unix:///a\0b", "NUL"),
        ("unix:///" + 107 * "x", "108 bytes"),
        ("unix:///" + 54 * "é", "109 bytes"),
    ],
)
def test_a_bad_address_is_refused_with_the_reason(text, reason):
    """The error says what is wrong with the address."""
    with pytest.raises(ValueError, match=reason):
        parse_address(text)


@given(st.text())
def test_any_text_is_an_address_or_refused(text):
    """The parser fails in no other way, and what it takes it prints so that it reads again."""
    for scheme in ("tcp://", "udp://", "unix://", "unix:///", ""):
        try:
            address = parse_address(scheme + text)
        except ValueError:
            continue
        assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("1", "listen[0]: expected a table, got int"),
        ("{}", "listen[0].address: missing"),
        ("{ address = 1 }", "listen[0].address: expected str, got int"),
        ("{ addres = 'tcp://h:1' }", "listen[0].addres: unknown key; did you mean 'address'?"),
        ("{ address = 'x' }", "listen[0]: 'x': expected tcp://"),
        ("{ address = 'unix:///s', mode = '66' }", "listen[0].mode: expected octal digits"),
        ("{ address = 'tcp://h:1', mode = '0660' }", "listen[0]: mode and owner are for unix"),
        ("{ address = 'tcp://h:1', owner = 'root' }", "listen[0]: mode and owner are for unix"),
    ],
)
def test_a_bad_listen_entry_is_told_with_its_index(refused, entry, expected):
    """The entry is named by its place in the array."""
    text = f"[workers.web]\ntype = 'tcp'\nhandler = 'm:f'\nlisten = [{entry}]"
    assert any(line.startswith(f"conf.toml: workers.web.{expected}") for line in refused(text))


def two(first, second):
    """Return two sections, `a` and `b`, with one address each."""
    return "".join(
        f"[workers.{name}]\ntype = '{where.split(':')[0].replace('unix', 'tcp')}'\n"
        f"handler = 'm:f'\nlisten = ['{where}']\n"
        for name, where in (("a", first), ("b", second))
    )


@pytest.mark.parametrize("where", ["tcp://127.0.0.1:80", "udp://[::1]:53", "unix:///run/s"])
def test_an_address_that_two_entries_want_is_refused(refused, where):
    """The line names the section that has it already."""
    assert refused(two(where, where)) == [
        f"conf.toml: workers.b.listen: {where} is in workers.a.listen already"
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:0"),
        ("tcp://127.0.0.1:80", "udp://127.0.0.1:80"),
        ("tcp://127.0.0.1:80", "tcp://127.0.0.2:80"),
    ],
)
def test_addresses_that_differ_are_taken(load, first, second):
    """Port 0 is another port each time; schemes and hosts have ports of their own."""
    assert len(load(two(first, second)).workers) == 2


@pytest.mark.parametrize(
    ("stem", "name"), [("web", "web"), ("my site", "my-site"), (".web", "web"), ("é", "-")]
)
def test_the_name_comes_from_the_file(tmp_path, stem, name):
    """A file's stem becomes a plain word."""
    file = tmp_path / f"{stem}.toml"
    file.write_text(web())
    assert loading.load(file)[0].name == name
