"""A terminating TCP proxy: answers for whoever a client meant, and connects there itself, from its own address.

Usage: proxy.py PORT LOG    nftables redirects connections to PORT; where they were going is asked of the kernel
(SO_ORIGINAL_DST). LOG gets one JSON line a connection: client, its port, destination, its port, own port.
"""

import asyncio
import json
import socket
import struct
import sys
from typing import Any

SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h; the same number in netfilter_ipv6/ip6_tables.h


def destination(sock: Any) -> tuple[str, int]:
    """Where a redirected connection was going."""
    if sock.family == socket.AF_INET6 and not sock.getpeername()[0].startswith("::ffff:"):
        data = sock.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
        return socket.inet_ntop(socket.AF_INET6, data[8:24]), struct.unpack_from("!H", data, 2)[0]
    data = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
    return socket.inet_ntoa(data[4:8]), struct.unpack_from("!H", data, 2)[0]


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()  # one side hung up: the other copy ends by itself


async def main(port: int, log: str) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, target = destination(writer.get_extra_info("socket"))
        try:
            onward = await asyncio.open_connection(host, target)
        except OSError:
            writer.close()  # nobody answers there
            return
        peer, own = writer.get_extra_info("peername"), onward[1].get_extra_info("sockname")
        with open(log, "a", encoding="utf-8") as file:
            line = {"client": peer[0].removeprefix("::ffff:"), "client_port": peer[1], "to": host, "to_port": target,
                    "own_port": own[1]}  # fmt: skip
            file.write(json.dumps(line) + "\n")
        await asyncio.gather(copy(reader, onward[1]), copy(onward[0], writer))
        writer.close()
        onward[1].close()

    server = await asyncio.start_server(carry, None, port, backlog=512)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
