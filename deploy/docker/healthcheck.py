"""Ends with status 0 when the service in this container answers `/healthz`.

Services answer on OSTEON_HEALTH_PORT; `standalone` has no port for that alone and answers on OSTEON_HTTP_PORT.
`/readyz` is asked too: its answer does not count here, but it becomes the metric `osteon_ready`.
"""

import os
import sys
from urllib.request import urlopen


def answers(port: str, path: str) -> bool:
    """Whether a port of this container answers with status 200."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    ports = (os.environ.get("OSTEON_HEALTH_PORT", "8081"), os.environ.get("OSTEON_HTTP_PORT", "8042"))
    healthy = [port for port in ports if answers(port, "/healthz")]
    for port in healthy[:1]:
        answers(port, "/readyz")
    sys.exit(not healthy)
