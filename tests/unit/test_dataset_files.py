"""Data sets in files of this machine."""

from __future__ import annotations

import gzip
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets_loading import load_here

from pgml.runtime.dataset import reading
from pgml.runtime.errors import RuntimeFault

CSV = 'id,text\n1,a\n2,\n3,"c,\nd"\n'
ROWS = [["1", "a", "train"], ["2", None, "train"], ["3", "c,\nd", "train"]]


def refused(sqlstate, message, *load, **options):
    with pytest.raises(RuntimeFault, match=message) as caught:
        load_here(*load, **options)
    assert caught.value.sqlstate == sqlstate
    return caught.value


def test_csv_by_relative_and_absolute_path(tmp_path):
    (tmp_path / "some rows.csv").write_text(CSV)
    loaded = load_here("some rows.csv", tmp_path / "other", tmp_path)
    assert loaded.types == {"id": "bigint", "text": "text", "split": "text"}
    assert loaded.rows == ROWS
    assert loaded.ok == {"ok": True, "rows": 3, "bytes": 35, "splits": {"train": 3}, "warnings": []}
    assert load_here(tmp_path / "some rows.csv", tmp_path).rows == ROWS


def test_compressed_csv(tmp_path):
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    with zipfile.ZipFile(tmp_path / "more.csv.zip", "w") as file:
        file.writestr("more.csv", CSV)
    assert load_here("rows.csv.gz", tmp_path).rows == ROWS
    assert load_here("more.csv.zip", tmp_path).rows == ROWS


def test_tsv_and_options_of_csv(tmp_path):
    (tmp_path / "rows.tsv").write_text("a\tb\n1\tx\n")
    (tmp_path / "rows.csv").write_text("# note\n1;x;-\n2;'y;z';w\n")
    assert load_here("rows.tsv", tmp_path).rows == [["1", "x", "train"]]
    loaded = load_here(
        "rows.csv", tmp_path, sep=";", skiprows=1, column_names=["n", "t", "u"], quotechar="'", na_values="-"
    )
    assert loaded.rows == [["1", "x", None, "train"], ["2", "y;z", "w", "train"]]


def test_json_lines_arrays_and_fields(tmp_path):
    rows = [{"a": 1, "chat": [{"role": "user", "content": "hé\n"}]}, {"a": None, "chat": []}]
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "array.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "field.json").write_text(json.dumps({"data": rows, "version": 1}))
    expected = [["1", '[{"role":"user","content":"hé\\n"}]', "train"], [None, "[]", "train"]]
    for name, options in (("lines.jsonl", {}), ("array.json", {})):
        loaded = load_here(name, tmp_path, **options)
        assert loaded.types == {"a": "bigint", "chat": "jsonb", "split": "text"}
        assert loaded.rows == expected, name
    assert load_here("field.json", tmp_path, field="data").ok["rows"] == 2


def test_arrays_of_json_are_read_in_parts(tmp_path):
    rows = [{"n": number, "t": ["x]\n\u2028" * 500, {"k": '"\\'}]} for number in range(3000)]
    (tmp_path / "rows.json").write_text("\ufeff" + json.dumps(rows, indent=1, ensure_ascii=False), "utf-8")
    (tmp_path / "texts.json").write_text(' [ "a", "b\\n"]')
    reader = reading.Reader("json")
    tables = list(reader.tables(str(tmp_path / "rows.json")))
    assert len(tables) > 1
    assert max(table.nbytes for table in tables) <= reading.CHUNK
    assert [row for table in tables for row in table["n"].to_pylist()] == list(range(3000))
    assert load_here("texts.json", tmp_path).column("text") == ["a", "b\n"]


