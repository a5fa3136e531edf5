"""A mission as a JUnit report, the form in which CI servers take results of tests.

Each item of the plan is a test case (`orch.items`), and so is each command of the verification
(`orch.verification`). A run that did not come to its seal, and of which no case says so, has one more, an
error (`orch.mission`): a report is never green where the exit code is not. The elements and attributes are
those that Jenkins (junit-10.xsd of its xunit plugin) and GitLab read; the text is XML 1.0 whatever it was.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from orch.mission.events import VerificationFinished
from orch.mission.result import Result
from orch.mission.state import (
    Issue,
    Item,
    ItemStatus,
    MissionState,
    issues_of,
    seal_commands,
)
from orch.view import defuse

NAME_CHARS = 500
"""How long a name or a message is at most."""
TEXT_CHARS = 20_000
"""How much of a text is kept: the end of an output, the beginning of everything else."""
_NO_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class _Case:
    """One test case; `kind` is what its element is called if it did not pass."""

    name: str
    classname: str
    time_s: float = 0.0
    kind: str = ""
    message: str = ""
    text: str = ""


def document(state: MissionState, result: Result) -> bytes:
    """Return the report of a run that is over; where nothing was started, `state` is an empty one."""
    items = [_item(state, item) for item in state.items.values()]
    proofs = list(_proofs(state))
    suites = {"orch.items": items, "orch.verification": proofs}
    if result.is_error and not any(case.kind in ("failure", "error") for case in (*items, *proofs)):
        suites["orch.mission"] = [_verdict(result)]
    root = Element("testsuites", _facts("orch", [case for cases in suites.values() for case in cases]))
    root.set("time", _seconds(result.duration_s))
    for name, cases in suites.items():
        suite = SubElement(root, "testsuite", _facts(name, cases))
        suite.set("skipped", str([case.kind for case in cases].count("skipped")))
        suite.set("time", _seconds(sum(case.time_s for case in cases)))
        _add_properties(suite, result)
        for case in cases:
            _add(suite, case)
    indent(root)
    data: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _item(state: MissionState, item: Item) -> _Case:
    spec = item.spec
    time_s = sum(s.worked_s for s in state.sessions.values() if s.item == spec.id)
    issues = issues_of(state, spec.id)
    case = _Case(f"{spec.id}: {spec.title}", "orch.items", time_s)
    if item.status is ItemStatus.COMPLETED:
        return case
    reason = item.reason or f"the run ended while it was {item.status}"
    if item.status is ItemStatus.FAILED or (issues and item.status is not ItemStatus.DROPPED):
        told = "\n".join((reason, *map(_told, issues)))
        return _Case(case.name, case.classname, time_s, "failure", f"{item.status}: {reason}", told)
    return _Case(case.name, case.classname, time_s, "skipped", f"{item.status}: {reason}")


def _told(issue: Issue) -> str:
    return f"{issue.id} ({issue.path or issue.source}): {issue.text}"


def _proofs(state: MissionState) -> Iterator[_Case]:
    """Yield the commands that ran, and those that would have had to run."""
    ran = {proof.command: proof for proof in state.verified}
    for command in (*ran, *(c for c in seal_commands(state) if c not in ran)):
        yield _proof(ran[command]) if command in ran else _not_run(command)


def _proof(proof: VerificationFinished) -> _Case:
    case = _Case(proof.command, "orch.verification", proof.duration_s)
    if proof.exit_code == 0:
        return case
    message = f"exit {proof.exit_code}"
    return _Case(case.name, case.classname, case.time_s, "failure", message, proof.output[-TEXT_CHARS:])


def _not_run(command: str) -> _Case:
    return _Case(command, "orch.verification", 0.0, "skipped", "it was not run on a final tree")


def _verdict(result: Result) -> _Case:
    told = result.result or "; ".join(blocker.text for blocker in result.blockers)
    first = told.strip().partition("\n")[0]
    message = f"{result.subtype}, exit {result.exit_code}: {first}"
    return _Case("the mission ends sealed", "orch.mission", 0.0, "error", message, told)


def _add(suite: Element, case: _Case) -> None:
    name = _attribute(case.name) or "-"
    element = SubElement(suite, "testcase", name=name, classname=case.classname, time=_seconds(case.time_s))
    if case.kind == "skipped":
        SubElement(element, case.kind, message=_attribute(case.message))
    elif case.kind:
        fault = SubElement(element, case.kind, type=case.classname, message=_attribute(case.message))
        fault.text = _clean(case.text[:TEXT_CHARS])


def _add_properties(suite: Element, result: Result) -> None:
    facts = {
        "mission": result.mission or "",
        "goal": result.goal,
        "subtype": result.subtype,
        "exit_code": str(result.exit_code),
        "resume": result.resume or "",
    }
    properties = SubElement(suite, "properties")
    for name, value in facts.items():
        SubElement(properties, "property", name=name, value=_attribute(value))


def _facts(name: str, cases: Collection[_Case]) -> dict[str, str]:
    kinds = [case.kind for case in cases]
    failures, errors = kinds.count("failure"), kinds.count("error")
    return {"name": name, "tests": str(len(kinds)), "failures": str(failures), "errors": str(errors)}


def _attribute(text: str) -> str:
    return _NO_XML.sub("", defuse.line(text, NAME_CHARS))


def _clean(text: str) -> str:
    return _NO_XML.sub("", defuse.block(text))


def _seconds(time_s: float) -> str:
    return f"{time_s:.3f}"
