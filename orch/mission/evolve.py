"""A changed copy of a frozen dataclass, at the price of copying a dict.

Every event makes a few such copies of `MissionState`, and the generic loop of `dataclasses.replace` over its
45 fields would be most of what the reducer costs. For a type checker `evolve` is `dataclasses.replace`, so
a wrong name or type is an error before anything runs. At run time nothing is checked and `__init__` is not
called: it is for plain dataclasses without slots, `__post_init__`, `init=False` fields and cached properties.
"""

from typing import TYPE_CHECKING, TypeVar

__all__ = ["evolve"]

if TYPE_CHECKING:
    from dataclasses import replace as evolve
else:
    T = TypeVar("T")

    def evolve(value: T, /, **changes: object) -> T:
        """Return a copy of `value` with `changes`; `value` stays as it is."""
        copy = object.__new__(type(value))
        object.__setattr__(copy, "__dict__", value.__dict__ | changes)
        return copy
