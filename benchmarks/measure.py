"""Ratios of commands, run in turn: A B A B …. Machines are shared and noisy, so only ratios and medians are told."""

import os
import resource
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Times:
    """Of one command, in seconds, a value per run."""

    cpu: list[float]
    wall: list[float]

    def say(self, name: str) -> str:
        return f"{name:<44} cpu {statistics.median(self.cpu):6.2f} s   wall {statistics.median(self.wall):6.2f} s"


def once(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> tuple[float, float]:
    """CPU and wall seconds of a command and its children."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), os.times().elapsed
    subprocess.run(command, cwd=cwd, env=dict(env), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after, end = resource.getrusage(resource.RUSAGE_CHILDREN), os.times().elapsed
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, end - start


def in_turn(commands: Mapping[str, Sequence[str]], cwd: Path, env: Mapping[str, str], runs: int = 7) -> dict[str, Times]:
    """Every command once to warm up, then all of them in turn."""
    found: dict[str, Times] = {name: Times([], []) for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            cpu, wall = once(command, cwd, env)
            if run:
                found[name].cpu.append(cpu)
                found[name].wall.append(wall)
    return found


def ratio(one: list[float], other: list[float]) -> float:
    """The median of the ratios, pair by pair."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))
