"""Holds many connections for a while, each of them in use, and tells which of them broke.

Usage: hold.py ADDRESS PORT CONNECTIONS PAUSE LIFE SECONDS    Each of CONNECTIONS sends a line every PAUSE seconds and
expects an answer within 5 s, from whom it got the first; after LIFE seconds, half of that to one and a half times of
it, it is closed and a new one is opened. Prints JSON: {"opened", "answers", "ended": {provider: number closed as
planned}, "broken": [[provider, error, local port, seconds by the machine's monotonic clock, seconds it lasted]],
"refused": {error: number that never got a first answer}}.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter


class Told:
    def __init__(self) -> None:
        self.opened = self.answers = 0
        self.ended, self.refused = Counter[str](), Counter[str]()
        self.broken: list[tuple[str, str, int, float, float]] = []


async def hold(told: Told, address: str, port: int, pause: float, life: float, until: float) -> None:
    drawn = random.Random()
    await asyncio.sleep(drawn.uniform(0, pause))
    while time.monotonic() < until:
        provider, writer, port_here, began = "", None, 0, time.monotonic()
        end = min(until, time.monotonic() + drawn.uniform(0.5, 1.5) * life)
        try:
            async with asyncio.timeout(5):
                reader, writer = await asyncio.open_connection(address, port)
            told.opened += 1
            port_here = writer.get_extra_info("sockname")[1]
            while time.monotonic() < end:
                writer.write(b"?\n")
                async with asyncio.timeout(5):
                    answer = (await reader.readline()).decode().strip()
                if not answer:
                    raise ConnectionError("closed by the other side")
                if provider and answer != provider:
                    raise ConnectionError("answered by another provider")
                provider = answer
                told.answers += 1
                await asyncio.sleep(pause)
            told.ended[provider] += 1
        except (OSError, TimeoutError) as problem:
            what = str(problem) or type(problem).__name__
            if provider:
                now = time.monotonic()
                told.broken.append((provider, what, port_here, round(now, 3), round(now - began, 3)))
            else:
                told.refused[what] += 1
            await asyncio.sleep(pause)  # a service that refuses is not asked again at once
        finally:
            if writer is not None:
                writer.close()


async def main(address: str, port: int, connections: int, pause: float, life: float, seconds: float) -> None:
    told, until = Told(), time.monotonic() + seconds
    await asyncio.gather(*(hold(told, address, port, pause, life, until) for _ in range(connections)))
    print(json.dumps(vars(told)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:])))
