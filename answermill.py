"""Questions in CSVs, answers in PostgreSQL: what users import and call.

`from answermill import Answerer` is the Python side, `answermill VERB …` the command. Everything else is imported when
it is first used, so `answermill --help` and `import answermill` need none of the heavy packages.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from runtime import Answer, Answerer, AnswermillError, Decoding

    __version__: str

__all__ = ["Answer", "Answerer", "AnswermillError", "Decoding", "__version__"]


class Verb(NamedTuple):
    """A verb: its summary in a line, the module whose `main` does the work, and the words before the user's own."""

    summary: str
    module: str
    words: tuple[str, ...] = ()


def _pachyderm(verb: str, summary: str) -> Verb:
    return Verb(summary, "pachyderm.__main__", (verb,))


VERBS = {
    "export": Verb("turn a checkpoint into a verified bundle", "export.__main__"),
    "calibrate": Verb("fit a bundle's confidence on labelled rows", "runtime.calibrate"),
    "ingest": Verb("mirror a bucket's tables into checked CSVs", "stages.ingest"),
    "answer": Verb("answer the questions in CSVs", "stages.answer"),
    "load": Verb("copy answered CSVs into PostgreSQL", "stages.load"),
    "view": Verb("write answers as one HTML page", "stages.view"),
    "compare": Verb("show where two runs differ, and which is right", "stages.compare"),
    "check": _pachyderm("check", "find what a cluster would refuse in pipeline specs"),
    "run": _pachyderm("run", "run pipeline specs on this machine"),
    "status": _pachyderm("status", "show repos, jobs and datums of a run"),
    "logs": _pachyderm("logs", "show what datums wrote to stdout and stderr"),
    "why": _pachyderm("why", "show why jobs failed, here or on a cluster"),
    "deploy": _pachyderm("deploy", "put the pipelines on a Pachyderm cluster"),
    "plan": _pachyderm("plan", "show what deploy would do"),
    "secrets": _pachyderm("secrets", "replace the cluster's secrets"),
    "undeploy": _pachyderm("undeploy", "take the pipelines off the cluster"),
    "stamp": _pachyderm("stamp", "write the specs with an image filled in"),
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from runtime.command import version

        return version()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("runtime"), name)


def usage() -> str:
    """The text of `answermill --help`."""
    from runtime.command import verbs

    summaries = {name: verb.summary for name, verb in VERBS.items()}
    return verbs(
        "answermill",
        summaries,
        "answermill VERB --help shows the options of a verb; answermill --version shows the version.",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Hands over to the verb's own `main`. Returns the exit code."""
    from runtime.startup import begin

    begin()
    first, *rest = (sys.argv[1:] if argv is None else list(argv)) or [""]
    if first in ("-h", "--help", "help"):
        sys.stdout.write(f"{usage()}\n")
        return 0
    if first == "--version":
        sys.stdout.write(f"{__getattr__('__version__')}\n")
        return 0
    if first not in VERBS:
        import difflib

        near = difflib.get_close_matches(first, VERBS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        sys.stderr.write(f"{usage()}\n\n" if not first else f"answermill: no verb {first!r}{hint}\n")
        return 2
    verb = VERBS[first]
    if first == "status" and any(word.partition("=")[0] == "--html" for word in rest):
        # A page is the stages' work; pachyderm imports none of them.
        verb = Verb(verb.summary, "stages.view_run")
    try:
        code: int = import_module(verb.module).main([*verb.words, *rest])
    except ModuleNotFoundError as error:
        name = error.name or ""
        room = verb.module.partition(".")[0]
        if name == room:
            sys.stderr.write(f"answermill {first}: not in this image; run it where the wheel is installed\n")
            return 1
        if name.partition(".")[0] in ("export", "pachyderm", "runtime", "stages"):
            raise
        extra = "export" if first == "export" else "stages"
        sys.stderr.write(
            f"answermill {first}: the package {error.name} is not installed; pip install 'answermill[{extra}]'\n"
        )
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
