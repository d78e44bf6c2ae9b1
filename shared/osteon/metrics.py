"""Every metric of Osteon, with its meaning. No other module names one; docs/metrics.md is generated from this list."""

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from osteon.label_limiter import LabelLimiter

disable_created_metrics()  # type: ignore[no-untyped-call]  # a third of all lines, and of no use here

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BYTES = tuple(1 << bits for bits in range(16, 31, 2))
_LOADS = (1, 2, 5, 10, 20, 50, 100, 200, 500)

AETS: Final = LabelLimiter(200)
"""AE titles with label values of their own. A peer can choose any title, so `OSTEON_METRICS_MAX_AETS` limits them."""
SENDERS: Final = LabelLimiter(200)
"""Pairs of AE title and Modality (0008,0060) with label values of their own. Data sets choose both; same limit."""

BUILD_INFO: Final = Gauge(
    "osteon_build_info", "Always 1; the labels name the release.", ["service", "version", "python"]
)
LOOP_LAG_SECONDS: Final = Histogram(
    "osteon_event_loop_lag_seconds",
    "Delay of a timer of the event loop, measured ten times a second.",
    buckets=_SECONDS,
)
LOOP_LONGEST_DELAY_SECONDS: Final = Gauge(
    "osteon_event_loop_longest_delay_seconds",
    "Longest delay of the event loop in the last one to two minutes: for so long nothing else was done.",
)
CACHE_BYTES: Final = Gauge(
    "osteon_cache_bytes", "Bytes of memory that a cache takes, by its own estimate; each is bounded.", ["cache"]
)
READY: Final = Gauge(
    "osteon_ready", "1 when a part that the service needs answered the last request of /readyz, else 0.", ["part"]
)

ASSOCIATIONS_OPEN: Final = Gauge("osteon_associations_open", "Open associations.")
ASSOCIATIONS_LIMIT: Final = Gauge("osteon_associations_limit", "Most associations that may be open at the same time.")
ASSOCIATIONS_TOTAL: Final = Counter(
    "osteon_associations_total", "Associations that ended, by result and calling AE title.", ["result", "calling_aet"]
)
DIMSE_OPERATION_SECONDS: Final = Histogram(
    "osteon_dimse_operation_duration_seconds",
    "Time from a request other than C-STORE to its final response, by operation and status.",
    ["operation", "status"],
    buckets=(*_SECONDS, 300, 3600),
)
ASSOCIATIONS_LIMITED: Final = Counter(
    "osteon_associations_limited_total",
    "Associations rejected because of a limit: total, host (of one address) or aet (of one calling AE title).",
    ["limit"],
)
CONNECTIONS_WITHOUT_ASSOCIATION: Final = Counter(
    "osteon_connections_without_association_total",
    "Connections that ended without an association, by result.",
    ["result"],
)
TLS_EXPIRY: Final = Gauge(
    "osteon_tls_certificate_expiry_timestamp_seconds",
    "When the certificate of DICOM TLS expires, in seconds since 1970, by role: acceptor or requestor.",
    ["role"],
)
TLS_RELOADS: Final = Counter(
    "osteon_tls_reloads_total",
    "Reloads of changed files of DICOM TLS, by role and result. After a failure the previous files stay in use.",
    ["role", "result"],
)
CSTORE_ACK_SECONDS: Final = Histogram(
    "osteon_cstore_ack_duration_seconds",
    "Time from the last fragment of a C-STORE request to its response.",
    buckets=_SECONDS,
)
CSTORE_RESPONSES: Final = Counter("osteon_cstore_responses_total", "C-STORE responses, by status.", ["status"])
RECEIVED_BYTES: Final = Counter(
    "osteon_received_bytes_total",
    "Bytes of received data sets, by origin (dimse, http) and calling AE title.",
    ["origin", "calling_aet"],
)
REFUSED_INSTANCES: Final = Counter(
    "osteon_refused_instances_total", "Data sets and files that were received and refused, by origin and reason.",
    ["origin", "reason"],
)  # fmt: skip
RECEIVED_INSTANCES: Final = Counter(
    "osteon_received_instances_total", "Received instances, by origin and calling AE title.", ["origin", "calling_aet"]
)
LAST_RECEIVED: Final = Gauge(
    "osteon_last_received_timestamp_seconds",
    "When an AE title last had an instance stored by this process, in seconds since 1970.",
    ["calling_aet"],
)

