"""Says its name to everyone who connects, and hangs up.

Usage: name_server.py NAME PORT
"""

import socket
import sys


def main(name: bytes, port: int) -> None:
    listener = socket.create_server(("", port), backlog=4096)
    print("listening", flush=True)
    while True:
        connection, _ = listener.accept()
        try:
            connection.sendall(name)
        except OSError:
            pass  # the client left
        finally:
            connection.close()


if __name__ == "__main__":
    main(sys.argv[1].encode(), int(sys.argv[2]))
