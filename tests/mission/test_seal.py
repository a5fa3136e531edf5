"""Tests of the seal: what stands before it, and what a verification means."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from orch.mission import events as ev
from orch.mission.seal import blockers, named_owners, stale_items, verdict
from orch.mission.state import (
    Issue,
    Item,
    ItemStatus,
    MissionState,
    Session,
    SessionStatus,
    Verification,
    known_tree,
    seal_commands,
    tree_hash,
)
from tests.mission.casts import spec

A, B = ev.ItemId("a"), ev.ItemId("b")
FILES = {"a.py": "1", "b.py": "2"}


def evidence(item: str, files: Mapping[str, str | None]) -> ev.EvidenceRecorded:
    """Return the proof of an item."""
    return ev.EvidenceRecorded(
        session=ev.SessionId("S4"),
        item=ev.ItemId(item),
        evidence=ev.EvidenceId(f"E{item}"),
        command="check",
        exit_code=0,
        duration_s=1,
        tree="t",
        files=dict(files),
        log="l",
    )


def done(*items: ev.ItemSpec) -> MissionState:
    """Return a mission of which every item is completed with fresh evidence."""
    return MissionState(
        items={
            s.id: Item(s, ev.ItemOrigin.PLANNED, ItemStatus.COMPLETED, evidence=(ev.EvidenceId(f"E{s.id}"),))
            for s in items
        },
        evidence={
            ev.EvidenceId(f"E{s.id}"): evidence(s.id, {p: FILES.get(p) for p in s.files}) for s in items
        },
        files=FILES,
        verify=("verify",),
        seal_summary="all is well",
    )


AB = done(spec("a"), spec("b"))
TREE = tree_hash(FILES)


def ran(
    code: int = 0, output: str = "", command: str = "verify", tree: str = TREE
) -> ev.VerificationFinished:
    """Return the end of a command at the seal."""
    return ev.VerificationFinished(
        phase=ev.VerificationPhase.SEAL,
        command=command,
        exit_code=code,
        duration_s=1,
        tree=tree,
        output=output,
    )


def judged(
    state: MissionState, *results: ev.VerificationFinished, files: Mapping[str, str | None] = FILES
) -> tuple[ev.Event, ...]:
    """Return what the results mean."""
    run = Verification(ev.VerificationPhase.SEAL, tuple(r.command for r in results), results)
    state = replace(state, verification=run, verified=results)
    return verdict(state, run, files, len(state.issues) + 1)


def with_issue(state: MissionState, item: ev.ItemId | None, command: str | None = None) -> MissionState:
    """Return the mission with one open issue."""
    issue = Issue(ev.IssueId("I1"), ev.IssueSource.REVIEW, "wrong\nvery", None, item, command, 3)
    return replace(state, issues={issue.id: issue})


def with_status(status: ItemStatus) -> MissionState:
    """Return the mission with item `b` in another status."""
    item = replace(AB.items[B], status=status, evidence=(), reason="no luck")
    return replace(AB, items={**AB.items, B: item})


# ---- what stands before the verification


def test_a_mission_with_all_items_completed_has_no_blocker() -> None:
    """Then orch verifies."""
    assert blockers(AB) == ()


def test_an_empty_list_is_a_blocker() -> None:
    """Nothing was done, nothing can be proven; a Planner's limit is named as such."""
    planner = Session(ev.SessionId("S2"), ev.Role.PLANNER, "m", "plan", "", 2, kind=ev.BlockerKind.LIMIT)
    planner = replace(planner, status=SessionStatus.ENDED)

    assert [b.kind for b in blockers(MissionState())] == ["plan"]
    assert [b.kind for b in blockers(MissionState(sessions={planner.id: planner}))] == ["limit"]


def test_a_list_that_nothing_would_verify_is_a_blocker() -> None:
    """A seal over no command would prove nothing."""
    state = replace(done(spec("a", check=None)), verify=())

    assert [b.kind for b in blockers(state)] == ["verification"]


