import json
import multiprocessing
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.files import write_atomic
from benchmark.runs.folder import Busy, RunFolder, ending
from benchmark.runs.log import effective_steps, parse_log

STEP = st.builds(lambda n: {"kind": "trial", "n": n}, st.integers())


@given(steps=st.lists(STEP, max_size=20), cut=st.integers(0, 2000))
def test_a_log_cut_anywhere_reads_as_its_whole_lines(steps, cut):
    content = "".join(json.dumps(step) + "\n" for step in steps).encode()[:cut]
    read, length = parse_log(content, Path("log"))
    assert read == steps[: content.count(b"\n")]
    assert length == content.rfind(b"\n") + 1


def test_mending_lets_the_next_record_start_on_its_own_line(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append({"kind": "trial", "n": 1})
    with open(folder.log, "ab") as file:
        file.write(b'{"kind": "tri')
    folder.mend()
    folder.append({"kind": "trial", "n": 2})
    assert [event["n"] for event in folder.events()] == [1, 2]


@given(
    actions=st.lists(st.one_of(st.just("step"), st.integers(0, 10)), max_size=30),
)
def test_rewinds_drop_exactly_what_came_after(actions):
    records, expected, number = [], [], 0
    for action in actions:
        if action == "step":
            number += 1
            records.append({"kind": "trial", "n": number})
            expected.append(number)
        else:
            records.append({"kind": "rewind", "to": action})
            expected = expected[:action]
    assert [step["n"] for step in effective_steps(records)] == expected


def _hold(path: Path, ready, release) -> None:
    with RunFolder(path).owned():
        ready.set()
        release.wait(30)


def test_a_folder_has_one_owner_and_a_dead_one_frees_it(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    owner = context.Process(target=_hold, args=(tmp_path, ready, release))
    owner.start()
    assert ready.wait(60)
    folder = RunFolder(tmp_path)
    folder.append({"kind": "start"})
    with pytest.raises(Busy, match="another process"), folder.owned():
        pass
    assert ending(folder)[0] == "running"
    owner.kill()
    owner.join()
    assert ending(folder)[0] == "interrupted"
    with folder.owned():
        pass


def test_a_failed_atomic_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    write_atomic(path, "old")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_record_that_does_not_reach_the_disk_leaves_no_part(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.append({"kind": "trial", "n": 1})
    before = folder.log.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        folder.append({"kind": "trial", "n": 2})
    assert folder.log.read_bytes() == before


def test_contents_are_forced_to_disk_before_anything_relies_on_them(tmp_path, monkeypatch):
    sizes: list[int] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
    replace = os.replace

    def replaced(*paths):
        assert sizes == [3]  # of the whole new file
        replace(*paths)

    monkeypatch.setattr("os.replace", replaced)
    write_atomic(tmp_path / "run.json", "new")
    folder = RunFolder(tmp_path)
    folder.append({"kind": "start"})
    assert sizes == [3, folder.log.stat().st_size]


def _write_often(path: Path, number: int) -> None:
    os.getpid = lambda: 1  # as the first process of every container
    for _ in range(100):
        write_atomic(path, str(number) * 1000)


def test_containers_that_share_a_folder_do_not_take_each_others_temporary_files(tmp_path):
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_write_often, args=(tmp_path / "f", n)) for n in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert (tmp_path / "f").read_text() in ("1" * 1000, "2" * 1000)
    assert len(list(tmp_path.iterdir())) == 1
