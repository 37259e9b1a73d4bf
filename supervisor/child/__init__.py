"""A child: what user code sees of it, and its life."""
