"""Runs inside a pod: answers on the ports that its arguments name, by TCP, and on port 53 by UDP as well."""

import socketserver
import sys
import threading
from typing import ClassVar


class Stream(socketserver.BaseRequestHandler):
    """A connection is all that is asked for."""


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, answering = self.request
        answering.sendto(data, self.client_address)


class Streams(socketserver.ThreadingTCPServer):
    allow_reuse_address: ClassVar[bool] = True
    request_queue_size: ClassVar[int] = 64


def main() -> None:
    servers = [Streams(("", int(port)), Stream) for port in sys.argv[1:]]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    socketserver.UDPServer(("", 53), Echo).serve_forever()


if __name__ == "__main__":
    main()
