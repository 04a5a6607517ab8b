"""The files that a spec points to: found before anything runs, all that are missing at once."""

import difflib
from pathlib import Path

from llmspec.errors import Problem, SpecError
from llmspec.load import Loaded


def find(loaded: Loaded) -> dict[str, list[Path]]:
    """Source -> its files, in order."""
    found: dict[str, list[Path]] = {}
    problems = []
    for number, source in enumerate(loaded.spec.data.sources):
        where = f"data.sources[{number}].path"
        try:
            paths = _glob(loaded.path.parent, source.path)
        except OSError as error:
            problems.append(_unseen(loaded, where, source.path, error))
            continue
        if not paths:
            problems.append(_missing(loaded, where, source.path, "file"))
        found.setdefault(source.called, []).extend(paths)
    if problems:
        raise SpecError(*problems)
    return found


def base_folder(loaded: Loaded, path: str) -> Path:
    """The checkpoint's folder, or an error that says where it was looked for."""
    try:
        folder = (loaded.path.parent / path).resolve()
        there = (folder / "config.json").is_file()
    except OSError as error:
        raise SpecError(_unseen(loaded, "model.base.path", path, error)) from error
    if not there:
        raise SpecError(_missing(loaded, "model.base.path", path, "checkpoint (a folder with a config.json)"))
    return folder


def _glob(start: Path, pattern: str) -> list[Path]:
    path = Path(pattern)
    if path.is_absolute():
        start, pattern = Path(path.anchor), str(path.relative_to(path.anchor))
    if not set(pattern) & set("*?["):
        return [found] if (found := (start / pattern).resolve()).is_file() else []
    return sorted(found.resolve() for found in start.glob(pattern) if found.is_file())


def _unseen(loaded: Loaded, where: str, path: str, error: OSError) -> Problem:
    """The system would not look: a name that is too long for it, a folder that may not be entered."""
    return loaded.problem(where, f"cannot look for '{path}'", f"{error.strerror}")


def _missing(loaded: Loaded, where: str, path: str, what: str) -> Problem:
    folder = (loaded.path.parent / path).parent
    near = difflib.get_close_matches(Path(path).name, [p.name for p in folder.iterdir()] if folder.is_dir() else [], n=1)
    cure = f"did you mean '{Path(path).parent / near[0]}'?" if near else f"paths are relative to {loaded.path.parent or '.'}"
    return loaded.problem(where, f"no {what} at '{path}'", cure)
