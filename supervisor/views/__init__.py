"""From facts to what people and programs read."""
