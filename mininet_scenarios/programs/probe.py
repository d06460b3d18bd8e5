"""Opens TCP connections from given source ports, asks for a page on each, and prints who answered, as JSON.

Usage: probe.py PLAN    where PLAN is JSON: {"to": address, "port": number, "source": own address or "",
"source_ports": [numbers], "path": "/", "requests": how many on each connection, "pause": seconds between them,
"timeout": seconds, "parallel": how many connections at once}. Prints
[{"source_port", "answered_by", "error", "seconds"}, …].
"""

import asyncio
import json
import socket
import sys
import time
from typing import Any


async def connect(plan: dict[str, Any], source_port: int) -> dict[str, Any]:
    began = time.monotonic()
    outcome: dict[str, Any] = {"source_port": source_port, "answered_by": None, "error": None}
    writer = None
    v6 = ":" in plan["to"]
    sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setblocking(False)
    try:
        sock.bind((plan["source"] or ("::" if v6 else "0.0.0.0"), source_port))
        async with asyncio.timeout(plan["timeout"]):
            await asyncio.get_running_loop().sock_connect(sock, (plan["to"], plan["port"]))
            reader, writer = await asyncio.open_connection(sock=sock)
            request = f"GET {plan['path']} HTTP/1.1\r\nHost: {plan['to']}\r\n\r\n".encode()
            for number in range(plan["requests"]):
                if number and plan["pause"]:
                    await asyncio.sleep(plan["pause"])
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
                await reader.readexactly(int(fields["content-length"]))
                outcome["answered_by"] = fields["server"]
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as problem:
        outcome["error"] = type(problem).__name__ if not str(problem) else str(problem)
        outcome["answered_by"] = None
    finally:
        if writer is not None:
            writer.close()
        sock.close()
    outcome["seconds"] = round(time.monotonic() - began, 4)
    return outcome


async def main(plan: dict[str, Any]) -> None:
    slots = asyncio.Semaphore(plan["parallel"])

    async def one(source_port: int) -> dict[str, Any]:
        async with slots:
            return await connect(plan, source_port)

    print(json.dumps(await asyncio.gather(*(one(port) for port in plan["source_ports"]))))


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
