"""A Pachyderm 2.12 pipeline spec as types: the fields that it may have, and what Pachyderm takes if they are absent.

An attribute is named as the field, in snake_case. null and the empty value mean the same as an absent field there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NewType, TypeAlias

from pachyderm.spec.inputs import Input

Seconds = NewType("Seconds", float)
Uint = NewType("Uint", int)

Texts: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Project:
    """The project of a pipeline."""

    name: str = "default"


@dataclass(frozen=True, slots=True)
class PipelineName:
    """The name of a pipeline, and its project."""

    project: Project = Project()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of Kubernetes', as files at `mount_path`, or one key of it as a variable."""

    name: str = ""
    key: str = ""
    mount_path: str = ""
    env_var: str = ""


@dataclass(frozen=True, slots=True)
class Transform:
    """The image and the command that process a datum, and what they are given."""

    image: str = "ubuntu:20.04"
    cmd: Texts = ()
    stdin: Texts = ()
    err_cmd: Texts = ()
    err_stdin: Texts = ()
    accept_return_code: tuple[int, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    image_pull_secrets: Texts = ()
    working_dir: str = ""
    user: str = ""
    memory_volume: bool = False
    datum_batching: bool = False
    debug: bool = False
    dockerfile: str = ""


@dataclass(frozen=True, slots=True)
class Parallelism:
    """How many workers; 0 means 1."""

    constant: Uint = Uint(0)


@dataclass(frozen=True, slots=True)
class Gpu:
    """GPUs of one type."""

    type: str = ""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Resources:
    """What a container asks for, or may take."""

    cpu: float | None = None
    memory: str = ""
    disk: str = ""
    gpu: Gpu | None = None


@dataclass(frozen=True, slots=True)
class DatumSet:
    """How datums are cut into the sets that workers take one by one."""

    number: int = 0
    size_bytes: int = 0
    per_worker: int = 0


@dataclass(frozen=True, slots=True)
class ObjectStorage:
    """A bucket that output is copied to."""

    url: str = ""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """How the files that go to a database are written."""

    type: str = ""
    columns: Texts = ()


@dataclass(frozen=True, slots=True)
class SqlSecret:
    """Where the password of a database is."""

    name: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class SqlDatabase:
    """A database that output is copied to."""

    url: str = ""
    file_format: FileFormat = FileFormat()
    secret: SqlSecret = SqlSecret()


@dataclass(frozen=True, slots=True)
class Egress:
    """Where the output goes besides its repo."""

    URL: str = ""
    object_storage: ObjectStorage | None = None
    sql_database: SqlDatabase | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A server instead of a job."""

    internal_port: int = 0
    external_port: int = 0
    ip: str = ""
    type: str = "NodePort"


@dataclass(frozen=True, slots=True)
class Spout:
    """A process that writes commits of its own accord."""

    service: Service | None = None


@dataclass(frozen=True, slots=True)
class Scheduling:
    """On which nodes the pods may run, and how urgently."""

    node_selector: Mapping[str, str] = field(default_factory=dict)
    priority_class_name: str = ""


@dataclass(frozen=True, slots=True)
class Toleration:
    """A taint of nodes that does not keep the pods away."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = "ALL_EFFECTS"
    toleration_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Metadata:
    """Labels and annotations of the pods."""

    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Determined:
    """Workspaces of Determined."""

    workspaces: Texts = ()


@dataclass(frozen=True, slots=True)
class TfJob:
    """Refused by every server of today."""

    tf_job: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """A pipeline spec. Only `transform: null` differs from leaving it out: that takes the default one away."""

    pipeline: PipelineName = PipelineName()
    description: str = ""
    transform: Transform | None = Transform()
    parallelism_spec: Parallelism = Parallelism()
    input: Input | None = None
    resource_requests: Resources = Resources()
    resource_limits: Resources = Resources()
    sidecar_resource_requests: Resources = Resources()
    sidecar_resource_limits: Resources = Resources()
    datum_set_spec: DatumSet | None = None
    datum_timeout: Seconds | None = None
    job_timeout: Seconds | None = None
    datum_tries: int = 3
    autoscaling: bool = False
    reprocess_spec: str = "until_success"
    output_branch: str = "master"
    egress: Egress | None = None
    s3_out: bool = False
    service: Service | None = None
    spout: Spout | None = None
    scheduling_spec: Scheduling = Scheduling()
    tolerations: tuple[Toleration, ...] = ()
    pod_spec: str = ""
    pod_patch: str = ""
    metadata: Metadata = Metadata()
    salt: str = ""
    determined: Determined | None = None
    maximum_expected_uptime: Seconds | None = None
    tf_job: TfJob | None = None