def test_values_of_json_that_are_now_this_and_now_that_become_jsonb(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n{"a": {"b": "x"}}\n{"a": "text"}\n')
    loaded = load_here("rows.jsonl", tmp_path)
    assert loaded.types["a"] == "jsonb"
    assert loaded.column("a") == ["1", '{"b":"x"}', '"text"']


def test_text_by_line_and_paragraph(tmp_path):
    (tmp_path / "poem.txt").write_text("a\nb\r\n\nc")
    assert load_here("poem.txt", tmp_path).column("text") == ["a", "b", "", "c"]
    assert load_here("poem.txt", tmp_path, sample_by="paragraph").column("text") == ["a\nb", "c"]
    assert load_here("poem.txt", tmp_path, sample_by="document").ok["rows"] == 1


def test_a_directory_has_splits_by_the_names_of_its_files(tmp_path):
    for name in ("test", "train", "dev"):
        pq.write_table(pa.table({"x": [name]}), tmp_path / f"{name}.parquet")
    (tmp_path / "README.md").write_text("No header.")
    (tmp_path / "LICENSE").write_text("")
    for name in ("NOTES.md", "LICENSE.txt", "about.json", "requirements.txt"):
        (tmp_path / name).write_text("")
    loaded = load_here(tmp_path, tmp_path)
    assert loaded.rows == [["train", "train"], ["dev", "validation"], ["test", "test"]]
    assert loaded.ok["splits"] == {"train": 1, "validation": 1, "test": 1}


def test_a_directory_written_by_datasets(tmp_path):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(tmp_path / "saved")
    loaded = load_here("saved", tmp_path, label_names=True)
    assert loaded.rows == [["a", "1", "yes", "train"], ["b", "0", "no", "train"], ["a", "1", "yes", "test"]]


def test_a_directory_with_a_card(tmp_path):
    (tmp_path / "one.csv").write_text("label;n\nno;1\nyes;2\n")
    (tmp_path / "two.csv").write_text("label;n\nyes;3\n")
    card = """---
configs:
- {config_name: first, data_files: [{split: odd, path: one.csv}], sep: ";"}
- {config_name: second, data_files: "two.csv", sep: ";"}
dataset_info:
- config_name: first
  features:
  - {name: label, dtype: {class_label: {names: {"0": "no", "1": "yes"}}}}
  - {name: n, dtype: int16}
---"""
    (tmp_path / "README.md").write_text(card)
    first = load_here(tmp_path, tmp_path, subset="first")
    assert first.types == {"label": "integer", "n": "smallint", "split": "text"}
    assert first.rows == [["0", "1", "odd"], ["1", "2", "odd"]]
    assert load_here(tmp_path, tmp_path, name="second").rows == [["yes", "3", "train"]]
    assert refused("22023", "several subsets", tmp_path, tmp_path).hint == "Give one of them as subset: first, second."
    wrong = refused("42704", 'subset "frist" does not exist', tmp_path, tmp_path, subset="frist")
    assert wrong.hint == 'Perhaps you meant "first". It has: first, second.'


def test_data_files_of_a_directory_and_of_a_builder(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.csv").write_text(f"x\n{name}\n")
    files = {"train": ["a.csv", "b.csv"], "held out": "c.csv"}
    expected = [["a", "train"], ["b", "train"], ["c", "held out"]]
    assert load_here(tmp_path, tmp_path, data_files=files).rows == expected
    assert load_here("csv", tmp_path, data_files=files).rows == expected
    assert load_here("csv", tmp_path, data_files=str(tmp_path / "[ab].csv")).column("x") == ["a", "b"]
    assert load_here("csv", tmp_path.parent, data_dir=tmp_path.name).column("x") == ["a", "b", "c"]
    assert refused("58P01", 'no file matches "d.csv"', "csv", tmp_path, data_files="d.csv")
    assert refused("58P01", 'file "d.csv" does not exist', tmp_path, tmp_path, data_files="d.csv").hint


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("test", "56"),
        (["test", "train"], "5601234"),
        ("train+test", "0123456"),
        ("train[:2]", "01"),
        ("train[1:3]+test[1:]", "126"),
        ("train[20%:60%]", "12"),
        ("train[-2:]", "34"),
        ("all", "0123456"),
        ("train[5:]", ""),
    ],
)
def test_splits_and_parts_of_them(tmp_path, split, expected):
    pq.write_table(pa.table({"x": range(3)}), tmp_path / "train-0.parquet")
    pq.write_table(pa.table({"x": [3, 4]}), tmp_path / "train-1.parquet")
    pq.write_table(pa.table({"x": [5, 6]}), tmp_path / "test-0.parquet")
    loaded = load_here(tmp_path, tmp_path, split=split)
    assert "".join(loaded.column("x")) == expected
    assert loaded.ok["rows"] == len(expected)


def test_wrong_splits(tmp_path):
    (tmp_path / "train.csv").write_text("x\n1\n")
    (tmp_path / "test.csv").write_text("x\n1\n")
    assert refused("42704", 'split "tran"', tmp_path, tmp_path, split="tran").hint == (
        'Perhaps you meant "train". It has: train, test.'
    )
    assert "train[:1000]" in refused("0A000", "is not known before", tmp_path, tmp_path, split="train[:10%]").hint
    refused("22023", 'split "train\\[0\\]" is not understood', tmp_path, tmp_path, split="train[0]")


