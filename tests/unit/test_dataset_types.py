"""Values of every Arrow type, as COPY would read them."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Array2D, Audio, ClassLabel, Dataset, Features, Image, Json, List, Translation, Value
from datasets_loading import copied, load_here
from hypothesis import given, settings
from hypothesis import strategies as st

from pgml.runtime.dataset import copy_text
from pgml.runtime.dataset.copy_text import TEXT
from pgml.runtime.dataset.findings import Findings
from pgml.runtime.dataset.kinds import kind_of
from pgml.runtime.errors import RuntimeFault

US = pa.timestamp("us")
NAN, INFINITY = float("nan"), float("inf")
# What PostgreSQL 15 reads from these texts was looked at: it is these values.
CASES = [
    (pa.int8(), "smallint", [1, -128, None], ["1", "-128", None]),
    (pa.uint8(), "smallint", [255], ["255"]),
    (pa.int16(), "smallint", [-32768], ["-32768"]),
    (pa.uint16(), "integer", [65535], ["65535"]),
    (pa.int32(), "integer", [-(2**31)], ["-2147483648"]),
    (pa.uint32(), "bigint", [2**32 - 1], ["4294967295"]),
    (pa.int64(), "bigint", [-(2**63)], ["-9223372036854775808"]),
    (pa.uint64(), "numeric", [2**64 - 1], ["18446744073709551615"]),
    (pa.float16(), "real", [1.5, NAN], ["1.5", "nan"]),
    (pa.float32(), "real", [0.1, 3.4e38, -INFINITY], ["0.1", "3.4e+38", "-inf"]),
    (pa.float64(), "double precision", [0.1, 5e-324, -0.0, NAN], ["0.1", "5e-324", "-0", "nan"]),
    (pa.bool_(), "boolean", [True, False, None], ["true", "false", None]),
    (pa.string(), "text", ["", None, "\\N", "a\tb\r\nc\\", "\\."], ["", None, "\\N", "a\tb\r\nc\\", "\\."]),
    (pa.large_string(), "text", ["é😀", None], ["é😀", None]),
    (pa.string_view(), "text", ["longer than twelve bytes", None], ["longer than twelve bytes", None]),
    (pa.dictionary(pa.int8(), pa.string()), "text", ["x", "y", None, "x"], ["x", "y", None, "x"]),
    (pa.binary(), "bytea", [b"", b"\0\\\xff", None], ["\\x", "\\x005cff", None]),
    (pa.large_binary(), "bytea", [b"ab"], ["\\x6162"]),
    (pa.binary(2), "bytea", [b"\0\0", None], ["\\x0000", None]),
    (pa.binary_view(), "bytea", [b"ab", None], ["\\x6162", None]),
    (US, "timestamp", [0, -62135596800000001], ["1970-01-01 00:00:00.000000", "0001-12-31 23:59:59.999999 BC"]),
    (pa.timestamp("s"), "timestamp", [253402300800, None], ["10000-01-01 00:00:00.000000", None]),
    (pa.timestamp("ms", "Europe/Berlin"), "timestamptz", [1, None], ["1970-01-01 00:00:00.001000+00", None]),
    (pa.timestamp("us", "UTC"), "timestamptz", [-210866803200000000], ["4714-11-24 00:00:00.000000+00 BC"]),
    (pa.date32(), "date", [0, -2440588, None], ["1970-01-01", "4714-11-24 BC", None]),
    (pa.date64(), "date", [86_400_000, None], ["1970-01-02", None]),
    (pa.time32("s"), "time", [86399, None], ["23:59:59.000000", None]),
    (pa.time64("us"), "time", [1], ["00:00:00.000001"]),
    (pa.duration("us"), "interval", [-1, None, 90061 * 10**6], ["-0:0:0.000001", None, "25:1:1.000000"]),
    (pa.duration("s"), "interval", [10**9], ["277777:46:40.000000"]),
    (pa.decimal128(20, 10), "numeric(20,10)", [Decimal("1.10"), None], ["1.1000000000", None]),
    (pa.decimal256(76, 0), "numeric(76,0)", [Decimal(10) ** 70], ["1" + "0" * 70]),
    (pa.decimal128(5, -2), "numeric", [Decimal(100)], ["1E+2"]),
    (pa.null(), "text", [None, None], [None, None]),
    (pa.list_(pa.int64()), "bigint[]", [[1, None], [], None], ["{1,NULL}", "{}", None]),
    (pa.large_list(pa.bool_()), "boolean[]", [[True], [None]], ["{true}", "{NULL}"]),
    (pa.list_(pa.int16(), 2), "smallint[]", [[1, 2], None, [3, 4]], ["{1,2}", None, "{3,4}"]),
    (
        pa.list_(pa.string()),
        "text[]",
        [["NULL", None, "", 'q"\\,{}'], ["\t\n"]],
        ['{"NULL",NULL,"","q\\"\\\\,{}"}', '{"\t\n"}'],
    ),
    (pa.list_(pa.binary()), "bytea[]", [[b"\0"], []], ['{"\\\\x00"}', "{}"]),
    (pa.list_(pa.float64()), "double precision[]", [[NAN, 0.1]], ["{nan,0.1}"]),
    (pa.list_(pa.dictionary(pa.int8(), pa.string())), "text[]", [["x"], None], ['{"x"}', None]),
    (pa.list_(pa.null()), "text[]", [[], None, [None]], ["{}", None, "{NULL}"]),
    (pa.uuid(), "uuid", [b"0123456789abcdef", None], ["30313233343536373839616263646566", None]),
    (pa.list_(pa.list_(pa.int8())), "jsonb", [[[1], [2, None]], None, []], ["[[1],[2,null]]", None, "[]"]),
    (pa.struct({"a": pa.float64(), "é": pa.string()}), "jsonb", [{"a": NAN, "é": "\n"}], ['{"a":null,"é":"\\n"}']),
    (pa.map_(pa.int8(), pa.string()), "jsonb", [[(1, "x")], None, []], ['{"1":"x"}', None, "{}"]),
    (
        pa.struct({"t": US, "n": pa.decimal128(4, 1)}),
        "jsonb",
        [{"t": 0, "n": Decimal("1.5")}],
        ['{"t":"1970-01-01T00:00:00","n":1.5}'],
    ),
    (pa.struct({"x": pa.binary(), "d": pa.duration("s")}), "jsonb", [{"x": b"\xff", "d": 2}], ['{"x":"/w==","d":2.0}']),
]


@pytest.fixture
def load_table(tmp_path):
    """Load a table from an Arrow file."""

    def load(table, **options):
        with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as file:
            file.write_table(table)
        return load_here(tmp_path / "rows.arrow", tmp_path, **options)

    return load


@pytest.mark.parametrize(("kind", "type_", "values", "expected"), CASES, ids=lambda value: str(value)[:30])
def test_a_type(load_table, kind, type_, values, expected):
    loaded = load_table(pa.table({"x": pa.array(values, kind)}))
    assert loaded.types == {"x": type_, "split": "text"}
    assert loaded.column("x") == expected
    assert not loaded.notices
    assert not loaded.ok["warnings"]


def test_parts_of_arrays_are_written_as_they_are_alone():
    for kind, _, values, expected in CASES:
        written = kind_of(kind, None, lambda _: None).write(
            pa.array([*values, *values], kind)[len(values) :], Findings()
        )
        assert written.to_pylist() == expected, kind


@given(
    st.lists(st.tuples(*[st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8"))] * 3)),
    st.text("ab\\\t\n\r"),
)
@settings(deadline=None)
def test_copy_reads_the_texts_that_were_written(rows, split):
    columns = [copy_text.escape(pa.array([row[index] for row in rows], TEXT)) for index in range(3)]
    lines = copy_text.lines(columns, split, len(rows))
    pieces = list(copy_text.pieces(lines, 100))
    assert [row for _, payload in pieces for row in copied(payload)] == [[*row, split] for row in rows]
    assert all(payload.count(b"\n") == count for count, payload in pieces)
    assert all(len(payload) <= 100 or count == 1 for count, payload in pieces)


@given(st.lists(st.none() | st.lists(st.none() | st.text(st.characters(exclude_characters="\0", codec="utf-8")))))
@settings(deadline=None)
def test_arrays_of_texts_hold_what_was_written(lists):
    kind = kind_of(pa.list_(pa.string()), None, lambda _: None)
    written = kind.write(pa.array(lists, pa.large_list(TEXT)), Findings()).to_pylist()
    assert [None if text is None else parsed_array(text) for text in written] == lists


def parsed_array(text):
    """An array of PostgreSQL with quoted elements."""
    assert (text[0], text[-1]) == ("{", "}")
    elements, rest = [], text[1:-1]
    while rest:
        if rest.startswith("NULL"):
            element, rest = None, rest[4:]
        else:
            end = 1
            while rest[end] != '"':
                end += 2 if rest[end] == "\\" else 1
            characters = iter(rest[1:end])
            element = "".join(next(characters) if one == "\\" else one for one in characters)
            rest = rest[end + 1 :]
        elements.append(element)
        rest = rest.removeprefix(",")
    return elements


def test_what_text_cannot_hold_is_replaced_and_counted(load_table):
    broken = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0\3\0\0\0"), pa.py_buffer(b"\xed\xa0b")]
    )
    nested = pa.StructArray.from_arrays([broken], ["t"])
    loaded = load_table(
        pa.table(
            {
                "plain": ["a\0b\0", "c"],
                "broken": broken,
                "list": [["\0"], ["d"]],
                "json": [{"k": "\0e"}, {"k": "\\u0000"}],
                "nested": nested,
            }
        )
    )
    assert loaded.column("plain") == ["a\ufffdb\ufffd", "c"]
    assert loaded.column("broken") == ["\ufffd\ufffd", "b"]
    assert loaded.column("list") == ['{"\ufffd"}', '{"d"}']
    assert [json.loads(text) for text in loaded.column("json")] == [{"k": "\ufffde"}, {"k": "\\u0000"}]
    assert [json.loads(text) for text in loaded.column("nested")] == [{"t": "\ufffd\ufffd"}, {"t": "b"}]
    assert loaded.ok["warnings"] == ["5 values held NUL characters or invalid UTF-8, which were replaced by U+FFFD"]


def test_nanoseconds_are_cut_and_that_is_said(load_table):
    moments = pa.array([1500, -1500, 10**18], pa.timestamp("ns"))
    loaded = load_table(pa.table({"t": moments, "u": pa.array([1000, 0, None], pa.timestamp("ns"))}))
    assert loaded.column("t") == [
        "1970-01-01 00:00:00.000001",
        "1969-12-31 23:59:59.999999",
        "2001-09-09 01:46:40.000000",
    ]
    assert loaded.notices == ['values of column "t" were cut to microseconds']


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        (US, -210866803200000001, "It is before 4713 BC."),
        (pa.timestamp("s"), 2**62, "It is after the year 294246."),
        (pa.date32(), 2**31 - 1, "It is before 4713 BC or after 5874897."),
    ],
)
def test_a_value_out_of_range_is_named(load_table, kind, value, reason):
    with pytest.raises(RuntimeFault, match='value of column "when" in row 3 cannot be stored') as caught:
        load_table(pa.table({"when": pa.array([0, None, value], kind)}))
    assert caught.value.detail == reason


def test_labels_keep_their_numbers_and_may_have_names_beside_them(load_table):
    features = Features({"label": ClassLabel(names=["neg", "pös"]), "all": List(ClassLabel(names=["a", "b"]))})
    table = Dataset.from_dict({"label": [0, 1, -1, None], "all": [[0, 1], [], None, [1]]}, features=features).data.table
    plain = load_table(table)
    assert plain.types == {"label": "integer", "all": "integer[]", "split": "text"}
    assert plain.columns[0]["comment"] == "labels: 0 neg, 1 pös"
    assert plain.column("all") == ["{0,1}", "{}", None, "{1}"]
    named = load_table(table, label_names=True)
    assert list(named.types) == ["label", "label_name", "all", "split"]
    assert named.column("label") == ["0", "1", "-1", None]
    assert named.column("label_name") == ["neg", "pös", None, None]
    assert list(load_table(table, label_names="_text").types)[1] == "label_text"


def test_pictures_become_bytes_and_paths_in_the_data_are_not_opened(load_table, tmp_path):
    (tmp_path / "inside.png").write_bytes(b"inside")
    (tmp_path / "out.png").symlink_to("/etc/passwd")
    paths = [None, str(tmp_path / "inside.png"), "/etc/passwd", str(tmp_path / "out.png"), "inside.png", None]
    media = pa.array(
        [{"bytes": b"\x89PNG" if path is None else None, "path": path} for path in paths[:-1]] + [None],
        pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    )
    features = Features({"picture": Image(), "sound": Audio()})
    loaded = load_table(pa.table([media, media], schema=features.arrow_schema))
    assert loaded.types == {"picture": "bytea", "sound": "bytea", "split": "text"}
    assert loaded.column("picture") == ["\\x89504e47", "\\x" + b"inside".hex(), None, None, None, None]
    assert loaded.notices == ["6 values named a file instead of holding one, and became NULL"]


def test_features_of_datasets_beyond_arrow_become_jsonb(load_table):
    features = Features(
        {
            "matrix": Array2D((2, 2), "int32"),
            "said": Translation(["de", "en"]),
            "any": Json(),
            "deep": List({"any": Json()}),
            "number": Value("int32"),
        }
    )
    row = {
        "matrix": [[1, 2], [3, 4]],
        "said": {"de": "ja", "en": "yes"},
        "any": {"a": [1, "x\0"]},
        "deep": [{"any": {"b": None}}],
        "number": 7,
    }
    loaded = load_table(Dataset.from_list([row], features=features).data.table)
    types = dict.fromkeys(["matrix", "said", "any", "deep"], "jsonb") | {"number": "integer", "split": "text"}
    assert loaded.types == types
    expected = row | {"any": {"a": [1, "x\ufffd"]}}
    assert [json.loads(value) for value in loaded.rows[0][:-1]] == list(expected.values())


def test_parquet_keeps_types_and_reads_row_groups_apart(tmp_path):
    day = dt.date(2024, 2, 29)
    rows = pa.table({"n": range(1000), "day": [day] * 1000, "tags": [["a"]] * 1000})
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=300)
    loaded = load_here("rows.parquet", tmp_path)
    assert loaded.types == {"n": "bigint", "day": "date", "tags": "text[]", "split": "text"}
    assert loaded.column("n") == [str(number) for number in range(1000)]
    assert loaded.rows[-1] == ["999", "2024-02-29", '{"a"}', "train"]
