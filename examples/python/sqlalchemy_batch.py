"""New rows with SQLAlchemy's ORM, and their predictions in the same transaction: either both are there, or neither."""

from datetime import UTC, datetime

from database import engine
from sqlalchemy import ForeignKey, String, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Project(Base):
    __tablename__ = "projects"
    id: Mapped[int] = mapped_column(primary_key=True)
    created_on: Mapped[datetime]
    title: Mapped[str]
    description: Mapped[str]


class Guess(Base):
    """What the model makes of a project."""

    __tablename__ = "guesses"
    project_id: Mapped[int] = mapped_column(ForeignKey(Project.id), primary_key=True)
    tag: Mapped[str]
    score: Mapped[float]


def guess(session: Session, projects: list[Project], model: str = "tags") -> list[Guess]:
    """Predict all of them with one call."""
    texts = bindparam("texts", [f"{one.title}. {one.description}" for one in projects], ARRAY(String))
    answers = session.scalar(select(func.pgml.predict(model, texts, type_=JSONB))) or []
    return [
        Guess(project_id=project.id, tag=answer["label"], score=answer["score"])
        for project, answer in zip(projects, answers, strict=True)
    ]


def main() -> None:
    database = engine()
    Base.metadata.create_all(database)  # what is there already stays
    titles = {"Canary releases": "Deploying models step by step.", "Tumours": "A network that segments scans."}
    with Session(database) as session, session.begin():
        last = session.scalar(select(func.max(Project.id))) or 0
        now = datetime.now(UTC).replace(tzinfo=None)
        projects = [
            Project(id=last + number, created_on=now, title=title, description=description)
            for number, (title, description) in enumerate(titles.items(), start=1)
        ]
        session.add_all(projects)
        session.flush()  # the rows are there, for this transaction
        session.add_all(guess(session, projects))
    with Session(database) as session:
        found = select(Project.title, Guess.tag, Guess.score).join(Guess).order_by(Project.id.desc()).limit(2)
        for title, tag, score in session.execute(found):
            print(f"{title}: {tag} ({score:.2f})")


if __name__ == "__main__":
    main()
