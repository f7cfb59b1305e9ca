"""What `prepare` makes of the rows of a relation."""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from tuning import write_rows

from pgml.runtime.errors import RuntimeFault
from pgml.runtime.tuning.examples.rows import prepare


@pytest.fixture
def job(tmp_path):
    """Write rows.arrow as a backend does, in small batches, and prepare it."""

    def run(
        columns, test_size=0.25, sampling="stratified", seed=42, relation="public.reviews", batch=3, hyperparams=None
    ):
        write_rows(tmp_path, columns, batch)
        plan = {"columns": [{"role": role, "name": role} for role in columns], "seed": seed}
        plan["hyperparams"] = hyperparams or {}
        return prepare(
            {
                "job_directory": str(tmp_path),
                "plan": plan,
                "relation": relation,
                "test_size": test_size,
                "test_sampling": sampling,
            }
        )

    run.directory = tmp_path
    return run


def parts(job):
    return np.load(job.directory / "train.npy"), np.load(job.directory / "test.npy")


def reviews(rows=12):
    return {
        "text": [f"text {number}" for number in range(rows)],
        "label": ["good" if number % 2 else "bad" for number in range(rows)],
    }


def test_complete_rows_are_split_and_counted(job):
    analysis = job(reviews())
    train, test = parts(job)
    assert sorted([*train, *test]) == list(range(12))
    assert train.dtype == test.dtype == np.int64
    assert {key: analysis[key] for key in ("rows", "used", "train_rows", "test_rows")} == {
        "rows": 12,
        "used": 12,
        "train_rows": 9,
        "test_rows": 3,
    }
    assert analysis["skipped"] == {"text": 0, "label": 0}
    assert analysis["notices"] == []


def test_null_empty_and_blank_values_are_skipped_and_counted_once(job):
    columns = reviews()
    columns["text"][0] = None
    columns["text"][1] = ""
    columns["text"][2] = " \t\n\u00a0"
    columns["label"][2] = None
    columns["label"][4] = None
    columns["label"][5] = "  "
    analysis = job(columns)
    assert analysis["skipped"] == {"text": 3, "label": 2}
    assert (analysis["rows"], analysis["used"]) == (12, 7)
    train, test = parts(job)
    assert sorted([*train, *test]) == [3, 6, 7, 8, 9, 10, 11]
    assert analysis["notices"] == ["skipped 5 of 12 rows: 3 without text, 2 without label"]


def test_labels_are_counted_in_the_order_of_their_text(job):
    columns = reviews()
    columns["label"] = ["b", "a", "ä", "B"] * 3
    assert list(job(columns)["labels"].items()) == [("B", 3), ("a", 3), ("b", 3), ("ä", 3)]


def test_pairs_need_both_texts(job):
    columns = {"text1": ["a", None, "c", "d", "e"], "text2": ["A", "B", " ", "D", "E"], "label": list("xyxyx")}
    analysis = job(columns, test_size=1 / 3)
    assert analysis["skipped"] == {"text1": 1, "text2": 1, "label": 0}
    assert analysis["used"] == 3


def test_last_holds_out_the_end_of_the_relation(job):
    columns = reviews()
    columns["text"][11] = None
    job(columns, test_size=3, sampling="last")
    assert parts(job)[1].tolist() == [8, 9, 10]


@pytest.mark.parametrize("sampling", ["random", "stratified"])
def test_the_seed_decides_the_split(job, sampling):
    splits = []
    for seed in (1, 1, 2):
        job(reviews(40), sampling=sampling, seed=seed)
        splits.append(parts(job)[1].tolist())
    assert splits[0] == splits[1] != splits[2]


def test_a_label_only_in_the_test_part_is_kept_and_told(job):
    columns = reviews()
    columns["label"][11] = "ugly"
    analysis = job(columns, test_size=2, sampling="last")
    assert analysis["labels"]["ugly"] == 1
    assert parts(job)[1].tolist() == [10, 11]
    assert analysis["notices"] == ['only in the test part, so the model cannot learn them: "ugly"']


def test_a_label_with_one_row_is_trained_on_and_told(job):
    columns = reviews()
    columns["label"][4] = "ugly"
    analysis = job(columns)
    assert 4 in parts(job)[0]
    assert analysis["notices"] == ['labels with a single row, which is trained on and not tested: "ugly"']


def test_a_large_test_part_is_told_because_the_predecessor_documented_it_the_other_way_round(job):
    notices = job(reviews(20), test_size=0.8)["notices"]
    assert notices == ["test_size is the part held out: 16 rows are for testing, and 4 are left to train on"]


