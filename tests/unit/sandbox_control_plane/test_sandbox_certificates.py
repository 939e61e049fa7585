"""The certificates: accepted by a verifier as strict as Python 3.13's, and good only for what they are for."""

from __future__ import annotations

import ipaddress
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tradingbot_sandbox.control_plane.certificates import Authority, KeyPair
from tradingbot_sandbox.control_plane.pki import SERVER_NAMES, Pki

NOW = datetime.now(UTC)


def handshake(server: KeyPair, trusted: bytes, tmp_path: Path, *, name: str, client: KeyPair | None = None) -> bytes:
    """A TLS handshake in memory, both sides verifying strictly; answers the client certificate that the server saw."""
    contexts = []
    for purpose, pair in ((ssl.PROTOCOL_TLS_SERVER, server), (ssl.PROTOCOL_TLS_CLIENT, client)):
        context = ssl.SSLContext(purpose)
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=trusted.decode())
        if pair is not None:
            file = tmp_path / f"{purpose.name}.pem"
            file.write_bytes(pair.certificate_pem + pair.key_pem)
            context.load_cert_chain(file)
        contexts.append(context)
    server_context, client_context = contexts
    server_context.verify_mode = ssl.CERT_REQUIRED if client is not None else ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    a = server_context.wrap_bio(to_server, to_client, server_side=True)
    b = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    waiting = [b, a]
    while waiting:
        side = waiting.pop(0)
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(side)
    return a.getpeercert(binary_form=True) or b""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test", now=NOW)


@pytest.mark.parametrize("name", SERVER_NAMES)
def test_server_is_trusted_under_each_of_its_names(authority: Authority, tmp_path: Path, name: str) -> None:
    handshake(authority.issue_server("api", hosts=SERVER_NAMES, now=NOW), authority.pem, tmp_path, name=name)


def test_server_is_not_trusted_under_another_name(authority: Authority, tmp_path: Path) -> None:
    server = authority.issue_server("api", hosts=("127.0.0.1",), now=NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(server, authority.pem, tmp_path, name="127.0.0.2")


def test_authority_of_another_sandbox_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    server = Authority.create("test", now=NOW).issue_server("api", hosts=("localhost",), now=NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, authority.pem, tmp_path, name="localhost")


def test_client_certificate_carries_user_and_groups(authority: Authority, tmp_path: Path) -> None:
    server = authority.issue_server("api", hosts=("localhost",), now=NOW)
    client = authority.issue_client("jane", groups=("system:masters",), now=NOW)
    seen = x509.load_der_x509_certificate(handshake(server, authority.pem, tmp_path, name="localhost", client=client))
    assert [a.value for a in seen.subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["jane"]
    assert [a.value for a in seen.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["system:masters"]


def test_client_certificate_cannot_serve(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        handshake(authority.issue_client("jane", now=NOW), authority.pem, tmp_path, name="jane")


def test_authority_may_sign_certificates_and_nothing_else(authority: Authority) -> None:
    usage = authority.certificate.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    assert authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_leaf_cannot_sign(authority: Authority) -> None:
    leaf = x509.load_pem_x509_certificate(authority.issue_client("jane", now=NOW).certificate_pem)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not leaf.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def test_certificates_are_valid_before_now_and_long_after(authority: Authority) -> None:
    leaf = x509.load_pem_x509_certificate(authority.issue_client("jane", now=NOW).certificate_pem)
    assert leaf.not_valid_before_utc < NOW
    assert leaf.not_valid_after_utc > NOW + timedelta(days=300)
    assert authority.certificate.not_valid_after_utc > NOW + timedelta(days=3000)


def test_repeated_preparation_keeps_the_authority_and_renews_the_leaves(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    pki.prepare(NOW - timedelta(days=360))
    before = {path.name: path.read_bytes() for path in pki.folder.iterdir()}
    pki.prepare(NOW)
    after = {path.name: path.read_bytes() for path in pki.folder.iterdir()}
    kept = {name for name in before if before[name] == after[name]}
    assert kept == {"ca.crt", "ca.key", "etcd-ca.crt", "etcd-ca.key", "service-account.key", "service-account.pub"}
    renewed = x509.load_pem_x509_certificate(pki.certificate("apiserver").read_bytes())
    assert renewed.not_valid_after_utc > NOW + timedelta(days=300)


def test_interrupted_preparation_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "pki.part").mkdir()
    (tmp_path / "pki.part" / "ca.key").write_text("half of a k")
    pki = Pki(tmp_path / "pki")
    pki.prepare(NOW)
    loaded = Authority.load(KeyPair(pki.ca.read_bytes(), pki.key("ca").read_bytes()))
    assert loaded.pem == pki.ca.read_bytes()
    assert not (tmp_path / "pki.part").exists()


def test_nobody_else_may_read_the_keys(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    pki.prepare(NOW)
    assert pki.folder.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o077 for path in pki.folder.iterdir()} == {0}


def test_etcd_does_not_trust_the_clients_of_the_cluster(tmp_path: Path) -> None:
    """Whoever gets a certificate from the cluster's own signer must not reach the store with it."""
    pki = Pki(tmp_path / "pki")
    pki.prepare(NOW)
    etcd = KeyPair(pki.certificate("etcd").read_bytes(), pki.key("etcd").read_bytes())
    admin = KeyPair(pki.certificate("admin").read_bytes(), pki.key("admin").read_bytes())
    api_server = KeyPair(pki.certificate("etcd-client").read_bytes(), pki.key("etcd-client").read_bytes())
    trusted = pki.etcd_ca.read_bytes()
    handshake(etcd, trusted, tmp_path, name="127.0.0.1", client=api_server)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(etcd, trusted, tmp_path, name="127.0.0.1", client=admin)


def test_the_api_servers_certificate_names_the_service_address(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    pki.prepare(NOW)
    certificate = x509.load_pem_x509_certificate(pki.certificate("apiserver").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "kubernetes.default.svc"} <= set(names.get_values_for_type(x509.DNSName))
    assert ipaddress.ip_address("127.0.0.1") in names.get_values_for_type(x509.IPAddress)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_kubeconfig_holds_everything_that_a_copy_needs(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    pki.prepare(NOW)
    config = json.loads(pki.kubeconfig("admin", server="https://127.0.0.1:6443"))
    assert config["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert config["contexts"][0]["context"] == {"cluster": "sandbox", "user": "admin"}
    assert set(config["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}
    assert str(tmp_path) not in json.dumps(config)
