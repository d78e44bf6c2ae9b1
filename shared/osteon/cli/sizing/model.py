"""The model: a stage that takes c milliseconds of CPU an instance needs rate x c / 1000 cores (docs/performance.md)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from osteon.cli.sizing import measurements
from osteon.cli.sizing.measurements import MB, Cost
from osteon.settings import PackSettings, SpoolSettings

HOUR: Final = 3600
_SPOOL: Final = SpoolSettings.model_fields
_PACK: Final = PackSettings.model_fields
_MESSAGES_A_PACK: Final = 3
"""`PackSealed`, `PackStored`, `PackIndexed`."""


@dataclass(frozen=True, slots=True)
class StudyKind:
    """Studies of one kind: so many a day, of so many instances, of so many megabytes each."""

    name: str
    studies: float
    instances: float = measurements.STUDY_INSTANCES
    megabytes: float = measurements.INSTANCE_MB

    @property
    def instances_a_day(self) -> float:
        """Of all its studies."""
        return self.studies * self.instances


@dataclass(frozen=True)
class Site:
    """What a hospital does, and what it wants to be prepared for."""

    kinds: Sequence[StudyKind]
    busy_hour: float = measurements.BUSY_HOUR
    """Part of a day that comes in its busiest hour."""
    burst: float = measurements.BURST
    """How many times the rate of that hour its busiest minutes bring."""
    associations: int = 20
    """Open at once in those minutes."""
    sent: float = 0.5
    """Instances that go out by C-MOVE, C-GET and routing for each that comes in."""
    viewed: float = 0.5
    """Instances that go out by HTTP for each that comes in."""
    outage: float = 4.0
    """Hours at the busiest rate for which the object store or the broker may be away."""
    years: int = 10
    """For which everything is kept."""
    growth: float = 0.0
    """Part by which each year brings more than the one before."""
    spare: int = 1
    """Replicas of each service that may be away."""

    @cached_property
    def instances_a_day(self) -> float:
        """Of all kinds."""
        return sum(kind.instances_a_day for kind in self.kinds)

    @cached_property
    def bytes_a_day(self) -> float:
        """Of the data sets of all kinds."""
        return sum(kind.instances_a_day * kind.megabytes for kind in self.kinds) * MB

    @property
    def rate(self) -> float:
        """Instances a second in the busiest hour."""
        return self.instances_a_day * self.busy_hour / HOUR

    @property
    def bytes_a_second(self) -> float:
        """In the busiest hour."""
        return self.bytes_a_day * self.busy_hour / HOUR

    @property
    def days(self) -> float:
        """Days like today that are kept in the end."""
        return 365 * sum((1 + self.growth) ** year for year in range(self.years))

    def cores(self, cost: Cost, part: float = 1.0) -> float:
        """Return the cores that a cost keeps busy in the busiest minutes, for that part of the instances."""
        milliseconds = sum(kind.instances_a_day * cost.at(kind.megabytes) for kind in self.kinds)
        return part * milliseconds * self.burst * self.busy_hour / HOUR / 1000


@dataclass(frozen=True, slots=True)
class ServiceNeeds:
    """What one of Osteon's services needs."""

    name: str
    replicas: int
    memory_gib: int


@dataclass(frozen=True)
class Sizing:
    """What a site needs. Bytes are bytes; nothing has the copies yet that a store or a database makes itself."""

    site: Site

    @cached_property
    def cores(self) -> dict[str, float]:
        """Cores that are busy in the busiest minutes, by process; nothing was measured for `imaging`."""
        site = self.site
        found = {name: site.cores(cost) for name, cost in measurements.INGEST.items()}
        found["dispatcher"] = site.cores(measurements.SEND, site.sent)
        found["query"] = site.cores(measurements.SEND, site.viewed)
        found["objects"] += site.cores(measurements.SEND_OBJECTS, site.sent + site.viewed)
        return found

    @cached_property
    def services(self) -> list[ServiceNeeds]:
        """Osteon's own; `ingress` and `writer` have as many replicas as each other, since they share a spool."""
        acceptors = max(
            self._enough("ingress"), self._enough("writer"), _up(self.site.associations / measurements.ASSOCIATIONS)
        )
        replicas = {"ingress": acceptors, "writer": acceptors}
        return [
            ServiceNeeds(name, replicas.get(name, self._enough(name)) + self.site.spare, memory)
            for name, memory in measurements.MEMORY.items()
        ]

    @property
    def all_cores(self) -> float:
        """Cores to have for services, broker and database, so that the busiest minutes fill `LOADED` of them."""
        return sum(cores for name, cores in self.cores.items() if name != "objects") / measurements.LOADED

    @property
    def objects_cores(self) -> float:
        """Likewise for an S3 server like SeaweedFS."""
        return self.cores["objects"] / measurements.LOADED

    @property
    def memory_gib(self) -> int:
        """Of all replicas of Osteon's services."""
        return sum(service.replicas * service.memory_gib for service in self.services)

    @property
    def spool(self) -> float:
        """Bytes of all spools, so that an outage does not reach the high-water mark."""
        stored = self._packed(self.site.bytes_a_second, self.site.rate)
        return stored * self.site.outage * HOUR / float(_SPOOL["spool_high_water"].default)

    @property
    def spool_each(self) -> float:
        """Bytes of the spool of each `ingress`, with the spare ones away."""
        acceptors = next(service.replicas for service in self.services if service.name == "ingress")
        return self.spool / (acceptors - self.site.spare)

    @property
    def objects_a_year(self) -> float:
        """Bytes that the bucket grows in the first year, packs and sidecars."""
        return 365 * self._kept_a_day

    @property
    def objects(self) -> float:
        """Bytes of the bucket in the end."""
        return self.site.days * self._kept_a_day

    @property
    def database_a_year(self) -> float:
        """Bytes that rows and their indexes grow in the first year."""
        return 365 * self.site.instances_a_day * measurements.DATABASE_BYTES

    @property
    def database(self) -> float:
        """Bytes of rows and their indexes in the end."""
        return self.site.days * self.site.instances_a_day * measurements.DATABASE_BYTES

    @property
    def database_volume(self) -> float:
        """Bytes of the volume that holds them."""
        return self.database * measurements.DATABASE_ROOM

    @property
    def packs_a_second(self) -> float:
        """At most, in the busiest minutes: each association seals a pack when it is full or old enough."""
        site = self.site
        full = site.burst * site.bytes_a_second / float(_PACK["pack_size_bytes"].default)
        return min(site.burst * site.rate, site.associations / float(_SPOOL["pack_seconds"].default) + full)

    @property
    def messages_a_second(self) -> float:
        """At most, in the busiest minutes, through the work queues."""
        return self.packs_a_second * _MESSAGES_A_PACK

    @property
    def queued(self) -> float:
        """Bytes in RabbitMQ at the end of an outage of the database or the object store, on each of its nodes."""
        packs = min(self.packs_a_second, self.site.rate)
        return packs * self.site.outage * HOUR * measurements.MESSAGE_BYTES

    @property
    def _kept_a_day(self) -> float:
        sidecars = self.site.instances_a_day * measurements.SIDECAR_BYTES
        return self._packed(self.site.bytes_a_day, self.site.instances_a_day) + sidecars

    def _enough(self, service: str) -> int:
        """Each process has an event loop, which is one core's worth."""
        return _up(self.cores.get(service, 0.0) / measurements.LOADED)

    @staticmethod
    def _packed(data_sets: float, instances: float) -> float:
        return data_sets + instances * measurements.CONTAINER_BYTES


def _up(value: float) -> int:
    return max(math.ceil(value), 1)