@pytest.mark.parametrize(
    "status", [s for s in ItemStatus if s not in (ItemStatus.COMPLETED, ItemStatus.DROPPED)]
)
def test_an_item_that_is_not_completed_is_a_blocker(status: ItemStatus) -> None:
    """Named with its status and reason."""
    (blocker,) = blockers(with_status(status))

    assert (blocker.kind, blocker.item) == ("item", "b")
    assert blocker.text == f"item b is {status}: no luck"


def test_a_dropped_item_is_no_blocker() -> None:
    """It is off the list."""
    assert blockers(with_status(ItemStatus.DROPPED)) == ()


def test_a_lost_item_blocks_with_the_kind_it_was_lost_for() -> None:
    """So that a limit is a limit also in the exit code."""
    item = replace(AB.items[B], status=ItemStatus.FAILED, kind=ev.BlockerKind.LIMIT)

    assert [b.kind for b in blockers(replace(AB, items={**AB.items, B: item}))] == ["limit"]


def test_an_open_issue_is_a_blocker() -> None:
    """With its first line."""
    (blocker,) = blockers(with_issue(AB, A))

    assert (blocker.kind, blocker.text) == ("issue", "issue I1 is open: wrong")


def test_a_red_command_blocks_only_while_nothing_changed() -> None:
    """On another tree it is worth another run."""
    state = replace(with_issue(AB, None, "verify"), verified=(ran(1, tree=known_tree(AB)),))

    assert [b.kind for b in blockers(state)] == ["verification"]
    assert blockers(replace(state, files={**FILES, "a.py": "3"})) == ()


def test_a_session_at_work_is_a_blocker_but_the_commander_is_not() -> None:
    """Who asks for the seal is the Commander."""
    sessions = [
        Session(ev.SessionId(f"S{n}"), role, "m", "t", "", 2, status=SessionStatus.RUNNING)
        for n, role in enumerate((ev.Role.COMMANDER, ev.Role.PLANNER))
    ]

    assert [b.text for b in blockers(replace(AB, sessions={s.id: s for s in sessions}))] == [
        "session S1 is still running"
    ]


# ---- what it means


def test_green_on_the_reviewed_tree_is_the_seal() -> None:
    """With the Commander's summary and the tree that was proven."""
    (sealed,) = judged(AB, ran())

    assert isinstance(sealed, ev.MissionSealed)
    assert (sealed.tree, sealed.summary) == (TREE, "all is well")


def test_red_becomes_the_issue_of_the_one_owner_it_names() -> None:
    """With the whole output; the command is its mark."""
    opened, refused = judged(AB, ran(2, "FAILED in b.py:3"))

    assert isinstance(opened, ev.IssueOpened)
    assert isinstance(refused, ev.SealRefused)
    assert (opened.item, opened.command, opened.text) == (
        "b",
        "verify",
        "`verify` exited 2:\nFAILED in b.py:3",
    )
    assert refused.blockers[0].kind == "verification"


@pytest.mark.parametrize("output", ["boom", "a.py and b.py"])
def test_red_that_names_nobody_or_several_belongs_to_nobody_yet(output: str) -> None:
    """The Commander decides."""
    opened = judged(AB, ran(1, output))[0]

    assert isinstance(opened, ev.IssueOpened)
    assert opened.item is None


def test_a_green_run_closes_the_issues_of_red_commands() -> None:
    """A seal has no open issue."""
    closed, sealed = judged(with_issue(AB, A, "verify"), ran())

    assert isinstance(closed, ev.IssueClosed)
    assert isinstance(sealed, ev.MissionSealed)


def test_a_red_command_is_not_planned_away() -> None:
    """It stays among the seal's commands until it exits 0, and a run without it seals nothing."""
    state = with_issue(AB, A, "an older verify")

    assert seal_commands(state)[-1] == "an older verify"
    assert [e.type for e in judged(state, ran())][-1] == "seal.refused"


