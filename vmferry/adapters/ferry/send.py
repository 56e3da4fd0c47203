"""The end of a copy at the source: reads what is not zero, hands it to its streams, and tells how it goes."""

import json
import os
import select
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from vmferry.adapters.ferry import program, staging, wire
from vmferry.adapters.ferry.board import Board, Failure, Part, split
from vmferry.adapters.ferry.direct import DirectReader
from vmferry.adapters.ferry.extents import CLEAR, COMPARE, Task
from vmferry.adapters.ferry.link import Link, through_ssh
from vmferry.adapters.ferry.original import Bucket, Original, cores
from vmferry.adapters.ferry.tls import Wish

_TICK_S = 0.25
# A stream for each so many bytes: less is over before another connection is there.
_STREAM_BYTES = 32 * 1024 * 1024
_CONNECT_S = 30.0
_FIRST_S = 8.0  # a destination that does not answer at all is told soon: there may be another way
_SEAL_S = 300.0
_STALL_S = 300.0
# What a receiver is made of: every line that is sent is compiled there.
_RECEIVER = ("wire", "extents", "direct", "staging", "tls", "receive")
_HOPELESS = ("Host key verification failed", "Permission denied", "Could not resolve hostname", "Bad owner or perm")


class Sender:
    """One copy."""

    def __init__(self, order: "dict[str, Any]", modules: "list[tuple[str, str]]", say: "Any") -> None:
        self._order = order
        self._modules = modules
        self._say = say
        self._original = Original(order["path"])
        self.board = Board(self._original.allocated)
        self.streams = 1
        self._bucket = Bucket(order["bytes_s"])
        self._inode: int | None = None
        self._wish = Wish(order.get("tls"), self._original.allocated)
        self._links: dict[int, Link] = {}
        self._generations: dict[int, int] = {}
        self._why = "connection closed"

    def run(self) -> None:
        """Copy; raises Failure."""
        began = time.monotonic()
        first = self._first()
        hello = first.hello
        self._inode = int(hello["inode"])
        had = [(int(begin), int(end)) for begin, end in hello["had"]]
        self.board.begin(self._original.plan(had, int(hello["had_size"])))
        most = 1 if self._is_relayed else min(self._order["streams"], cores(), int(hello["cores"]))
        self.streams = max(1, min(most, self._original.allocated // _STREAM_BYTES))
        threads = [threading.Thread(target=self._stream, args=(n,), daemon=True) for n in range(self.streams)]
        for thread in threads:
            thread.start()
        self._watch(threads)
        self._finish()
        seconds, board = time.monotonic() - began, self.board
        done = {"sent": board.sent, "resumed": board.resumed, "streams": self.streams, "seconds": seconds}
        done["way"] = self._wish.outcome
        self._say({"done": done})

    @property
    def _is_relayed(self) -> bool:
        return self._order.get("ssh") is None

    # connections

    def _first(self) -> Link:
        """Open the first connection; a destination that cannot be reached is told at once."""
        deadline = time.monotonic() + _FIRST_S
        while True:
            link = self._connect(0)
            if link is not None:
                return link
            if self.board.failure is not None:
                raise self.board.failure
            if self._is_relayed or time.monotonic() > deadline or any(word in self._why for word in _HOPELESS):
                raise Failure("unreachable", self._why)
            time.sleep(1.0)

    def _connect(self, number: int) -> "Link | None":
        generation = self._generations[number] = self._generations.get(number, -1) + 1
        order = {
            "size": self._original.size,
            "digest": self._order["digest"],
            "is_device": self._order["is_device"],
            "inode": self._inode,
            "parents": self._original.parents() if self._order["keeps_owner"] else [],
            "tls": self._wish.ask(),
        }
        if self._is_relayed:
            if generation:
                raise Failure("broken", "the way through the machine that runs vmferry is gone")
            link = Link(self.board, 1, 0, None)
            payload = b""  # vmferry itself started the receiver
        else:
            needed = [(name, text) for name, text in self._modules if name in _RECEIVER]
            payload = program.payload(needed, ("receive", "main"), {})
            more = [staging.MARK, self._order["session"], str(number), str(generation), self._order["staging"]]
            link = through_ssh(self.board, [*self._order["ssh"], program.command(len(payload), more)])
        self._links[number] = link
        if link.open(payload, order, _CONNECT_S):
            link.widen(self._wish)
            return link
        if not link.is_dead:
            link.kill()
        code, self._why = link.why()
        if code == 127:
            self.board.fail(Failure("no-python", self._why))
        link.close()
        return None

    def _stream(self, number: int) -> None:
        """Work over one connection, made again when it breaks, until the copy is over or nothing gets through."""
        try:
            link = self._links.get(number)
            if link is None:
                link = self._connect(number)
            pause = 0.25
            while self._is_wanted():
                if link is not None:
                    self._work(link)
                    if self._is_wanted():
                        code, self._why = link.why()
                        self._wish.note(code)
                        link.close()
                        pause = 0.25
                if not self._is_wanted():
                    return
                self.board.wait(pause)
                pause = min(pause * 2, 4.0)
                if time.monotonic() - self.board.progress_at > self._order["patience_s"]:
                    return
                link = self._connect(number)
        except Failure as failure:
            self.board.fail(failure)
        except Exception as error:
            self.board.fail(Failure("source", f"{type(error).__name__}: {error}"))

    def _is_wanted(self) -> bool:
        return self.board.failure is None and not self.board.is_over

    # work

    def _work(self, link: Link) -> None:
        """Take tasks until there are none, or the connection breaks."""
        reader = DirectReader(self._original.fd)
        told_at = time.monotonic()
        is_hurried = False
        with suppress(wire.Gone):
            while self._is_wanted() and not link.is_dead:
                task = self.board.take(link)
                if task is not None:
                    self._do(link, task, reader)
                    is_hurried = False
                    continue
                if not is_hurried:
                    link.tell(wire.SYNC)
                    is_hurried = True
                self.board.wait(1.0)
                if time.monotonic() - told_at > wire.BEAT_S:
                    link.tell(wire.BEAT)
                    told_at = time.monotonic()
            reader.close()
            return
        reader.close()
        if not link.is_dead:  # else it ends by itself, and its exit code says why
            link.kill()

    def _do(self, link: Link, task: Task, reader: DirectReader) -> None:
        parts: list[Part] = []
        view = memoryview(b"")
        skipped = 0
        kind = self._order["digest"]
        if task.kind == CLEAR:
            found = wire.zero_digests(kind, task.begin, task.end)
            parts.append(Part(wire.ZERO, task, found, wire.digest_size(kind)))
        else:
            view = self._original.read(reader, task.begin, task.end)
            if task.kind == COMPARE:
                found = wire.digests(wire.STRONG, task.begin, view)
                parts.append(Part(wire.CHECK, task, found, wire.digest_size(wire.STRONG)))
            else:
                parts, skipped = split(task, view, kind)
        self.board.register(link, parts, skipped)
        for part in parts:
            data = view[part.task.begin - task.begin : part.task.end - task.begin]
            if part.message == wire.WRITE:
                self._bucket.spend(len(data))
                link.send(part, data)
                self.board.sent += len(data)
            else:
                link.send(part)

    # the end

    def _watch(self, threads: "list[threading.Thread]") -> None:
        """Tell how it goes until the streams have ended; raises Failure."""
        next_s = 0.0
        while any(thread.is_alive() for thread in threads):
            if self.board.failure is not None:
                raise self.board.failure
            self._original.need_same()
            if time.monotonic() >= next_s:
                self._say({"progress": [self.board.done, self.board.total, self.board.sent]})
                next_s = time.monotonic() + _TICK_S
            if time.monotonic() - self.board.progress_at > max(_STALL_S, self._order["patience_s"]):
                raise Failure("broken", f"nothing arrived for {_STALL_S:.0f} s")
            next((thread for thread in threads if thread.is_alive()), threads[0]).join(0.05)
        if self.board.failure is not None:
            raise self.board.failure
        if not self.board.is_over:
            raise Failure("broken", f"no connection for {self._order['patience_s']:.0f} s: {self._why}")

    def _finish(self) -> None:
        """Close all connections but one, and let that one's receiver seal the file."""
        self._original.need_same()
        asked = {"mode": self._original.mode, "owner": self._original.owner if self._order["keeps_owner"] else None}
        links = [link for link in self._links.values() if not link.is_dead]
        for link in links[1:]:
            link.close()
        deadline = time.monotonic() + self._order["patience_s"]
        last = links[0] if links else self._connect(0)
        while last is None or not last.finish(asked, _SEAL_S):
            if self.board.failure is not None:
                raise self.board.failure
            if time.monotonic() > deadline:
                raise Failure("broken", f"the end of the copy was not confirmed: {self._why}")
            time.sleep(0.5)
            last = self._connect(0)
        self._original.need_same()
        last.close()

    def end(self) -> None:
        """End every connection at once."""
        for link in list(self._links.values()):
            link.kill()


def _say_on(fd: int) -> "Any":
    def say(what: "dict[str, Any]") -> None:
        try:
            os.write(fd, json.dumps(what).encode() + b"\n")
        except OSError:
            os._exit(1)  # nobody listens: vmferry's connection is gone

    return say


def _heed(ended: "Any") -> None:
    """End with vmferry's connection: it sends a byte now and then, and closes when it does not want the copy."""
    waiter = select.poll()
    waiter.register(0, select.POLLIN)
    while waiter.poll(wire.SILENCE_S * 1000) and os.read(0, 4096):
        pass
    ended()


def main(order: "dict[str, Any]", modules: "list[tuple[str, str]]") -> int:
    """Copy a file; tell progress and end as lines of JSON, on standard error where the copy itself is relayed."""
    say = _say_on(1 if order.get("ssh") is not None else 2)
    code = 0
    sender = None
    try:
        sender = Sender(order, modules, say)
        if order.get("ssh") is not None:
            mine = sender

            def ended() -> None:
                mine.end()
                os._exit(1)

            threading.Thread(target=_heed, args=(ended,), daemon=True).start()
        sender.run()
    except Failure as failure:
        say({"failed": {"kind": failure.kind, "text": str(failure)}})
        code = 1
    except Exception as error:
        say({"failed": {"kind": "source", "text": f"{type(error).__name__}: {error}"}})
        code = 1
    if sender is not None:
        sender.end()
    sys.stderr.flush()
    os._exit(code)
