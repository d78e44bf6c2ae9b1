"""`make cluster`: run the cluster in the foreground until Ctrl-C, and say where it is."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from osteon_local.cluster import Cluster
from osteon_local.part import PartError

PORTS = {"OSTEON_DICOM_PORT": 4242, "OSTEON_HTTP_PORT": 8042}
"""Settings of the two ports, as of `make run`, and their defaults."""


def main() -> int:
    """Start, print the addresses, wait for a signal or for the first process that ends, and stop."""
    options = parse(sys.argv[1:])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    cluster: Cluster | None = None
    try:
        cluster = make(options)
        say(f"Starting RabbitMQ, PostgreSQL, SeaweedFS and the services; logs are in {cluster.logs}")
        cluster.start()
        print(json.dumps(cluster.addresses()) if options.json else banner(cluster), flush=True)
        while True:
            time.sleep(0.5)
            cluster.raise_if_dead()
    except KeyboardInterrupt:
        return 0
    except PartError as error:
        say(f"osteon cluster: {error}")
        return 1
    finally:
        if cluster is not None:
            say("Stopping")
            cluster.stop()


def interrupt(_number: int, _frame: object) -> None:
    """End the run on the first signal; later ones do not disturb the stopping."""
    for later in (signal.SIGINT, signal.SIGTERM):
        signal.signal(later, signal.SIG_IGN)
    raise KeyboardInterrupt


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="cluster.py", description=__doc__)
    parser.add_argument(
        "--data", type=Path, help="folder for all data and logs (default OSTEON_DATA, else data/cluster)"
    )
    parser.add_argument(
        "--port-base",
        type=int,
        help=f"DICOM port, and HTTP one above; 0: free ones (default {' and '.join(PORTS)}, else 4242 and 8042)",
    )
    parser.add_argument("--replicas", action="append", default=[], metavar="NAME=N", help="such as writer=2")
    parser.add_argument("--json", action="store_true", help="print the addresses as one line of JSON")
    return parser.parse_args(arguments)


def make(options: argparse.Namespace) -> Cluster:
    """Build the cluster that the options ask for; raises `PartError`."""
    replicas: dict[str, int] = {}
    for option in options.replicas:
        name, _, count = option.partition("=")
        if not count.isdecimal():
            raise PartError(f"--replicas {option}: expected NAME=N, such as writer=2")
        replicas[name] = int(count)
    base = options.port_base
    dicom, http = map(port_of, PORTS) if base is None else (base, base + 1) if base else (0, 0)
    data = options.data or Path(os.environ.get("OSTEON_DATA") or "data/cluster")
    return Cluster(data, dicom_port=dicom, http_port=http, replicas=replicas)


def port_of(setting: str) -> int:
    """Return the port that a setting names, or its default; raises `PartError`."""
    given = os.environ.get(setting) or str(PORTS[setting])
    if not given.isdecimal() or int(given) > 65535:
        raise PartError(f"{setting}={given}: expected a port, 0 to 65535")
    return int(given)


def banner(cluster: Cluster) -> str:
    """Say where everything is."""
    return f"""
Osteon is running as a cluster.
  AE title    OSTEON
  DICOM       127.0.0.1:{cluster.dicom_port}
  DICOMweb    {cluster.url}/dicom-web
  REST        {cluster.url}/system
  RabbitMQ    {cluster.parts.rabbitmq.url}
  PostgreSQL  {cluster.parts.postgres.url}
  S3          http://{cluster.parts.seaweedfs.endpoint}
  Data        {cluster.data}
  Logs        {cluster.logs} (services), <part>/<part>.log beside it

  Try:  echoscu -aec OSTEON 127.0.0.1 {cluster.dicom_port}
        curl {cluster.url}/dicom-web/studies
  Ctrl-C stops it.
"""


def say(text: str) -> None:
    """Tell the person at the terminal; standard output is for the addresses."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
