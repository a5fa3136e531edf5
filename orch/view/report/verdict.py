"""The top of a report: how the mission stands, in one word and one sentence, and what is left to do."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orch.mission import seal
from orch.mission.caps import Cap, setting
from orch.mission.chronicle import Chronicle
from orch.mission.events import Blocker, Estimate, IssueSource, Outcome, Role
from orch.mission.result import exit_code
from orch.mission.state import ItemStatus, listed_items, open_issues
from orch.mission.status import Liveness
from orch.view.report import words
from orch.view.report.markup import NOTHING, Html, joined, tag
from orch.view.report.tables import Links, chip, code, section

MOST_BLOCKERS = 50
LONGEST_WHY = 300
"""At the top; the blockers below are whole."""
MEANINGS: Mapping[str, str] = {
    Outcome.SEALED: "Every item was approved with evidence, no issue is open, and orch itself ran the "
    "verification commands on the final tree: each exited 0.",
    Outcome.ANSWERED: "The goal asked for no change: it was answered, nothing was changed or proven.",
    Outcome.PLANNED: "This was a dry run: it made a plan and changed nothing; the next run carries it out.",
    Outcome.UNSEALED: "The run came to its end and something is not done: do not take it for finished.",
    Outcome.BLOCKED: "The mission waits for a person: it needs a decision or a permission.",
    Outcome.LIMIT: "A limit of turns, tokens or cost was reached before the work was done.",
    Outcome.STAGNATED: "Nothing moved any more, also after orch intervened; the work is not done.",
    Outcome.STOPPED: "The run was stopped before the work was done; what is finished is kept.",
    Outcome.TIMEOUT: "The time of the run was over before the work was done; what is finished is kept.",
    Outcome.PROVIDER: "The model's provider was unavailable; what is finished is kept.",
    Outcome.AUTH: "The model's provider refused the key; what is finished is kept.",
    Outcome.DISK: "The disk refused; nothing that was acknowledged is lost.",
    Outcome.ERROR: "The run ended on an error before the work was done.",
    Liveness.RUNNING: "The mission is running: this page shows it as of its last recorded event.",
    Liveness.INTERRUPTED: "The run was killed or crashed before it could end; what is finished is kept.",
}
_TONES: Mapping[str, str] = {
    Outcome.SEALED: "ok",
    Outcome.ANSWERED: "info",
    Liveness.RUNNING: "info",
    Outcome.PLANNED: "info",
    Outcome.UNSEALED: "bad",
    Outcome.STAGNATED: "bad",
    Outcome.AUTH: "bad",
    Outcome.DISK: "bad",
    Outcome.ERROR: "bad",
}
_WITH_A_TEXT = frozenset({None, Outcome.SEALED, Outcome.ANSWERED, Outcome.PLANNED})
"""Outcomes whose text is no reason."""
_GLYPHS: Mapping[str, str] = {"ok": "✓", "info": "•", "warn": "!", "bad": "✗"}


@dataclass(frozen=True, slots=True)
class Standing:
    """What the journal does not know: the mission's status as of now, and the line that goes on with it."""

    status: str
    next_line: str | None = None


def tone(status: str) -> str:
    """Return the class of a status: proven, calm, in need of a person, or wrong."""
    return _TONES.get(status, "warn")


def banner(chronicle: Chronicle, standing: Standing) -> Html:
    """Return the verdict."""
    state = chronicle.state
    glyph = _GLYPHS[tone(standing.status)]
    meaning = MEANINGS.get(standing.status, "The mission is not sealed.")
    why = state.ending if state.outcome not in _WITH_A_TEXT else ""
    code_ = _exit(chronicle, standing)
    return tag(
        "div",
        tag("p", tag("span", glyph, aria_hidden="true"), f" {standing.status.capitalize()}", class_="word"),
        tag("p", meaning),
        tag("p", words.cut(why, LONGEST_WHY), class_="why") if why else NOTHING,
        tag("p", f"Exit code {code_}", class_="none") if code_ is not None else NOTHING,
        class_=f"verdict {tone(standing.status)}",
    )


def _exit(chronicle: Chronicle, standing: Standing) -> int | None:
    outcome = chronicle.state.outcome
    return exit_code(chronicle.state, outcome) if outcome is not None and outcome == standing.status else None


def facts(chronicle: Chronicle) -> Html:
    """Return the mission in figures."""
    pairs = (
        tag("div", tag("dt", name), tag("dd", value))
        for name, value in _facts(chronicle)
        if value is not None
    )
    return tag("dl", *pairs, class_="facts")


def _facts(chronicle: Chronicle) -> Iterator[tuple[str, Html | str | None]]:
    state = chronicle.state
    items, still_open = listed_items(state), len(open_issues(state))
    done = sum(1 for item in items if item.status is ItemStatus.COMPLETED)
    worked_s = sum(run.ended_s - run.began_s for run in chronicle.runs)
    runs = f", in {len(chronicle.runs)} runs" if len(chronicle.runs) > 1 else ""
    usage = state.spending.total
    yield "Items", f"{done} of {len(items)} done"
    yield "Issues", f"{still_open} open, {len(state.issues) - still_open} closed"
    yield "Began", _time(state.started)
    yield "Ended" if chronicle.is_over else "Last event", _time(state.ts)
    yield "Worked", f"{words.lasted(worked_s)}{runs}"
    yield "Cost", words.dollars(usage.cost_usd)
    yield "Tokens", words.tokens(usage)
    if state.outcome is Outcome.PLANNED and state.estimate is not None:
        yield "The plan may cost", _estimate(state.estimate)
    sessions = words.count(len(state.sessions), "session")
    retries = words.count(state.num_retries, "retry", "retries")
    yield "Effort", f"{sessions}, {words.count(state.num_turns, 'turn')}, {retries}"
    yield "Files", f"{len(state.changed):,} changed"
    yield "Models", _models(chronicle)
    yield "Caps", _caps(chronicle)
    yield "orch", ", ".join(chronicle.orch_versions) or None
    yield "Mission", code(state.mission)


