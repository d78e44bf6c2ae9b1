"""Where the archive is that a command works on: one rule for all commands."""

import os
from pathlib import Path
from typing import Final

from osteon.settings import BusSettings, IndexSettings, ObjectSettings, variables

HINT: Final = (
    "set OSTEON_DATA to the data folder of a standalone Osteon, "
    "or OSTEON_DATABASE_URL, OSTEON_S3_ENDPOINT and OSTEON_AMQP_URL to the parts of the services"
)


def of_services() -> bool:
    """Whether the environment names a part of the services: the broker, the object store or the database."""
    names = {name for group in (BusSettings, ObjectSettings, IndexSettings) for name in variables(group)}
    return bool(names & os.environ.keys())


def data_folder() -> Path:
    """Return the folder of the standalone Osteon that is meant otherwise."""
    return Path(os.environ.get("OSTEON_DATA") or "data")
