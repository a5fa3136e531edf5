"""A cast that does whatever agents do at their worst: a script whose every answer is drawn from a seed.

The same request is always answered alike, so a seed plays the same mission as far as the order of things
allows. Whatever it does, the mission has to come to an end, and its journal has to be sound.
"""

from random import Random

from tests.endpoint import Script, Step, Turn
from tests.play import Scene, approve, build, call, item, lead, plan, reject, say, scene_of

COMMANDER_TURNS = 24


def chaos(seed: int, items: int) -> Script:
    """Return the script of a mission with so many items, some of which depend on others."""
    planner = plan(
        *(item(f"i{n}", after=[f"i{n - 7}"] if n % 5 == 4 and n > 7 else []) for n in range(items))
    )

    def script(turn: Turn) -> Step:
        dice = Random(f"{seed} {turn.first_user} {len(turn.messages)} {turn.last}")  # noqa: S311 - replayable
        scene = scene_of(turn)
        match scene.role:
            case "Commander":
                return _command(scene, dice, items)
            case "Worker":
                return _build(scene, dice, items)
            case "Reviewer":
                return _review(scene, dice, items)
            case _:
                return planner(scene)

    return script


def _command(scene: Scene, dice: Random, items: int) -> Step:
    """Have it planned; while others work, delegate, cancel and look around; then lead."""
    if scene.woken or not scene.done:
        return lead(scene)
    if len(scene.done) >= COMMANDER_TURNS:
        return say()
    victim = dice.choice([f"i{dice.randrange(items)}"] * 6 + [f"T{dice.randrange(1, 6)}"] * 5 + ["S2"])
    task = item("new", f"task{dice.randrange(4)}.txt")
    return dice.choice(
        [
            call("cancel_task", task_id=victim),
            call("get_task_result", task_id=victim),
            call("list_tasks"),
            call("seal_mission", summary="Is it done?"),
            call("write", path="i1.txt", content="not mine"),
            call(
                "delegate_task",
                agent="worker",
                description="more",
                prompt="Make it.",
                files=task["files"],
                check=f"grep -q made {task['files'][0]}",
            ),
        ]
    )


def _build(scene: Scene, dice: Random, items: int) -> Step:
    """Write what the brief asks for, amid calls that fail, are not granted, or concern others."""
    other = f"i{dice.randrange(items)}.txt"
    aside: list[tuple[str, dict[str, object]]] = [
        ("read", {"path": other}),
        ("read", {"path": "nowhere.txt"}),
        ("bash", {"command": "true"}),
        ("nonsense", {}),
        ("write", {"path": other, "content": "mine?"}),
        ("edit", {"path": scene.files[0], "old_string": "made", "new_string": "made"}),
        ("request_change", {"path": other, "description": f"please {dice.randrange(3)}"}),
        ("glob", {"pattern": "*.txt"}),
    ]
    if dice.random() < 0.25:
        own = build(scene).tool_calls
        return Step(tool_calls=[*dice.sample(aside, dice.randrange(1, 4)), *own])
    return build(scene)


def _review(scene: Scene, dice: Random, items: int) -> Step:
    """Run the check and judge, now and then wrongly; touch others' files; leave jobs behind."""
    other = f"i{dice.randrange(items)}.txt"
    steps = [
        (0.10, reject("not good enough")(scene)),
        (0.15, say("I have seen enough.")),
        (0.20, call("bash", command=f"test -f {other} && echo intruded >> {other}; true")),
        (0.25, call("run_background", command=dice.choice(["sleep 600", "sleep 0.01", "exit 3"]))),
        (0.30, Step(tool_calls=[("list_background", {}), ("read", {"path": scene.files[0]})])),
        (0.33, Step(tool_calls=[*reject("and stop")(scene).tool_calls, ("bash", {"command": "true"})])),
        (1.00, approve(scene)),
    ]
    chance = dice.random()
    return next(step for limit, step in steps if chance < limit)
