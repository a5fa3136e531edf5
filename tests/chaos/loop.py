"""Missions that are killed or stopped at random moments and resumed, until they are sealed.

A `Trial` is one mission: it starts the real program, waits for a moment drawn from its seed, strikes, lets
the auditor look, and resumes. `Campaign` goes from mission to mission until there were so many blows; several
threads may work on one.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random

from tests import contract
from tests.chaos.auditor import GONE_LIMIT_S, Auditor, Place, Violation, require
from tests.chaos.ledger import Ledger
from tests.chaos.story import RAN, Story, draw
from tests.program import KEY, ROOT

RUN_LIMIT_S = 90.0
"""A run that does not end by itself within this time hangs."""
STOP_LIMIT_S = 10.0
LOOK_S = 0.003
NOTHING_TO_RESUME = 2


class Moment(StrEnum):
    """When a run is struck."""

    STARTING = "while it starts"
    HOLDING = "as soon as it has the lock"
    READY = "as soon as its first record is on disk"
    ASKING = "when requests came in"
    RECORDING = "when the journal grew"
    COMMANDING = "while a command of a Reviewer runs"
    VERIFYING = "during the final verification"


class Strike(StrEnum):
    """How a run is struck."""

    KILL = "kill -9"
    GROUP = "kill -9 of the process group"
    TEAR = "kill -9 in the middle of writing a record"
    TWICE = "kill -9, and again while it resumes"
    STOP = "orch stop"
    STOP_NOW = "orch stop --now"


KILLS: Mapping[Strike, int] = {Strike.KILL: 6, Strike.GROUP: 2, Strike.TEAR: 2, Strike.TWICE: 2}
STOPS: Mapping[Strike, int] = {Strike.STOP: 2, Strike.STOP_NOW: 1}
_MOMENTS: Mapping[Moment, int] = {
    Moment.STARTING: 2,
    Moment.HOLDING: 1,
    Moment.READY: 1,
    Moment.ASKING: 6,
    Moment.RECORDING: 4,
    Moment.COMMANDING: 4,
    Moment.VERIFYING: 2,
}


@dataclass
class Figures:
    """What a campaign counts."""

    blows: Counter[Strike] = field(default_factory=Counter)
    moments: Counter[Moment] = field(default_factory=Counter)
    missions: int = 0
    resumes: int = 0
    hits: int = 0  # blows that cut off a call
    in_flight: int = 0  # calls that were cut off by them
    asked_again: int = 0
    paid_twice: int = 0
    most_paid_twice: int = 0
    repairs: int = 0
    set_aside: int = 0
    orphans: int = 0
    requests: int = 0
    slowest_ready_s: float = 0.0
    slowest_stop_s: float = 0.0
    violations: list[str] = field(default_factory=list)
    is_cut_short: bool = False

    @property
    def struck(self) -> int:
        """How many blows there were."""
        return self.blows.total()

    def lines(self) -> Sequence[str]:
        """Return the figures as text."""
        blows = ", ".join(f"{count} {strike}" for strike, count in self.blows.most_common())
        moments = ", ".join(f"{count} {moment}" for moment, count in self.moments.most_common())
        return (
            f"blows                      {self.struck} ({blows})",
            f"  struck                   {moments}",
            f"missions sealed            {self.missions}",
            f"resumes                    {self.resumes}, the slowest ready in {self.slowest_ready_s:.2f} s",
            f"slowest stop               {self.slowest_stop_s:.2f} s",
            f"requests                   {self.requests}",
            f"blows that hit a call      {self.hits} ({self.in_flight} calls in flight)",
            f"calls asked again          {self.asked_again}",
            f"  answered in full before  {self.paid_twice}, at most {self.most_paid_twice} per blow",
            f"processes left by kills    {self.orphans}, all gone after the resume",
            f"journal tails cut off      {self.repairs}",
            f"sessions set aside         {self.set_aside}, killed in the same step again and again",
            f"violations                 {len(self.violations)}",
            *self.violations,
        )


class Trial:
    """One mission in a folder of its own."""

    def __init__(self, story: Story, place: Place, ledger: Ledger, figures: Figures) -> None:
        self.story = story
        self.place = place
        self.ledger = ledger
        self.figures = figures
        self.dice = Random(f"{story.seed} blows")  # noqa: S311 - to be drawn again, not to be secret
        self.auditor = Auditor(place, story, ledger.notes)
        self._began = 0.0
        self._asked = self._ran = self._size = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._arguments: Sequence[str] = ()

    # -- the program

    def launch(self) -> None:
        """Start the mission, or resume it if it has begun."""
        is_begun = bool(self.auditor.records)
        goal = ("resume",) if is_begun else ("task", f"Do {self.story.seed}", "-m", "wide/test")
        self.figures.resumes += is_begun
        self._asked, self._ran, self._size = len(self.ledger.notes), self._commands(), self._journal_bytes()
        self._began = time.monotonic()
        arguments = (*goal, "-q", "--output-format", "json", "-j", str(self.story.parallel))
        self._arguments = arguments
        self._process = self._start(arguments, "run")

    def orch(self, *arguments: str) -> tuple[int, str]:
        """Run another command to its end; return exit code and stdout."""
        process = self._start(arguments, arguments[0])
        code = process.wait(RUN_LIMIT_S)
        return code, (self.place.output / f"{arguments[0]}.out").read_text()

    def _start(self, arguments: Sequence[str], name: str) -> "subprocess.Popen[bytes]":
        kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
        environment = kept | {
            "HOME": str(self.place.home),
            "TMPDIR": str(self.place.temporary),
            "PYTHONPATH": str(ROOT),
            "XDG_CONFIG_HOME": str(self._configured()),
            "WIDE_API_KEY": KEY,
        }
        with ExitStack() as stack:
            out = stack.enter_context((self.place.output / f"{name}.out").open("wb"))
            err = stack.enter_context((self.place.output / f"{name}.err").open("ab"))
            return subprocess.Popen(
                [sys.executable, "-m", "orch", *arguments],
                cwd=self.place.workspace,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                process_group=0,
            )

    def _configured(self) -> Path:
        """Describe a model whose window no history fills: the auditor knows of turns, not of summaries."""
        file = self.place.output / "config" / "orch" / "config.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f'[providers.wide]\nkind = "openai"\nbase_url = {json.dumps(self.ledger.base_url)}\n'
            'api_key_env = "WIDE_API_KEY"\n[providers.wide.models.test]\ncontext_tokens = 1000000\n'
        )
        return self.place.output / "config"

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The run that was launched last."""
        assert self._process is not None
        return self._process

    # -- what is seen from outside

    def _journal_bytes(self) -> int:
        journal = self.place.journal
        return journal.stat().st_size if journal else 0

    def _commands(self) -> int:
        ran = self.place.home / RAN
        return ran.read_bytes().count(b"\n") if ran.exists() else 0

    def _is_verifying(self) -> bool:
        journal = self.place.journal
        if journal is None:
            return False
        with journal.open("rb") as file:
            file.seek(self._size)
            return b'"phase":"seal"' in file.read()

    def _held_since(self) -> int:
        """Return when the lock was taken; 0 while nobody has it, or nobody has left it behind."""
        try:
            return self.place.holder.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _coming(self, moment: Moment) -> Callable[[], bool]:
        """Return what tells that a moment, drawn anew, has come."""
        requests, growth = self.dice.randint(1, 8), self.dice.randint(1, 20_000)
        start_s, held_since = self.dice.uniform(0.0, 0.5), self._held_since()
        coming: Mapping[Moment, Callable[[], bool]] = {
            Moment.STARTING: lambda: time.monotonic() - self._began > start_s,
            Moment.HOLDING: lambda: self._held_since() > held_since,
            Moment.READY: lambda: self._journal_bytes() > self._size,
            Moment.ASKING: lambda: len(self.ledger.notes) >= self._asked + requests,
            Moment.RECORDING: lambda: self._journal_bytes() >= self._size + growth,
            Moment.COMMANDING: lambda: self._commands() > self._ran,
            Moment.VERIFYING: self._is_verifying,
        }
        return coming[moment]

    def await_moment(self, moment: Moment) -> bool:
        """Wait until a moment has come; say whether it came before the run was over."""
        is_here = self._coming(moment)
        jitter_s = self.dice.choice((0.0, 0.0, 0.0, self.dice.uniform(0.0, 0.1)))
        is_ready = False
        while self.process.poll() is None:
            require(not self.figures.is_cut_short, "-", "the campaign was ended from outside")
            waited_s = time.monotonic() - self._began
            require(waited_s < RUN_LIMIT_S, "I5", f"a run hangs: not over after {RUN_LIMIT_S:.0f} s")
            if not is_ready and self._journal_bytes() > self._size:
                is_ready = True
                self.figures.slowest_ready_s = max(self.figures.slowest_ready_s, waited_s)
            if is_here():
                time.sleep(jitter_s)
                return self.process.poll() is None
            time.sleep(LOOK_S)
        return False

    # -- blows

    def strike(self, strike: Strike, moment: Moment) -> None:
        """Strike the run, and let the auditor look."""
        self.figures.blows[strike] += 1
        self.figures.moments[moment] += 1
        match strike:
            case Strike.STOP:
                self._stop()
            case Strike.STOP_NOW:
                self._stop("--now")
            case Strike.TWICE:
                self._kill(os.kill)
                self.figures.blows[Strike.KILL] += 1
                self.launch()
                self.await_moment(self.dice.choice((Moment.STARTING, Moment.HOLDING, Moment.READY)))
                self._kill(os.kill)
            case _:
                self._kill(os.killpg if strike is Strike.GROUP else os.kill)
        if strike is Strike.TEAR:
            self._tear()
        self.ledger.settle()
        self.auditor.look()

    def _kill(self, kill: Callable[[int, int], None]) -> None:
        if self.process.poll() is None:
            kill(self.process.pid, signal.SIGKILL)
        self.process.wait(RUN_LIMIT_S)
        self._note_blow()

    def _note_blow(self) -> None:
        blow = self.auditor.mark(self._asked)
        self.figures.hits += blow.in_flight > 0
        self.figures.in_flight += blow.in_flight
        self.figures.paid_twice += blow.paid
        self.figures.most_paid_twice = max(self.figures.most_paid_twice, blow.paid)
        self.figures.orphans += len(blow.orphans)

    def _tear(self) -> None:
        """Leave behind the journal what a kill in the middle of a write leaves: the start of a record."""
        journal = self.place.journal
        if journal is not None:
            last = journal.read_bytes().splitlines(keepends=True)[-1]
            with journal.open("ab") as file:
                file.write(last[: self.dice.randrange(1, len(last))])

    def _stop(self, *flags: str) -> None:
        began = time.monotonic()
        code, _ = self.orch("stop", *flags)
        took_s = time.monotonic() - began
        self.figures.slowest_stop_s = max(self.figures.slowest_stop_s, took_s)
        require(code == 0, "I4", f"stop exited {code}")
        require(took_s < STOP_LIMIT_S, "I4", f"stop took {took_s:.1f} s")
        is_gone = self.process.poll() is not None
        self.process.wait(GONE_LIMIT_S)  # one that came to its end by itself has let go of its lock before
        self._note_blow()
        require(is_gone or self._is_sealed(), "I4", "stop returned while the mission ran")
        self.auditor.close(self.process.returncode)
        code, _ = self.orch("stop")
        require(code == 0, "I5", f"a second stop exited {code}")

    # -- the whole

    def run(self, strikes: Mapping[Strike, int], is_enough: Callable[[], bool]) -> None:
        """Go on until the mission is sealed; strike as long as it is not enough."""
        while not self._is_sealed():
            self.launch()
            (strike,) = self.dice.choices(list(strikes), list(strikes.values()))
            (moment,) = self.dice.choices(list(_MOMENTS), list(_MOMENTS.values()))
            if strike in STOPS and moment in (Moment.STARTING, Moment.HOLDING):
                moment = Moment.READY  # before that, there is nothing to be stopped
            if not is_enough() and self.await_moment(moment):
                self.strike(strike, moment)
                self._look_at_status()
            else:
                self._end()
        self.figures.missions += 1
        self.figures.requests += len(self.ledger.notes)
        self.figures.asked_again += self.auditor.asked_again
        self.figures.repairs += self.auditor.repairs
        self.figures.set_aside += len(self.auditor.set_aside)

    def _is_sealed(self) -> bool:
        return bool(self.auditor.records) and self.auditor.records[-1]["type"] == "mission.sealed"

    def _end(self) -> None:
        try:
            code = self.process.wait(RUN_LIMIT_S)
        except subprocess.TimeoutExpired:
            raise Violation(f"I5: a run hangs: not over after {RUN_LIMIT_S:.0f} s") from None
        self.ledger.settle()
        contract.check(self._arguments, code, (self.place.output / "run.out").read_text())
        self.auditor.close(code)

    def _look_at_status(self) -> None:
        if self.dice.random() < 1 / 3:
            code, out = self.orch("status", "--json")
            require(code == 0, "I5", f"status exited {code}")
            contract.check_status(json.loads(out))
            self.auditor.check_status(json.loads(out)["missions"])

    def give_up(self) -> None:
        """End what still runs of a mission that is not looked at any more."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(RUN_LIMIT_S)


@dataclass
class Campaign:
    """Missions, one after the other, until there were so many blows."""

    seed: str
    blows: int
    folder: Path
    strikes: Mapping[Strike, int]
    most_items: int
    say: Callable[[str], None]
    number: int = 0
    figures: Figures = field(default_factory=Figures)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def is_over(self) -> bool:
        """Whether there were enough blows, or a violation."""
        figures = self.figures
        return figures.struck >= self.blows or bool(figures.violations) or figures.is_cut_short

    def run(self, jobs: int = 1) -> Figures:
        """Run it in so many threads."""
        threads = [threading.Thread(target=self._work, name=f"chaos {n}") for n in range(jobs)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:  # also on a signal: nothing of a mission may live on
            self.figures.is_cut_short = any(thread.is_alive() for thread in threads)
            for thread in threads:
                thread.join()
        return self.figures

    def _work(self) -> None:
        while not self.is_over():
            with self._guard:
                self.number += 1
                seed = f"{self.seed}.{self.number}"
            self._mission(seed)

    def _mission(self, seed: str) -> None:
        story = draw(seed, self.most_items)
        place = Place(self.folder / f"mission-{seed}")
        place.furnish(story)
        began = time.monotonic()
        with Ledger(story.answer) as ledger:
            trial = Trial(story, place, ledger, self.figures)
            try:
                trial.run(self.strikes, self.is_over)
            except Exception as broken:
                text = f"{type(broken).__name__} {broken} [mission {seed}, kept in {place.root}]"
                self.figures.violations.append(text)
                books = "\n".join(str(note) for note in ledger.notes)
                (place.output / "ledger.txt").write_text(f"{story}\n{books}\n{trial.auditor.blows}\n")
                if not isinstance(broken, Violation):
                    raise
                return
            finally:
                trial.give_up()
        blows = len(trial.auditor.blows)
        self.say(
            f"mission {seed}: {len(story.tasks)} items, -j {story.parallel}, {blows} blows, "
            f"{len(ledger.notes)} requests, {len(trial.auditor.records)} records, "
            f"{time.monotonic() - began:.1f} s"
        )
        shutil.rmtree(place.root)
