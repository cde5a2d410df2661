"""Threads: as many as affinity and the cgroup's CPU quota leave, and the same for every pool."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cpu import available_cpus, cgroup_quota

CPUS = len(os.sched_getaffinity(0))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    return tmp_path / "proc"


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


@pytest.mark.parametrize(
    ("limit", "quota"), [("150000 100000", 1.5), ("max 100000", None), ("50000 100000", 0.5), ("", None)]
)
def test_quota_of_cgroup_v2(proc: Path, cgroups: Path, limit: str, quota: float | None) -> None:
    write(proc / "self/cgroup", "0::/pods/one\n")
    write(cgroups / "pods/one/cpu.max", limit)
    assert cgroup_quota(proc, cgroups) == quota


def test_tightest_quota_on_the_way_up_counts(proc: Path, cgroups: Path) -> None:
    write(proc / "self/cgroup", "0::/pods/one\n")
    write(cgroups / "pods/one/cpu.max", "400000 100000")
    write(cgroups / "pods/cpu.max", "200000 100000")
    assert cgroup_quota(proc, cgroups) == 2


@pytest.mark.parametrize(("limit", "quota"), [("250000", 2.5), ("-1", None)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_quota_of_cgroup_v1(proc: Path, cgroups: Path, mount: str, limit: str, quota: float | None) -> None:
    write(proc / "self/cgroup", "7:memory:/pods/one\n3:cpu,cpuacct:/pods/one\n")
    write(cgroups / mount / "pods/one/cpu.cfs_quota_us", limit)
    write(cgroups / mount / "pods/one/cpu.cfs_period_us", "100000")
    assert cgroup_quota(proc, cgroups) == quota


def test_part_of_a_cpu_is_one_thread(proc: Path, cgroups: Path) -> None:
    write(proc / "self/cgroup", "0::/\n")
    write(cgroups / "cpu.max", "10000 100000")
    assert available_cpus(proc, cgroups) == 1


def test_affinity_bounds_the_quota(proc: Path, cgroups: Path) -> None:
    write(proc / "self/cgroup", "0::/\n")
    write(cgroups / "cpu.max", "6400000 100000")
    assert available_cpus(proc, cgroups) == CPUS


def test_no_cgroup_leaves_affinity(proc: Path, cgroups: Path) -> None:
    assert available_cpus(proc, cgroups) == CPUS


@pytest.mark.parametrize("given", [{}, {"POLARS_MAX_THREADS": "3"}])
def test_polars_has_the_threads_of_the_runtime_unless_told(given: dict[str, str]) -> None:
    code = "from runtime.cpu import limit_pools; limit_pools(5); import polars; print(polars.thread_pool_size())"
    environment = {k: v for k, v in os.environ.items() if k not in ("POLARS_MAX_THREADS", "RAYON_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **given}, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == int(given.get("POLARS_MAX_THREADS", 5))
