"""What the dashboards show. Rates are per second; what every replica reports is taken once (docs/metrics.md)."""

from typing import Final

from panels import Dashboard, Panel, Row

_RATE: Final = "$__rate_interval"


def rate(metric: str, *by: str, chosen: str = "HERE") -> str:
    """Return the sum of the rates of a counter."""
    grouped = f" by ({', '.join(by)})" if by else ""
    return f"sum{grouped} (rate({metric}{{{chosen}}}[{_RATE}]))"


def quantiles(metric: str, *by: str, chosen: str = "HERE", of: tuple[float, ...] = (0.5, 0.99)) -> dict[str, str]:
    """Return the quantiles of a histogram by their names."""
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    grouped = ", ".join(("le", *by))
    return {
        f"{legend} p{share * 100:g}".strip(): (
            f"histogram_quantile({share}, sum by ({grouped}) (rate({metric}_bucket{{{chosen}}}[{_RATE}])))"
        )
        for share in of
    }


_INGRESS: Final = 'HERE, job=~"ingress|standalone"'
"""Services that do not set a gauge without labels report it as 0."""
_AET: Final = 'HERE, calling_aet=~"$calling_aet"'
_DIMSE: Final = f'{_AET}, origin="dimse"'

INGEST: Final = Dashboard(
    "ingest",
    "Ingest",
    "Received instances by sender and modality, responses, and free space.",
    [
        Row(
            "Now",
            [
                Panel("Instances per second", "Stored by C-STORE and HTTP.",
                      {"": rate("osteon_received_instances_total")}, "ops", "stat", 4),
                Panel("Bytes per second", "Of received data sets.",
                      {"": rate("osteon_received_bytes_total")}, "Bps", "stat", 4),
                Panel("Associations", "Open now.", {"": "sum(osteon_associations_open{HERE})"}, "short", "stat", 4),
                Panel("Refused in 24 h", "C-STORE requests without the response success.",
                      {"": 'sum(increase(osteon_cstore_responses_total{HERE, status!="0x0000"}[24h])) or vector(0)'},
                      "short", "stat", 4, limit=1, runbook="instances-refused"),
                Panel("Spool", "The fullest spool. At 100 % C-STORE is refused.",
                      {"": "max(osteon_spool_fill_ratio{HERE})"}, "percentunit", "stat", 4, 0.7, "spool-filling"),
                Panel("Indexed after", "99 of 100 packs have their rows after this time.",
                      {"": "osteon:ingest_lag_seconds:p99"}, "s", "stat", 4, 10, "lag-budget-burn"),
            ],
        ),
        Row(
            "Senders",
            [
                Panel("Instances by AE title", "Received by C-STORE.",
                      {"{{calling_aet}}": rate("osteon_received_instances_total", "calling_aet", chosen=_DIMSE)},
                      "ops", stacked=True),
                Panel("Bytes by AE title", "Received by C-STORE.",
                      {"{{calling_aet}}": rate("osteon_received_bytes_total", "calling_aet", chosen=_DIMSE)},
                      "Bps", stacked=True),
                Panel("Instances by modality", "Modality (0008,0060) of what was indexed, duplicates included.",
                      {"{{modality}}": rate("osteon_modality_instances_total", "modality", chosen=_AET)},
                      "ops", stacked=True),
                Panel("Last instance", "Time since the last stored instance of an AE title.",
                      {"{{calling_aet}}": "time() - max by (calling_aet) "
                       f"(osteon_last_received_timestamp_seconds{{{_AET}}})"}, "s", runbook="modality-silent"),
                Panel("Same as last week", "Instances in the last 2 hours, and in the same hours one week ago.",
                      {"{{calling_aet}}": 'osteon:received_instances:increase2h{calling_aet=~"$calling_aet"}',
                       "{{calling_aet}} last week":
                           'osteon:received_instances:increase2h{calling_aet=~"$calling_aet"} offset 1w'},
                      runbook="modality-silent"),
                Panel("Associations by AE title", "Ended associations, by result.",
                      {"{{calling_aet}} {{result}}":
                           rate("osteon_associations_total", "calling_aet", "result", chosen=_AET)}, "ops"),
            ],
        ),
        Row(
            "Responses",
            [
                Panel("C-STORE by status", "0xA700: no space. 0x0110: Osteon failed. Others: the data set.",
                      {"{{status}}": rate("osteon_cstore_responses_total", "status")},
                      "ops", runbook="ingest-budget-burn"),
                Panel("Time of C-STORE", "From the last fragment to the response; most of it is the sync of the disk.",
                      quantiles("osteon_cstore_ack_duration_seconds", of=(0.5, 0.9, 0.99)), "s"),
                Panel("Refused", "Instances that were received and refused, by origin and reason.",
                      {"{{origin}}: {{reason}}": rate("osteon_refused_instances_total", "origin", "reason")}, "ops",
                      runbook="instances-refused"),
                Panel("Associations", "Open ones, and the limit.",
                      {"{{instance}}": f"osteon_associations_open{{{_INGRESS}}}",
                       "limit {{instance}}": f"osteon_associations_limit{{{_INGRESS}}}"},
                      runbook="associations-near-limit"),
                Panel("Sync of the disk", "Time to sync a file of the spool.",
                      quantiles("osteon_spool_sync_duration_seconds"), "s"),
                Panel("Connections without association", "Scanners, health checks and wrong peers.",
                      {"{{result}}": rate("osteon_connections_without_association_total", "result")}, "ops"),
                Panel("Associations beyond a limit", "Rejected: total, host or AE title.",
                      {"{{limit}}": rate("osteon_associations_limited_total", "limit")}, "ops"),
            ],
        ),
    ],
    variables={"calling_aet": "osteon_associations_total"},
)  # fmt: skip


