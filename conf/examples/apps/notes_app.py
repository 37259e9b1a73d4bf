"""Notes in a database: an SQLAlchemy engine in each child, and a job that shares its module.

An engine holds open connections. What was open before the fork would be one connection in all
children, so each child makes an engine of its own, and the master's is disposed before the fork.
"""

from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    delete,
    func,
    insert,
    select,
)

from supervisor import Child, Module, Options, Server, current

METADATA = MetaData()
NOTES = Table("notes", METADATA, Column("id", Integer, primary_key=True), Column("text", Text))


class DatabaseOptions(Options, frozen=True):
    """Options of the module: where the database is, and how many notes it keeps."""

    url: str
    keep: int = 1000


class Database(Module):
    """`current().modules["database"].engine` is this child's own."""

    Options = DatabaseOptions
    engine: Engine

    def init(self, server: Server) -> None:
        """Make the tables, in the master, once in each generation."""
        engine = create_engine(self.options.url)
        METADATA.create_all(engine)
        engine.dispose()

    def child_init(self, child: Child) -> None:
        self.engine = create_engine(self.options.url)

    def child_exit(self, child: Child) -> None:
        self.engine.dispose()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """POST adds a note; every answer is the number of notes."""
    with current().modules["database"].engine.begin() as connection:
        if environ["REQUEST_METHOD"] == "POST":
            connection.execute(insert(NOTES).values(text=environ["wsgi.input"].read().decode()))
        count = connection.execute(select(func.count()).select_from(NOTES)).scalar_one()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d notes\n" % count]


def tidy(child: Child) -> None:
    """The job: forget the oldest notes beyond those that are kept."""
    database = current().modules["database"]
    newest = select(NOTES.c.id).order_by(NOTES.c.id.desc()).limit(database.options.keep)
    with database.engine.begin() as connection:
        gone = connection.execute(delete(NOTES).where(NOTES.c.id.not_in(newest)))
    child.log.info("tidied", extra={"forgotten": gone.rowcount})
