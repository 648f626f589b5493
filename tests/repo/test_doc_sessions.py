"""The harness that runs documents finds the faults that it should find."""

from __future__ import annotations

import pytest

from tests.support.doc_sessions import DocumentSession
from tests.support.documents import read_blocks
from tests.support.output_match import matches

pytestmark = pytest.mark.slow

DOCUMENT = """
<!-- not run: would install something -->
```bash
exit 1
```
```text
never compared
```

```console
$ greeting=hello; echo $greeting
hello
$ false
$ echo $?
1
$ cat > note.txt <<'END'
> one
>   two
> END
$ cat note.txt; echo $greeting
one
  two
hello
$ psql -c "select 'x' as a, now() as at, 123456789012 as claim_token"
 a |              at               | claim_token
---+-------------------------------+-------------
 x | 2001-02-03 04:05:06.789+00    |  9999999
(1 row)

$ uv run python -c 'print("many\\nlines\\nhere")'
many
...
```

```bash
cd /
export there=yes
```

```console
$ pwd; echo $there; cd - > .last; rm .last
/
yes
```

```sql
create table t (x int);
insert into t values (1);
select 1 / 0;
select * from t;
```
```text
CREATE TABLE
INSERT 0 1
ERROR:  division by zero
 x
---
 1
(1 row)
```

```sql
select 2;
```

```python
import os, psycopg
with psycopg.connect(os.environ["RECORD_LEDGER_DSN"]) as connection:
    print(connection.execute("select * from t").fetchone())
```
```text
(1,)
```

```python
>>> x = 3
>>> x + 1
4
>>> for i in range(2):
...     print(i)
0
1
>>> 1 / 0
Traceback (most recent call last):
...
ZeroDivisionError: division by zero
```

<!-- file: conf/pipeline.json -->
```json
{"a": 1}
```

<!-- without a server -->
```console
$ cat conf/pipeline.json; echo "[$RECORD_LEDGER_DSN$PGHOST]"
{"a": 1}
[]
```

```console
$ test -n "$PGHOST" && echo back
back
```
""".replace("cd - > .last; rm .last", "cd - >/dev/null")

LIES = [
    ("hello\n$ false", "helo\n$ false"),
    ("$ echo $?\n1", "$ echo done\ndone"),
    ("one\n  two\nhello", "one\n  two\nhullo"),
    ("(1 row)\n\n$ uv", "(2 rows)\n\n$ uv"),
    ("many\n...", "many"),
    ("many\n...", "... x"),
    ("export there=yes", "false\nexport there=yes"),
    ("ERROR:  division", "ERROR:  multiplication"),
    ("select 2;", "select 2 / 0;"),
    ("(1,)", "(2,)"),
    ("\n4\n", "\n5\n"),
    ("ZeroDivisionError: division", "ZeroDivisionError: multiplication"),
    ('{"a": 1}\n```\n\n<', '{"a": }\n```\n\n<'),
    ("back\n```", "gone\n```"),
]


@pytest.fixture
def run_document(empty_dsn, tmp_path):
    def run(markdown: str) -> int:
        document = tmp_path / "document.md"
        document.write_text(markdown)
        folder = tmp_path / "scratch"
        folder.mkdir()
        with DocumentSession(empty_dsn, folder) as session:
            return session.run(document)

    return run


def test_a_true_document_passes(run_document):
    assert run_document(DOCUMENT) == 9


@pytest.mark.parametrize(("truth", "lie"), LIES, ids=[lie for _, lie in LIES])
def test_a_document_that_lies_fails(run_document, truth, lie):
    assert truth in DOCUMENT
    with pytest.raises(AssertionError, match=r"document\.md:\d+"):
        run_document(DOCUMENT.replace(truth, lie, 1))


def test_a_clock_that_stands_makes_times_exact(ledger_dsn, tmp_path):
    document = tmp_path / "document.md"
    (tmp_path / "scratch").mkdir()
    document.write_text(
        "<!-- clock: 2026-11-22T09:00:00-08:00 -->\n"
        "```console\n$ psql -Atc \"select record_ledger.clock() at time zone 'UTC'\"\n"
        "2026-11-22 17:00:01\n```\n"
    )
    with (
        DocumentSession(ledger_dsn, tmp_path / "scratch") as session,
        pytest.raises(AssertionError, match="2026-11-22 17:00:00"),
    ):
        session.run(document)


@pytest.mark.parametrize(
    "markdown",
    [
        "```bash\necho never closed\n",
        "<!-- not run -->\n```bash\necho\n```\n",
        "<!-- file: -->\n```json\n1\n```\n",
    ],
)
def test_a_document_that_cannot_be_read_is_refused(markdown, tmp_path):
    document = tmp_path / "document.md"
    document.write_text(markdown)
    with pytest.raises(ValueError, match=r"document\.md:\d+"):
        read_blocks(document)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a  b", "a b", True),
        ("at 2026-11-22T08:00:00-08:00", "at 2027-01-02 03:04:05.678+00", True),
        ("on 2026-11-22", "on 2027-01-02", True),
        ("on 2026-11-22", "on 2027-01-02T00:00:00Z", False),
        ("took 1.25 s", "took 0.01 s", True),
        ("window 2h", "window 3h", False),
        ("token 1234567", "token 7654321", True),
        ("rows 1234", "rows 1235", False),
        ("a ... z", "a b c z", True),
        ("a ... z", "a b\nc z", False),
        ("a\n...\nz", "a\nz", True),
        ("a\n...\nz", "a\nb\nc\nz", True),
        ("...\nz", "a\nb\nz", True),
        ("a\n...", "a", True),
        ("READY", "UNSTABLE", False),
        ("x", "x\n\n", True),
        ("x", "", False),
    ],
)
def test_what_counts_as_the_same_output(shown, printed, same):
    assert matches(shown, printed) is same


def test_a_clock_that_stands_compares_times():
    assert not matches("at 2026-11-22 08:00", "at 2027-11-22 08:00", exact_times=True)
