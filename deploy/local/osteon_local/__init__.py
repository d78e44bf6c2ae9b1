"""Private instances of the real parts (RabbitMQ, PostgreSQL, SeaweedFS) and of the services, on one host.

Each lives in a folder that is given, listens on free loopback ports and ends with the process that started it.
The tests and `make cluster` use the same code.
"""

from osteon_local.part import Part, PartError, free_port
from osteon_local.postgres import Postgres
from osteon_local.rabbitmq import RabbitMQ
from osteon_local.seaweedfs import SeaweedFS

__all__ = ["Part", "PartError", "Postgres", "RabbitMQ", "SeaweedFS", "free_port"]
