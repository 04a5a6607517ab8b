"""Digests of files outside the store, remembered by size, times and inode so that a plan stays quick."""

import json
from pathlib import Path

from llmspec.home import home
from llmspec.job import Digest, digest_of
from llmspec.shelf import sha256_of, write_atomically


class Digests:
    """A memory of what was hashed; losing it costs time only."""

    def __init__(self) -> None:
        self._path = home() / "cache" / "digests.json"
        try:
            self._known: dict[str, list[str | int]] = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._known = {}
        self._new = False

    def file(self, path: Path) -> Digest:
        stat = path.stat()
        # The last one is the kernel's own: `cp -p` brings another file's time of change along, and no program can set this one.
        seen = [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns]
        known = self._known.get(str(path))
        if known and known[1:] == seen:
            return str(known[0])
        digest = sha256_of(path)
        self._known[str(path)] = [digest, *seen]
        self._new = True
        return digest

    def folder(self, folder: Path) -> Digest:
        """Of a checkpoint from outside the store: every file's name and bytes."""
        return digest_of({name: self.file(folder / name) for name in checkpoint_in(folder)})

    def remember(self) -> None:
        """Keep what was learned; a folder that cannot be written only costs the next plan some time."""
        if self._new:
            try:
                write_atomically(self._path, json.dumps(self._known))
            except OSError:
                self._new = False


def checkpoint_in(folder: Path) -> list[str]:
    """The files of a checkpoint, by name. What begins with a dot is some tool's bookkeeping: the hub's client keeps the time of
    each download in `.cache/`, and fetching the same files again must not retrain."""
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)]
