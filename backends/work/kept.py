"""Kept: a job's last checkpoint in S3, where a platform keeps no folder over an interruption."""

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmspec.errors import StoreError
from llmspec.shelf import MANIFEST, File, Folder, Shelf, sha256_of

NAME = "checkpoint"
"""The folder of a checkpoint, in that of the artifact which grows; no part of it, and gone when it is sealed."""
LAST = "last.pt"
LOOK_SECONDS = 5.0
SHARE = 4.0
"""Sending takes a fifth of the time at most: a large checkpoint is sent more rarely."""


class Kept:
    """Each checkpoint is sent to a place of its own, and only then called the last: a crash in between loses none."""

    def __init__(self, shelf: Shelf, grown: Path):
        self.shelf, self.folder = shelf, grown / NAME
        self._frozen = grown.with_name(f"{grown.name}.sending")
        """Beside the artifact: what lies in it when the work seals it is a part of it."""
        self._sent = 0

    def restore(self) -> bool:
        """What an earlier machine had done, if its bytes are right. One that is not is worth nothing: the work starts over."""
        at = self.shelf.read("last")
        text = self.shelf.below(at).read(MANIFEST) if at else None
        if at is None or text is None:
            return False
        files = {LAST: File(**json.loads(text))}
        shutil.rmtree(self.folder, ignore_errors=True)
        self.shelf.below(at).fetch(files, self.folder)
        if Folder(self.folder).damaged(files):
            shutil.rmtree(self.folder)
            return False
        self._sent = (self.folder / LAST).stat().st_mtime_ns
        return True

    def save(self) -> None:
        """Send the last checkpoint, if it is another one than that which was sent."""
        frozen = self._frozen
        shutil.rmtree(frozen, ignore_errors=True)
        frozen.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self.folder / LAST, frozen / LAST)  # the work puts a new file in its place, and never writes into this one
            if (written := (frozen / LAST).stat().st_mtime_ns) != self._sent:
                self._send(frozen)
                self._sent = written
        except FileNotFoundError:
            return  # there is none yet, or the work is done
        finally:
            shutil.rmtree(frozen)

    def _send(self, frozen: Path) -> None:
        file = File(sha256_of(frozen / LAST), (frozen / LAST).stat().st_size)
        at = file.sha256[:16]
        self.shelf.below(at).put(frozen, {LAST: file}, json.dumps(vars(file)))
        before = self.shelf.read("last")
        self.shelf.write("last", at)
        if before and before != at:
            self.shelf.below(before).clear()

    def clear(self) -> None:
        """The artifact is where it belongs."""
        self.shelf.clear()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Until the block ends, however it does, what was saved here is soon there too; and then what was saved last."""
        over = threading.Event()
        watch = threading.Thread(target=self._watch, args=(over,), daemon=True, name="checkpoints")
        watch.start()
        try:
            yield
        finally:
            over.set()
            watch.join()
            self._try()

    def _watch(self, over: threading.Event) -> None:
        took = 0.0
        while not over.wait(max(LOOK_SECONDS, took * SHARE)):
            started = time.monotonic()
            self._try()
            took = time.monotonic() - started

    def _try(self) -> None:
        """A checkpoint that cannot be sent ends no work that goes well; the log says so."""
        try:
            self.save()
        except StoreError as error:
            sys.stderr.write(f"the checkpoint is not kept: {error}\n")
