"""Which checkpoints are whole, and which of them training goes on from."""

from __future__ import annotations

import pytest

from pgml.runtime.tuning.resuming import checkpoints
from pgml.runtime.tuning.resuming.checkpoints import RECORD, STATE


@pytest.fixture
def make(tmp_path):
    """Make a checkpoint of a step as a trainer does; a sealed one is whole."""

    def made(step, *, sealed=True, files=(*STATE, "model.safetensors")):
        folder = checkpoints.folder_of(tmp_path, step)
        folder.mkdir()
        for name in files:
            (folder / name).write_bytes(b"1234")
        if sealed:
            checkpoints.seal(folder, {"task": "conversation"})
        return folder

    return made


def test_the_newest_is_of_the_highest_step(make, tmp_path):
    for step in (9, 100, 20):
        make(step)
    found = checkpoints.newest(tmp_path)
    assert (found.step, found.record["task"], found.can_go_on) == (100, "conversation", True)


def test_there_may_be_none(tmp_path):
    assert checkpoints.newest(tmp_path) is None
    assert checkpoints.newest(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / RECORD).unlink(),
        lambda folder: (folder / RECORD).write_text('{"files": {"optimizer.pt": 4'),
        lambda folder: (folder / RECORD).write_text("[]"),
        lambda folder: (folder / RECORD).rename(folder / f"{RECORD}.new"),
        lambda folder: (folder / "optimizer.pt").unlink(),
        lambda folder: (folder / "model.safetensors").write_bytes(b"123"),
        checkpoints.unseal,
    ],
)
def test_what_was_cut_short_is_never_taken(make, tmp_path, spoil):
    make(5)
    spoil(make(10))
    assert checkpoints.newest(tmp_path).step == 5


def test_other_folders_are_not_looked_at(make, tmp_path):
    make(5)
    for name in ("checkpoint-x", "checkpoint-", "model", "checkpoint-7.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-8").write_text("a file")
    assert checkpoints.newest(tmp_path).step == 5
    checkpoints.discard_rest(tmp_path, None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-", "checkpoint-7.old", "checkpoint-8",
                                                               "checkpoint-x", "model"]  # fmt: skip


def test_weights_alone_are_whole_but_nothing_to_go_on_from(make, tmp_path):
    make(5, files=("model.safetensors", "trainer_state.json"))
    assert checkpoints.newest(tmp_path).can_go_on is False


def test_what_is_newer_or_not_whole_goes_and_what_is_older_stays(make, tmp_path):
    make(5)
    make(8, sealed=False)
    kept = checkpoints.read(make(10))
    make(12, sealed=False)
    make(15)
    checkpoints.discard_rest(tmp_path, kept)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-5"]
