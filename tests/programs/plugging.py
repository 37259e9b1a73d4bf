"""Takes the signals of the process that imports it."""

from acts import borrow_loop, plug_ears

plug_ears()
borrow_loop()