SPOOL_BYTES: Final = Gauge("osteon_spool_bytes", "Bytes in the spool that are not in the object store yet.")
SPOOL_PACKS: Final = Gauge("osteon_spool_packs", "Packs in the spool, by state.", ["state"])
SPOOL_OLDEST_PACK_AGE_SECONDS: Final = Gauge(
    "osteon_spool_oldest_pack_age_seconds",
    "Age of the oldest pack in the spool, by state: open, sealed (not announced yet), published (not stored yet).",
    ["state"],
)
SPOOL_FILL_RATIO: Final = Gauge(
    "osteon_spool_fill_ratio",
    "Used part of the spool. At 1 C-STORE is refused (OSTEON_SPOOL_HIGH_WATER, OSTEON_SPOOL_QUOTA_BYTES).",
)
SPOOL_FREE_BYTES: Final = Gauge(
    "osteon_spool_free_bytes", "Bytes that the spool can still take before C-STORE is refused."
)
SPOOL_SYNC_SECONDS: Final = Histogram(
    "osteon_spool_sync_duration_seconds", "Time to sync a file of the spool to its disk.", buckets=_SECONDS
)
SPOOL_RECOVERED: Final = Counter("osteon_spool_recovered_packs_total", "Packs adopted from a process that ended.")
SPOOL_TORN: Final = Counter(
    "osteon_spool_torn_bytes_total", "Bytes of incomplete, unacknowledged instances that recovery dropped."
)
SPOOL_DAMAGED: Final = Gauge(
    "osteon_spool_damaged_files", "Corrupt files in the spool, which an operator has to examine."
)
PACKS_SEALED: Final = Counter("osteon_packs_sealed_total", "Packs sealed, by reason.", ["reason"])

PACKS_STORED: Final = Counter("osteon_packs_stored_total", "Packs written to the object store.")
STORED_PACK_BYTES: Final = Histogram(
    "osteon_stored_pack_bytes", "Size of packs written to the object store.", buckets=_BYTES
)
STORED_BYTES: Final = Counter("osteon_stored_bytes_total", "Bytes written to the object store, sidecars included.")
UPLOAD_SECONDS: Final = Histogram(
    "osteon_upload_duration_seconds", "Time to write one pack, with its sidecar, to the object store.", buckets=_SECONDS
)
HEADER_PROBLEMS: Final = Counter(
    "osteon_header_problems_total", "Elements that were stored although they are invalid; the sidecar marks them."
)
UNREADABLE_HEADERS: Final = Counter(
    "osteon_unreadable_headers_total", "Instances that were stored although their header cannot be read to its end."
)

INDEX_SECONDS: Final = Histogram("osteon_index_duration_seconds", "Time of one index transaction.", buckets=_SECONDS)
INDEX_BATCH_PACKS: Final = Histogram("osteon_index_batch_packs", "Packs in one index transaction.", buckets=_LOADS)
INDEXED_INSTANCES: Final = Counter(
    "osteon_indexed_instances_total", "Instances that the index handled, by their state in it.", ["state"]
)
INGEST_LAG_SECONDS: Final = Histogram(
    "osteon_ingest_lag_seconds",
    "Time from the first byte of a pack to its rows in the index.",
    buckets=(*_SECONDS, 300, 3600),
)
MODALITY_INSTANCES: Final = Counter(
    "osteon_modality_instances_total",
    "Instances in indexed packs, duplicates included, by their sender and Modality (0008,0060).",
    ["calling_aet", "modality"],
)
ARCHIVE_RESOURCES: Final = Gauge(
    "osteon_archive_resources",
    "Resources in the index, by level: patient, study, series, instance. Every indexer reports the same number.",
    ["level"],
)
ARCHIVE_BYTES: Final = Gauge(
    "osteon_archive_bytes", "Bytes of all instances in the index. Every indexer reports the same number."
)
CONFLICTS_OPEN: Final = Gauge(
    "osteon_conflicts_open", "Conflicts without a decision. Every indexer reports the same number."
)
CONFLICTS_RESOLVED: Final = Counter(
    "osteon_conflicts_resolved_total", "Decisions on conflicts, by the version that is kept.", ["keep"]
)
REENCODED_DUPLICATES: Final = Counter(
    "osteon_reencoded_duplicates_total",
    "Instances that came again in other bytes that say the same. They count as duplicates too.",
)
SPLIT_STUDIES: Final = Gauge(
    "osteon_split_studies",
    "Study Instance UIDs under which images of several patients came. Every indexer reports the same number.",
)
SPLIT_SERIES: Final = Gauge(
    "osteon_split_series",
    "Series Instance UIDs under which images of several studies came. Every indexer reports the same number.",
)
UNIDENTIFIED_PATIENTS: Final = Gauge(
    "osteon_unidentified_patients",
    "Names and dates of birth under no Patient ID, up to 1000. Every indexer reports the same number.",
)
SWEPT_PACKS: Final = Counter(
    "osteon_swept_packs_total", "Packs without rows that the sweep or `osteon reindex` indexed."
)

