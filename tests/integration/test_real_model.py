"""The main job with a real model and real rows: all-MiniLM-L6-v2 learns the tags of the Made With ML projects."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "made_with_ml"


@pytest.fixture
def projects(database):
    """The example's rows, of which a seeded quarter is held out."""
    database.run_script(EXAMPLE / "load.sql", ROOT)
    return database


@pytest.mark.timeout(600)  # a minute on a quiet machine; six of them on a busy one
def test_a_real_encoder_learns_real_tags(projects):
    with projects.connect() as connection:
        heard = []
        connection.add_notice_handler(lambda diagnostic: heard.append(diagnostic.message_primary))
        cursor = connection.execute((EXAMPLE / "tune.sql").read_text())
        columns = [column.name for column in cursor.description]
        tuned = dict(zip(columns, cursor.fetchone(), strict=True))
    assert (tuned["status"], tuned["deployed"]) == ("successful", True)
    assert any("loss " in message for message in heard)

    # On the rows that the run kept back …
    metrics, analysis = projects.run(
        "SELECT metrics, analysis FROM pgml.models m JOIN pgml.snapshots s ON s.id = m.snapshot_id"
    )[0]
    to_learn, held_out = projects.run(
        "SELECT (SELECT count(*) FROM projects_to_learn), (SELECT count(*) FROM projects_held_out)"
    )[0]
    assert metrics["accuracy"] >= 0.85
    assert metrics["f1"] >= 0.8
    assert analysis["train_rows"] + analysis["test_rows"] == analysis["rows"] == to_learn

    # … and on those that it never saw, in one statement.
    right = """
        SELECT count(*) FILTER (WHERE pgml.predict('tags', text)->>'label' = tag) FROM projects_held_out"""
    one_by_one = projects.value(right)
    assert held_out / (to_learn + held_out) == pytest.approx(0.25, abs=0.01)
    assert one_by_one / held_out >= 0.85
    at_once = """
        SELECT count(*) FILTER (WHERE answer->>'label' = tag)
        FROM (SELECT array_agg(text ORDER BY id) AS texts, array_agg(tag ORDER BY id) AS tags
              FROM projects_held_out) AS rows,
             ROWS FROM (unnest(tags), jsonb_array_elements(pgml.predict('tags', texts))) AS row (tag, answer)"""
    # Batches of other lengths round otherwise; a row may change sides.
    assert abs(projects.value(at_once) - one_by_one) <= 1
