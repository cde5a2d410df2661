"""Takes the steps of a deployment, by calling pachctl.

pachctl cannot update a secret: the server refuses to create one that exists, and no secret can be read back. So a
secret is deleted and created again, and nothing interrupts that half way.
"""

import logging
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pachyderm.errors import PachydermError
from pachyderm.pachctl import Pachctl
from pachyderm.steps import Step

_PAUSE = 0.5


def apply(step: Step, pachctl: Pachctl) -> None:
    """Takes one step. Raises PachydermError with what pachctl says."""
    commands = step.present if pachctl.exists(step.probe) else step.absent
    if commands == (("make secrets",),):
        raise PachydermError(
            f"{step.probe[1]} {step.probe[2]} is not on the cluster; run `answermill secrets` or `make secrets` first"
        )
    if [words[0] for words in commands] == ["delete", "create"]:
        _replace(step, pachctl)
    else:
        for words in commands:
            pachctl.run(words, step.stdin)
    for words in commands:
        logging.info("pachctl %s%s", shlex.join(words), f"  # {step.shown}" if "-f" in words else "")


def _replace(step: Step, pachctl: Pachctl) -> None:
    """Deletes a thing and creates it again, with no interruption between the two.

    Raises PachydermError if it cannot be created for as long as one call may take.
    """
    delete, create = step.present
    with _hold_signals():
        pachctl.run(delete)
        gone_since = time.monotonic()
        try:
            pachctl.run(create, step.stdin)
            return
        except PachydermError as refused:
            error = refused
    _create_again(step, pachctl, gone_since, error)


def _create_again(step: Step, pachctl: Pachctl, since: float, error: PachydermError) -> None:
    name = f"{step.probe[1]} {step.probe[2]}"
    while time.monotonic() < since + pachctl.timeout:
        logging.warning("%s is deleted and could not yet be created again: %s", name, error)
        time.sleep(_PAUSE)
        try:
            # A call that seemed to fail may have reached the server.
            if not pachctl.exists(step.probe):
                pachctl.run(step.present[1], step.stdin)
        except PachydermError as again:
            error = again
        else:
            return
    raise PachydermError(f"{error}; {name} is now deleted; run this again") from error


@contextmanager
def _hold_signals() -> Iterator[None]:
    """SIGINT and SIGTERM wait until the end."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
