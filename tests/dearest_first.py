"""A plugin of pytest's: the files that take longest come first, so that no worker is left alone with one at the end.

pyproject.toml loads it, and keeps xdist from its own order, which is by how many tests a file has.
"""

from pathlib import Path

import pytest

SECONDS = {
    "test_specs.py": 320,
    "test_language_registry.py": 9,
    "test_guards_spec.py": 8,
}
"""What a file took with two workers on two cores, where that was long. An estimate does: only the order is made of it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if gone := [name for name in SECONDS if not Path(__file__).with_name(name).exists()]:
        raise pytest.UsageError(f"{Path(__file__).name} names files that are not there: {', '.join(gone)}")
    items.sort(key=lambda item: -SECONDS.get(item.path.name, 0))
