"""A root with a repo to put files into, and pipelines made of shell scripts, for the tests of the local runner."""

from pathlib import Path
from typing import Any

from pachyderm.local import status
from pachyderm.local.runner import Options, run
from pachyderm.local.store.journal import Job
from pachyderm.local.store.results import Result
from pachyderm.local.store.store import Store
from pachyderm.local.worker.mapping import LocalMapping

COPY = "cp -rL /pfs/in/. /pfs/out/"


def spec(name: str, repo: str, script: str, *, glob: str = "/*", **fields: Any) -> dict[str, Any]:
    """A pipeline that runs a shell script on each datum; `transform` among the fields is added to the script's."""
    transform = {"image": "test:1", "cmd": ["sh", "-eu"], "stdin": [script], **fields.pop("transform", {})}
    pfs = {"name": "in", "repo": repo, "glob": glob}
    return {"pipeline": {"name": name}, "input": {"pfs": pfs}, "transform": transform, **fields}


class Bench:
    """One root, the repo `src`, and the specs to run on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.source = folder / "src"
        self.source.mkdir()
        self.mapping: dict[str, Any] = {"secrets": folder / "secrets"}

    def put(self, path: str, text: str) -> None:
        target = self.source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def options(self, *specs: dict[str, Any], **options: Any) -> Options:
        named = {one["pipeline"]["name"]: one for one in specs}
        return Options(self.root, named, LocalMapping(**self.mapping), {"src": self.source}, **options)

    def run(self, *specs: dict[str, Any], **options: Any) -> dict[str, Job]:
        return {job.pipeline: job for job in run(self.options(*specs, **options))}

    def files(self, repo: str) -> dict[str, str]:
        commit = Store(self.root).repo(repo).head()
        return {path: commit.path_of(path).read_text() for path in commit.files}

    def results(self, pipeline: str) -> dict[str, Result]:
        """What became of each datum of the last job, by its path."""
        journal = Store(self.root).pipeline(pipeline)
        last = journal.last()
        assert last is not None
        return {result.label: result for result in journal.of(last.number).results().values()}

    def states(self, pipeline: str) -> dict[str, str]:
        return {path: result.state for path, result in self.results(pipeline).items()}

    def log(self, pipeline: str) -> list[str]:
        return list(status.log_lines(self.root, pipeline, None, None))
