"""Answers every line with its own name, on as many connections as come.

Usage: echo_server.py NAME PORT
"""

import asyncio
import sys


async def main(name: str, port: int) -> None:
    answer = f"{name}\n".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readline():
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            pass  # the client left in a hurry
        finally:
            writer.close()

    server = await asyncio.start_server(serve, None, port, backlog=4096)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
