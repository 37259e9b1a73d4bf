"""Says that it is imported, and fails."""

import os

os.write(2, b"raising is imported\n")
raise RuntimeError("raising")
