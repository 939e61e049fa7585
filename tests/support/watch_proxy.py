"""A way to the API server that sees which connections carry watches, and can let those go silent without closing them.

It ends TLS with a certificate of its own, so that it can read the requests. What goes silent stays open at both ends:
no FIN, no RST, nothing, as behind a firewall that has forgotten the connection.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOST = "127.0.0.1"
_WATCH = re.compile(rb"^GET (\S+/([a-z]+))\?\S*watch=true", re.MULTILINE)
"""Path and plural of the kind."""


@dataclass(eq=False)
class _Pair:
    """One connection of a client, and ours behind it."""

    near: socket.socket
    far: socket.socket
    plural: str = ""
    """The kind that it watches; empty while it carries other requests."""
    is_silent: bool = False


class WatchProxy:
    def __init__(self, target: str, ca: Path, folder: Path) -> None:
        """`target` is the URL of the API server, `ca` its authority. `folder` receives ours: ca.crt."""
        address = urlsplit(target)
        self._target = (address.hostname or "", address.port or 443)
        self._outside = ssl.create_default_context(cafile=str(ca))
        self.ca = folder / "ca.crt"
        self._inside = _serve_as_ourselves(folder, self.ca)
        self._pairs: set[_Pair] = set()
        self._lock = threading.Lock()
        self._may_watch = threading.Event()
        self._may_watch.set()
        self._may_pass = threading.Event()
        self._may_pass.set()
        self._listener = socket.create_server((HOST, 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self._listener.getsockname()[1]}"

    def silence_watches(self, plural: str = "") -> int:
        """From now on nothing passes on the connections that carry a watch (of that kind); how many there are."""
        with self._lock:
            chosen = [pair for pair in self._pairs if pair.plural and plural in ("", pair.plural)]
            for pair in chosen:
                pair.is_silent = True
        return len(chosen)

    def hold_watches(self) -> None:
        """No new watch reaches the API server until `let_watch`."""
        self._may_watch.clear()

    def let_watch(self) -> None:
        self._may_watch.set()

    def swallow_everything(self) -> None:
        """All connections go silent for good, and new ones until `pass_on`."""
        self._may_pass.clear()
        with self._lock:
            for pair in self._pairs:
                pair.is_silent = True

    def pass_on(self) -> None:
        self._may_pass.set()

    def close(self) -> None:
        self.pass_on()
        self.let_watch()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            _close(pair)

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        self._may_pass.wait()
        try:
            near = self._inside.wrap_socket(raw, server_side=True)
            far = self._outside.wrap_socket(socket.create_connection(self._target), server_hostname=self._target[0])
        except OSError:
            raw.close()
            return
        pair = _Pair(near, far)
        with self._lock:
            self._pairs.add(pair)
        threading.Thread(target=self._pass_back, args=(pair,), daemon=True).start()
        with suppress(OSError):
            while data := near.recv(65536):
                if found := _WATCH.search(data):
                    self._may_watch.wait()
                    pair.plural = found[2].decode()
                elif data.startswith((b"GET ", b"PATCH ", b"POST ", b"PUT ", b"DELETE ")):
                    pair.plural = ""
                if not pair.is_silent:
                    far.sendall(data)
        # The client has gone, and so the API server may be told.
        with self._lock:
            self._pairs.discard(pair)
        _close(pair)

    def _pass_back(self, pair: _Pair) -> None:
        with suppress(OSError):
            while data := pair.far.recv(65536):
                if not pair.is_silent:
                    pair.near.sendall(data)
        if not pair.is_silent:
            _close(pair)


def _close(pair: _Pair) -> None:
    for end in (pair.near, pair.far):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


def _serve_as_ourselves(folder: Path, ca: Path) -> ssl.SSLContext:
    """A certificate that is its own authority, good for an hour, made for this one proxy."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "watch-proxy")])
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = folder / "proxy.key"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, private)
    return context