def queue_row(title: str, queue: str, time: Panel, more: Panel) -> Row:
    """Return the row of a stage that reads a queue: its length, the wait in it, and two panels of the stage."""
    chosen = f'queue=~"{queue}"'
    return Row(
        title,
        [
            Panel("Waiting", "Messages in the queue.",
                  {"{{queue}}": f"osteon:queue_messages:max{{{chosen}}}"}, wide=6, runbook="queue-not-handled"),
            Panel("Wait", "From the publication of a message to its handling, 90th percentile.",
                  {"{{queue}}": f"osteon:queue_wait_duration_seconds:p90{{{chosen}}}"}, "s", wide=6, limit=60,
                  runbook="queue-wait-growing"),
            time,
            more,
        ],
    )  # fmt: skip


PIPELINE: Final = Dashboard(
    "pipeline",
    "Pipeline",
    "From reception to the index, one row a stage. Look at the first row in which something waits.",
    [
        Row(
            "Health",
            [
                Panel("Dead letters", "Messages that need an operator.",
                      {"": 'max(osteon:queue_messages:max{queue="osteon.dead"}) or vector(0)'}, "short", "stat", 4, 1,
                      "dead-letters"),
                Panel("Conflicts", "Versions that wait for a decision, and what contradicts itself: studies of several "
                      "patients, series in several studies, names without Patient ID.",
                      {"": "max(osteon_conflicts_open{HERE})", "split studies": "max(osteon_split_studies{HERE})",
                       "split series": "max(osteon_split_series{HERE})",
                       "without ID": "max(osteon_unidentified_patients{HERE})"},
                      "short", "stat", 4, 1, "conflicts-open"),
                Panel("Not ready", "Parts that some service cannot reach.",
                      {"": "count(osteon_ready{HERE} == 0) or vector(0)"}, "short", "stat", 4, 1, "not-ready"),
                Panel("Replicas", "Replicas that answer Prometheus.",
                      {"": 'sum(up{HERE})'}, "short", "stat", 4, runbook="replica-down"),
                Panel("Firing", "Alerts.",
                      {"": 'count(ALERTS{alertname=~"Osteon.*", alertstate="firing"}) or vector(0)'}, "short",
                      "stat", 4, 1),
                Panel("Indexed after", "99 of 100 packs have their rows after this time.",
                      {"": "osteon:ingest_lag_seconds:p99"}, "s", "stat", 4, 10, "lag-budget-burn"),
            ],
        ),
        Row(
            "1. Spool (ingress)",
            [
                Panel("Packs", "Packs in the spool, by state.",
                      {"{{state}}": "sum by (state) (osteon_spool_packs{HERE})"}, wide=6, runbook="spool-not-stored"),
                Panel("Oldest pack", "Age, by state. Published packs wait for a writer.",
                      {"{{state}}": "max by (state) (osteon_spool_oldest_pack_age_seconds{HERE})"}, "s", wide=6,
                      runbook="spool-not-stored"),
                Panel("Fill", "At 100 % C-STORE is refused.",
                      {"{{instance}}": f"osteon_spool_fill_ratio{{{_INGRESS}}}"}, "percentunit", wide=6, limit=0.7,
                      runbook="spool-filling"),
                Panel("Packs sealed", "By reason.",
                      {"{{reason}}": rate("osteon_packs_sealed_total", "reason")}, "ops", wide=6),
            ],
        ),
        queue_row(
            "2. Object store (writer)",
            "writer[.].*",
            Panel("Upload", "Time to store one pack, with its sidecar.",
                  quantiles("osteon_upload_duration_seconds"), "s", wide=6),
            Panel("Pack size", "Of packs written to the object store.",
                  quantiles("osteon_stored_pack_bytes"), "bytes", wide=6),
        ),
        queue_row(
            "3. Index (indexer)",
            "indexer",
            Panel("Transaction", "Time of one index transaction.",
                  quantiles("osteon_index_duration_seconds"), "s", wide=6, runbook="database-failing"),
            Panel("Instances", "By their state in the index.",
                  {"{{state}}": rate("osteon_indexed_instances_total", "state")}, "ops", wide=6),
        ),
        queue_row(
            "4. Routing and jobs (dispatcher)",
            "dispatcher[.].*",
            Panel("Jobs", "Jobs in the index, by state.",
                  {"{{state}}": "sum by (state) (max by (type, state) (osteon_jobs{HERE}))"}, wide=6,
                  runbook="jobs-failing"),
            Panel("Destinations", "Circuit breakers: 0 closed, 1 half-open, 2 open.",
                  {"{{destination}}": "max by (destination) (osteon_destination_state{HERE})"}, wide=6, limit=2,
                  runbook="destination-down"),
        ),
        Row(
            "All",
            [
                Panel("Lag", "From the first byte of a pack to its rows in the index.",
                      quantiles("osteon_ingest_lag_seconds", of=(0.5, 0.9, 0.99)), "s", limit=10,
                      runbook="lag-budget-burn"),
                Panel("Messages", "By queue and result. retry_unavailable: a part is down. dlq_limited: too many fail.",
                      {"{{queue}} {{result}}": rate("osteon_messages_handled_total", "queue", "result")}, "ops",
                      runbook="messages-held"),
                Panel("Not published", "Messages that the broker did not confirm.",
                      {"{{message}} {{result}}": rate("osteon_messages_published_total", "message", "result",
                                                      chosen='HERE, result!="confirmed"')}, "ops"),
                Panel("Processor", "CPU seconds per second.",
                      {"{{job}}": rate("process_cpu_seconds_total", "job")}, "short", stacked=True),
                Panel("Memory", "Resident memory.",
                      {"{{job}}": "sum by (job) (process_resident_memory_bytes{HERE})"}, "bytes", stacked=True),
                Panel("Caches", "Memory of caches by their own estimates; each is bounded.",
                      {"{{job}} {{cache}}": "sum by (job, cache) (osteon_cache_bytes{HERE})"}, "bytes", stacked=True),
                Panel("Event loop", "Delay of its timers.",
                      {**quantiles("osteon_event_loop_lag_seconds", "job", of=(0.99,)),
                       "{{job}} longest": "max by (job) (osteon_event_loop_longest_delay_seconds{HERE})"},
                      "s", limit=0.5,
                      runbook="event-loop-lag"),
            ],
        ),
        Row(
            "Details",
            [
                Panel("Handling", "Time to handle a message or a batch, 90th percentile.",
                      quantiles("osteon_message_duration_seconds", "queue", of=(0.9,)), "s",
                      runbook="queue-wait-growing"),
                Panel("Packs", "Packs written to the object store, and packs in one index transaction.",
                      {"stored per second": rate("osteon_packs_stored_total"),
                       "per transaction":
                           f"{rate('osteon_index_batch_packs_sum')} / {rate('osteon_index_batch_packs_count')}"}),
                Panel("Headers", "Invalid elements, and instances whose header cannot be read to its end.",
                      {"elements": rate("osteon_header_problems_total"),
                       "instances": rate("osteon_unreadable_headers_total")}, "ops"),
                Panel("Recovered", "Packs adopted from a process that ended, and bytes of dropped tails.",
                      {"packs": rate("osteon_spool_recovered_packs_total"),
                       "bytes": rate("osteon_spool_torn_bytes_total")}, "ops", runbook="spool-damaged"),
                Panel("Decisions", "On conflicts: the version that is kept; versions that say the same in other bytes.",
                      {"{{keep}}": rate("osteon_conflicts_resolved_total", "keep"),
                       "the same": rate("osteon_reencoded_duplicates_total")}, "ops", runbook="conflicts-open"),
                Panel("Bytes in the spool", "Not in the object store yet.",
                      {"{{instance}}": f"osteon_spool_bytes{{{_INGRESS}}}"}, "bytes", runbook="spool-not-stored"),
            ],
        ),
    ],
)  # fmt: skip

