"""The parser of the documentation's pages."""

from __future__ import annotations

import pytest
from tests.docs_pages import Block, PageError, blocks_of

PAGE = """# Title

```sql
SELECT 1;
```

```text
 1
```
<!-- expect: 1 -->
<!-- expect: (1 row) -->

- In a list:

    ```python title="job.py"
    if True:
        print("--> ```")
    ```

<!-- sql
  DROP TABLE t;
-->
<!-- error: table "t" does not exist -->

````text
```sql
SELECT 'not run';
```
````
"""


def test_blocks_come_in_order_with_what_they_have_to_show():
    assert blocks_of(PAGE) == [
        Block("sql", "SELECT 1;\n", 3, expected=["1", "(1 row)"]),
        Block("python", 'if True:\n    print("--> ```")\n', 15),
        Block("sql", "DROP TABLE t;\n", 20, error='table "t" does not exist'),
    ]


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```postgresql\nSELECT 1;\n```", "line 1: a block in postgresql"),
        ("```\nSELECT 1;\n```", "line 1: a block in no language"),
        ("\n```sql\nSELECT 1;", "line 2: the fence is not closed"),
        ("Try ```sql SELECT 1``` it", "line 1: a fence has to stand on a line of its own"),
        ("<!-- expect: 1 -->", "line 1: no block before"),
        ("```sql\nSELECT 1;\n```\n<!-- expects: 1 -->", "line 4: a comment that is none of"),
        ("```sql\nSELECT 1;\n```\nText <!-- expect: 1 -->", "line 4: a comment has to stand on lines of its own"),
        ("```sql\nSELECT 1;\n```\n<!-- expect: 1", "line 4: the comment is not closed"),
        ("```sql\nSELECT 1;\n```\n<!-- error: a -->\n<!-- error: b -->", "line 5: the block before it has an error"),
        ("```sql\nSELECT 1;\n```\n<!-- error: a -->\n<!-- expect: b -->", "line 1: a block that fails"),
    ],
)
def test_a_page_that_would_not_be_run_as_meant_is_refused(page, complaint):
    with pytest.raises(PageError, match=f"^{complaint}"):
        blocks_of(page)
