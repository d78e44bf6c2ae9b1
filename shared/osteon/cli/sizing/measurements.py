"""Every figure that the calculator starts from, and where it comes from. A new measurement changes this file alone.

Processor times are those of docs/performance.md; a test fails when the page, which `make bench` writes, has gone far
from them. Limits of memory are those of `k8s/base`, and a test compares them as well.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

GB: Final = 1_000_000_000
MB: Final = 1_000_000
GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU milliseconds an instance, measured at instances of some sizes."""

    points: Sequence[tuple[float, float]]
    """(megabytes, milliseconds), ascending; two at least."""

    def at(self, megabytes: float) -> float:
        """Return milliseconds for an instance of a size: a line between two points, and on beyond the outer ones."""
        sizes = [size for size, _ in self.points]
        right = min(max(bisect_left(sizes, megabytes), 1), len(sizes) - 1)
        (x0, y0), (x1, y1) = self.points[right - 1], self.points[right]
        return max(y0 + (y1 - y0) * (megabytes - x0) / (x1 - x0), 0.0)


def _ingest(small: float, slice_: float, large: float) -> Cost:
    return Cost(((0.021, small), (0.531, slice_), (500.0, large)))


INGEST: Final = {
    "ingress": _ingest(0.63, 1.39, 1730),
    "writer": _ingest(0.55, 0.91, 1585),
    "indexer": _ingest(0.40, 0.67, 45),
    "rabbitmq": _ingest(0.05, 0.11, 70),
    "postgres": _ingest(0.16, 0.20, 40),
    "objects": _ingest(0.25, 5.03, 4965),
}
"""`python tests/load/bench_ingest.py --docs`: the cases 16x20kB, 16x0.5MB and 1x500MB of "each process of the cluster".
`objects` is SeaweedFS on the same machine."""

SEND: Final = Cost(((0.021, 0.42), (0.531, 1.58)))
SEND_OBJECTS: Final = Cost(((0.021, 0.05), (0.531, 1.29)))
"""`python tests/load/bench_retrieve.py --docs`: the cases move-20kB and move-0.5MB of the cluster, own and S3."""

DATABASE_BYTES: Final = 689
SIDECAR_BYTES: Final = 142
"""An instance, `python tests/load/bench_ingest.py --docs`: "Bytes an instance", cluster."""

CONTAINER_BYTES: Final = 1_250
"""An instance, in the pack beside its data set, by the format: TAR header 512, padding 256 on average, preamble and
File Meta Information some 480."""

MESSAGE_BYTES: Final = 2_000
"""A message about a pack in a quorum queue, with its headers, rounded up; bodies have 400 to 600 bytes."""

STUDY_INSTANCES: Final = 476
"""Of an average study: archives count 476 million files for a million studies."""
INSTANCE_MB: Final = 0.531
"""A CT slice of 512 x 512, as the benchmarks send."""
BUSY_HOUR: Final = 0.12
"""Part of a day's studies that comes in its busiest hour."""
BURST: Final = 5.0
"""How many times the rate of that hour its busiest minutes bring: modalities send a study when it is done, at once.
An assumption, like the three before."""

LOADED: Final = 0.7
"""Part of its cores that a process or a machine may use in those minutes."""
ASSOCIATIONS: Final = 60
"""For one `ingress` (the trigger in `k8s/components/keda/ingress.yaml`)."""
DATABASE_ROOM: Final = 1.5
"""Volume over rows: what vacuum has not freed yet, an index that is made again, temporary files."""

MEMORY: Final = {"ingress": 1, "writer": 1, "indexer": 1, "dispatcher": 1, "query": 1, "imaging": 5}
"""GiB for each replica: the limits of `k8s/base`. With 64 associations `ingress`, `writer`, `indexer` and `query`
together had 450 MB of memory of their own."""