_SLOWEST_ROUTES: Final = quantiles("osteon_http_duration_seconds", "method", "route", of=(0.99,))[
    "{{method}} {{route}} p99"
]

RETRIEVE: Final = Dashboard(
    "retrieve",
    "Search and retrieve",
    "Searches and transfers by C-FIND, C-MOVE, C-GET, DICOMweb, REST and jobs.",
    [
        Row(
            "Search",
            [
                Panel("Pages", "Of search results, by kind.",
                      {"{{kind}}": rate("osteon_search_duration_seconds_count", "kind")}, "ops"),
                Panel("Time of a page", "By kind.", quantiles("osteon_search_duration_seconds", "kind"), "s", limit=1,
                      runbook="search-budget-burn"),
                Panel("DIMSE operations", "Time to the final response, by operation.",
                      quantiles("osteon_dimse_operation_duration_seconds", "operation", of=(0.9,)), "s"),
            ],
        ),
        Row(
            "Retrieve",
            [
                Panel("Sent by C-STORE", "Instances, by purpose and result.",
                      {"{{purpose}} {{result}}": rate("osteon_sent_instances_total", "purpose", "result")}, "ops"),
                Panel("Sent by HTTP", "Instances, frames and values, by purpose.",
                      {"{{purpose}}": rate("osteon_http_items_sent_total", "purpose")}, "ops"),
                Panel("Bytes", "Sent bytes, by purpose.",
                      {"{{purpose}} (DIMSE)": rate("osteon_sent_bytes_total", "purpose"),
                       "{{purpose}} (HTTP)": rate("osteon_http_bytes_sent_total", "purpose")}, "Bps", stacked=True),
            ],
        ),
        Row(
            "HTTP",
            [
                Panel("Requests by status", "Completed requests.",
                      {"{{status}}": rate("osteon_http_duration_seconds_count", "status")},
                      "ops", runbook="http-budget-burn"),
                Panel("Slowest routes", "99th percentile, the ten slowest.",
                      {"{{method}} {{route}}": f"topk(10, {_SLOWEST_ROUTES})"}, "s"),
                Panel("In progress", "Requests in progress.",
                      {"{{instance}}": 'osteon_http_requests_in_progress{HERE, job=~"query|standalone"}'}),
            ],
        ),
        Row(
            "Jobs and commitment",
            [
                Panel("Jobs", "Running jobs, and the limit.",
                      {"running": "sum(osteon_jobs_running{HERE})", "limit": "sum(osteon_jobs_limit{HERE})"},
                      runbook="jobs-waiting"),
                Panel("Time of a job", "Of one run, by type and resulting state.",
                      quantiles("osteon_job_run_duration_seconds", "type", "result", of=(0.9,)), "s",
                      runbook="jobs-failing"),
                Panel("Routed", "Instances by rule, and failed evaluations.",
                      {"{{rule}}": rate("osteon_routed_instances_total", "rule"),
                       "{{rule}} failed": rate("osteon_routing_failures_total", "rule")}, "ops",
                      runbook="routing-failing"),
                Panel("Storage commitment", "Instances that were checked, by result.",
                      {"{{result}}": rate("osteon_committed_instances_total", "result")}, "ops"),
                Panel("Commitment reports", "Acknowledged, on the requester's association or a new one.",
                      {"{{association}}": rate("osteon_commitment_reports_total", "association")}, "ops"),
            ],
        ),
    ],
)  # fmt: skip

