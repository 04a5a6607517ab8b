"""model: as many threads as there are cores to use, and one for a network too small to share."""

import os
from pathlib import Path

import pytest

from backends.work.cores import SMALL, physical_cores, quota, threads


def test_hyper_threads_of_one_core_count_once(tmp_path: Path) -> None:
    for cpu in range(4):
        (tmp_path / f"cpu{cpu}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}" / "topology" / "thread_siblings_list").write_text(f"{cpu % 2},{cpu % 2 + 2}\n")
    assert physical_cores({0, 1, 2, 3}, tmp_path) == 2
    assert physical_cores({1}, tmp_path) == 1
    assert physical_cores({0, 1, 2}, tmp_path / "unknown") == 3


@pytest.mark.parametrize(("text", "cores"), [("150000 100000\n", 1.5), ("max 100000\n", float("inf"))])
def test_a_container_has_as_many_cores_as_it_is_granted(tmp_path: Path, text: str, cores: float) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert quota(tmp_path / "cpu.max") == cores
    assert quota(tmp_path / "none") == float("inf")


def test_a_small_network_gets_one_thread_and_a_large_one_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads(SMALL - 1) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads(SMALL) == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= threads(SMALL) <= (os.cpu_count() or 1)
