"""Runs inside a pod, from its standard input: tries each connection once, all at the same time, and prints what came.

The standard library alone: the images hold nothing else for it. Arguments: seconds to wait, and targets as JSON,
{name: [kind, host, port]}. `open` means that somebody answered, `silence` that nobody did.
"""

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

QUERY = bytes.fromhex("2a2a 0100 0001 0000 0000 0000 04 66726565 04 74657374 00 0001 0001".replace(" ", ""))
"""A DNS question for `free.test`, A, IN (RFC 1035, section 4): any answer will do."""


def reach(kind: str, host: str, port: int, seconds: float) -> str:
    try:
        if kind == "name":
            return "open" if socket.getaddrinfo(host, port) else "no address"
        if kind == "udp":
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
                asked.settimeout(seconds)
                asked.connect((host, port))
                asked.send(QUERY)
                return "open" if asked.recv(512) else "empty"
        with socket.create_connection((host, port), timeout=seconds):
            return "open"
    except ConnectionRefusedError:
        return "open" if kind == "closed" else "refused"  # a refusal is an answer: the packet got there
    except TimeoutError:
        return "silence"
    except OSError as error:
        return repr(error)


def main() -> None:
    seconds, targets = float(sys.argv[1]), json.loads(sys.argv[2])
    with ThreadPoolExecutor(max_workers=len(targets)) as pool:
        asked = {name: pool.submit(reach, *target, seconds) for name, target in targets.items()}
        sys.stdout.write(json.dumps({name: answer.result() for name, answer in asked.items()}))


if __name__ == "__main__":
    main()
