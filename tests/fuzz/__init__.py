"""Damaged input of any kind is answered or refused: `make fuzz`."""
