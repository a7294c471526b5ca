"""Nothing is lost in writing: not the user's files, not the old output, not another process's."""

import json
import multiprocessing
import os

import pandas as pd
import pytest
from kedro.io import DatasetError

from rerec_pipeline.errors import BadInputError
from rerec_pipeline.storage import records, writing
from rerec_pipeline.storage.datasets import AtomicJSONDataset, AtomicParquetDataset
from rerec_pipeline.storage.records import problem_of, record_path, replacing

TABLE = pd.DataFrame({"a": [1, 2]})


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != records.FOLDER)


def write(target, text):
    with replacing(target) as beside:
        beside.write_text(text)


def write_folder(target, **files):
    with replacing(target) as beside:
        beside.mkdir()
        for name, text in files.items():
            (beside / name).write_text(text)


class TestWhatIsNotOurs:
    def test_a_folder_of_the_users_is_not_deleted(self, tmp_path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine/thesis.txt").write_text("years of work")
        with pytest.raises(DatasetError, match="folder that this project did not make"):
            AtomicParquetDataset(filepath=(tmp_path / "mine").as_posix()).save(TABLE)
        assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"
        assert names(tmp_path) == ["mine"]

    def test_a_file_of_the_users_is_not_overwritten(self, tmp_path):
        (tmp_path / "README.md").write_text("# mine")
        with pytest.raises(DatasetError, match="file that this project did not make"):
            AtomicParquetDataset(filepath=(tmp_path / "README.md").as_posix()).save(TABLE)
        assert (tmp_path / "README.md").read_text() == "# mine"

    def test_neither_is_a_folder_that_took_the_place_of_our_file(self, tmp_path):
        target = tmp_path / "scores.parquet"
        write(target, "ours")
        target.unlink()
        target.mkdir()
        with pytest.raises(BadInputError, match="did not make"):
            write(target, "new")

    @pytest.mark.parametrize("leads_to", ["file", "nothing"])
    def test_a_link_is_not_followed_or_replaced(self, tmp_path, leads_to):
        (tmp_path / "file").write_text("elsewhere")
        link = tmp_path / "link"
        link.symlink_to(tmp_path / leads_to)
        for attempt in (lambda: write(link, "new"), lambda: writing.write_bytes(link, b"new")):
            with pytest.raises(BadInputError, match=r"symbolic link|not a file of ours"):
                attempt()
        assert link.is_symlink() and (tmp_path / "file").read_text() == "elsewhere"

    def test_what_is_ours_is_replaced_a_file_by_a_folder_too(self, tmp_path):
        write(tmp_path / "t", "one")
        write_folder(tmp_path / "t", part="two")  # as a distributed engine writes tables
        write_folder(tmp_path / "t", part="three", more="x")
        assert names(tmp_path / "t") == ["more", "part"] and names(tmp_path) == ["t"]
        write(tmp_path / "t", "four")
        assert (tmp_path / "t").read_text() == "four" and problem_of(tmp_path / "t") == ""


class TestInterrupted:
    def test_a_write_that_fails_changes_nothing(self, tmp_path):
        write_folder(tmp_path / "t", a="old")

        def fail():
            with replacing(tmp_path / "t") as beside:
                beside.mkdir()
                (beside / "a").write_text("ne")
                raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space"):
            fail()
        assert names(tmp_path) == ["t"] and problem_of(tmp_path / "t") == ""
        assert (tmp_path / "t/a").read_text() == "old"

    @pytest.mark.parametrize("exchange", [True, False])
    def test_killed_at_any_step_of_a_replacement(self, tmp_path, monkeypatch, exchange):
        """The old output is there and good, or the new one; or it is known not to be usable."""
        if not exchange:
            monkeypatch.setattr(writing, "_exchange", lambda one, other: False)
        count = 0
        for step in range(40):
            target = tmp_path / f"{step}" / "t"
            write_folder(target, a="old")
            if os.fork() == 0:
                _die_at(step, writing, ("_sync", "_exchange", "write_bytes"), os)
                write_folder(target, a="new")
                os._exit(0)
            killed = os.wait()[1] != 0
            problem = problem_of(target)
            assert problem in ("", "was not written completely"), (step, problem)
            assert (target / "a").read_text() in ("old", "new")
            write_folder(target, a="again")
            assert problem_of(target) == "" and names(target.parent) == ["t"]
            count += killed
            if not killed:
                break
        assert count >= (8 if exchange else 10)

    def test_what_a_killed_writer_left_is_removed_by_the_next_and_nothing_else(self, tmp_path):
        dead = _dead_pid()
        host = writing._HOST
        (tmp_path / f"t.partial-{host}-{dead}-0a.txt").write_text("half")
        (tmp_path / f"t.partial-{host}-{os.getppid()}-0a.txt").write_text("at work")
        (tmp_path / f"u.partial-{host}-{dead}-0a.txt").write_text("of another")
        (tmp_path / "t.partial.txt").write_text("the user's")
        write(tmp_path / "t.txt", "new")
        assert names(tmp_path) == [
            "t.partial-" + f"{host}-{os.getppid()}-0a.txt",
            "t.partial.txt",
            "t.txt",
            f"u.partial-{host}-{dead}-0a.txt",
        ]


def _dead_pid():
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid


def _die_at(step, module, functions, system):
    """Ends this process at the n-th call of what changes the disk."""
    left = [step]

    def dying(function):
        def call(*args, **kwargs):
            if left[0] == 0:
                system._exit(9)
            left[0] -= 1
            return function(*args, **kwargs)

        return call

    for name in functions:
        setattr(module, name, dying(getattr(module, name)))
    records.swap_in = dying(records.swap_in)
    records.write_bytes = dying(records.write_bytes)


class TestRecords:
    def test_an_output_is_what_its_record_says(self, tmp_path):
        target = tmp_path / "t.json"
        assert problem_of(target) == "does not exist"
        AtomicJSONDataset(filepath=target.as_posix()).save({"a": 1})
        assert problem_of(target) == ""
        content = target.read_bytes()
        target.write_bytes(content.replace(b"1", b"2"))
        assert "changed or damaged" in problem_of(target)
        target.write_bytes(content)  # another time of change, the same content
        assert problem_of(target) == ""
        (known,) = json.loads(records.seen_path(target).read_text()).values()
        assert known == records.look_at(target)  # so it is not hashed again
        record_path(target).write_text("{")
        assert "no record" in problem_of(target)

    @pytest.mark.parametrize("change", ["flip", "add", "remove", "rename"])
    def test_every_file_of_a_folder_counts(self, tmp_path, change):
        target = tmp_path / "policy"
        write_folder(target, a="weights", b="config")
        if change == "flip":
            (target / "a").write_text("weighty")
        elif change == "add":
            (target / "c").write_text("")
        elif change == "remove":
            (target / "b").unlink()
        else:
            (target / "b").rename(target / "c")
        assert "changed or damaged" in problem_of(target)

    def test_a_file_in_it_with_a_record_of_its_own_does_not(self, tmp_path):
        write_folder(tmp_path / "policy", a="weights")
        write(tmp_path / "policy/card.md", "made later")
        assert problem_of(tmp_path / "policy") == problem_of(tmp_path / "policy/card.md") == ""

    def test_a_copy_is_as_good(self, tmp_path):
        write_folder(tmp_path / "one/t", a="x")
        (tmp_path / "one").rename(tmp_path / "moved")
        assert problem_of(tmp_path / "moved/t") == ""


def _save_often(path, number, count, failed):
    for n in range(count):
        try:
            AtomicParquetDataset(filepath=path).save(pd.DataFrame({"a": [number] * (n + 1)}))
        except Exception:
            failed.value += 1


def test_two_writers_and_a_reader_of_one_table(tmp_path):
    path = (tmp_path / "t.parquet").as_posix()
    AtomicParquetDataset(filepath=path).save(pd.DataFrame({"a": [0]}))
    context = multiprocessing.get_context("fork")
    failed = context.Value("i", 0)
    writers = [context.Process(target=_save_often, args=(path, n, 40, failed)) for n in (1, 2)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        assert pd.read_parquet(path)["a"].nunique() == 1
        reads += 1
    for writer in writers:
        writer.join()
    assert failed.value == 0 and reads > 10
    assert problem_of(tmp_path / "t.parquet") == "" and names(tmp_path) == ["t.parquet"]
