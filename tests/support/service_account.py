"""What a pod has mounted to find its API server, and the TLS of a server that plays it on loopback."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path

from tradingbot_sandbox.control_plane.certificates import Authority


def certify(folder: Path) -> ssl.SSLContext:
    """Writes `ca.crt` and a `token` that opens nothing; the context is the server's, for 127.0.0.1."""
    now = datetime.now(UTC)
    authority = Authority.create("test", now=now)
    pair = authority.issue_server("test", hosts=("127.0.0.1",), now=now)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(authority.pem)
    (folder / "token").write_text("test")
    (folder / "server.crt").write_bytes(pair.certificate_pem)
    (folder / "server.key").write_bytes(pair.key_pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    return context