IMAGING: Final = Dashboard(
    "imaging",
    "Imaging",
    "Rendering and transcoding, by transfer syntax (docs/transfer-syntaxes.md).",
    [
        Row(
            "Rendering",
            [
                Panel("Rendered", "Requests by mode.",
                      {"{{mode}}": rate("osteon_render_duration_seconds_count", "mode")}, "ops"),
                Panel("Time", "By transfer syntax, 90th percentile.",
                      quantiles("osteon_render_duration_seconds", "source", of=(0.9,)), "s"),
                Panel("Bytes", "By media type.", {"{{type}}": rate("osteon_rendered_bytes_total", "type")}, "Bps"),
                Panel("Cache", "Requests that the cache of rendered images could answer (hit) or not (miss).",
                      {"{{result}}": rate("osteon_render_cache_requests_total", "result")}, "ops"),
                Panel("Cache size", "Bytes of rendered images.", {"": "max(osteon_render_cache_bytes{HERE})"}, "bytes"),
            ],
        ),
        Row(
            "Transcoding",
            [
                Panel("Instances", "By transfer syntaxes.",
                      {"{{source}} → {{target}}": rate("osteon_transcode_duration_seconds_count", "source", "target")},
                      "ops"),
                Panel("Time", "By transfer syntaxes, 90th percentile.",
                      quantiles("osteon_transcode_duration_seconds", "source", "target", of=(0.9,)), "s"),
                Panel("Wait", "Of requests in the queues, 90th percentile.",
                      {"{{queue}}": 'osteon:queue_wait_duration_seconds:p90{queue=~"imaging[.].*"}'}, "s",
                      runbook="queue-wait-growing"),
            ],
        ),
        Row(
            "Failures",
            [
                Panel("Failed requests", "By reason.",
                      {"{{reason}}": rate("osteon_imaging_failures_total", "reason")}, "ops",
                      runbook="imaging-workers-crashing"),
                Panel("Workers ended", "By reason. idle and recycled are normal.",
                      {"{{reason}}": rate("osteon_imaging_workers_ended_total", "reason")}, "ops",
                      runbook="imaging-workers-crashing"),
                Panel("Memory", "Of the service without its workers.",
                      {"{{instance}}": 'process_resident_memory_bytes{HERE, job="imaging"}'}, "bytes"),
            ],
        ),
    ],
)  # fmt: skip

