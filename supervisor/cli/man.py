"""`man`: the pages of the manual, shown by whatever shows manual pages here."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import Final

import click

# Page and section.
PAGES: Final = {
    "supervisor": 1,
    "supervisor.toml": 5,
    "supervisor-workers": 7,
    "supervisor-http": 7,
}
_VIEWERS: Final = (("man", "-l", "-"), ("mandoc", "-a"))


@click.command()
@click.argument("page", type=click.Choice(list(PAGES)), default="supervisor", metavar="[PAGE]")
def man(page: str) -> None:
    """Show a page of the manual.

    PAGE is supervisor, supervisor.toml, supervisor-workers or supervisor-http. It is shown by
    man(1) or mandoc(1); where the output is no terminal, or neither is there, as its source.
    """
    from supervisor.cli import manual

    root = click.get_current_context().find_root().command
    assert isinstance(root, click.Group)
    _show(manual.page(page, root))


def _show(text: str) -> None:
    for viewer in _VIEWERS:
        if sys.stdout.isatty() and shutil.which(viewer[0]):
            subprocess.run(viewer, input=text, text=True, check=False)
            return
    click.echo(text, nl=False)
