"""Opens a connection every so often, whatever became of the ones before, and prints who answered, and when.

Usage: knock.py ADDRESS PORT INTERVAL    One line a connection: seconds by the machine's monotonic clock at which the
answer was there, and the answer; `! ERROR` in its place where there was none within 5 s.
"""

import asyncio
import sys
import time


async def knock(address: str, port: int) -> None:
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(address, port)
            answer = (await reader.read()).decode()
            writer.close()
    except (OSError, TimeoutError) as problem:
        answer = f"! {type(problem).__name__}"
    print(f"{time.monotonic():.6f} {answer or '! nothing'}", flush=True)


async def main(address: str, port: int, interval: float) -> None:
    due, under_way = time.monotonic(), set()
    while True:
        task = asyncio.create_task(knock(address, port))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        due = max(due + interval, time.monotonic())  # what was missed is not made up for
        await asyncio.sleep(due - time.monotonic())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