def test_a_changed_file_that_no_item_has_any_more_stands_in_the_way() -> None:
    """Its item was dropped: nobody approved what is on disk."""
    state = replace(AB, changed=("a.py", "left.py"))

    assert [b.text for b in blockers(state)] == [
        "left.py was changed, and no item has it any more: delegate it, to be finished or deleted"
    ]


def test_red_again_is_a_new_issue_with_an_id_of_its_own() -> None:
    """The older one is superseded."""
    events = judged(with_issue(AB, A, "verify"), ran(1, "a.py"), ran(1, "b.py", "lint"))

    assert [e.type for e in events] == ["issue.closed", "issue.opened", "issue.opened", "seal.refused"]
    assert [e.issue for e in events if isinstance(e, ev.IssueOpened)] == ["I2", "I3"]


def test_a_file_that_is_not_what_was_reviewed_is_stale() -> None:
    """Also one that is gone, or that no evidence speaks of."""
    assert stale_items(AB, FILES) == ()
    assert [(i.spec.id, p) for i, p in stale_items(AB, {**FILES, "a.py": "9"})] == [("a", "a.py")]
    assert [p for _, p in stale_items(AB, {"a.py": "1"})] == ["b.py"]
    assert [p for _, p in stale_items(replace(AB, items={A: replace(AB.items[A], evidence=())}), FILES)] == [
        "a.py"
    ]


def test_the_review_of_the_last_item_counts_for_a_file() -> None:
    """A fix is reviewed as any item is."""
    state = done(spec("a"), spec("a.fix1", "a.py"))
    proofs = {**state.evidence, ev.EvidenceId("Ea"): evidence("a", {"a.py": "before the fix"})}

    assert stale_items(replace(state, evidence=proofs), FILES) == ()


def test_green_with_a_stale_file_is_no_seal() -> None:
    """The owner looks again."""
    changed = {**FILES, "a.py": "9"}
    opened, refused = judged(AB, ran(tree=tree_hash(changed)), files=changed)

    assert isinstance(opened, ev.IssueOpened)
    assert (opened.source, opened.item, opened.path) == ("stale", "a", "a.py")
    assert isinstance(refused, ev.SealRefused)


def test_a_verification_that_ran_on_another_tree_is_no_seal() -> None:
    """Every command has to exit 0 on the final tree."""
    opened, refused = judged(AB, ran(tree="another"), ran(command="lint"))

    assert isinstance(opened, ev.IssueOpened)
    assert (opened.command, opened.item) == ("verify", None)
    assert isinstance(refused, ev.SealRefused)


@pytest.mark.parametrize("state", [with_issue(AB, A), with_status(ItemStatus.WORKING)])
def test_work_that_came_up_during_the_verification_keeps_the_seal(state: MissionState) -> None:
    """Green or not."""
    (refused,) = judged(state, ran())

    assert isinstance(refused, ev.SealRefused)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.py:3: error", ["a"]),
        ('File "/home/me/work/a.py", line 3', ["a"]),
        ("./a.py", ["a"]),
        ("data.py", []),
        ("a.pyc a.py.bak", []),
        ("a.py-old x-a.py", []),
        ("in tests/a.py", ["t"]),
        ("/w/tests/a.py then a.py.", ["t", "a"]),
        ("b.py, a.py, b.py", ["b", "a"]),
        ("nothing", []),
    ],
)
def test_owners_are_named_by_whole_paths_in_their_order(text: str, expected: list[str]) -> None:
    """The longest path that fits counts."""
    state = done(spec("a"), spec("b"), spec("t", "tests/a.py"))

    assert [item.spec.id for item in named_owners(state, text)] == expected


def test_nobody_is_named_in_an_empty_list() -> None:
    """Without files there is no owner."""
    assert named_owners(MissionState(), "a.py") == ()
