"""The link carries every byte in order, and never more than its window at once."""

import asyncio
import tempfile
import unittest
from pathlib import Path

from ..link import Window, carry, delaying_link


class Sink:
    """Takes the place of a writer, and notes what arrives."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.is_ended = False

    def write(self, piece: bytes) -> None:
        self.pieces.append(piece)

    async def drain(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_ended = True


class Links(unittest.IsolatedAsyncioTestCase):
    async def test_no_more_than_the_window_is_under_way(self) -> None:
        reader, sink = asyncio.StreamReader(), Sink()
        text = bytes(range(256)) * 4
        reader.feed_data(text)
        reader.feed_eof()
        await carry(reader, sink, 0.005, window_bytes=300)  # type: ignore[arg-type]
        self.assertEqual(b"".join(sink.pieces), text)
        self.assertTrue(sink.is_ended)
        self.assertEqual([len(piece) for piece in sink.pieces], [300, 300, 300, 124])

    async def test_a_full_window_waits_for_an_acknowledgement(self) -> None:
        window = Window(10)
        window.take(10)
        waiting = asyncio.create_task(window.some())
        await asyncio.sleep(0)
        self.assertFalse(waiting.done())
        window.free(4)
        self.assertEqual(await waiting, 4)

    async def test_connections_go_there_and_back_and_end(self) -> None:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read())
            await writer.drain()
            writer.close()

        with tempfile.TemporaryDirectory() as folder:
            socket = Path(folder) / "socket"
            async with await asyncio.start_unix_server(echo, socket):
                with delaying_link(socket, round_trip_ms=2, window_bytes=4096) as port:
                    text = b"0123456789" * 5000

                    async def talk() -> bytes:
                        reader, writer = await asyncio.open_connection("127.0.0.1", port)
                        writer.write(text)
                        writer.write_eof()
                        answer = await reader.read()
                        writer.close()
                        return answer

                    self.assertEqual(await asyncio.gather(talk(), talk()), [text, text])
