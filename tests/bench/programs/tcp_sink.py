"""Takes TCP connections one after the other and prints, of each, bytes and seconds of its measured part as JSON.

Usage: tcp_sink.py PORT WARM_UP SECONDS    What arrives from WARM_UP to WARM_UP + SECONDS after the first byte counts.
"""

import json
import socket
import sys
import time


def measure(connection: socket.socket, warm_up: float, seconds: float) -> dict[str, float]:
    buffer = memoryview(bytearray(1 << 18))
    began = counted_from = counted_to = 0.0
    counted = 0
    while size := connection.recv_into(buffer):
        now = time.monotonic()
        began = began or now
        if now < began + warm_up:
            continue
        if not counted_from:
            counted_from = counted_to = now  # what this read brought came before
        elif now <= began + warm_up + seconds:
            counted += size
            counted_to = now
    return {"bytes": counted, "seconds": counted_to - counted_from}


def main(port: int, warm_up: float, seconds: float) -> None:
    listener = socket.create_server(("", port))
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        with connection:
            print(json.dumps(measure(connection, warm_up, seconds)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