def _estimate(estimate: Estimate) -> str:
    tokens = f"{estimate.tokens_least:,} to {estimate.tokens_most:,} tokens"
    if estimate.usd_most is None:
        return tokens
    return f"{tokens}, {words.dollars(estimate.usd_least)} to {words.dollars(estimate.usd_most)}"


def _time(ts: str) -> Html:
    return tag("time", words.moment(ts), datetime=ts)


def _models(chronicle: Chronicle) -> Html:
    by_model: dict[str, list[Role]] = {}
    for role, model in chronicle.state.models.items():
        by_model.setdefault(model, []).append(role)
    is_one = len(by_model) == 1
    names = [
        tag("span", code(model), "" if is_one else f" {', '.join(roles)}")
        for model, roles in by_model.items()
    ]
    fallback = chronicle.state.fallback
    spare = [tag("span", "then ", code(", ".join(fallback)))] if fallback else []
    return joined((*names, *spare), tag("br"))


def _caps(chronicle: Chronicle) -> Html:
    caps = chronicle.state.caps
    amounts = ((cap, caps.of(cap)) for cap in Cap)
    set_ = [setting(cap, amount) for cap, amount in amounts if amount is not None]
    lines = (*set_, f"-j {chronicle.state.max_parallel}", f"--max-turns {chronicle.state.max_turns}")
    return joined((code(line) for line in lines), tag("br"))


def to_do(chronicle: Chronicle, standing: Standing, links: Links) -> Html:
    """Return what a person has to do next; nothing where nothing is."""
    state = chronicle.state
    if standing.status in (Outcome.SEALED, Outcome.ANSWERED):
        return NOTHING
    is_calm = standing.status in (Liveness.RUNNING, Outcome.PLANNED)
    blockers = () if is_calm else state.end_blockers or seal.blockers(state)
    rows = [_blocker(blocker, links) for blocker in blockers[:MOST_BLOCKERS]]
    more = len(blockers) - len(rows)
    if more > 0:
        rows.append(tag("li", f"and {more:,} more"))
    line = standing.next_line
    go_on = [tag("p", "Go on with:"), tag("pre", tag("code", line), tabindex=0)] if line else []
    wait = [tag("p", "Nothing yet: it is at work.")] if standing.status == Liveness.RUNNING else []
    in_the_way = [tag("h3", "What is in the way of the seal"), tag("ul", *rows)] if rows else []
    return section("next", "What to do next", *wait, *go_on, *in_the_way)


def _blocker(blocker: Blocker, links: Links) -> Html:
    text = blocker.text.removeprefix(f"item {blocker.item} ")
    item = joined((links.item(blocker.item), " ")) if blocker.item else NOTHING
    return tag("li", chip(blocker.kind.value, "plain"), " ", item, words.cut(text))


def unverified(chronicle: Chronicle, standing: Standing) -> Html:
    """Return what nobody should take for proven."""
    lines = [tag("li", line) for line in _unverified(chronicle, standing)]
    return section("unverified", "What was not verified", tag("ul", *lines))


def _unverified(chronicle: Chronicle, standing: Standing) -> Iterator[str]:
    state = chronicle.state
    if standing.status != Outcome.SEALED:
        yield "The mission is not sealed: whatever is done here is no proof of the whole."
    if state.demo:
        yield "A scripted model played this mission: its words were written beforehand."
    yield (
        "Commands ran without a sandbox: what they did outside of the plan's files was not confined, "
        "and only partly watched."
    )
    yield from _unchecked(chronicle)
    strangers = {e.path for e in chronicle.edits if not e.by_tool and e.session is None and e.item is None}
    if strangers:
        yield (
            f"{words.count(len(strangers), 'file')} changed by no tool of orch (a person, or a command): "
            f"{words.cut(', '.join(sorted(strangers)))}"
        )
    if state.spending.total.cost_usd is None:
        yield "What it cost is unknown: at least one model has no known price."
    if state.outcome is Outcome.SEALED and any(i.source is IssueSource.STALE for i in state.issues.values()):
        yield "A file changed after its review; orch had it looked at again before the seal."
    yield "A review is a model's judgement; what orch saw itself are commands, exit codes and hashes."


def _unchecked(chronicle: Chronicle) -> Iterator[str]:
    state = chronicle.state
    for item in state.items.values():
        if item.status is ItemStatus.DROPPED:
            title = words.first_line(item.spec.title)
            yield f"Dropped from the plan, nothing of it is proven: {item.spec.id} ({title}): {item.reason}"
    unchecked = [item.spec.id for item in listed_items(state) if item.spec.check is None]
    if unchecked:
        yield f"Without a check of their own: {words.cut(', '.join(unchecked))}"
    if state.red_before and state.outcome is not Outcome.SEALED:
        yield f"Red before the first write already: {words.cut('; '.join(state.red_before))}"
    if not state.verify and listed_items(state):
        yield "The plan has no verification commands: the items' own checks stand in their place."