@pytest.mark.parametrize(
    ("change", "test_size", "message", "hint"),
    [
        ({"text": [], "label": []}, 0.25, 'relation "public.reviews" has no rows', "privileges"),
        (
            {"text": ["a", None, ""], "label": [None, "x", "y"]},
            0.25,
            'relation "public.reviews" has no complete rows: of 3, 2 without text, 1 without label',
            "both text and a label",
        ),
        (
            {"text": ["a", "b"], "label": ["x", "x"]},
            0.5,
            'all rows of relation "public.reviews" have the label "x"',
            "Two",
        ),
        (reviews(), 12, "test_size 12 leaves no row of", "12 usable rows"),
        (reviews(), 0.01, "test_size 0.01 of 12 rows", "larger test_size"),
        ({"text": list("abcd"), "label": list("wxyz")}, 0.5, "leaves no row to test on", "one row"),
        (
            {"text": [f"t{n}" for n in range(40)], "label": [f"l{n // 1.5:.0f}" for n in range(40)]},
            0.25,
            "different labels in 40 rows",
            "Is this the label column?",
        ),
        (
            {"text": ["t"] * 4004, "label": [f"l{n % 1001}" for n in range(4004)]},
            0.25,
            "1001 different labels in 4004 rows",
            "Is this the label column?",
        ),
    ],
)
def test_rows_that_nothing_can_be_learnt_from_are_refused(job, change, test_size, message, hint):
    with pytest.raises(RuntimeFault) as caught:
        job(change, test_size=test_size)
    assert caught.value.sqlstate == "22023"
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert not (job.directory / "train.npy").exists()


def test_a_relation_without_a_name_is_still_spoken_of(job):
    with pytest.raises(RuntimeFault, match=r"^the relation has no rows$"):
        job({"text": [], "label": []}, relation=None)


def test_many_labels_are_taken_if_they_repeat(job):
    columns = {"text": ["t"] * 3000, "label": [f"l{n % 1000}" for n in range(3000)]}
    assert len(job(columns, batch=1000)["labels"]) == 1000


TALKS = {"user": ["Hi"] * 8, "assistant": ["Hello"] * 8}


def test_rows_without_labels_are_split_at_random_whatever_is_asked_for(job):
    splits = []
    for sampling in ("random", "stratified"):
        analysis = job(TALKS, sampling=sampling)
        splits.append(parts(job)[1].tolist())
        assert "labels" not in analysis
    assert splits[0] == splits[1]
    assert (analysis["train_rows"], analysis["test_rows"]) == (6, 2)


def test_a_conversation_needs_no_system_message_but_what_else_has_a_column(job):
    columns = {"system": [None, "", *["Be kind."] * 6], **TALKS}
    columns["user"] = [*["Hi"] * 7, None]
    columns["assistant"] = [*["Hello"] * 6, " ", "Hello"]
    analysis = job(columns)
    assert analysis["skipped"] == {"user": 1, "assistant": 1}
    assert analysis["notices"] == ["skipped 2 of 8 rows: 1 without user, 1 without assistant"]
    assert len(analysis["digest"]) == 64


def test_null_and_empty_values_are_told_apart_by_the_digest(job):
    digests = {job({"system": [system] * 8, **TALKS})["digest"] for system in (None, "")}
    assert len(digests) == 2


def test_only_the_completion_of_a_template_is_needed(job):
    columns = {"field:input": [None] * 8, "field:answer": [None, *["x"] * 7]}
    analysis = job(columns, hyperparams={"dataset_args": {"completion_column": "answer"}})
    assert analysis["skipped"] == {"field:answer": 1}
    assert analysis["notices"] == ["skipped 1 of 8 rows: 1 without answer"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"role": "user"}', "a conversation must be an array of messages, not object"),
        ("[]", "a conversation must have a message at least"),
        ("not json", "messages are not valid JSON"),
        ('[{"role": "user"}]', 'message 1 of the conversation has no "content"'),
        ('[{"role": "robot", "content": "x"}]', 'unknown role "robot" in message 1 of the conversation'),
    ],
)
def test_a_row_that_holds_no_conversation_is_named(job, text, message):
    good = '[{"role": "user", "content": "Hi"}]'
    with pytest.raises(RuntimeFault) as caught:
        job({"messages": [good, None, good, text, good, "worse"]})
    assert caught.value.sqlstate == "22023"
    assert caught.value.message == f'row 4 of relation "public.reviews" holds no conversation: {message}'


def test_the_digest_is_as_documented(job):
    digest = job({"text": ["a", None, "bä", "c"], "label": ["x", "x", "y", "x"]}, test_size=1 / 3, sampling="last")[
        "digest"
    ]
    numbers = [
        struct.pack("<3q", 1, 3, 1),
        struct.pack("<3q", 1, 1, 1),
        struct.pack("<q", 2),
        struct.pack("<3q", 0, 1, 2),
    ]
    expected = b"text\0" + numbers[0] + "abäc".encode() + b"label\0" + numbers[1] + b"xyx" + numbers[2] + numbers[3]
    assert digest == hashlib.sha256(expected).hexdigest()


def test_the_digest_depends_on_contents_and_split_and_not_on_how_they_were_sent(job):
    same = {job(reviews(20), batch=batch)["digest"] for batch in (1, 7, 100)}
    assert len(same) == 1
    columns = reviews(20)
    columns["text"].insert(3, None)
    columns["label"].insert(3, "bad")
    assert job(columns)["digest"] in same, "a skipped row is no part of it"
    shifted = reviews(20)
    shifted["text"][0], shifted["text"][1] = "text 0t", "ext 1"
    others = [job(shifted), job(reviews(20), seed=7), job(reviews(21))]
    assert same.isdisjoint(other["digest"] for other in others)


def test_a_sliced_file_of_many_rows_is_quick(job):
    rows = 200_000
    columns = {"text": [f"text number {n}" for n in range(rows)], "label": [str(n % 5) for n in range(rows)]}
    analysis = job(columns, batch=10_000)
    assert analysis["test_rows"] == rows // 4
    assert set(analysis["labels"].values()) == {rows // 5}
