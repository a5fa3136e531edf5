"""Every error orch raises on purpose, as one tree.

Facts are attributes (`RateLimited.retry_after_s`); nothing is ever parsed from a text. The message is
one or two lines for a person: what happened, to what, and what to do next. Only `orch.main` turns an
error into an exit code.

    OrchError
    ├── UsageError              the command line, a setting or the place is wrong; nothing was started
    │   ├── ConfigError         a settings file, with its key
    │   ├── MissionHeld         another orch works here
    │   ├── JournalDamaged      a record in mid-file cannot be trusted
    │   └── JournalNewer        written by a later orch
    ├── DiskRefused             full, read-only, I/O error, or the state folder is gone
    ├── IllegalTransition       an event that the state does not allow: a bug in orch
    ├── InvalidHistory          a conversation that no endpoint would accept: a bug in orch
    ├── ToolError               what a tool tells the model instead of a result
    │   └── Conflict            a file changed since the session last looked
    └── ModelError              the far end of the wire
        ├── Retryable           worth asking again
        │   ├── RateLimited     429 / 529, with the wait it asked for
        │   ├── ServerFailed    5xx
        │   ├── ConnectionLost  refused, reset, timed out, cut in mid-stream
        │   └── BadStream       what came is no answer of this protocol
        ├── AuthRefused         401 / 403; never retried
        ├── UnknownModel        the endpoint does not know the model
        ├── ContextOverflow     the history does not fit the window
        ├── RequestRefused      any other 4xx; asking again unchanged cannot help
        └── ProviderUnavailable all retries are used up
"""

_OK = 200
"""The status of HTTP with which an answer begins."""


class OrchError(Exception):
    """Base of every error raised on purpose. Never raised itself."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class UsageError(OrchError):
    """The command line, a setting or the place is wrong; nothing was started."""


class ConfigError(UsageError):
    """A settings file or variable cannot be used; `source` names it, `key` the culprit in it."""

    def __init__(self, message: str, *, source: str, key: str | None = None) -> None:
        super().__init__(message)
        self.source = source
        self.key = key


class MissionHeld(UsageError):
    """A mission already runs here; `pid` and `mission` are `None` where the holder cannot be named."""

    def __init__(self, message: str, *, mission: str | None = None, pid: int | None = None) -> None:
        super().__init__(message)
        self.mission = mission
        self.pid = pid


class JournalDamaged(UsageError):
    """The journal at `path` cannot be trusted from `line` (1-based) on; the file was not touched."""

    def __init__(self, message: str, *, path: str, line: int) -> None:
        super().__init__(message)
        self.path = path
        self.line = line


class JournalNewer(UsageError):
    """The journal holds records that a later orch wrote."""


class DiskRefused(OrchError):
    """The disk refused (full, read-only, I/O error); nothing acknowledged is lost.

    `what` is the file and the reason alone, where they are known.
    """

    def __init__(self, message: str = "", *, what: str | None = None) -> None:
        super().__init__(message)
        self.what = what or str(self)


class IllegalTransition(OrchError):
    """An event that the mission's state does not allow. The state is unchanged."""


class InvalidHistory(OrchError):
    """A conversation that no endpoint would accept."""


class ToolError(OrchError):
    """What a tool tells the model instead of a result: what went wrong and what to do instead."""


class Conflict(ToolError):
    """A file changed since the session last looked at it; it was not overwritten."""


class ModelError(OrchError):
    """The far end of the wire did not give an answer; `may_be_paid` if it may charge for it all the same."""

    may_be_paid = False


class Retryable(ModelError):
    """Worth asking again; `retry_after_s` is the wait that the endpoint asked for, if it did."""

    def __init__(self, message: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(Retryable):
    """The endpoint asks for fewer requests (429, 529)."""


class ServerFailed(Retryable):
    """The endpoint failed (5xx); `status` is its HTTP status."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.status = status
        self.may_be_paid = status == _OK  # it failed in the middle of an answer


class ConnectionLost(Retryable):
    """The connection was refused, reset, silent for too long, or cut in mid-stream."""

    def __init__(self, message: str = "", *, may_be_paid: bool = True) -> None:
        super().__init__(message)
        self.may_be_paid = may_be_paid


class BadStream(Retryable):
    """What came over the wire is no answer of this protocol."""

    may_be_paid = True


class AuthRefused(ModelError):
    """The endpoint refused the key (401, 403)."""


class UnknownModel(ModelError):
    """The endpoint does not know the model; `known` are the names it offers, if it said."""

    def __init__(self, message: str, *, model: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.model = model
        self.known = known


class ContextOverflow(ModelError):
    """The history does not fit into the model's window."""


class RequestRefused(ModelError):
    """The endpoint refused the request (4xx); asking again unchanged cannot help."""

    def __init__(self, message: str, *, status: int, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class ProviderUnavailable(ModelError):
    """The provider did not answer after all retries."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, SIGHUP or SIGQUIT came while there was no run that could be stopped: the command is over."""
