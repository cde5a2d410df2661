"""Work on the database that stops before each of its transactions, so that a test decides whose turn it is."""

import threading
from collections.abc import Callable
from typing import Any

from stages.loading.connection import Session
from stages.loading.waiting import WatchedConnection


class Killed(BaseException):
    """The process ends here."""


class Turns(threading.Thread):
    """Work that stops before each of its transactions until it is told to go on.

    `code` is what the work returned, None before its end and after a kill. Its session goes back to `free`. `steps` are
    the transactions that it was told to go on with.
    """

    def __init__(self, work: Callable[[Session], int], session: Session, free: list[Session]) -> None:
        super().__init__(daemon=True)
        self.code: int | None = None
        self.steps = 0
        self.session = session
        self._work, self._free = work, free
        self._error: BaseException | None = None
        self._is_killed = False
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.start()
        self._stopped.acquire()

    def run(self) -> None:
        """In the thread."""
        try:
            self.code = self._work(Stopping(self))
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001  # raised again in the thread that gives the turns
            self._error = error
        self._free.append(self.session)
        self._go = self._stopped
        self._stopped.release()

    def wait(self) -> None:
        """In the thread: until the next turn."""
        self._stopped.release()
        self._go.acquire()
        if self._is_killed:
            raise Killed

    def step(self) -> bool:
        """Goes on to the next transaction. Whether there is more to do."""
        self.steps += 1
        if self.is_alive():
            self._go.release()
            self._stopped.acquire()
        if self._error:
            raise self._error
        return self.is_alive() and not self._is_killed and self.code is None

    def kill(self) -> None:
        """Ends it before its next transaction, as SIGKILL would."""
        self._is_killed = True
        self.step()


class Stopping(Session):
    """A session that waits for its turn before each transaction."""

    def __init__(self, turns: Turns) -> None:
        super().__init__({}, 0)
        self._turns = turns

    def run(self, work: Callable[[WatchedConnection], Any]) -> Any:
        """As Session does."""
        self._turns.wait()
        return self._turns.session.run(work)
