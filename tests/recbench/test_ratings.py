"""Raw interactions: every form is read as it stands, and what is malformed is said where it is."""

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerec_pipeline.errors import BadInputError, ReRecError
from rerec_pipeline.recbench import ratings

KEYS = pd.DataFrame({"key": ["1", "2", "10", "0002051850"], "item_id": [1, 2, 10, 7]})


@pytest.fixture
def text_file(tmp_path):
    def write(content: str | bytes):
        path = tmp_path / "ratings.dat"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def parquet_file(tmp_path):
    def write(columns: dict):
        path = tmp_path / "interactions.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=2)
        return path

    return write


def rows(path):
    return ratings.read_interactions(path).read_all().to_pylist()


def row(record, user, item, rating=None, timestamp=None):
    return {
        "record": record, "user_id": user, "item": item, "rating": rating, "timestamp": timestamp,
    }  # fmt: skip


def ingest(path, keys=KEYS):
    """What the pipeline makes of a file."""
    raw = ibis.duckdb.connect().create_table("raw", ratings.read_interactions(path).read_all())
    table = ratings.known_interactions(raw, keys, path)
    return table.order_by("user_id", "item_id").to_pyarrow().to_pylist()


class TestForms:
    def test_movielens(self, text_file):
        path = text_file("1::10::5::978300760\r\n\n2::1::3::978302109")
        assert rows(path) == [row(1, "1", "10", 5, 978300760), row(3, "2", "1", 3, 978302109)]

    def test_amazon(self, text_file):
        path = text_file("A3L4WULGVDYZPQ,0002051850,5.0,1372809600\nA1,0002051850,4.,1\n")
        assert rows(path) == [
            row(1, "A3L4WULGVDYZPQ", "0002051850", 5, 1372809600),
            row(2, "A1", "0002051850", 4, 1),
        ]

    def test_tabs_and_no_timestamp(self, text_file):
        assert rows(text_file("196\t242\t3\n")) == [row(1, "196", "242", 3)]

    def test_adjacency(self, text_file):
        path = text_file("0 1 10\n1\n\n2 10 \n")  # user 1 has nothing
        assert rows(path) == [row(1, "0", "1"), row(1, "0", "10"), row(4, "2", "10")]

    def test_quotes_are_characters_like_others(self, text_file):
        assert rows(text_file('"a::1::5::0\nb"::2::4::0'))[0]["user_id"] == '"a'

    def test_encodings(self, text_file):
        assert rows(text_file("José::1::5::0".encode("latin-1")))[0]["user_id"] == "José"
        assert rows(text_file(b"\xef\xbb\xbf" + "José::1::5::0".encode()))[0]["user_id"] == "José"
        # characters that Unicode calls line breaks
        assert len(rows(text_file("A\x85B::1::5::0"))) == 1
        assert len(rows(text_file("A\u2028B::1::5::0"))) == 1

    def test_parquet(self, parquet_file):
        path = parquet_file({
            "timestamp": pa.array([None, 3.0, None]),
            "movie_id": pa.array([10, 1, 2], pa.int16()),
            "user_id": pa.array([1, 2, 2], pa.int16()),
        })  # fmt: skip
        assert rows(path) == [row(0, "1", "10"), row(1, "2", "1", None, 3), row(2, "2", "2")]

    def test_parquet_with_texts(self, parquet_file):
        path = parquet_file({
            "user_id": pa.array(["A1"]).dictionary_encode(), "book_id": ["0002051850"],
            "rating": [np.nan],
        })  # fmt: skip
        assert rows(path) == [row(0, "A1", "0002051850")]

    def test_blocks_know_their_lines(self, text_file, monkeypatch):
        monkeypatch.setattr(ratings, "BLOCK_CHARACTERS", 20)
        path = text_file("".join(f"{n}::{n}::5::0\n\n" for n in range(1, 50)))
        assert [r["record"] for r in rows(path)] == list(range(1, 99, 2))

    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        st.lists(
            st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(1, 5), st.integers(0, 9)),
            min_size=1,
        ),
        st.sampled_from(ratings.SEPARATORS),
        st.integers(1, 40),
    )
    def test_what_is_written_is_read(self, text_file, monkeypatch, values, separator, block):
        monkeypatch.setattr(ratings, "BLOCK_CHARACTERS", block)
        path = text_file("\n".join(separator.join(map(str, v)) for v in values))
        assert rows(path) == [
            row(n, str(u), str(i), r, t) for n, (u, i, r, t) in enumerate(values, 1)
        ]


