"""Configuration: TOML in, frozen values out. It knows no socket and no imported object."""

from supervisor.config.schema import Options

__all__ = ["Options"]
