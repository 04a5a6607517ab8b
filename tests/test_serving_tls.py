"""HTTPS by the endpoint itself: tried before it is served, believed as that one certificate, renewed without a restart."""

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving_parts import endpoint, eventually, release

from backends.places import local_endpoint
from llmspec import tls
from llmspec.client import ask
from llmspec.errors import PlaceError


def certificate(folder: Path, name: str, days: int = 2, passphrase: str = "") -> dict[str, str]:
    """A self-signed one, made by openssl."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {"certificate": str(folder / f"{name}.pem"), "key": str(folder / f"{name}.key")}
    new = ["openssl", "req", "-newkey", "rsa:2048", "-keyout", found["key"], "-subj", "/CN=bot.example"]
    new += ["-passout", f"pass:{passphrase}"] if passphrase else ["-nodes"]
    request = folder / f"{name}.csr"
    subprocess.run([*new, "-out", str(request)], check=True, capture_output=True)
    sign = [
        "openssl",
        "x509",
        "-req",
        "-in",
        str(request),
        "-signkey",
        found["key"],
        "-out",
        found["certificate"],
        "-days",
        str(days),
    ]
    subprocess.run([*sign, *(["-passin", f"pass:{passphrase}"] if passphrase else [])], check=True, capture_output=True)
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return certificate(tmp_path_factory.mktemp("tls"), "live")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, pair: dict[str, str]) -> Iterator[str]:
    with endpoint(tmp_path_factory.mktemp("tls") / ".llmspec", release(tls=pair)) as found:
        yield found


def test_what_is_live_is_believed_and_answers_over_https(url: str, pair: dict[str, str]) -> None:
    live = local_endpoint.live("bot", "local")
    assert live
    assert (live.url, live.certificate) == (url, pair["certificate"])
    assert url.startswith("https://127.0.0.1:")
    assert "".join(ask(url, "Hello there", max_tokens=5, certificate=live.certificate))


def test_nobody_believes_it_without_its_certificate_or_with_another(url: str, tmp_path: Path) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{url}/health")
    with pytest.raises(PlaceError, match="CERTIFICATE_VERIFY_FAILED"):
        list(ask(url, "Hello there"))
    other = certificate(tmp_path, "other")
    with pytest.raises(PlaceError, match="CERTIFICATE_VERIFY_FAILED"):
        list(ask(url, "Hello there", certificate=other["certificate"]))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_protocols_and_plain_http_are_not_spoken(url: str, pair: dict[str, str]) -> None:
    old = tls.client(pair["certificate"])
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health", verify=old)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(url.replace("https", "http") + "/health")


def test_a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_is_not(
    url: str, pair: dict[str, str], tmp_path: Path
) -> None:
    before = local_endpoint.live("bot", "local")
    new, kept = certificate(tmp_path, "new"), Path(pair["certificate"]).read_text()

    def answers(text: str) -> bool:
        (tmp_path / "trusted.pem").write_text(text)
        try:
            return httpx.get(f"{url}/health", verify=tls.client(tmp_path / "trusted.pem")).status_code == 200
        except httpx.ConnectError:
            return False

    Path(pair["certificate"]).write_text(Path(new["certificate"]).read_text())  # half of a renewal: the key is still the old one
    assert answers(kept)
    Path(pair["key"]).write_text(Path(new["key"]).read_text())
    eventually(lambda: answers(Path(new["certificate"]).read_text()))
    after = local_endpoint.live("bot", "local")
    assert before
    assert after
    assert after.since == before.since, "the same worker"


FAULTS = {
    "expired": ("certificate", "has expired"),
    "mismatch": ("key", "is not the key of"),
    "passphrase": ("key", "has a passphrase"),
    "no certificate": ("certificate", "no certificate in PEM form"),
    "no key": ("key", "no private key in PEM form"),
    "missing": ("key", "cannot be read (No such file or directory)"),
}


def broken(fault: str, folder: Path) -> dict[str, str]:
    good = certificate(folder, "good", passphrase="hidden" if fault == "passphrase" else "", days=-1 if fault == "expired" else 2)
    match fault:
        case "mismatch":
            return {**good, "key": certificate(folder, "another")["key"]}
        case "no certificate":
            return {**good, "certificate": good["key"]}
        case "no key":
            return {**good, "key": good["certificate"]}
        case "missing":
            return {**good, "key": str(folder / "nowhere.pem")}
    return good


@pytest.mark.parametrize("fault", FAULTS)
def test_a_certificate_that_no_client_would_believe_is_found_before_it_is_served(tmp_path: Path, fault: str) -> None:
    pair = broken(fault, tmp_path)
    which, why = tls.fault(pair["certificate"], pair["key"])
    assert (which, FAULTS[fault][1] in why) == (FAULTS[fault][0], True), why


def test_a_release_with_a_broken_certificate_leaves_the_old_one_serving(url: str, tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=r"endpoint.tls: .* is not the key of"):
        local_endpoint.serve(release(2, seed=1, tls=broken("mismatch", tmp_path)))
    assert local_endpoint.live("bot", "local")
