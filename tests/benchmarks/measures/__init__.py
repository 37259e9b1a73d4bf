"""One life of a contender each: (contender, children, seconds) -> figures by name."""
