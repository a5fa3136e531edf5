"""The house, for every test of the runtime."""

from tests.runtime.house import house

__all__ = ["house"]
