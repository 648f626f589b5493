"""The deploy scripts of earlier releases, from which the tests upgrade.

tests/fixtures/releases holds each as `record-ledger deploy --print-sql` printed it then, gzipped.
The first change after a release adds the script of that release; the others never change.
"""

from __future__ import annotations

from tests.support.repository import ROOT, text

RELEASES: tuple[str, ...] = tuple(
    path.name.removesuffix(".sql.gz")
    for path in sorted((ROOT / "tests" / "fixtures" / "releases").glob("*.sql.gz"))
)


def release_script(release: str) -> str:
    """Returns the script that deploys an earlier release."""
    return text(ROOT / "tests" / "fixtures" / "releases" / f"{release}.sql.gz")