def test_limit_counts_over_all_splits(tmp_path):
    for name in ("train", "test"):
        pq.write_table(pa.table({"x": range(3)}), tmp_path / f"{name}.parquet")
    assert load_here(tmp_path, tmp_path, limit=4).column("x") == ["0", "1", "2", "0"]
    assert load_here(tmp_path, tmp_path, limit=4).ok["splits"] == {"train": 3, "test": 1}
    nothing = load_here(tmp_path, tmp_path, limit=0)
    assert nothing.types == {"x": "bigint", "split": "text"}
    assert nothing.rows == []


def test_columns_in_the_order_asked_for(tmp_path):
    pq.write_table(pa.table({"a": [1], "b": [2], "c": [3]}), tmp_path / "rows.parquet")
    (tmp_path / "rows.csv").write_text("a,b,c\n1,2,3\n")
    for name in ("rows.parquet", "rows.csv"):
        assert load_here(name, tmp_path, columns=["c", "a"]).rows == [["3", "1", "train"]]
        assert refused("42703", 'column "bb"', name, tmp_path, columns=["bb"]).hint == 'Perhaps you meant "b".'


def test_no_rows_and_no_columns_make_a_table(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("a,b\n")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "empty.jsonl").write_text("")
    pq.write_table(pa.table({"x": pa.array([], pa.int8())}), tmp_path / "empty.parquet")
    pq.write_table(pa.table({}), tmp_path / "none.parquet")
    names = {name: list(load_here(name, tmp_path).types) for name in sorted(path.name for path in tmp_path.iterdir())}
    assert names == {
        "empty.csv": ["split"],
        "empty.jsonl": ["split"],
        "empty.parquet": ["x", "split"],
        "empty.txt": ["text", "split"],
        "header.csv": ["a", "b", "split"],
        "none.parquet": ["split"],
    }


def test_names_of_columns_are_kept_and_split_finds_a_free_one(tmp_path):
    names = ['"; drop table x;--', "sélect \U0001f600", " ", "a.b", "Split", "split_1", "\t\n\\"]
    pq.write_table(pa.table({name: ["v"] for name in names}), tmp_path / "rows.parquet")
    loaded = load_here("rows.parquet", tmp_path)
    assert list(loaded.types) == [*names, "split_2"]
    assert loaded.rows == [["v"] * len(names) + ["train"]]


@pytest.mark.parametrize(
    ("names", "sqlstate", "message"),
    [
        (["Text", "text"], "42701", 'columns "Text" and "text" differ only in case'),
        (["a", "a"], "42701", 'column "a" exists twice'),
        ([""], "42622", '"" cannot be the name of a column'),
        (["é" * 32], "42622", "cannot be the name"),
        (["ctid"], "42701", '"ctid" cannot be the name'),
        ([f"c{number}" for number in range(1600)], "54011", "1600 columns"),
    ],
)
def test_names_that_a_table_cannot_have(tmp_path, names, sqlstate, message):
    with pa.ipc.new_file(tmp_path / "rows.arrow", pa.schema([(name, pa.int8()) for name in names])):
        pass
    assert "kwargs.columns" in refused(sqlstate, message, "rows.arrow", tmp_path).hint


def test_later_files_get_the_types_of_the_first(tmp_path):
    (tmp_path / "1.csv").write_text("a,b\n1,x\n")
    (tmp_path / "2.csv").write_text("b,a\n5,2\n,\n")
    assert load_here(tmp_path, tmp_path).rows == [["1", "x", "train"], ["2", "5", "train"], [None, None, "train"]]
    (tmp_path / "3.csv").write_text("a,b\n7,y\nseven,z\n")
    fault = refused("22023", 'column "a" of type bigint cannot take the values of rows 4 to 5', tmp_path, tmp_path)
    assert "seven" in fault.detail
    assert fault.hint
    (tmp_path / "3.csv").write_text("a,c\n7,y\n")
    refused("22023", 'column "c" appears first in row 4', tmp_path, tmp_path)
    assert load_here(tmp_path, tmp_path, columns=["a"]).column("a") == ["1", "2", None, "7"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.parquet", b"PAR1 this is none"),
        ("bad.arrow", b"neither"),
        ("bad.jsonl", b'{"a": 1}\n{"a": \n'),
        ("bad.json", b'[{"a": 1}, {"a"'),
        ("worse.json", b'[{"a": 1}, {]' + bytes(100)),
        ("numbers.json", b"[1, 2"),
        ("bad.csv", b"a,b\n1,2\n1,2,3,4\n"),
        ("utf16.csv", "a,b\né,ü\n".encode("utf-16")),
        ("bad.txt", b"\xff\xfe"),
        ("bad.csv.gz", b"no gzip at all"),
    ],
)
def test_bad_files_are_named(tmp_path, name, content):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / name).write_bytes(content)
    assert refused("22P04", f'file "inner/{name}" cannot be read', tmp_path / "inner", tmp_path).detail


