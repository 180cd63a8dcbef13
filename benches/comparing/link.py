"""A network link for a bench: a TCP proxy with a round trip and a fixed window, because the machine has no other.

As with a TCP sender whose window does not grow, at most a window of bytes of one direction of a connection is on its way and
not acknowledged: bytes arrive half a round trip after they were sent, and their acknowledgement, which makes room for as many,
half a round trip after the receiver took them. So one connection carries at most window / round trip, whatever the machine
can do; connections do not share. Runs in a process of its own: python3 -m comparing.link SOCKET ROUND_TRIP_MS WINDOW_BYTES
prints the port on 127.0.0.1, and serves until its standard input ends.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PIECE_BYTES = 65536


class Window:
    """How many bytes may still be sent before an acknowledgement."""

    def __init__(self, n_bytes: int) -> None:
        self._room = n_bytes
        self._freed = asyncio.Event()

    async def some(self) -> int:
        """Waits until there is room, and says how much."""
        while self._room == 0:
            self._freed.clear()
            await self._freed.wait()
        return self._room

    def take(self, n_bytes: int) -> None:
        self._room -= n_bytes

    def free(self, n_bytes: int) -> None:
        self._room += n_bytes
        self._freed.set()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float, window_bytes: int) -> None:
    """One direction of a connection, until its end, which arrives after all that was sent before it."""
    loop = asyncio.get_running_loop()
    window = Window(window_bytes)
    # Bounded by the window; the empty piece is the end.
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def send() -> None:
        piece = b"-"
        while piece:
            room = await window.some()
            try:
                piece = await reader.read(min(room, PIECE_BYTES))
            except ConnectionError:
                piece = b""
            window.take(len(piece))
            under_way.put_nowait((loop.time() + delay_s, piece))

    async def arrive() -> None:
        while True:
            at, piece = await under_way.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            if not piece:
                break
            writer.write(piece)
            await writer.drain()
            loop.call_later(delay_s, window.free, len(piece))
        if writer.can_write_eof():
            writer.write_eof()

    sending = asyncio.create_task(send())
    try:
        await arrive()
    except ConnectionError:
        pass
    finally:
        sending.cancel()


async def serve(socket: str, delay_s: float, window_bytes: int) -> None:
    """Accepts connections until standard input ends."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(socket)
        try:
            await asyncio.gather(
                carry(reader, far_writer, delay_s, window_bytes),
                carry(far_reader, writer, delay_s, window_bytes),
            )
        finally:
            far_writer.close()
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


@contextmanager
def delaying_link(socket: Path, round_trip_ms: float, window_bytes: int) -> Iterator[int]:
    """A link to a server's socket; gives its port on 127.0.0.1."""
    command = [sys.executable, "-m", "comparing.link", str(socket), str(round_trip_ms), str(window_bytes)]
    folder = Path(__file__).resolve().parent.parent
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.terminate()


if __name__ == "__main__":
    try:
        asyncio.run(serve(sys.argv[1], float(sys.argv[2]) / 2000, int(sys.argv[3])))
    except KeyboardInterrupt:
        pass
