"""How a log entry looks, and where it goes."""