def test_options_that_the_readers_refuse_are_told(tmp_path):
    (tmp_path / "rows.csv").write_text(CSV)
    for options in ({"encoding": "klingon"}, {"quotechar": "''"}, {"usecols": ["none"]}):
        assert refused("22P04", 'file "rows.csv" cannot be read', "rows.csv", tmp_path, **options).detail


def test_a_broken_page_of_a_parquet_file_is_told(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": [f"row {number}" for number in range(9000)]}), path, compression="snappy")
    content = bytearray(path.read_bytes())
    content[2000:3000] = bytes(1000)
    path.write_bytes(content)
    refused("22P04", 'file "rows.parquet" cannot be read', path, tmp_path)


def test_what_cannot_be_loaded(tmp_path):
    (tmp_path / "rows.xyz").write_text("")
    (tmp_path / "pickles.pkl").write_bytes(b"")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"")
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text("print('hello')")
    (tmp_path / "nothing").mkdir()
    refused("0A000", 'files of data set "rows.xyz" cannot be loaded', "rows.xyz", tmp_path)
    refused("0A000", "cannot be loaded", "pickles.pkl", tmp_path)
    assert "imagefolder" in refused("0A000", "cannot be loaded", "pictures", tmp_path).detail
    assert "never run" in refused("0A000", "is a program", "script", tmp_path).detail
    refused("58P01", 'data set "nothing" has no data files', "nothing", tmp_path)
    refused("58P01", 'data set "gone.csv" does not exist', "gone.csv", tmp_path)
    refused("22023", 'source "csv" needs kwargs.data_files', "csv", tmp_path)
    refused("22023", '"rows.xyz" is a file', "rows.xyz", tmp_path, subset="a")


def test_a_long_file_is_read_in_pieces(tmp_path):
    text = "x" * 1000
    for name, writer in (("rows.parquet", pq.write_table), ("rows.arrow", None)):
        table = pa.table({"text": [text] * 40_000})
        if writer:
            writer(table, tmp_path / name, use_dictionary=False, compression="none")
        else:
            with pa.ipc.new_file(tmp_path / name, table.schema) as file:
                file.write_table(table)
    (tmp_path / "rows.csv").write_text("text\n" + (text + "\n") * 40_000)
    (tmp_path / "rows.jsonl").write_text(f'{{"text": "{text}"}}\n' * 40_000)
    (tmp_path / "rows.txt").write_text((text + "\n") * 40_000)
    for path in sorted(tmp_path.glob("rows.*")):
        sizes = [table.nbytes for table in reading.Reader(reading_format(path)).tables(str(path))]
        assert max(sizes) <= 1.3 * reading.CHUNK, path
        assert len(sizes) >= 4, path


def reading_format(path):
    return {"jsonl": "json", "txt": "text"}.get(path.suffix[1:], path.suffix[1:])


def test_frames_hold_whole_lines_of_at_most_a_mebibyte(tmp_path):
    long = "y" * (3 << 20)
    pq.write_table(pa.table({"text": ["x" * 1000] * 5000 + [long, "z"]}), tmp_path / "rows.parquet")
    loaded = load_here("rows.parquet", tmp_path)
    sent = [(header["rows"], payload) for header, payload in loaded.frames if payload]
    assert all(payload.endswith(b"\n") and payload.count(b"\n") == rows for rows, payload in sent)
    assert all(len(payload) <= 1 << 20 or rows == 1 for rows, payload in sent)
    assert sum(len(payload) for _, payload in sent) == loaded.ok["bytes"]
    assert loaded.rows[-2][0] == long
