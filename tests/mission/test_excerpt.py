"""What is kept of a long output."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.mission.excerpt import GAP, relevant

PASSED = "\n".join(f"tests/test_{n}.py::test_{n} PASSED [{n % 100:3}%]" for n in range(2000))
STARTING = "a worker starts, or stops\n" * 3000
PYTEST = f"""{PASSED}
=================================== FAILURES ===================================
___________________________________ test_sum ___________________________________

    def test_sum():
>       assert total([1, 2]) == 3
E       assert 4 == 3

tests/test_sum.py:12: AssertionError
{"captured noise" * 20}
{PASSED}
1 failed, 4000 passed in 3.21s"""
COMPILER = f"""{"[CC] obj" * 3}
{chr(10).join(f"[CC] src/file{n}.c" for n in range(900))}
src/main.c:41:9: error: use of undeclared identifier 'lenght'
   41 |     if (lenght > 3)
      |         ^
{chr(10).join(f"[CC] src/late{n}.c" for n in range(900))}
make: *** [Makefile:7: all] Error 1"""
TRACEBACK = f"""{STARTING}Traceback (most recent call last):
  File "app/server.py", line 3, in <module>
    import app.routes
ModuleNotFoundError: No module named 'app.routes'
{STARTING}"""


@pytest.mark.parametrize(
    ("output", "needed"),
    [
        (PYTEST, ["E       assert 4 == 3", "tests/test_sum.py:12", "1 failed, 4000 passed"]),
        (COMPILER, ["src/main.c:41:9: error", "if (lenght > 3)", "make: *** [Makefile:7: all] Error 1"]),
        (TRACEBACK, ["Traceback", 'File "app/server.py", line 3', "No module named 'app.routes'"]),
    ],
)
def test_what_is_wrong_is_kept_from_the_middle_of_a_long_output(output: str, needed: list[str]) -> None:
    """And the end, too; in little room."""
    text = relevant(output, 4000)
    assert len(text) <= 4000
    assert [part for part in needed if part not in text] == []
    assert GAP in text


def test_the_first_error_is_kept_before_those_that_follow_it() -> None:
    """A thousand errors do not push out the one that caused them."""
    output = "ok\n" * 3000 + "error: the cause\n" + "".join(f"error: follows {n}\n" for n in range(3000))
    assert "error: the cause" in relevant(output, 2000)


def test_a_line_that_says_that_nothing_failed_is_no_error() -> None:
    """Summaries of good parts take no room."""
    noise = "".join(f"suite {n}: 0 failures, 0 errors\n" for n in range(3000))
    assert "suite 10:" not in relevant(noise + "expected: real error here\n" + noise, 2000)


def test_a_short_output_stays_as_it_is() -> None:
    """Down to the last character."""
    assert relevant("  two\nlines \n", 100) == "  two\nlines \n"


@given(
    st.lists(
        st.sampled_from(["", "ok", "error: x", "FAILED y", "x" * 3000, "E   z", "0 errors"]), max_size=300
    ),
    st.integers(0, 5000),
)
def test_an_excerpt_is_never_longer_than_it_may_be(lines: list[str], limit: int) -> None:
    """Its lines are lines of the output, in their order."""
    output = "\n".join(lines)
    text = relevant(output, limit)
    assert len(text) <= max(limit, len(output) if len(output) <= limit else 0)
