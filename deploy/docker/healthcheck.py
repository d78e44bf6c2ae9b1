"""Ends with status 0 when the service in this container answers `/healthz`.

Services answer on OSTEON_HEALTH_PORT; `standalone` has no port for that alone and answers on OSTEON_HTTP_PORT.
"""

import os
import sys
from urllib.request import urlopen


def healthy(port: str) -> bool:
    """Whether `/healthz` answers on a port of this container."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    ports = (os.environ.get("OSTEON_HEALTH_PORT", "8081"), os.environ.get("OSTEON_HTTP_PORT", "8042"))
    sys.exit(not any(healthy(port) for port in ports))
