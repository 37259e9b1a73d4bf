"""The command line: the group of all commands, which turns an error into a line and a status."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import click

from supervisor.cli import convert, look, man, reload, run, start, write
from supervisor.cli.options import rows_of_help
from supervisor.errors import SupervisorError, SystemFailure, is_shortage
from supervisor.log import entries
from supervisor.system.signals import described


def _signals_help() -> str:
    return rows_of_help("Signals of a running server:", ((row[0], row[1]) for row in described()))


class _Commands(click.Group):
    """Turns expected errors into `supervisor: error: ...` and their status."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SupervisorError as error:
            _fail(error)
        except BrokenPipeError:
            _end_quietly()
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            _fail(SystemFailure(f"{name}{error.strerror or error}"))
        except (MemoryError, SystemError, ImportError) as error:
            if not is_shortage(error):
                raise
            _fail(SystemFailure(str(error) or "out of memory"))


def _fail(error: SupervisorError) -> NoReturn:
    entries.say_error(str(error))
    sys.exit(error.exit_code)


def _end_quietly() -> NoReturn:
    """Whoever read our output has enough: leave as a filter does, without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_signals_help(),
)
@click.version_option(
    None, "-V", "--version", package_name="prefork-supervisor", prog_name="supervisor"
)
def main() -> None:
    """A preforking multi-process server supervisor: healthy, or gone and explained."""


for _command in (
    run.run,
    start.start,
    start.check,
    look.stop,
    reload.reload,
    look.status,
    look.stats,
    look.stack,
    look.why,
    look.top,
    look.console,
    write.init,
    convert.convert,
    write.types,
    write.unit,
    man.man,
    write.completion,
):
    main.add_command(_command)
