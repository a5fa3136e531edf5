"""What is handed on of a log: bounded, usable, and without reading all of it."""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.tools import process_log
from orch.tools.process_log import OUTPUT_LIMIT, excerpt, last_lines, log_size, read_output, scrub


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a log that each test fills anew."""
    return tmp_path_factory.mktemp("logs") / "out.log"


@given(data=st.binary(max_size=3000) | st.text(max_size=1000).map(str.encode), limit=st.integers(400, 800))
def test_any_output_is_bounded_and_fits_into_json(log: Path, data: bytes, limit: int) -> None:
    """Whatever bytes a command writes, what is handed on is text that JSON and terminals take."""
    log.write_bytes(data)

    text = excerpt(log, 0, limit)

    assert len(text) <= limit
    assert json.loads(json.dumps(text)) == text
    assert text.encode().decode() == text
    assert "\0" not in text


@given(data=st.text("ab\n", max_size=2000), start=st.integers(0, 100))
def test_a_cut_keeps_the_head_and_the_tail(log: Path, data: str, start: int) -> None:
    """An output within the limit is handed on whole; a longer one with its beginning, its end and the log."""
    log.write_text(data)
    own = data[start:]

    text = excerpt(log, start, 600)

    if len(own) <= 600:
        assert text == own
    else:
        head, mark, tail = text.partition("\n[... cut: ")
        note, _, tail = tail.partition(" ...]\n")
        assert mark
        assert (own[:200], own[-len(tail) :]) == (head, tail)
        assert note == f"{len(own)} bytes in all, the whole output is in {log}"


def test_characters_of_four_bytes_are_not_torn(log: Path) -> None:
    """Where the cut falls into a character, that character is left out whole."""
    log.write_text("\N{SNAKE}" * 5000 + "x" + "\N{SNAKE}" * 5000)

    text = excerpt(log, 0, 1000)

    assert set(text.replace("\n", " ").partition("[")[0].strip()) == {"\N{SNAKE}"}
    assert set(text.rpartition("]\n")[2]) == {"\N{SNAKE}"}


@pytest.mark.fault(31)
def test_a_huge_log_is_cut_and_never_read_whole(
    log: Path, record_property: Callable[[str, object], None]
) -> None:
    """A log over its limit is truncated, which is said; only pieces come into memory, to be scrubbed too."""
    with log.open("wb") as file:
        file.truncate(5 << 30)
        file.seek(0, os.SEEK_END)
        file.write(b"the sk-0123456789 end")
    tracemalloc.start()
    try:
        text = read_output(log, 10, "\n[note]", [b"sk-0123456789"])
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert log.stat().st_size == process_log.LOG_LIMIT_BYTES + 10
    assert text.endswith("the ************* end\n[the log was cut at 64 MiB]\n[note]")
    assert len(text) == OUTPUT_LIMIT
    assert peak_bytes < 8_000_000
    record_property("figure", f"a log of 5 GB: {peak_bytes / 1e6:.1f} MB of memory at most")


def test_a_log_that_is_gone_is_said_not_raised(tmp_path: Path) -> None:
    """Who deletes the state folder loses the output, nothing else."""
    gone = tmp_path / "gone.log"

    assert log_size(gone, 0) == 0
    assert read_output(gone, 0, "\n[note]").startswith("[the output cannot be read: ")
    assert read_output(gone, 0, "\n[note]").endswith("\n[note]")
    assert last_lines(gone, 3).startswith("[the output cannot be read: ")


def test_a_log_shorter_than_its_start_is_empty(log: Path) -> None:
    """A command that emptied its own log (`> /dev/stderr` does) has no output left."""
    log.write_bytes(b"x")

    assert log_size(log, 5) == 0
    assert read_output(log, 5) == ""


@given(lines=st.lists(st.text("ab", max_size=5), max_size=20), wanted=st.integers(-1, 30))
def test_the_last_lines_are_the_last_lines(log: Path, lines: list[str], wanted: int) -> None:
    """A tail has as many lines as were asked for, or as there are."""
    log.write_text("".join(f"{line}\n" for line in lines))

    assert last_lines(log, wanted).splitlines() == (lines[-wanted:] if wanted > 0 else [])


def test_a_tail_of_one_endless_line_is_bounded(log: Path) -> None:
    """A progress bar without a line end does not flood a tail."""
    log.write_bytes(b"x" * 1_000_000)

    assert last_lines(log, 5) == "x" * OUTPUT_LIMIT


def test_secrets_are_struck_out_of_a_log(tmp_path: Path) -> None:
    """In the file itself; one without them is left as it is, one that is gone is nobody's trouble."""
    log = tmp_path / "log"
    log.write_bytes(b"\xffkey=sk-0123456789\n")

    scrub(log, [b"sk-0123456789"])
    scrub(tmp_path / "gone", [b"sk-0123456789"])

    assert log.read_bytes() == b"\xffkey=*************\n"


@given(data=st.lists(st.sampled_from([b"x", b"sk-01234", b"sk-0"]), max_size=40).map(b"".join))
def test_a_secret_that_lies_across_two_pieces_is_struck_out_too(log: Path, data: bytes) -> None:
    """A log is scrubbed piece by piece as if it were read whole; what stands before `start` stays."""
    log.write_bytes(b"sk-01234" + data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process_log, "_PIECE_BYTES", 10)
        scrub(log, [b"sk-01234"], 8)

    assert log.read_bytes() == b"sk-01234" + data.replace(b"sk-01234", b"*" * 8)