MESSAGES_HANDLED: Final = Counter(
    "osteon_messages_handled_total", "Handled messages, by queue and result.", ["queue", "result"]
)
QUEUE_MESSAGES: Final = Gauge(
    "osteon_queue_messages",
    "Messages that wait in a queue, as the broker counts them. `osteon.dead` holds those that need an operator.",
    ["queue"],
)
QUEUE_WAIT_SECONDS: Final = Histogram(
    "osteon_queue_wait_duration_seconds",
    "Time from the publication of a message to the start of its handling, failed attempts included. This is the age of "
    "the message at the head of a queue.",
    ["queue"],
    buckets=(*_SECONDS, 300, 3600),
)
MESSAGE_SECONDS: Final = Histogram(
    "osteon_message_duration_seconds", "Time to handle one message or one batch, by queue.", ["queue"],
    buckets=(*_SECONDS, 300),
)  # fmt: skip
MESSAGES_PUBLISHED: Final = Counter(
    "osteon_messages_published_total", "Published messages, by type and result.", ["message", "result"]
)

COMMITTED_INSTANCES: Final = Counter(
    "osteon_committed_instances_total",
    "Instances of storage commitment requests that were checked, by result.",
    ["result"],
)
COMMITMENT_REPORTS: Final = Counter(
    "osteon_commitment_reports_total",
    "Acknowledged storage commitment reports, by association: the requester's own (same) or a new one (new).",
    ["association"],
)

TRANSCODE_SECONDS: Final = Histogram(
    "osteon_transcode_duration_seconds", "Time to transcode one instance, by source and target transfer syntax.",
    ["source", "target"],
    buckets=_SECONDS,
)  # fmt: skip
RENDER_SECONDS: Final = Histogram(
    "osteon_render_duration_seconds", "Time to render the images of one request, by transfer syntax and mode.",
    ["source", "mode"], buckets=_SECONDS,
)  # fmt: skip
RENDERED_BYTES: Final = Counter("osteon_rendered_bytes_total", "Bytes of rendered images, by media type.", ["type"])
RENDER_CACHE_REQUESTS: Final = Counter(
    "osteon_render_cache_requests_total",
    "Requests to the cache of rendered images, by result: hit or miss; memory: kept where it was drawn.",
    ["result"],
)
RENDER_CACHE_BYTES: Final = Gauge(
    "osteon_render_cache_bytes", "Bytes in the cache of rendered images, as last counted."
)
IMAGING_FAILURES: Final = Counter("osteon_imaging_failures_total", "Failed requests for pixels, by reason.", ["reason"])
IMAGING_WORKERS_ENDED: Final = Counter(
    "osteon_imaging_workers_ended_total", "Worker processes that ended, by reason.", ["reason"]
)

