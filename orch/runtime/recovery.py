"""What orch does about an error of a model, as one table; classified by type, never by text.

`action_for` picks the first row whose class fits. Waiting between tries is exponential with jitter that only
ever adds, and never shorter than the endpoint asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tenacity import RetryCallState, wait_exponential, wait_random

from orch.errors import (
    AuthRefused,
    ContextOverflow,
    ModelError,
    ProviderUnavailable,
    RateLimited,
    RequestRefused,
    Retryable,
    UnknownModel,
)
from orch.mission.events import Outcome

TRIES = 4
"""One call and three retries; then the provider counts as unavailable."""
LONGEST_WAIT_S = 120.0
"""An endpoint that asks for more than this is unavailable for this run."""


class Action(StrEnum):
    """What an error leads to."""

    WAIT = "wait"  # its provider's gate waits it out, however often it comes
    RETRY = "retry"  # ask again after a wait; then the provider counts as unavailable
    SWITCH = "switch"  # go on with the next model; without one the run ends
    END_RUN = "end_run"  # no session can do better
    COMPACT = "compact"  # make the history fit and ask again; refused once more, the session fails
    REPAIR = "repair"  # put the history right and ask again; refused once more, the session fails
    FAIL_SESSION = "fail_session"  # a fresh session may do better


OF_ITS_SESSION = frozenset({Action.COMPACT, Action.REPAIR, Action.FAIL_SESSION})
"""Where they do not help, or were tried, the session has failed; another one need not."""


@dataclass(frozen=True, slots=True)
class Row:
    """One class of errors, what is done, and how the run is called if it ends with it."""

    error: type[ModelError]
    action: Action
    outcome: Outcome = Outcome.PROVIDER


TABLE = (
    Row(RateLimited, Action.WAIT),
    Row(Retryable, Action.RETRY, Outcome.PROVIDER),
    Row(AuthRefused, Action.END_RUN, Outcome.AUTH),
    Row(UnknownModel, Action.SWITCH, Outcome.ERROR),
    Row(ProviderUnavailable, Action.SWITCH, Outcome.PROVIDER),
    Row(ContextOverflow, Action.COMPACT),
    Row(RequestRefused, Action.REPAIR),
    Row(ModelError, Action.FAIL_SESSION),
)


def action_for(error: BaseException | None) -> Row | None:
    """Return the row for `error`; `None` if it is no model's error at all."""
    return next((row for row in TABLE if isinstance(error, row.error)), None)


def is_retried(error: BaseException) -> bool:
    """Whether the same call is worth making again."""
    row = action_for(error)
    is_retry = row is not None and row.action is Action.RETRY
    return is_retry and isinstance(error, Retryable) and (error.retry_after_s or 0.0) <= LONGEST_WAIT_S


def backoff(base_s: float) -> Callable[[RetryCallState], float]:
    """Return tenacity's wait: `base_s` doubled with each try, plus jitter, at least what was asked for."""
    exponential = wait_exponential(multiplier=base_s, max=LONGEST_WAIT_S / 2) + wait_random(0, base_s)

    def wait_s(retry: RetryCallState) -> float:
        error = retry.outcome.exception() if retry.outcome else None
        asked_s = error.retry_after_s if isinstance(error, Retryable) else None
        return max(exponential(retry), asked_s or 0.0)

    return wait_s
