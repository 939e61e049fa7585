"""SHELL. The certificate with which logs are served: made anew at each start, signed by nobody.

The API server checks a kubelet's certificate only when it is given `--kubelet-certificate-authority`. What protects the
logs is the other direction: only the API server's client certificate is answered (`log_server.py`).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .downward import HOST_IP
from .timestamps import NS

VALID_DAYS = 365


def build_server_context(folder: Path, node_name: str, client_ca: Path, now_ns: int) -> ssl.SSLContext:
    """OSError or ssl.SSLError if `client_ca` cannot be read."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    start = dt.datetime.fromtimestamp(now_ns // NS, dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"process-node:{node_name}")])
    alternatives: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_address(HOST_IP)),
        x509.DNSName(node_name),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - dt.timedelta(minutes=5))
        .not_valid_after(start + dt.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "serving.pem"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        stream.write(certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client_ca))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(path)
    return context
