"""Carries connections on: `python forwarding.py LISTEN TARGET`, each a port of 127.0.0.1 or a Unix socket."""

from __future__ import annotations

import asyncio
import sys
from asyncio import StreamReader, StreamWriter
from contextlib import suppress


async def main(listen: str, target: str) -> None:
    async def carry(reader: StreamReader, writer: StreamWriter) -> None:
        if target.isdigit():
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", int(target))
        else:
            target_reader, target_writer = await asyncio.open_unix_connection(target)
        await asyncio.gather(pump(reader, target_writer), pump(target_reader, writer))

    if listen.isdigit():
        server = await asyncio.start_server(carry, "127.0.0.1", int(listen))
    else:
        server = await asyncio.start_unix_server(carry, listen)
    await server.serve_forever()


async def pump(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
