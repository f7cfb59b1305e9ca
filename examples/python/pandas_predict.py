"""Predict the rows of a DataFrame: they go to the database in one array, and come back as columns."""

import pandas as pd
from database import engine
from sqlalchemy import Engine, text

PREDICT = text("""
    SELECT answer->>'label' AS prediction, (answer->>'score')::real AS score
    FROM jsonb_array_elements(pgml.predict(:project, CAST(:texts AS text[]))) WITH ORDINALITY AS row (answer, place)
    ORDER BY place
""")


def with_predictions(rows: pd.DataFrame, column: str, project: str, database: Engine) -> pd.DataFrame:
    """The rows, with the columns prediction and score."""
    parameters = {"project": project, "texts": rows[column].tolist()}
    answers = pd.read_sql(PREDICT, database, params=parameters)
    return rows.assign(prediction=answers["prediction"].to_numpy(), score=answers["score"].to_numpy())


def main() -> None:
    """Held-out rows of the example: how often is the model right, by tag?"""
    database = engine()
    held_out = pd.read_sql("SELECT id, text, tag FROM projects_held_out ORDER BY id LIMIT 60", database)
    predicted = with_predictions(held_out, "text", "tags", database)
    print(predicted[["id", "tag", "prediction", "score"]].head())
    print(pd.crosstab(predicted["tag"], predicted["prediction"]).to_string())

    # New rows: to_sql puts them into a table, and one statement predicts what is in it.
    letters = pd.DataFrame({"text": ["A transformer that writes summaries.", "Serving models on Kubernetes."]})
    letters.to_sql("letters", database, if_exists="replace", index_label="id")
    with database.connect() as connection:
        stored = pd.read_sql("SELECT id, text FROM letters ORDER BY id", connection)
    print(with_predictions(stored, "text", "tags", database).to_string(index=False))


if __name__ == "__main__":
    main()
