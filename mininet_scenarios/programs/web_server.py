"""A web server that answers every request with its own name, and writes down who asked.

Usage: web_server.py NAME LOG PORT...    LOG gets one JSON line a connection: peer, local address, ports. A request
for `…?size=N` is answered with N bytes.
"""

import asyncio
import json
import re
import sys
from pathlib import Path


async def serve(name: str, log: Path, ports: list[int]) -> None:
    body = f"{name}\n".encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer, local = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps({"peer": peer[0], "peer_port": peer[1], "port": local[1]}) + "\n")
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = re.match(rb"\S+ \S*[?&]size=(\d+)", head)
                page = body if size is None else b"." * int(size[1])
                writer.write(
                    b"HTTP/1.1 200 OK\r\nServer: "
                    + name.encode()
                    + b"\r\nContent-Type: text/plain\r\n"
                    + f"Content-Length: {len(page)}\r\n\r\n".encode()
                    + page
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            writer.close()  # the client is done, or does not speak HTTP

    servers = [await asyncio.start_server(answer, None, port, backlog=512) for port in ports]
    print("listening", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Path(sys.argv[2]), [int(port) for port in sys.argv[3:]]))
