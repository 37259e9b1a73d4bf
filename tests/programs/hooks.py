"""A module that says which of its hooks runs, and fails or hangs where its options say so."""

import msgspec
from acts import act, say

from supervisor import Child, Module


class Hooks(Module):
    """Says `hook LABEL NAME` on stderr in each hook."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        label: str
        acts: dict[str, str] = {}

    def __init__(self, options: Options) -> None:
        self.options = options

    def _hook(self, name: str) -> None:
        say(f"hook {self.options.label} {name}")
        act(self.options.acts.get(name))

    def init(self, server: object) -> None:
        self._hook("init")

    def child_init(self, child: Child) -> None:
        self._hook("child_init")

    def child_exit(self, child: Child) -> None:
        self._hook("child_exit")

    def destroy(self) -> None:
        self._hook("destroy")


class Alone(Hooks):
    """Cannot stand another of itself."""

    exclusive = True
