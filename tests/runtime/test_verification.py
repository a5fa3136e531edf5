"""Before the first write, after a setup, at the seal: orch runs commands itself, and believes nobody."""

from dataclasses import replace

import pytest

from orch.mission import events as ev
from orch.runtime import verification
from tests.endpoint import Step
from tests.play import Player, Scene, approve, build, call, item, lead, mission, say
from tests.runtime.house import House, Run


def red(run: Run, phase: ev.VerificationPhase) -> list[int]:
    """Return the statuses of a phase's commands."""
    return [event.exit_code for event in run.all(ev.VerificationFinished) if event.phase is phase]


BASELINE, SEAL = ev.VerificationPhase.BASELINE, ev.VerificationPhase.SEAL


def test_what_was_red_before_the_first_write_is_told(house: House) -> None:
    """The verification runs once before any lease, and the result names what was red."""
    run = house.begin(mission(item("a"), verify=["test -f a.txt", "test -d ."]))

    finished = [event.seq for event in run.all(ev.VerificationFinished) if event.phase is BASELINE]
    assert run.result.exit_code == 0, run.result.result
    assert red(run, BASELINE) == [1, 0]
    assert run.result.red_before == ("test -f a.txt",)
    assert max(finished) < run.all(ev.LeaseAcquired)[0].seq


def test_a_baseline_in_progress_outlives_an_early_wish_for_the_seal(house: House) -> None:
    """A seal that is refused has nothing to do with it."""

    def commander(scene: Scene) -> Step:
        """Ask for the seal while the baseline runs."""
        if scene.woken or not scene.done:
            return lead(scene)
        if not (house.workspace / "baseline").exists():
            return replace(call("glob", pattern=f"{len(scene.done)}"), delay_s=0.05)
        if not scene.results("seal_mission"):
            return call("seal_mission", summary="Now?")
        (house.workspace / "refused").touch()
        return say()

    verify = ["touch baseline; until test -e refused; do sleep 0.02; done; test -f a.txt"]
    run = house.begin(mission(item("a"), verify=verify, commander=commander))

    assert run.result.exit_code == 0, run.result.result
    assert len(run.all(ev.SealRefused)) == 1
    assert red(run, BASELINE) == [1]


TOO_LONG = "x" * 200_000
"""More than the system takes as one argument (Linux: 128 KiB)."""


def test_a_command_that_cannot_start_is_red(house: House) -> None:
    """With the reason as its output; the mission goes on to its end."""
    run = house.begin(mission(item("a"), verify=[TOO_LONG]))

    assert run.result.exit_code == 1
    assert set(red(run, BASELINE)) == {127}
    assert "did not start" in run.all(ev.VerificationFinished)[0].output


def test_a_red_command_that_names_one_owner_becomes_its_fix(house: House) -> None:
    """The seal is refused, the item is fixed and reviewed, the command exits 0 on the new tree."""

    def worker(scene: Scene) -> Step:
        """Do it right only as a fix."""
        if scene.field("id") != "a.fix1":
            return build(scene)
        steps = [call("read", path="a.txt"), call("write", path="a.txt", content="made right\n"), say()]
        return steps[len(scene.done)]

    verify = ["grep -q right a.txt || { echo 'a.txt: not right'; exit 3; }"]
    run = house.begin(mission(item("a"), item("b"), verify=verify, worker=worker))

    fix = run.state.items[ev.ItemId("a.fix1")]
    assert run.result.exit_code == 0, run.result.result
    assert red(run, SEAL) == [3, 0]
    assert fix.spec.check == "grep -q made a.txt"
    assert "a.txt: not right" in fix.spec.instructions
    assert run.result.todo.total == 3


def test_what_matters_is_found_in_the_middle_of_a_long_log(house: House) -> None:
    """A hundred kilobytes before it and behind it: the owner is found, and told those lines."""
    noise = "seq -f 'step %.0f of many: done, and nothing to say about it' 2000"
    verify = [
        f"{noise}; r=0; grep -q right a.txt || {{ echo 'a.txt:1: error: bad'; r=3; }}; {noise}; exit $r"
    ]
    run = house.begin(mission(item("a"), item("b"), verify=verify, worker=_right_as_a_fix))

    (issue, *_) = run.all(ev.IssueOpened)
    assert run.result.exit_code == 0, run.result.result
    assert (issue.item, issue.source) == ("a", ev.IssueSource.VERIFICATION)
    assert "a.txt:1: error: bad" in issue.text
    assert "step 2000 of many" in issue.text
    assert "a.txt:1: error: bad" in run.state.items[ev.ItemId("a.fix1")].spec.instructions
    assert len(issue.text) < 6_000


def _right_as_a_fix(scene: Scene) -> Step:
    """Worker: do it right only as a fix."""
    if ".fix" not in scene.field("id") and scene.field("title") != "mend it":
        return build(scene)
    steps = [call("read", path="a.txt"), call("write", path="a.txt", content="made right\n"), say()]
    return steps[len(scene.done)]


