"""Raw files of a fabricated world."""

from rerec_pipeline.recbench.raw import write_raw_files
from rerec_pipeline.storage.records import Origin, announce, problem_of, record_path


class TestWriting:
    def test_a_record_that_a_killed_writer_has_not_finished_is_finished(self, tmp_path):
        """It was killed when the file was in its place and its record did not say so yet."""
        write_raw_files(tmp_path, {"books.dat": "1::A"})
        announce(tmp_path / "books.dat", Origin({}, {}, {}))
        assert problem_of(tmp_path / "books.dat") == "was not written completely"
        write_raw_files(tmp_path, {"books.dat": "1::A"})
        assert problem_of(tmp_path / "books.dat") == ""

    def test_the_users_own_file_that_says_the_same_is_left_alone(self, tmp_path):
        (tmp_path / "books.dat").write_text("1::A")
        write_raw_files(tmp_path, {"books.dat": "1::A"})
        assert not record_path(tmp_path / "books.dat").exists()
