"""Whatever comes, it is answered or refused: `make fuzz`."""
