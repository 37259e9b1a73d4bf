"""The entry of `supervisor` and of `python -m supervisor`, before the imports of the command line.

They take a tenth of a second, in which Ctrl-C has to end us as it ends any program: the interpreter
raises KeyboardInterrupt instead, which would show a traceback of whatever is being imported. The
script `supervisor` does the same in its first lines, before it imports this. Within the start of
the interpreter itself (the module site and all that it loads, runpy for `-m`) no code of ours runs:
there Ctrl-C shows Python's own traceback.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # built in: nothing to load
import os
import sys

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)


def main() -> None:
    """Run the command line, if the package is still ours."""
    import supervisor

    if "Worker" not in getattr(supervisor, "__all__", ()):
        directory = __file__.rpartition("/")[0]
        sys.stderr.write(
            f"supervisor: error: {directory}: another package called supervisor has overwritten "
            "ours; pip uninstall supervisor, then pip install --force-reinstall "
            "prefork-supervisor\n"
        )
        sys.exit(78)
    try:
        from supervisor.cli.main import main
        from supervisor.errors import is_shortage
    except (MemoryError, OSError, ImportError, SystemError) as error:
        # Descriptors or address space are limited to less than the imports take.
        if isinstance(error, ImportError) and "failed to map" not in str(error):
            raise
        sys.stderr.write(f"supervisor: error: cannot be loaded: {error or 'out of memory'}\n")
        sys.exit(71)
    try:
        main()
    except (MemoryError, SystemError) as error:
        if not is_shortage(error):
            raise
        # An ordinary end takes memory as well; with a SystemExit behind it the reason was told.
        if not isinstance(error.__context__, SystemExit):
            os.write(2, b"supervisor: error: out of memory\n")
        os._exit(71)  # noqa: TID251  # nothing else ends it without memory


if __name__ == "__main__":
    main()
