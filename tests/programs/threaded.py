"""A module that starts a thread as it is imported, as some log libraries do."""

import threading

threading.Thread(target=threading.Event().wait, daemon=True).start()
