"""Bytes under their own hash."""

import hashlib
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orch.errors import DiskRefused
from orch.store.blobs import JSON, REFERENCE, Blobs

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.just(REFERENCE),
    st.text("0f", max_size=3).map(lambda text: REFERENCE + text),
)
values: st.SearchStrategy[JSON] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def test_what_is_kept_can_be_loaded_by_its_hash(tmp_path: Path) -> None:
    """The name is the sha256, the file private."""
    blobs = Blobs(tmp_path)

    sha256 = blobs.keep(b"\x00content")

    assert sha256 == hashlib.sha256(b"\x00content").hexdigest()
    assert blobs.load(sha256) == b"\x00content"
    assert (tmp_path / sha256).stat().st_mode & 0o777 == 0o600


def test_keeping_the_same_bytes_again_writes_nothing(tmp_path: Path) -> None:
    """The file stays the one it was."""
    blobs = Blobs(tmp_path)
    path = tmp_path / blobs.keep(b"content")
    before = path.stat()

    blobs.keep(b"content")

    assert os.path.samestat(before, path.stat())
    assert len(list(tmp_path.iterdir())) == 1


def test_an_altered_blob_is_never_returned_and_is_healed_when_kept_again(tmp_path: Path) -> None:
    """Its content is checked against its name."""
    blobs = Blobs(tmp_path)
    sha256 = blobs.keep(b"content")
    (tmp_path / sha256).write_bytes(b"contenT")

    with pytest.raises(LookupError, match=f"blob {sha256} is altered"):
        blobs.load(sha256)

    assert blobs.keep(b"content") == sha256
    assert blobs.load(sha256) == b"content"


@pytest.mark.parametrize("name", ["0" * 64, "", "../secret", "/etc/passwd"])
def test_what_is_not_there_or_not_its_hash_is_a_lookup_error(tmp_path: Path, name: str) -> None:
    """A made-up reference reads no other file."""
    with pytest.raises(LookupError):
        Blobs(tmp_path).load(name)


def test_a_disk_that_refuses_is_said(tmp_path: Path) -> None:
    """The folder is gone."""
    with pytest.raises(DiskRefused):
        Blobs(tmp_path / "gone").keep(b"content")


def test_only_long_strings_and_false_references_are_detached(tmp_path: Path) -> None:
    """What is short stays readable in the journal."""
    blobs = Blobs(tmp_path)
    false_reference = REFERENCE + "0" * 64

    detached = blobs.detach({"short": "abcd", "long": "abcde", "list": [false_reference, 1, None]}, 4)

    assert detached == {
        "short": "abcd",
        "long": REFERENCE + hashlib.sha256(b"abcde").hexdigest(),
        "list": [REFERENCE + hashlib.sha256(false_reference.encode()).hexdigest(), 1, None],
    }


@given(values, st.integers(0, 8))
def test_attach_undoes_detach(value: JSON, longest: int) -> None:
    """Whatever the texts are, references among them."""
    with tempfile.TemporaryDirectory() as folder:
        blobs = Blobs(Path(folder))

        assert blobs.attach(blobs.detach(value, longest)) == value
