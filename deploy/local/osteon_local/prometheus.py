"""A private Prometheus (Debian: prometheus) with the rules of deploy/prometheus, on processes of this host."""

import json
import signal
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

from osteon_local.part import Part, PartError, find_binary, free_port
from osteon_local.process import Process

RULES: Final = Path(__file__).resolve().parents[2] / "prometheus" / "rules"
_INSTALL: Final = "apt-get install --no-install-recommends -y prometheus"


class Prometheus(Part):
    """Prometheus that scrapes `targets`, lists of `host:port` by job, every so many seconds."""

    name: ClassVar[str] = "prometheus"

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[str]], *, every: int = 1) -> None:
        super().__init__(folder)
        self.port = free_port()
        self._targets = targets
        self._every = every

    @property
    def url(self) -> str:
        """Its own page and API."""
        return f"http://127.0.0.1:{self.port}"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression now; raises `PartError` with what Prometheus has against it."""
        return self._ask("query", query=expression)

    def query_range(self, expression: str, begin: float, end: float, step: float) -> list[dict[str, Any]]:
        """Return the series of an expression between two moments; raises `PartError`."""
        return self._ask("query_range", query=expression, start=begin, end=end, step=step)

    def prepare(self) -> Process:
        """Write the configuration."""
        binary = find_binary("prometheus", install=_INSTALL)
        config = self.folder / "prometheus.json"  # which is YAML, too
        config.write_text(json.dumps(self._config()))
        command = [
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        return Process(command, log=self.log, cwd=self.folder, stop_signal=signal.SIGTERM)

    def probe(self) -> str:
        """Ask for `/-/ready`."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return "" if answer.status == 200 else f"status {answer.status}"
        except (urllib.error.URLError, OSError) as error:
            return str(error)

    def _config(self) -> dict[str, Any]:
        every = f"{self._every}s"
        return {
            "global": {"scrape_interval": every, "evaluation_interval": every},
            "rule_files": [str(RULES / "*.yml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(where)}]} for job, where in self._targets.items()
            ],
        }

    def _ask(self, what: str, **asked: object) -> list[dict[str, Any]]:
        body = urllib.parse.urlencode(asked).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{what}", data=body, timeout=30) as answer:
                result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return result
        except urllib.error.HTTPError as error:
            raise PartError(f"{asked['query']}: {json.load(error).get('error')}") from None