def test_a_red_command_that_names_nobody_is_decided_by_the_commander(house: House) -> None:
    """It delegates, the item is reviewed, the command exits 0: sealed."""

    def commander(scene: Scene) -> Step:
        """Woken with an issue of nobody's: delegate it."""
        if "nobody owns it" not in scene.told or "mend it" in scene.told:
            return lead(scene)
        if scene.results("delegate_task"):
            return say()
        return call(
            "delegate_task",
            agent="worker",
            description="mend it",
            prompt="Make it right.",
            files=["a.txt"],
            check="grep -q right a.txt",
        )

    verify = ["grep -q right a.txt || { echo 'it is broken'; exit 3; }"]
    run = house.begin(
        mission(item("a"), verify=verify, worker=_right_as_a_fix, commander=commander), max_parallel=1
    )

    assert run.result.exit_code == 0, run.result.result
    assert red(run, SEAL) == [3, 0]
    (issue,) = run.all(ev.IssueOpened)
    assert (issue.item, "it is broken" in issue.text) == (None, True)
    reviews = [e.item for e in run.all(ev.ReviewSubmitted) if e.verdict is ev.Verdict.APPROVE]
    assert len(reviews) == 2


@pytest.mark.parametrize("asks", [False, True], ids=["silent", "asks"])
def test_a_command_that_stays_red_is_fixed_three_times_then_the_commander_decides(
    house: House, asks: bool
) -> None:
    """It gives up, or asks a person; either way the result says which command, and what it said."""

    def commander(scene: Scene) -> Step:
        """Woken when the fixes are used up: block, or stop."""
        if asks and "a.fix3" in scene.told:
            return call("block_mission", question="a.txt is never right: what should it be?")
        return lead(scene)

    run = house.begin(mission(item("a"), verify=["echo 'a.txt: never right'; exit 3"], commander=commander))

    fixes = [key for key in run.state.items if ".fix" in key]
    woken = [e for e in run.all(ev.MessageSent) if e.reason is ev.MessageReason.WAKE]
    assert fixes == ["a.fix1", "a.fix2", "a.fix3"]
    assert all(run.status(key) == "completed" for key in fixes)
    assert any("never right" in event.text for event in woken)
    assert run.result.exit_code == (3 if asks else 1)
    assert "never right" in run.result.result


def test_a_red_check_goes_back_to_its_worker_then_to_a_fresh_one_then_the_commander_hears(
    house: House,
) -> None:
    """With what the check said; each round has its review, and in the end the item says why it failed."""
    check = "echo 'a.txt:1: error: no such colour'; exit 3"
    run = house.begin(mission(item("a", check=check)))

    told = [e.text for e in run.all(ev.MessageSent) if e.reason is ev.MessageReason.REJECTION]
    workers = [e for e in run.all(ev.SessionStarted) if e.role is ev.Role.WORKER]
    assert (run.result.exit_code, run.status("a")) == (1, "failed")
    assert told
    assert all("no such colour" in text for text in told)
    assert len(workers) == 2
    assert "rejected again after a fresh Worker" in run.state.items[ev.ItemId("a")].reason
    assert any("no such colour" in blocker.text for blocker in run.result.blockers)


@pytest.mark.fault(41)
def test_a_file_that_a_person_changed_after_its_review_is_reviewed_again(house: House) -> None:
    """Sealed means proven on the tree as it is: the change becomes a fix item, then it is sealed."""

    def commander(scene: Scene) -> Step:
        """Have a person edit a file just before the seal."""
        if scene.woken == 1 and not scene.done:
            (house.workspace / "a.txt").write_text("made, and changed by a person\n")
        return lead(scene)

    def worker(scene: Scene) -> Step:
        """See to it that it is still right."""
        if scene.field("id") == "a.fix1":
            return say() if scene.done else call("read", path="a.txt")
        return build(scene)

    run = house.begin(mission(item("a"), item("b"), commander=commander, worker=worker))

    (changed,) = [event for event in run.all(ev.FileChanged) if not event.by_tool]
    assert run.result.exit_code == 0, run.result.result
    assert changed.path == "a.txt"
    assert [i.source for i in run.all(ev.IssueOpened)] == [ev.IssueSource.STALE]
    assert run.status("a.fix1") == "completed"
    assert (house.workspace / "a.txt").read_text() == "made, and changed by a person\n"


@pytest.mark.fault(41)
def test_a_conflict_with_a_person_ends_well(house: House) -> None:
    """The Worker is told, reads what the person wrote, and goes on from there."""

    def worker(scene: Scene) -> Step:
        """Write, be disturbed, write, read, write."""
        match len(scene.done):
            case 0:
                return call("write", path="a.txt", content="first\n")
            case 1:
                (house.workspace / "a.txt").write_text("a person's\n")
                return call("edit", path="a.txt", old_string="first", new_string="made")
            case 2:
                return call("read", path="a.txt")
            case 3:
                return call("edit", path="a.txt", old_string="a person's", new_string="made with a person")
            case _:
                return say()

    run = house.begin(mission(item("a"), worker=worker))

    assert run.result.exit_code == 0, run.result.result
    assert "changed since you read it; nothing was written" in run.said("edit")[0]
    assert (house.workspace / "a.txt").read_text() == "made with a person\n"


# ---- setup


