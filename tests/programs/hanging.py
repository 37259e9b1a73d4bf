"""Never finishes being imported."""

from acts import say, spin

say("importing")
spin()