STORAGE: Final = Dashboard(
    "storage",
    "Storage and capacity",
    "Size of the archive, its growth, and forecasts for the disks.",
    [
        Row(
            "Archive",
            [
                Panel("Studies", "In the index.", {"": 'max(osteon_archive_resources{HERE, level="study"})'}, "short",
                      "stat", 6),
                Panel("Instances", "In the index.", {"": 'max(osteon_archive_resources{HERE, level="instance"})'},
                      "short", "stat", 6),
                Panel("Bytes", "Of all instances.", {"": "max(osteon_archive_bytes{HERE})"}, "bytes", "stat", 6),
                Panel("Growth per day", "Over the last day.", {"": "osteon:archive_bytes:growth_per_day"}, "bytes",
                      "stat", 6),
                Panel("Bytes in 90 days", "Forecast from the last week; the line is the size now.",
                      {"in 90 days": "predict_linear(osteon:archive_bytes:max[1w], 90 * 86400)",
                       "now": "osteon:archive_bytes:max"}, "bytes", wide=12),
                Panel("Growth", "Bytes per day.", {"": "osteon:archive_bytes:growth_per_day"}, "bytes", wide=12),
            ],
        ),
        Row(
            "Disks",
            [
                Panel("Spool: free", "Bytes that the spool can still take.",
                      {"{{instance}}": f"osteon_spool_free_bytes{{{_INGRESS}}}"}, "bytes", runbook="spool-full-soon"),
                Panel("Spool: free in 4 hours", "Forecast from the last half hour.",
                      {"{{instance}}": "clamp_min(predict_linear("
                       f"osteon_spool_free_bytes{{{_INGRESS}}}[30m], 4 * 3600), 0)"},
                      "bytes", runbook="spool-full-soon"),
                Panel("Parts: free", "Disks of RabbitMQ, SeaweedFS and, on Kubernetes, of all volumes.",
                      {"rabbitmq {{instance}}": "rabbitmq_disk_space_available_bytes",
                       "objects {{name}}": 'SeaweedFS_volumeServer_resource{type="avail"}',
                       "{{persistentvolumeclaim}}": "kubelet_volume_stats_available_bytes"}, "bytes",
                      runbook="disk-full-soon"),
            ],
        ),
        Row(
            "Cached packs",
            [
                Panel("Reads", "Of packs, by where the bytes are: in the local folder (hit), on their way, or not.",
                      {"{{job}} {{result}}": rate("osteon_pack_cache_requests_total", "job", "result")}, "ops"),
                Panel("Fetched", "From the object store into local folders.",
                      {"{{job}}": rate("osteon_pack_cache_fetched_bytes_total", "job")}, "Bps"),
                Panel("Size", "Of a local folder; it fills up to OSTEON_PACK_CACHE_BYTES.",
                      {"{{job}} {{instance}}": "osteon_pack_cache_bytes{HERE}"}, "bytes"),
                Panel("Removed", "For other packs (evicted), or because the file was damaged.",
                      {"evicted {{job}}": rate("osteon_pack_cache_evictions_total", "job"),
                       "damaged {{job}}": rate("osteon_pack_cache_damaged_total", "job")}, "ops"),
            ],
        ),
        Row(
            "Object store",
            [
                Panel("Requests", "By operation and result. refused: the object is absent.",
                      {"{{operation}} {{result}}":
                           rate("osteon_object_duration_seconds_count", "operation", "result")}, "ops",
                      runbook="object-store-failing"),
                Panel("Time", "By operation.", quantiles("osteon_object_duration_seconds", "operation"), "s"),
                Panel("Stored", "Bytes, sidecars included, and packs.",
                      {"bytes": rate("osteon_stored_bytes_total")}, "Bps"),
            ],
        ),
        Row(
            "Database",
            [
                Panel("Transactions", "By kind and result.",
                      {"{{kind}} {{result}}": rate("osteon_database_duration_seconds_count", "kind", "result")}, "ops",
                      runbook="database-failing"),
                Panel("Time", "By kind.", quantiles("osteon_database_duration_seconds", "kind"), "s"),
                Panel("Connections", "Used connections, and the limit.",
                      {"{{job}} {{state}}": "sum by (job, state) (osteon_database_connections{HERE})"}),
                Panel("Wait for a connection", "Time until a transaction had a working connection.",
                      quantiles("osteon_database_wait_duration_seconds", "job", of=(0.99,)), "s"),
                Panel("Certificates", "Time until those of DICOM TLS expire.",
                      {"{{job}} {{role}}": "min by (job, role) "
                       "(osteon_tls_certificate_expiry_timestamp_seconds{HERE}) - time()"}, "s",
                      runbook="certificate-expires"),
                Panel("Packs without rows", "Packs that the sweep found and indexed.",
                      {"": rate("osteon_swept_packs_total")}, "ops"),
            ],
        ),
    ],
    since="now-7d",
)  # fmt: skip

