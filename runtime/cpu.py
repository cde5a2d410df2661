"""The CPU of this machine: its name, its flags, and how many of them this process may use."""

import math
import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def cpu_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Flags of this CPU as Linux names them; empty if it does not say."""
    flags = (line for line in _read(cpuinfo).splitlines() if line.startswith(("flags", "Features")))
    return frozenset(next(flags, ":").partition(":")[2].split())


def cpu_model(cpuinfo: Path = CPUINFO) -> str:
    """Name of this CPU."""
    lines = _read(cpuinfo).splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def available_cpus(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """CPUs this process may use, at least 1: min(affinity, ceil(quota)).

    `os.cpu_count()` is wrong in a cpuset, and affinity alone does not see the CFS quota that Kubernetes'
    `limits.cpu` sets; a pool sized from either is throttled (onnxruntime#29510).
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(proc, cgroups)
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def limit_pools(threads: int) -> None:
    """Gives the pools of tokenizers and polars, if they are not running yet, as many threads as the runtime has.

    Both read the environment when they start, and a value that is there already is the user's.
    """
    for name in ("RAYON_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ.setdefault(name, str(threads))


def cgroup_quota(proc: Path, cgroups: Path) -> float | None:
    """The tightest CPU quota on the path from this process's cgroup to the root, in CPUs; None if unlimited.

    Reads cgroup v2 (`cpu.max`) and v1 (`cpu.cfs_quota_us`, `cpu.cfs_period_us`).
    """
    quotas = []
    for line in _read(proc / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folders = _upwards(cgroups, path)
            quotas += [_v2_quota(_read(folder / "cpu.max")) for folder in folders]
        elif "cpu" in controllers.split(","):
            for mount in (cgroups / "cpu", cgroups / controllers):
                quotas += [
                    _v1_quota(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))
                    for folder in _upwards(mount, path)
                ]
    return min((quota for quota in quotas if quota is not None), default=None)


def _upwards(mount: Path, path: str) -> list[Path]:
    """`mount/a/b`, `mount/a`, `mount` for path `/a/b`."""
    inner = mount / path.strip("/")
    return [inner, *(p for p in inner.parents if p == mount or mount in p.parents)]


def _v2_quota(text: str) -> float | None:
    quota, _, period = text.strip().partition(" ")
    return None if quota in ("", "max") else int(quota) / int(period or 100_000)


def _v1_quota(quota: str, period: str) -> float | None:
    return None if quota.strip() in ("", "-1") else int(quota) / int(period.strip() or 100_000)


def _read(path: Path) -> str:
    """The file's text; empty if it is absent or not ours to read."""
    try:
        return path.read_text()
    except OSError:
        return ""
