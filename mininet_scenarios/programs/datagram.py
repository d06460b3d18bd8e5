"""Sends one UDP datagram and says what came of it: answered, refused, unreachable, or silence.

Usage: datagram.py ADDRESS SOURCE-PORT PORT    refused: an ICMP port unreachable; unreachable: another ICMP
unreachable (administratively prohibited, …); silence: nothing within a second.
"""

import errno
import socket
import sys

UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES)


def main(address: str, source_port: int, port: int) -> str:
    v6 = ":" in address
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("::" if v6 else "0.0.0.0", source_port))
        sock.settimeout(1.0)
        sock.connect((address, port))
        sock.setsockopt(*((socket.IPPROTO_IPV6, 25, 1) if v6 else (socket.SOL_IP, 11, 1)))  # IP_RECVERR: all of them
        sock.send(b"anybody there?")
        try:
            sock.recv(2048)
        except TimeoutError:
            return "silence"
        except ConnectionRefusedError:
            return "refused"
        except OSError as problem:
            if problem.errno in UNREACHABLE:
                return "unreachable"
            raise
        return "answered"


if __name__ == "__main__":
    print(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
