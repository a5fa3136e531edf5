"""How long a session may work, and what it hears when its time is over. Pure.

Counted is the time of its answers and its tools, as the journal has it, and not what it waits for: the gate,
the budget, a review. At its limit a session is told so once, in the text of a result, and has half as long
again to finish. What then still goes on is over; a fresh session may do better.
"""

from orch.mission.state import Session

GRACE = 0.5
"""What is added to the limit of a session that was told, as a part of it."""


def is_due(session: Session, worked_s: float, limit_s: float) -> bool:
    """Whether the session has to be told that its time is over."""
    return session.late_at_s is None and worked_s >= limit_s


def is_over(session: Session, worked_s: float, limit_s: float) -> bool:
    """Whether the session has used up what was left to it when it was told."""
    return session.late_at_s is not None and worked_s >= session.late_at_s + GRACE * limit_s


def told(result: str, limit_s: float) -> str:
    """Return a tool's result with the notice behind it."""
    return (
        f"{result}\n[orch] This session's time is over: it has worked for {limit_s:g} s. Begin nothing new: "
        f"finish what is nearly done, then end with what you have. In {GRACE * limit_s:g} s the session ends."
    )


def reason(limit_s: float) -> str:
    """Say why a session is over."""
    return f"it worked for more than {limit_s:g} s (session_timeout_s), also after it was told so"
