"""What is changed in SuperLink's own state: that it is still there to be changed, and that it does what it did."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flwr.supercore import sql_mixin
from flwr.supercore.corestate.sql_corestate import SqlCoreState
from flwr.superlink.grid.http_grid import HttpGrid

from tacit_server import flower_seam


def test_what_is_changed_is_there() -> None:
    """A release of Flower that renames any of it fails here, and not by being slow."""
    assert callable(SqlCoreState._cleanup_expired_task_tokens)
    assert callable(sql_mixin.SqlMixin.session)
    assert ("synchronous", "NORMAL") in vars(sql_mixin)["SQLITE_PRAGMAS"]
    assert callable(HttpGrid._try_push_messages)
    assert isinstance(vars(HttpGrid)["_runtime_client"], property)


def test_who_died_is_looked_for_once_a_second() -> None:
    looked: list[object] = []
    look = flower_seam._seldom(looked.append)
    for _ in range(100):
        look("state")
    assert looked == ["state"]


def test_threads_take_turns_and_a_session_within_a_session_is_no_deadlock() -> None:
    inside, most = 0, 0

    @contextmanager
    def session(state: object) -> Iterator[object]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        yield state
        inside -= 1

    taken = flower_seam._in_turn(session)

    def work() -> None:
        for _ in range(200):
            with taken("a"):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    with taken("a"), taken("b"):
        assert inside == 2
