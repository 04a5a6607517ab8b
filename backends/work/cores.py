"""How many threads to compute with: the physical cores that this process may really use."""

import os
from pathlib import Path


def physical_cores(allowed: set[int], devices: Path = Path("/sys/devices/system/cpu")) -> int:
    """Two hyper-threads share one core's arithmetic: they count once."""
    found = set()
    for cpu in allowed:
        siblings = devices / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        found.add(siblings.read_text() if siblings.is_file() else str(cpu))
    return max(1, len(found))


def quota(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> float:
    """What a container is granted, in cores."""
    try:
        granted, period = file.read_text().split()
        return int(granted) / int(period)
    except (OSError, ValueError):  # no such file, or no limit: 'max 100000'
        return float("inf")


SMALL = 10_000_000
"""Parameters below which a second thread waits more than it works."""


def threads(parameters: int) -> int:
    """As many as there are cores; fewer when OMP_NUM_THREADS says so. A small network gets one: two are 1.6 times as fast
    on idle cores, but up to ten times slower on cores that others use too. It also gets the same bits on every machine."""
    if parameters < SMALL:
        return 1
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    said = os.environ.get("OMP_NUM_THREADS", "")
    asked = int(said) if said.isdigit() and said != "0" else len(allowed)
    return max(1, int(min(physical_cores(allowed), asked, quota())))