def test_a_setup_runs_before_the_review_and_its_files_become_the_items(house: House) -> None:
    """What it makes and changes is known, and reviewed with the item."""
    setup = "mkdir -p lib && echo lib > lib/x && echo lock >> a.txt"
    run = house.begin(mission(item("a", setup=setup), item("b")))

    (done,) = run.all(ev.SetupFinished)
    (touched,) = [event for event in run.all(ev.FileChanged) if not event.by_tool]
    review = next(e for e in run.all(ev.SessionStarted) if e.role is ev.Role.REVIEWER and e.item == "a")
    assert run.result.exit_code == 0, run.result.result
    assert (done.exit_code, list(done.files)) == (0, ["lib/x"])
    assert touched.path == "a.txt"
    assert done.seq < review.seq
    assert run.state.items[ev.ItemId("a")].files == ("a.txt", "lib/x")
    assert "lib/x" in run.result.files_changed
    proof = next(e for e in run.all(ev.EvidenceRecorded) if e.item == "a")
    assert proof.files.keys() == {"a.txt", "lib/x"}


@pytest.mark.parametrize(
    ("setup", "kept"),
    [
        ("mkdir -p m/x; touch m/1 m/2 m/x/3 m/x/4; echo lock > lock", ["lock"]),
        ("mkdir m n; touch m/1 m/2 m/3 n/1", ["n/1"]),
        ("mkdir m n; touch m/1 m/2 n/1", ["m/1", "m/2", "n/1"]),
        ("touch 1 2 3 4; mkdir m; touch m/1", []),
        ("echo m > .gitignore; mkdir m; touch m/1 m/2 m/3 m/4 m/5", [".gitignore"]),
    ],
    ids=["a tree", "the larger one", "few", "no folder of their own", "ignored"],
)
def test_a_tree_of_a_setup_does_not_become_the_items(
    house: House, monkeypatch: pytest.MonkeyPatch, setup: str, kept: list[str]
) -> None:
    """Twenty thousand files of packages are nobody's work: left out, and that is said."""
    monkeypatch.setattr(verification, "SETUP_FILES_MAX", 3)

    run = house.begin(mission(item("a", setup=setup)))

    (done,) = run.all(ev.SetupFinished)
    assert run.result.exit_code == 0, run.result.result
    assert list(done.files) == kept
    assert ("put them into .gitignore" in done.output) == (len(kept) < 2 and ".gitignore" not in kept)
    assert set(run.result.files_changed) == {"a.txt", *kept}


@pytest.mark.parametrize(
    ("setup", "words"),
    [("echo no such package; exit 1", "no such package"), (TOO_LONG, "did not start")],
    ids=["red", "not started"],
)
def test_a_red_setup_is_a_rejection(house: House, setup: str, words: str) -> None:
    """The Worker hears of it, and in the end the item fails without a single review."""
    house.facts = {"context_tokens": 200_000}  # one of the commands is as long as a book
    run = house.begin(mission(item("a", setup=setup)))

    assert run.result.exit_code == 1
    assert run.status("a") == "failed"
    assert words in run.all(ev.SetupFinished)[0].output
    assert {issue.source for issue in run.all(ev.IssueOpened)} == {ev.IssueSource.SETUP}
    assert not [s for s in run.state.sessions.values() if s.role is ev.Role.REVIEWER]


def test_a_reviewer_beside_a_running_setup_accuses_nobody(house: House) -> None:
    """The setup changes its item's file while a command of another review runs."""
    setup = "echo begun > a.txt; until test -e reviewed; do sleep 0.02; done; echo made > a.txt"

    def reviewer(scene: Scene) -> Step:
        """Wait until the setup is at it, and let it go on afterwards."""
        if scene.files == ["b.txt"]:
            return _then("until grep -q begun a.txt; do sleep 0.02; done", "touch reviewed")(scene)
        return approve(scene)

    run = house.begin(mission(item("a", setup=setup), item("b"), reviewer=reviewer))

    assert run.result.exit_code == 0, run.result.result
    assert run.all(ev.IssueOpened) == []


def _then(*commands: str) -> Player:
    """Reviewer: run these commands first."""

    def player(scene: Scene) -> Step:
        runs = len(scene.results("bash"))
        if runs < len(commands):
            return call("bash", command=commands[runs])
        return approve(Scene(**{**vars(scene), "done": scene.done[len(commands) :]}))

    return player


def test_a_formatter_that_touches_anothers_file_makes_work_for_its_owner(house: House) -> None:
    """The Reviewer never codes: its change is on record, and the owner looks at it."""
    run = house.begin(
        mission(
            item("a"),
            item("b", after=["a"]),
            reviewer=lambda s: _then("echo formatted >> a.txt")(s) if s.field("id") == "b" else approve(s),
        )
    )

    intrusions = [i for i in run.all(ev.IssueOpened) if i.source is ev.IssueSource.INTRUSION]
    assert run.result.exit_code == 0, run.result.result
    assert [(i.item, i.path) for i in intrusions] == [("a", "a.txt")]
    assert run.status("a.fix1") == "completed"
    assert "formatted" not in (house.workspace / "a.txt").read_text()
