"""Every metric of Osteon, with its meaning. Nothing else names them; docs/metrics.md is made from this list."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from osteon.label_limiter import LabelLimiter

disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of all lines, which nobody asks for

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BYTES = tuple(1 << bits for bits in range(16, 31, 2))
_LOADS = (1, 2, 5, 10, 20, 50, 100, 200, 500)

AETS: Final = LabelLimiter(200)
"""AE titles that have values of their own: anybody can call himself anything. `OSTEON_METRIC_AETS` sets how many."""
SENDERS: Final = LabelLimiter(200)
"""Pairs of AE title and Modality (0008,0060), which comes from data sets; likewise."""

BUILD_INFO: Final = Gauge("osteon_build_info", "1, with what runs here.", ["service", "version", "python"])
LOOP_LAG_SECONDS: Final = Histogram(
    "osteon_event_loop_lag_seconds",
    "How much later than it should the event loop came back, looked at twice a second.",
    buckets=_SECONDS,
)
READY: Final = Gauge(
    "osteon_ready", "Parts that the service needs: 1 when one answered at the last look at /readyz, else 0.", ["part"]
)

ASSOCIATIONS_OPEN: Final = Gauge("osteon_associations_open", "Associations that are open now.")
ASSOCIATIONS_LIMIT: Final = Gauge("osteon_associations_limit", "Associations that may be open at the same time.")
ASSOCIATIONS_TOTAL: Final = Counter(
    "osteon_associations_total", "Associations by how they ended and who asked for them.", ["result", "calling_aet"]
)
DIMSE_SECONDS: Final = Histogram(
    "osteon_dimse_seconds",
    "Time of an operation other than C-STORE, from its request to its final response, by operation and status.",
    ["operation", "status"],
    buckets=(*_SECONDS, 300, 3600),
)
UNUSED_CONNECTIONS: Final = Counter(
    "osteon_unused_connections_total", "Connections without an association, by how they ended.", ["result"]
)
TLS_EXPIRY: Final = Gauge(
    "osteon_tls_certificate_expiry_timestamp_seconds",
    "When the certificate of DICOM TLS expires, in seconds since 1970, as acceptor or as requestor.",
    ["role"],
)
TLS_RELOADS: Final = Counter(
    "osteon_tls_reloads_total",
    "Looks at files of DICOM TLS that had changed, by result; while they can not be used, the former ones hold.",
    ["role", "result"],
)
STORE_SECONDS: Final = Histogram(
    "osteon_store_seconds", "From the last fragment of a C-STORE to its answer.", buckets=_SECONDS
)
STORE_TOTAL: Final = Counter("osteon_store_total", "C-STORE answers by status.", ["status"])
RECEIVED_BYTES: Final = Counter(
    "osteon_received_bytes_total", "Bytes of data sets received, by door and sender.", ["origin", "calling_aet"]
)
REFUSED_INSTANCES: Final = Counter(
    "osteon_refused_instances_total", "Data sets and files that were received and refused, by door and reason.",
    ["origin", "reason"],
)  # fmt: skip
RECEIVED_INSTANCES: Final = Counter(
    "osteon_received_instances_total", "Instances received, by door and sender.", ["origin", "calling_aet"]
)
LAST_RECEIVED: Final = Gauge(
    "osteon_last_received_timestamp_seconds",
    "When an AE title last had an instance stored by this process, in seconds since 1970.",
    ["calling_aet"],
)

SPOOL_BYTES: Final = Gauge("osteon_spool_bytes", "Bytes in the spool that are not yet in the object store.")
SPOOL_PACKS: Final = Gauge("osteon_spool_packs", "Packs in the spool, by state.", ["state"])
SPOOL_OLDEST_SECONDS: Final = Gauge(
    "osteon_spool_oldest_seconds",
    "Age of the oldest pack in the spool, by state: open, sealed (not announced yet), published (not stored yet).",
    ["state"],
)
SPOOL_FILL_RATIO: Final = Gauge(
    "osteon_spool_fill_ratio",
    "How full the spool is: at 1 C-STORE is refused, by OSTEON_SPOOL_HIGH_WATER or OSTEON_SPOOL_QUOTA.",
)
SPOOL_FREE_BYTES: Final = Gauge("osteon_spool_free_bytes", "Bytes that may still come before C-STORE is refused.")
SPOOL_SYNC_SECONDS: Final = Histogram(
    "osteon_spool_sync_seconds", "Time in which the disk of the spool made a file durable.", buckets=_SECONDS
)
SPOOL_RECOVERED: Final = Counter("osteon_spool_recovered_packs_total", "Packs taken over from a process that ended.")
SPOOL_TORN: Final = Counter("osteon_spool_torn_bytes_total", "Bytes of unacknowledged tails that recovery dropped.")
SPOOL_DAMAGED: Final = Gauge("osteon_spool_damaged_files", "Files of the spool that a person has to look at.")
PACKS_SEALED: Final = Counter("osteon_packs_sealed_total", "Packs sealed, by reason.", ["reason"])

PACKS_STORED: Final = Counter("osteon_packs_stored_total", "Packs put into the object store.")
PACK_BYTES: Final = Histogram("osteon_pack_bytes", "Size of packs put into the object store.", buckets=_BYTES)
STORED_BYTES: Final = Counter("osteon_stored_bytes_total", "Bytes put into the object store, sidecars included.")
UPLOAD_SECONDS: Final = Histogram("osteon_upload_seconds", "Time to store one pack and its sidecar.", buckets=_SECONDS)
HEADER_PROBLEMS: Final = Counter("osteon_header_problems_total", "Elements that were kept but marked in the sidecar.")
UNREAD_HEADERS: Final = Counter(
    "osteon_unread_headers_total", "Instances that were kept although their header can not be read to its end."
)

INDEX_SECONDS: Final = Histogram("osteon_index_seconds", "Time of one index transaction.", buckets=_SECONDS)
INDEX_PACKS: Final = Histogram("osteon_index_packs", "Packs in one index transaction.", buckets=_LOADS)
INDEXED_INSTANCES: Final = Counter(
    "osteon_indexed_instances_total", "Instances by what the index made of them.", ["state"]
)
LAG_SECONDS: Final = Histogram(
    "osteon_lag_seconds", "From the first byte of a pack to its index rows.", buckets=(*_SECONDS, 300, 3600)
)
MODALITY_INSTANCES: Final = Counter(
    "osteon_modality_instances_total",
    "Instances in indexed packs, duplicates included, by their sender and Modality (0008,0060).",
    ["calling_aet", "modality"],
)
ARCHIVE_RESOURCES: Final = Gauge(
    "osteon_archive_resources",
    "What the index holds, by level: patient, study, series, instance; every indexer says the same.",
    ["level"],
)
ARCHIVE_BYTES: Final = Gauge("osteon_archive_bytes", "Bytes of all instances served; every indexer says the same.")
CONFLICTS_OPEN: Final = Gauge(
    "osteon_conflicts_open", "Conflicts that nobody has decided; every indexer says the same."
)
CONFLICTS_RESOLVED: Final = Counter(
    "osteon_conflicts_resolved_total", "Decisions on conflicts, by what is kept.", ["keep"]
)
SWEPT_PACKS: Final = Counter("osteon_swept_packs_total", "Packs without rows that the sweep or a reindex indexed.")

MESSAGES: Final = Counter("osteon_messages_total", "Messages handled, by queue and result.", ["queue", "result"])
QUEUE_MESSAGES: Final = Gauge(
    "osteon_queue_messages",
    "Messages that wait in a queue, as the broker counts them; `osteon.dead` holds those that need a person.",
    ["queue"],
)
QUEUE_WAIT_SECONDS: Final = Histogram(
    "osteon_queue_wait_seconds",
    "From the publication of a message to the beginning of its handling, failed attempts included: the age of what is "
    "at the head of a queue.",
    ["queue"],
    buckets=(*_SECONDS, 300, 3600),
)
MESSAGE_SECONDS: Final = Histogram(
    "osteon_message_seconds", "Time to handle a message, or a batch of them, by queue.", ["queue"],
    buckets=(*_SECONDS, 300),
)  # fmt: skip
PUBLISHED: Final = Counter("osteon_published_total", "Messages published, by type and result.", ["message", "result"])

COMMITTED_INSTANCES: Final = Counter(
    "osteon_committed_instances_total", "Instances of storage commitment that were checked, by result.", ["result"]
)
COMMITMENT_REPORTS: Final = Counter(
    "osteon_commitment_reports_total",
    "Reports of storage commitment that were acknowledged, on the requester's own association or on a new one.",
    ["way"],
)

TRANSCODE_SECONDS: Final = Histogram(
    "osteon_transcode_seconds", "Time to transcode one instance, by transfer syntaxes.", ["source", "target"],
    buckets=_SECONDS,
)  # fmt: skip
RENDER_SECONDS: Final = Histogram(
    "osteon_render_seconds", "Time to make the pictures of one request, by transfer syntax and kind of picture.",
    ["source", "how"], buckets=_SECONDS,
)  # fmt: skip
RENDERED_BYTES: Final = Counter("osteon_rendered_bytes_total", "Bytes of pictures made, by media type.", ["type"])
RENDER_CACHE: Final = Counter(
    "osteon_render_cache_total", "Requests for pictures, by whether they were kept: hit or miss.", ["result"]
)
RENDER_CACHE_BYTES: Final = Gauge("osteon_render_cache_bytes", "Bytes of pictures kept, when last counted.")
IMAGING_FAILURES: Final = Counter(
    "osteon_imaging_failures_total", "Requests of pixels that were answered with an error, by reason.", ["reason"]
)
IMAGING_WORKERS_ENDED: Final = Counter(
    "osteon_imaging_workers_ended_total", "Worker processes that ended, by reason.", ["reason"]
)

JOBS: Final = Gauge("osteon_jobs", "Jobs that the index has; every dispatcher says the same.", ["type", "state"])
JOBS_RUNNING: Final = Gauge("osteon_jobs_running", "Jobs that this dispatcher is at.")
JOBS_LIMIT: Final = Gauge("osteon_jobs_limit", "Jobs that this dispatcher can be at.")
JOB_SECONDS: Final = Histogram(
    "osteon_job_seconds", "Time of one run of a job, by the state that it led to.", ["type", "result"],
    buckets=(*_SECONDS, 300, 3600),
)  # fmt: skip

ROUTED_INSTANCES: Final = Counter(
    "osteon_routed_instances_total", "Instances that a routing rule gave to jobs, once for each destination.", ["rule"]
)
ROUTING_FAILURES: Final = Counter(
    "osteon_routing_failures_total", "Packs and studies for which a routing rule could not be tried.", ["rule"]
)
DESTINATION_STATE: Final = Gauge(
    "osteon_destination_state",
    "Destinations that failed and did not work since: 0 still tried, 1 tried again by one job, 2 left alone.",
    ["destination"],
)

SEARCH_SECONDS: Final = Histogram(
    "osteon_search_seconds", "Time of one search page, by kind: c-find, qido, rest.", ["kind"], buckets=_SECONDS
)
HTTP_SECONDS: Final = Histogram(
    "osteon_http_seconds", "Time to answer an HTTP request.", ["method", "route", "status"], buckets=_SECONDS
)
HTTP_IN_PROGRESS: Final = Gauge("osteon_http_requests_in_progress", "HTTP requests that are being answered.")
SENT_INSTANCES: Final = Counter(
    "osteon_sent_instances_total",
    "Instances sent by C-STORE or not, by result (completed, warning, failed) and what for (c-get, c-move, job).",
    ["result", "way"],
)
SENT_BYTES: Final = Counter("osteon_sent_bytes_total", "Bytes of data sets sent by C-STORE, by what for.", ["way"])
RETRIEVED_ITEMS: Final = Counter(
    "osteon_retrieved_items_total",
    "What was sent out by HTTP, by way: frames (`frames`), values (`bulk`), instances (all others).",
    ["way"],
)
RETRIEVED_BYTES: Final = Counter(
    "osteon_retrieved_bytes_total", "Bytes of instances sent out by HTTP, by way.", ["way"]
)

OBJECT_SECONDS: Final = Histogram(
    "osteon_object_seconds",
    "Time of a request to the object store, the wait for a free connection included, by operation and result: ok, "
    "refused (absent, or a range beyond the end), failed.",
    ["operation", "result"],
    buckets=_SECONDS,
)
DATABASE_CONNECTIONS: Final = Gauge(
    "osteon_database_connections", "Connections to the database of this process, by state: used, limit.", ["state"]
)
DATABASE_WAIT_SECONDS: Final = Histogram(
    "osteon_database_wait_seconds", "Time until a transaction had a connection that works.", buckets=_SECONDS
)
DATABASE_SECONDS: Final = Histogram(
    "osteon_database_seconds", "Time of a transaction with its connection, by kind (read, write) and result (ok, "
    "failed).", ["kind", "result"], buckets=_SECONDS,
)  # fmt: skip
