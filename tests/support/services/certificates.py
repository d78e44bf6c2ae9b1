"""A CA and certificates that it signs, made by the openssl command, as docs/tls.md tells people to do."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from osteon.dimse.tls import TlsFiles

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not here")


@dataclass(frozen=True)
class CertificatePair:
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path

    def files(self, ca: "CertificateAuthority | None" = None) -> TlsFiles:
        return TlsFiles(
            certificate=str(self.certificate), key=str(self.key), ca="" if ca is None else str(ca.certificate)
        )


class CertificateAuthority:
    """A CA in a folder of its own."""

    def __init__(self, folder: Path, name: str = "CA") -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.certificate, self._key = self.folder / "ca.pem", self.folder / "ca.key"
        _openssl("req", "-x509", *_new_key(self._key), "-subj", f"/CN={name}", "-days", "30", "-out", self.certificate)

    def sign(self, name: str = "archive", host: str = "IP:127.0.0.1", *, expired: bool = False) -> CertificatePair:
        """Make a certificate for a host, and its key."""
        pair = CertificatePair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={host}\nbasicConstraints=critical,CA:FALSE\n")
        _openssl("req", "-new", *_new_key(pair.key), "-subj", f"/CN={name}", "-out", request)
        if expired:
            self._sign_long_ago(request, extensions, pair)
        else:
            signer = ("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "30")
            _openssl("x509", "-req", "-in", request, *signer, "-extfile", extensions, "-out", pair.certificate)
        return pair

    def _sign_long_ago(self, request: Path, extensions: Path, pair: CertificatePair) -> None:
        # `openssl x509` has no start date before version 3.4; `openssl ca` always had, and wants a database.
        config = self.folder / "ca.cnf"
        (self.folder / "index.txt").write_text("")
        config.write_text(
            f"[ca]\ndefault_ca=c\n[c]\ndatabase={self.folder}/index.txt\nnew_certs_dir={self.folder}\n"
            "rand_serial=yes\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
        )
        signer = ("-config", config, "-cert", self.certificate, "-keyfile", self._key, "-extfile", extensions)
        dates = ("-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
        _openssl("ca", "-batch", "-notext", *signer, *dates, "-in", request, "-out", pair.certificate)


def _new_key(path: Path) -> tuple[str | Path, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path)


def _openssl(*arguments: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