class TestMalformedText:
    @pytest.mark.parametrize(
        ("text", "where", "problem"),
        [
            ("", "", "no interactions"),
            ("\n \n", "", "no interactions"),
            ("5\n6\n", "", "no interactions"),
            ("1::1", "line 1", "expected 3 or 4 fields (UserID::ItemID::Rating[::Timestamp])"),
            ("1::1::5::0\n1::2::5", "line 2", "expected 4 fields"),
            ("1::1::5\n1::2::5::0", "line 2", "expected 3 fields"),
            ("1,1,5,0\n\n1,2,5,0,7", "line 3", "expected 4 fields"),
            ("1::1::five::0", "line 1, field 'Rating'", "found 'five'"),
            ("1::1::4.5::0", "line 1, field 'Rating'", "found '4.5'"),
            ("1::1::::0", "line 1, field 'Rating'", "found ''"),
            ("1::1::5::0\n1::2::5::x", "line 2, field 'Timestamp'", "found 'x'"),
            ("1::1::5::12345678901234567890", "field 'Timestamp'", "expected a whole number"),
            ("::1::5::0", "line 1, field 'UserID'", "empty"),
            ("1:: ::5::0", "line 1, field 'ItemID'", "empty"),
            ("user_id,item_id,rating", "line 1, field 'Rating'", "found 'rating'"),
            ("one two three", "line 1", "neither ratings"),
            ("0 1 2\n1 x", "line 2", "found 'x'"),
            ("1::1::5\n\n1::2\0::5", "line 3", "NUL"),
            ("1::1::٣", "line 1, field 'Rating'", "found '٣'"),
            ("é::1::5\n".encode() + b"\xe9::2::5", "line 2", "byte 0xe9 at column 1 is not UTF-8"),
        ],
    )
    def test_it_says_where(self, text_file, text, where, problem):
        with pytest.raises(BadInputError) as caught:
            rows(text_file(text))
        assert "ratings.dat" in str(caught.value)
        assert where in str(caught.value)
        assert problem in str(caught.value)

    def test_an_error_far_down_has_its_own_line(self, text_file, monkeypatch):
        monkeypatch.setattr(ratings, "BLOCK_CHARACTERS", 64)
        path = text_file("1::1::5::0\n" * 500 + "1::1::five::0\n")
        stream = ratings.read_interactions(path)  # the first block is in order
        with pytest.raises(BadInputError, match="line 501, field 'Rating'"):
            stream.read_all()

    @settings(
        max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(st.text(alphabet="01 :,\t\n\rx.-é", max_size=40))
    def test_it_never_fails_otherwise(self, text_file, text):
        try:
            assert rows(text_file(text))
        except ReRecError as error:
            assert "ratings.dat" in str(error)


class TestMalformedParquet:
    @pytest.mark.parametrize(
        ("columns", "where", "problem"),
        [
            ({"movie_id": [1]}, "field 'user_id'", "the column is missing"),
            ({"user_id": [1]}, "field 'item_id'", "the column is missing"),
            ({"user_id": [1, None], "item_id": [1, 2]}, "row 1, field 'user_id'", "missing"),
            ({"user_id": [1, 2], "item_id": [1, 2.5]}, "row 1, field 'item_id'", "found '2.5'"),
            ({"user_id": [1] * 5, "item_id": [1] * 5, "rating": [5, 5, 5, 5, 4.5]},
             "row 4, field 'rating'", "found '4.5'"),
            ({"user_id": [1], "item_id": [1], "rating": ["good"]}, "field 'rating'", "string"),
            ({"user_id": [True], "item_id": [1]}, "field 'user_id'", "bool"),
            ({"user_id": [1, 1], "item_id": [1, 2], "rating": pa.array([5, 2**63], pa.uint64())},
             "row 1, field 'rating'", "below 2^63, found 9223372036854775808"),
            ({"user_id": pa.array([b"a", b"\xff"]).view(pa.utf8()), "item_id": [1, 2]},
             "at or after row 0", "Invalid UTF8"),
            ({"user_id": pa.array([], pa.int64()), "item_id": pa.array([], pa.int64())},
             "", "no interactions"),
        ],
    )  # fmt: skip
    def test_it_says_where(self, parquet_file, columns, where, problem):
        with pytest.raises(BadInputError) as caught:
            rows(parquet_file(columns))
        assert "interactions.parquet" in str(caught.value)
        assert where in str(caught.value)
        assert problem in str(caught.value)

    def test_ids_are_texts_however_large(self, parquet_file):
        path = parquet_file({"user_id": pa.array([2**64 - 1], pa.uint64()), "item_id": [1]})
        assert rows(path) == [row(0, str(2**64 - 1), "1")]

    def test_a_column_named_twice(self, tmp_path):
        path = tmp_path / "interactions.parquet"
        columns = [pa.array([1]), pa.array([2]), pa.array([3])]
        pq.write_table(pa.Table.from_arrays(columns, ["user_id", "item_id", "user_id"]), path)
        with pytest.raises(BadInputError, match="field 'user_id': the column occurs twice"):
            rows(path)

    def test_a_damaged_page_is_found_by_its_checksum(self, tmp_path):
        path = tmp_path / "interactions.parquet"
        table = pa.table({"user_id": range(1000), "item_id": range(1000)})
        pq.write_table(
            table, path, write_page_checksum=True, compression="none", use_dictionary=False
        )
        data = bytearray(path.read_bytes())
        data[data.index((500).to_bytes(8, "little"))] ^= 1
        path.write_bytes(data)
        with pytest.raises(BadInputError, match="at or after row 0: damaged .*CRC"):
            rows(path)

    def test_it_is_not_parquet(self, tmp_path):
        path = tmp_path / "interactions.parquet"
        path.write_text("user_id,item_id\n")
        with pytest.raises(BadInputError, match="not a Parquet file"):
            rows(path)


class TestKnownItems:
    def test_raw_ids_become_item_ids(self, text_file):
        path = text_file("A,0002051850,5.0,3\nB,10,4.0,2\nA,1,1.0,1\n")
        assert ingest(path) == [
            {"user_id": "A", "item_id": 1, "rating": 1, "timestamp": 1},
            {"user_id": "A", "item_id": 7, "rating": 5, "timestamp": 3},
            {"user_id": "B", "item_id": 10, "rating": 4, "timestamp": 2},
        ]

    def test_where_there_is_no_items_file_what_is_named_is_the_title(self, tmp_path):
        path = tmp_path / "ratings.dat"
        path.write_text("A1::Dreams::5.0::1\nA2::Amber (1990)::4::2\nA2::Dreams::3::2\n")
        assert ratings.items_named(path) == [
            {"item_id": 1, "raw_id": "Amber (1990)", "title": "Amber (1990)", "year": 1990},
            {"item_id": 2, "raw_id": "Dreams", "title": "Dreams", "year": None},
        ]

    def test_items_are_named_by_their_raw_id(self):
        items = pd.DataFrame({"item_id": [10, 2], "raw_id": ["B00X", "2"], "title": ["A", "B"]})
        assert ratings.item_keys(items).to_dict("list") == {
            "key": ["B00X", "2"], "item_id": [10, 2],
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("1::1::5::0\n1::9::5::0\n1::8::5::0", "line 2, field 'ItemID': item 9 is not in"),
            ("1::x::5::0", "line 1, field 'ItemID': item x is not in the items file"),
            ("1::1::5::0\n2::1::5::0\n1::1::4::0", "line 3, .* user 1 and item 1 occurs twice"),
            ("0 1 2\n5 1 1", "line 2, .* user 5 and item 1 occurs twice"),
        ],
    )
    def test_lines_that_cannot_be(self, text_file, text, problem):
        with pytest.raises(BadInputError, match=problem):
            ingest(text_file(text))

    @pytest.mark.parametrize(
        ("items", "problem"),
        [
            ([10, 12], "row 1, field 'ItemID': item 12 is not in the items file"),
            ([10, 10], "row 1, .* user 1 and item 10 occurs twice"),
        ],
    )
    def test_rows_that_cannot_be(self, parquet_file, items, problem):
        with pytest.raises(BadInputError, match=problem):
            ingest(parquet_file({"user_id": [1, 1], "movie_id": items}))

    def test_two_raw_ids_of_one_item_are_one_item(self, text_file):
        keys = pd.DataFrame({"key": ["a", "b"], "item_id": [1, 1]})
        with pytest.raises(BadInputError, match="line 2, .* user u and item 1 occurs twice"):
            ingest(text_file("u,a,5\nu,b,5"), keys)

    def test_a_raw_id_of_two_items_is_refused(self, text_file):
        keys = pd.DataFrame({"key": ["a", "a"], "item_id": [1, 2]})
        with pytest.raises(BadInputError, match="'a' stands for two items"):
            ingest(text_file("u,a,5"), keys)
