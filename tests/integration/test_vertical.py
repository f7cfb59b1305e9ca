"""The main job on a tiny model, through every part: table, tune, metrics, files, predictions."""

from __future__ import annotations

import pytest

ROWS = """
CREATE TABLE reviews AS
SELECT i AS id, CASE i % 2 WHEN 0 THEN 'wonderful film, a joy ' ELSE 'terrible waste, no sense ' END || i AS body,
       CASE i % 2 WHEN 0 THEN 'good' ELSE 'bad' END AS verdict
FROM generate_series(1, 80) AS i
"""
TUNE = """
SELECT * FROM pgml.tune(
    'reviews', 'text-classification', 'reviews', y_column_name => 'verdict', model_name => 'bert',
    hyperparams => '{"training_args": {"num_train_epochs": 4, "learning_rate": 0.01, "eval_strategy": "no"},
                     "dataset_args": {"text_column": "body"}}')
"""


@pytest.fixture
def tuned(database):
    database.run(ROWS)
    assert database.run(TUNE)[0][0] == "successful"
    return database


def test_tune_learns_and_the_next_statement_predicts(tuned):
    assert tuned.value("SELECT pgml.predict('reviews', 'wonderful film, a joy')->>'label'") == "good"
    assert tuned.value("SELECT pgml.predict('reviews', 'terrible waste, no sense')->>'label'") == "bad"
    wrong = tuned.value("SELECT count(*) FROM reviews WHERE pgml.predict('reviews', body)->>'label' <> verdict")
    assert wrong == 0
