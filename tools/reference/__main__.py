"""Write docs/reference and the drawing of data anew: `python -m tools.reference`. Starts a server of its own."""

from __future__ import annotations

from tests.cluster import make_database, throwaway
from tools.reference import loss
from tools.reference.pages import FOLDER, reference_pages


def main() -> None:
    (loss.ASSETS / "loss.svg").write_text(loss.drawing())
    with throwaway() as cluster, make_database(cluster).connect() as connection:
        for name, text in reference_pages(connection).items():
            (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
