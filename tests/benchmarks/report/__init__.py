"""From samples to tables, plots and the part of the README. Nothing is measured here."""
