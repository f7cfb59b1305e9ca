"""The pages of the reference that are made from the running system are those that are committed."""

from __future__ import annotations

import pytest
from tools.reference import loss
from tools.reference.markdown import prose, table
from tools.reference.pages import FOLDER, reference_pages

ANEW = "run: make docs"


@pytest.fixture(scope="module")
def generated(shared):
    with shared.connect() as connection:
        return reference_pages(connection)


@pytest.mark.parametrize("page", "functions.md tables.md settings.md hyperparams.md sdk.md cli.md".split())
def test_a_page_is_what_the_system_says(generated, page):
    assert generated.pop(page) == (FOLDER / page).read_text(), ANEW


def test_every_generated_page_is_compared(generated):
    assert not generated


def test_the_drawing_is_that_of_its_data():
    assert loss.drawing() == (loss.ASSETS / "loss.svg").read_text(), ANEW


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("as of pgml.tune, or 'pgml:<model id>'.", "as of `pgml.tune`, or `pgml:<model id>`."),
        ("the project's y_column_name; a * b <c>", r"the project's `y_column_name`; a \* b &lt;c&gt;"),
        ('gives {"label", "score"}, null for NULL', 'gives `{"label", "score"}`, null for `NULL`'),
    ],
)
def test_plain_text_becomes_markdown(text, markdown):
    assert prose(text) == markdown


def test_a_bar_does_not_end_a_cell():
    assert table(["a"], [["x | y"]]).splitlines()[-1] == r"| x \| y |"


def test_an_argument_that_is_not_told_of_is_noticed(shared):
    with shared.connect() as connection:
        comment = "COMMENT ON FUNCTION pgml.cancel(bigint) IS 'Stops.'"
        with connection.transaction(force_rollback=True):
            connection.execute(comment)
            with pytest.raises(ValueError, match=r"pgml\.cancel does not tell of: model_id"):
                reference_pages(connection)
