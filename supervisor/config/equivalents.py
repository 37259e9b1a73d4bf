"""The options of gunicorn, uvicorn and uWSGI with their names here: one table for `convert`, the
manual, and for an unknown key that is an option of theirs.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

Program = Literal["gunicorn", "uvicorn", "uwsgi"]

NONE: Final = "nothing"  # the form of an option that takes no value


class Equivalent(NamedTuple):
    """One option of theirs: its names, the form of its value, our key below `workers.web` (or from
    the top, with a leading dot; "" = none), and what to do where there is none, or what differs.
    """

    names: str  # separated by blanks
    form: str
    key: str
    note: str = ""

    @property
    def plain(self) -> str:
        """Our key as people write it in a sentence."""
        return self.key.lstrip(".")


_RENEW: Final = "a child is not replaced alone: all are, by the next generation"
_LOGGING: Final = "configure logging in the application; our own log is [log]"
_RELOAD: Final = "while you develop: --watch; of a new version: supervisor reload"
_TEMPDIR: Final = "there are no heartbeat files"
_TIMEOUT: Final = (
    "it is not request_timeout: a child that idles is never killed; to limit the application's own "
    "time, set request_timeout"
)
_TLS: Final = "set tls.minimum where the default, 1.2, will not do"
_METRICS: Final = "use a section of type status, whose /metrics Prometheus reads"
_JITTER: Final = "a renewal has a jitter of a tenth"

EQUIVALENTS: Final[dict[Program, tuple[Equivalent, ...]]] = {
    "gunicorn": (
        Equivalent("-b --bind", "address", "listen"),
        Equivalent("-w --workers", "integer", "children"),
        Equivalent("-k --worker-class", "class", "type", "sync and gthread are wsgi, uvicorn asgi"),
        Equivalent("--threads", "integer", "threads"),
        Equivalent("--backlog", "integer", "backlog"),
        Equivalent("--max-requests", "integer", ".master.renew.requests", _RENEW),
        Equivalent("--max-requests-jitter", "integer", "", _JITTER),
        Equivalent("-t --timeout", "seconds", "", _TIMEOUT),
        Equivalent("--graceful-timeout", "seconds", ".master.stop_timeout"),
        Equivalent("--keep-alive", "seconds", "keep_alive"),
        Equivalent("--preload", NONE, "preload", "the default here"),
        Equivalent("--chdir", "text", ".master.working_directory"),
        Equivalent("-e --env", "variable", "env"),
        Equivalent("-p --pid", "text", ".master.pid_file"),
        Equivalent("-u --user", "text", ".master.user"),
        Equivalent("-g --group", "text", ".master.group"),
        Equivalent("-m --umask", "umask", ".master.umask"),
        Equivalent("-n --name", "text", ".name"),
        Equivalent("--access-logfile", "access", "access_log_file"),
        Equivalent("--access-logformat", "text", "", 'use access_log = "combined" or "json"'),
        Equivalent("--error-logfile --log-file", "file", ".log.file"),
        Equivalent("--log-level", "level", ".log.level"),
        Equivalent("--forwarded-allow-ips", "list", "trusted_proxies"),
        Equivalent("--proxy-allow-from", "list", "trusted_proxies"),
        Equivalent("--certfile", "text", "tls.certificate"),
        Equivalent("--keyfile", "text", "tls.key"),
        Equivalent("--ca-certs", "text", "tls.client_ca"),
        Equivalent("--ssl-version", "text", "", _TLS),
        Equivalent("--ciphers", "text", "", _TLS),
        Equivalent("-c --config", "text", "", "it is Python; give what it sets as options"),
        Equivalent("-D --daemon", NONE, "", "start it with: supervisor start --daemon"),
        Equivalent("--reload", NONE, "", _RELOAD),
        Equivalent("--check-config", NONE, "", "use: supervisor check"),
        Equivalent("--capture-output", NONE, "", 'with [log] format = "json" it is so'),
        Equivalent("--worker-connections", "integer", "", "only RLIMIT_NOFILE limits them"),
        Equivalent("--worker-tmp-dir", "text", "", _TEMPDIR),
        Equivalent("--log-config --log-config-json --logger-class", "text", "", _LOGGING),
        Equivalent("--statsd-host --statsd-prefix", "text", "", _METRICS),
        Equivalent("--limit-request-line --limit-request-field_size", "text", "", "header_limit"),
        Equivalent("--limit-request-fields", "text", "", "100 fields are taken"),
        Equivalent("--pythonpath", "text", "", "set PYTHONPATH where it is started"),
        Equivalent("--reuse-port --no-sendfile --spew", NONE, "", "leave it out"),
    ),
    "uvicorn": (
        Equivalent("--host", "host", "listen"),
        Equivalent("--port", "port", "listen"),
        Equivalent("--uds", "path", "listen"),
        Equivalent("--fd", "text", "", "a passed socket is adopted where listen has its address"),
        Equivalent("--workers", "integer", "children"),
        Equivalent("--backlog", "integer", "backlog"),
        Equivalent("--factory", NONE, "factory"),
        Equivalent("--app-dir", "text", ".master.working_directory"),
        Equivalent("--env-file", "path-name", "env_file"),
        Equivalent("--root-path", "text", "root_path"),
        Equivalent("--log-level", "level", ".log.level"),
        Equivalent("--log-config", "text", "", _LOGGING),
        Equivalent("--access-log", NONE, "access_log"),
        Equivalent("--no-access-log", "off", "access_log"),
        Equivalent("--proxy-headers", NONE, ""),
        Equivalent("--no-proxy-headers", "untrusted", "trusted_proxies"),
        Equivalent("--forwarded-allow-ips", "list", "trusted_proxies"),
        Equivalent("--limit-max-requests", "integer", ".master.renew.requests", _RENEW),
        Equivalent("--limit-max-requests-jitter", "integer", "", _JITTER),
        Equivalent("--timeout-keep-alive", "seconds", "keep_alive"),
        Equivalent("--timeout-graceful-shutdown", "seconds", ".master.stop_timeout"),
        Equivalent("--timeout-worker-healthcheck", "seconds", "", "nothing is pinged here"),
        Equivalent("--limit-concurrency", "integer", "", "only RLIMIT_NOFILE limits connections"),
        Equivalent("--loop", "loop", "loop"),
        Equivalent("--lifespan", "text", "lifespan"),
        Equivalent("--ws", "ws", "websockets"),
        Equivalent("--ws-max-size", "integer", "ws_max_size"),
        Equivalent("--ws-ping-interval", "seconds", "ws_ping_interval"),
        Equivalent("--ws-ping-timeout", "seconds", "ws_ping_timeout"),
        Equivalent("--ws-max-queue --ws-per-message-deflate", "text", "", "leave it out"),
        Equivalent("--http --h11-max-incomplete-event-size", "text", "", "leave it out"),
        Equivalent("--interface", "class", "type"),
        Equivalent("--ssl-certfile", "text", "tls.certificate"),
        Equivalent("--ssl-keyfile", "text", "tls.key"),
        Equivalent("--ssl-ca-certs", "text", "tls.client_ca"),
        Equivalent("--ssl-keyfile-password", "text", "", "use a key without a passphrase"),
        Equivalent("--ssl-version --ssl-cert-reqs --ssl-ciphers", "text", "", _TLS),
        Equivalent("--header", "text", "", "set it in the application"),
        Equivalent("--reload", NONE, "", _RELOAD),
        Equivalent("--reload-dir --reload-include --reload-exclude", "text", "", _RELOAD),
        Equivalent("--reload-delay", "text", "", _RELOAD),
        Equivalent("--server-header --no-server-header", NONE, "", "no Server header is sent"),
        Equivalent("--date-header --no-date-header", NONE, "", "Date is always sent"),
        Equivalent("--use-colors --no-use-colors", NONE, "", "set NO_COLOR where there is none"),
    ),
    "uwsgi": (
        Equivalent("http http-socket", "address", "listen"),
        Equivalent(
            "socket", "address", "listen", "HTTP is spoken there: proxy_pass, not uwsgi_pass"
        ),
        Equivalent("module wsgi", "module", "app"),
        Equivalent("wsgi-file file", "wsgi-file", "app"),
        Equivalent("callable", "callable", "app"),
        Equivalent("processes workers", "integer", "children"),
        Equivalent("threads", "integer", "threads"),
        Equivalent("listen", "integer", "backlog"),
        Equivalent("chdir", "text", ".master.working_directory"),
        Equivalent("uid", "text", ".master.user"),
        Equivalent("gid", "text", ".master.group"),
        Equivalent("umask", "umask", ".master.umask"),
        Equivalent("pidfile", "text", ".master.pid_file"),
        Equivalent("harakiri", "seconds", "request_timeout"),
        Equivalent("max-requests", "integer", ".master.renew.requests", _RENEW),
        Equivalent("reload-on-rss", "megabytes", ".master.renew.memory", "PSS counts, not RSS"),
        Equivalent("reload-mercy worker-reload-mercy", "seconds", ".master.stop_timeout"),
        Equivalent("lazy-apps lazy", "not", "preload"),
        Equivalent("env", "variable", "env"),
        Equivalent("logto daemonize", "text", ".log.file"),
        Equivalent("disable-logging", "off", "access_log"),
        Equivalent("procname-prefix", "text", ".name"),
        Equivalent(
            "master enable-threads die-on-term vacuum single-interpreter need-app", NONE, ""
        ),
        Equivalent("no-orphans thunder-lock auto-procname strict", NONE, ""),
        Equivalent("buffer-size", "text", "", "header_limit, 65536 here"),
        Equivalent("virtualenv home venv", "text", "", "start the supervisor of that environment"),
        Equivalent("pythonpath", "text", "", "set PYTHONPATH where it is started"),
        Equivalent("stats", "text", "", "use a section of type status"),
        Equivalent("static-map", "text", "", "see static, a table of directories by prefix"),
        Equivalent("touch-reload py-autoreload", "text", "", _RELOAD),
        Equivalent("attach-daemon smart-attach-daemon", "text", "", "use a section of type exec"),
        Equivalent("cron mule spooler", "text", "", "use a section of type task"),
        Equivalent("cheaper gevent asyncio", "text", "", "the number of children is fixed"),
    ),
}


def meant(key: str) -> str:
    """Of a key that is an option of gunicorn or uvicorn: what it is here, in words; else ""."""
    programs: tuple[Program, ...] = ("gunicorn", "uvicorn")
    for program in programs:
        for one in EQUIVALENTS[program]:
            long = {name[2:].replace("-", "_") for name in one.names.split() if name[:2] == "--"}
            if key in long and key != one.plain and (one.key or one.note):
                what = f"is {one.plain!r} here" if one.key else f"is no key here: {one.note}"
                return f"{program}'s {key} {what}"
    return ""