JOBS: Final = Gauge("osteon_jobs", "Jobs in the index. Every dispatcher reports the same number.", ["type", "state"])
JOBS_RUNNING: Final = Gauge("osteon_jobs_running", "Jobs that this dispatcher runs now.")
JOBS_LIMIT: Final = Gauge("osteon_jobs_limit", "Most jobs that this process runs at the same time.")
JOB_RUN_SECONDS: Final = Histogram(
    "osteon_job_run_duration_seconds", "Time of one run of a job, by type and resulting state.", ["type", "result"],
    buckets=(*_SECONDS, 300, 3600),
)  # fmt: skip

ROUTED_INSTANCES: Final = Counter(
    "osteon_routed_instances_total",
    "Instances that a routing rule handed to jobs, counted once for each destination.",
    ["rule"],
)
ROUTING_FAILURES: Final = Counter(
    "osteon_routing_failures_total", "Packs and studies for which a routing rule could not be evaluated.", ["rule"]
)
DESTINATION_STATE: Final = Gauge(
    "osteon_destination_state",
    "Circuit breaker of a destination that failed: 0 closed, 1 half-open (one job tries), 2 open.",
    ["destination"],
)

SEARCH_SECONDS: Final = Histogram(
    "osteon_search_duration_seconds",
    "Time to answer one page of a search, by kind: c-find, qido, rest.",
    ["kind"],
    buckets=_SECONDS,
)
HTTP_SECONDS: Final = Histogram(
    "osteon_http_duration_seconds", "Time to answer an HTTP request.", ["method", "route", "status"], buckets=_SECONDS
)
HTTP_IN_PROGRESS: Final = Gauge("osteon_http_requests_in_progress", "HTTP requests in progress.")
SENT_INSTANCES: Final = Counter(
    "osteon_sent_instances_total",
    "C-STORE sub-operations and sends, by result (completed, warning, failed) and purpose (c-get, c-move, job).",
    ["result", "purpose"],
)
SENT_BYTES: Final = Counter("osteon_sent_bytes_total", "Bytes of data sets sent by C-STORE, by purpose.", ["purpose"])
HTTP_ITEMS_SENT: Final = Counter(
    "osteon_http_items_sent_total",
    "Items sent by HTTP, by purpose. An item is a frame (`frames`), a value (`bulk`) or an instance (all others).",
    ["purpose"],
)
HTTP_BYTES_SENT: Final = Counter(
    "osteon_http_bytes_sent_total", "Bytes of instances sent by HTTP, by purpose.", ["purpose"]
)

PACK_CACHE_REQUESTS: Final = Counter(
    "osteon_pack_cache_requests_total",
    "Reads of packs, by where the bytes were: hit (in the local folder), coming (on their way into it), miss.",
    ["result"],
)
PACK_CACHE_BYTES: Final = Gauge("osteon_pack_cache_bytes", "Bytes of packs in the local folder.")
PACK_CACHE_FETCHED: Final = Counter(
    "osteon_pack_cache_fetched_bytes_total", "Bytes that came from the object store into the local folder."
)
PACK_CACHE_EVICTIONS: Final = Counter(
    "osteon_pack_cache_evictions_total", "Packs that were removed from the local folder for others."
)
PACK_CACHE_DAMAGED: Final = Counter(
    "osteon_pack_cache_damaged_total", "Packs in the local folder that were found damaged, and were fetched again."
)
OBJECT_SECONDS: Final = Histogram(
    "osteon_object_duration_seconds",
    "Time of a request to the object store, by operation and result: ok, refused (absent, or a range beyond the end), "
    "failed. The wait for a free connection is included.",
    ["operation", "result"],
    buckets=_SECONDS,
)
DATABASE_CONNECTIONS: Final = Gauge(
    "osteon_database_connections", "Database connections of this process, by state: used, limit.", ["state"]
)
DATABASE_WAIT_SECONDS: Final = Histogram(
    "osteon_database_wait_duration_seconds", "Time until a transaction had a working connection.", buckets=_SECONDS
)
DATABASE_SECONDS: Final = Histogram(
    "osteon_database_duration_seconds", "Time of a transaction, by kind (read, write) and result (ok, failed).",
    ["kind", "result"], buckets=_SECONDS,
)  # fmt: skip