_PROMISES: Final = {
    "ingest": ("Ingest", "C-STORE succeeds, or fails for what was sent: 99.9 %"),
    "lag": ("Lag", "Packs are indexed 10 s after their first byte: 99 %"),
    "http": ("HTTP", "Requests do not end with 5xx: 99.9 %"),
    "search": ("Search", "Pages of results take less than 1 s: 99 %"),
}


def left(slo: str) -> str:
    """Return the share of the error budget of 30 days that is left."""
    errors, events = (f'sum_over_time(osteon:slo_{what}:rate5m{{slo="{slo}"}}[30d])' for what in ("errors", "events"))
    return f'1 - {errors} / {events} / (1 - osteon:slo_objective:ratio{{slo="{slo}"}})'


def burn(slo: str) -> dict[str, str]:
    """Return how fast the budget is used up, by window."""
    return {window: f'osteon:slo_burn:rate{window}{{slo="{slo}"}}' for window in ("5m", "1h", "6h", "1d", "3d")}


SLOS: Final = Dashboard(
    "slos",
    "Objectives",
    "Objectives over 30 days, the budget that is left, and its burn rate (1: all of it in 30 days).",
    [
        Row(
            title,
            [
                Panel("Budget left", says, {"": left(slo)}, "percentunit", "stat", 4, runbook=f"{slo}-budget-burn"),
                Panel("Burn rate", "By window. 14.4 over 1 hour, or 6 over 6 hours, is critical.", burn(slo), wide=12,
                      limit=14.4, runbook=f"{slo}-budget-burn"),
                Panel("Events and errors", "Per second.",
                      {"events": f'osteon:slo_events:rate5m{{slo="{slo}"}}',
                       "errors": f'osteon:slo_errors:rate5m{{slo="{slo}"}}'}, "ops"),
            ],
        )
        for slo, (title, says) in _PROMISES.items()
    ],
    since="now-7d",
)  # fmt: skip

DASHBOARDS: Final = (INGEST, PIPELINE, RETRIEVE, IMAGING, STORAGE, SLOS)
