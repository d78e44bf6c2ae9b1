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


_DOOR: Final = 'HERE, job=~"ingress|standalone"'
"""A gauge that is always there is 0 in services that do not set it."""
_AET: Final = 'HERE, calling_aet=~"$calling_aet"'
_DIMSE: Final = f'{_AET}, origin="dimse"'

INGEST: Final = Dashboard(
    "ingest",
    "Ingest",
    "What comes in: by sender, by modality, how it is answered, and how much room is left.",
    [
        Row(
            "Now",
            [
                Panel("Instances a second", "Stored by C-STORE and HTTP.",
                      {"": rate("osteon_received_instances_total")}, "ops", "stat", 4),
                Panel("Bytes a second", "Of data sets received.",
                      {"": rate("osteon_received_bytes_total")}, "Bps", "stat", 4),
                Panel("Associations", "Open now.", {"": "sum(osteon_associations_open{HERE})"}, "short", "stat", 4),
                Panel("Refused in 24 h", "C-STORE answered by something else than success.",
                      {"": 'sum(increase(osteon_store_total{HERE, status!="0x0000"}[24h])) or vector(0)'},
                      "short", "stat", 4, limit=1, runbook="instances-refused"),
                Panel("Spool", "The fullest one; at 100 % C-STORE is refused.",
                      {"": "max(osteon_spool_fill_ratio{HERE})"}, "percentunit", "stat", 4, 0.7, "spool-filling"),
                Panel("Found after", "99 of 100 packs have their rows after this time.",
                      {"": "osteon:lag_seconds:p99"}, "s", "stat", 4, 10, "lag-budget-burn"),
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
                Panel("Last instance", "How long ago an AE title last had an instance stored.",
                      {"{{calling_aet}}": "time() - max by (calling_aet) "
                       f"(osteon_last_received_timestamp_seconds{{{_AET}}})"}, "s", runbook="modality-silent"),
                Panel("As last week?", "Instances in 2 hours now, and in the same hours one week ago.",
                      {"{{calling_aet}}": 'osteon:received_instances:increase2h{calling_aet=~"$calling_aet"}',
                       "{{calling_aet}} last week":
                           'osteon:received_instances:increase2h{calling_aet=~"$calling_aet"} offset 1w'},
                      runbook="modality-silent"),
                Panel("Associations by AE title", "Ended, by how.",
                      {"{{calling_aet}} {{result}}":
                           rate("osteon_associations_total", "calling_aet", "result", chosen=_AET)}, "ops"),
            ],
        ),
        Row(
            "Answers",
            [
                Panel("C-STORE by status", "0xA700: no room; 0x0110: a failure here; others are for what was sent.",
                      {"{{status}}": rate("osteon_store_total", "status")}, "ops", runbook="ingest-budget-burn"),
                Panel("Time of C-STORE", "From its last fragment to its answer: mostly the sync of the disk.",
                      quantiles("osteon_store_seconds", of=(0.5, 0.9, 0.99)), "s"),
                Panel("Refused", "Instances that were received and refused, by door and reason.",
                      {"{{origin}}: {{reason}}": rate("osteon_refused_instances_total", "origin", "reason")}, "ops",
                      runbook="instances-refused"),
                Panel("Associations open", "And how many may be.",
                      {"{{instance}}": f"osteon_associations_open{{{_DOOR}}}",
                       "limit {{instance}}": f"osteon_associations_limit{{{_DOOR}}}"},
                      runbook="associations-near-limit"),
                Panel("Sync of the disk", "Time in which the disk of the spool made a file durable.",
                      quantiles("osteon_spool_sync_seconds"), "s"),
                Panel("Unused connections", "Connections without an association: scanners, health checks, wrong peers.",
                      {"{{result}}": rate("osteon_unused_connections_total", "result")}, "ops"),
            ],
        ),
    ],
    variables={"calling_aet": "osteon_associations_total"},
)  # fmt: skip


def queue_row(title: str, queue: str, time: Panel, more: Panel) -> Row:
    """Return the row of a stage that reads a queue: what waits, for how long, how long it takes, and its own time."""
    chosen = f'queue=~"{queue}"'
    return Row(
        title,
        [
            Panel("Waiting", "Messages in the queue.",
                  {"{{queue}}": f"osteon:queue_messages:max{{{chosen}}}"}, wide=6, runbook="queue-not-handled"),
            Panel("Wait", "From the publication of a message to its handling, 90th percentile.",
                  {"{{queue}}": f"osteon:queue_wait_seconds:p90{{{chosen}}}"}, "s", wide=6, limit=60,
                  runbook="queue-wait-growing"),
            time,
            more,
        ],
    )  # fmt: skip


PIPELINE: Final = Dashboard(
    "pipeline",
    "Pipeline",
    "From the door to the index, a row for each stage. The first row in which something waits is the one to look at.",
    [
        Row(
            "In order?",
            [
                Panel("Dead letters", "Messages that need a person.",
                      {"": 'max(osteon:queue_messages:max{queue="osteon.dead"}) or vector(0)'}, "short", "stat", 4, 1,
                      "dead-letters"),
                Panel("Conflicts", "Versions that wait for a decision.",
                      {"": "max(osteon_conflicts_open{HERE})"}, "short", "stat", 4, 1, "conflicts-open"),
                Panel("Not ready", "Parts that some service does not reach.",
                      {"": "count(osteon_ready{HERE} == 0) or vector(0)"}, "short", "stat", 4, 1, "not-ready"),
                Panel("Replicas", "That answer to Prometheus.",
                      {"": 'sum(up{HERE})'}, "short", "stat", 4, runbook="replica-down"),
                Panel("Firing", "Alerts.",
                      {"": 'count(ALERTS{alertname=~"Osteon.*", alertstate="firing"}) or vector(0)'}, "short",
                      "stat", 4, 1),
                Panel("Found after", "99 of 100 packs have their rows after this time.",
                      {"": "osteon:lag_seconds:p99"}, "s", "stat", 4, 10, "lag-budget-burn"),
            ],
        ),
        Row(
            "1. Spool (ingress)",
            [
                Panel("Packs", "In the spool, by state.",
                      {"{{state}}": "sum by (state) (osteon_spool_packs{HERE})"}, wide=6, runbook="spool-not-stored"),
                Panel("Oldest pack", "By state; published ones wait for a writer.",
                      {"{{state}}": "max by (state) (osteon_spool_oldest_seconds{HERE})"}, "s", wide=6,
                      runbook="spool-not-stored"),
                Panel("Fill", "At 100 % C-STORE is refused.",
                      {"{{instance}}": f"osteon_spool_fill_ratio{{{_DOOR}}}"}, "percentunit", wide=6, limit=0.7,
                      runbook="spool-filling"),
                Panel("Packs sealed", "By reason.",
                      {"{{reason}}": rate("osteon_packs_sealed_total", "reason")}, "ops", wide=6),
            ],
        ),
        queue_row(
            "2. Object store (writer)",
            "writer[.].*",
            Panel("Upload", "Time to store one pack and its sidecar.", quantiles("osteon_upload_seconds"), "s", wide=6),
            Panel("Pack size", "Of packs put into the object store.", quantiles("osteon_pack_bytes"), "bytes", wide=6),
        ),
        queue_row(
            "3. Index (indexer)",
            "indexer",
            Panel("Transaction", "Time of one index transaction.", quantiles("osteon_index_seconds"), "s", wide=6,
                  runbook="database-failing"),
            Panel("Instances", "By what the index made of them.",
                  {"{{state}}": rate("osteon_indexed_instances_total", "state")}, "ops", wide=6),
        ),
        queue_row(
            "4. Routing and jobs (dispatcher)",
            "dispatcher[.].*",
            Panel("Jobs", "That the index has, by state.",
                  {"{{state}}": "sum by (state) (max by (type, state) (osteon_jobs{HERE}))"}, wide=6,
                  runbook="jobs-failing"),
            Panel("Destinations", "That failed: 0 still tried, 1 tried again by one job, 2 left alone.",
                  {"{{destination}}": "max by (destination) (osteon_destination_state{HERE})"}, wide=6, limit=2,
                  runbook="destination-down"),
        ),
        Row(
            "All",
            [
                Panel("Lag", "From the first byte of a pack to its index rows.",
                      quantiles("osteon_lag_seconds", of=(0.5, 0.9, 0.99)), "s", limit=10, runbook="lag-budget-burn"),
                Panel("Messages", "Handled, by queue and result; wait: a part is down, held: too many fail.",
                      {"{{queue}} {{result}}": rate("osteon_messages_total", "queue", "result")}, "ops",
                      runbook="messages-held"),
                Panel("Published", "Messages that the broker did not take.",
                      {"{{message}} {{result}}": rate("osteon_published_total", "message", "result",
                                                      chosen='HERE, result!="confirmed"')}, "ops"),
                Panel("Processor", "Seconds a second.",
                      {"{{job}}": rate("process_cpu_seconds_total", "job")}, "short", stacked=True),
                Panel("Memory", "Resident.",
                      {"{{job}}": "sum by (job) (process_resident_memory_bytes{HERE})"}, "bytes", stacked=True),
                Panel("Event loop", "How late it comes back.",
                      quantiles("osteon_event_loop_lag_seconds", "job", of=(0.99,)), "s", limit=0.5,
                      runbook="event-loop-lag"),
            ],
        ),
        Row(
            "Odd things",
            [
                Panel("Handling", "Time to handle a message or a batch of them, 90th percentile.",
                      quantiles("osteon_message_seconds", "queue", of=(0.9,)), "s", runbook="queue-wait-growing"),
                Panel("Packs", "Put into the object store, and packs in one index transaction.",
                      {"stored a second": rate("osteon_packs_stored_total"),
                       "in a transaction": f"{rate('osteon_index_packs_sum')} / {rate('osteon_index_packs_count')}"}),
                Panel("Headers", "Elements that were kept but marked, and instances whose header can not be read.",
                      {"elements": rate("osteon_header_problems_total"),
                       "instances": rate("osteon_unread_headers_total")}, "ops"),
                Panel("Recovered", "Packs taken over from a process that ended, and tails that were dropped.",
                      {"packs": rate("osteon_spool_recovered_packs_total"),
                       "bytes": rate("osteon_spool_torn_bytes_total")}, "ops", runbook="spool-damaged"),
                Panel("Decisions", "On conflicts, by what is kept.",
                      {"{{keep}}": rate("osteon_conflicts_resolved_total", "keep")}, "ops", runbook="conflicts-open"),
                Panel("Bytes in the spool", "Not yet in the object store.",
                      {"{{instance}}": f"osteon_spool_bytes{{{_DOOR}}}"}, "bytes", runbook="spool-not-stored"),
            ],
        ),
    ],
)  # fmt: skip

RETRIEVE: Final = Dashboard(
    "retrieve",
    "Search and retrieve",
    "What is asked for and sent out: C-FIND, C-MOVE, C-GET, DICOMweb, REST, jobs.",
    [
        Row(
            "Search",
            [
                Panel("Pages", "Of search results, by kind.",
                      {"{{kind}}": rate("osteon_search_seconds_count", "kind")}, "ops"),
                Panel("Time of a page", "By kind.", quantiles("osteon_search_seconds", "kind"), "s", limit=1,
                      runbook="search-budget-burn"),
                Panel("DIMSE operations", "Time to the final response, by operation.",
                      quantiles("osteon_dimse_seconds", "operation", of=(0.9,)), "s"),
            ],
        ),
        Row(
            "Retrieve",
            [
                Panel("Sent by C-STORE", "Instances, by what for and result.",
                      {"{{way}} {{result}}": rate("osteon_sent_instances_total", "way", "result")}, "ops"),
                Panel("Sent by HTTP", "Instances, frames and values, by way.",
                      {"{{way}}": rate("osteon_retrieved_items_total", "way")}, "ops"),
                Panel("Bytes", "Sent out, by way.",
                      {"{{way}} (DIMSE)": rate("osteon_sent_bytes_total", "way"),
                       "{{way}} (HTTP)": rate("osteon_retrieved_bytes_total", "way")}, "Bps", stacked=True),
            ],
        ),
        Row(
            "HTTP",
            [
                Panel("Requests by status", "Answered.",
                      {"{{status}}": rate("osteon_http_seconds_count", "status")}, "ops", runbook="http-budget-burn"),
                Panel("Slowest routes", "99th percentile, the ten slowest.",
                      {"{{method}} {{route}}": "topk(10, "
                       + quantiles("osteon_http_seconds", "method", "route", of=(0.99,))["{{method}} {{route}} p99"]
                       + ")"}, "s"),
                Panel("In progress", "Requests that are being answered.",
                      {"{{instance}}": 'osteon_http_requests_in_progress{HERE, job=~"query|standalone"}'}),
            ],
        ),
        Row(
            "Jobs and commitment",
            [
                Panel("Jobs", "Running, and how many may.",
                      {"running": "sum(osteon_jobs_running{HERE})", "limit": "sum(osteon_jobs_limit{HERE})"},
                      runbook="jobs-waiting"),
                Panel("Time of a job", "Of one run, by type and the state that it led to.",
                      quantiles("osteon_job_seconds", "type", "result", of=(0.9,)), "s", runbook="jobs-failing"),
                Panel("Routed", "Instances by rule, and what could not be tried.",
                      {"{{rule}}": rate("osteon_routed_instances_total", "rule"),
                       "{{rule}} failed": rate("osteon_routing_failures_total", "rule")}, "ops",
                      runbook="routing-failing"),
                Panel("Storage commitment", "Instances that were checked, by result.",
                      {"{{result}}": rate("osteon_committed_instances_total", "result")}, "ops"),
                Panel("Commitment reports", "Acknowledged, on the requester's association or a new one.",
                      {"{{way}}": rate("osteon_commitment_reports_total", "way")}, "ops"),
            ],
        ),
    ],
)  # fmt: skip

IMAGING: Final = Dashboard(
    "imaging",
    "Imaging",
    "Pictures and transcoding, by transfer syntax (docs/transfer-syntaxes.md).",
    [
        Row(
            "Pictures",
            [
                Panel("Made", "Requests by kind of picture.", {"{{how}}": rate("osteon_render_seconds_count", "how")},
                      "ops"),
                Panel("Time", "By transfer syntax, 90th percentile.",
                      quantiles("osteon_render_seconds", "source", of=(0.9,)), "s"),
                Panel("Bytes", "By media type.", {"{{type}}": rate("osteon_rendered_bytes_total", "type")}, "Bps"),
                Panel("Kept", "Requests whose picture was kept (hit) or not (miss).",
                      {"{{result}}": rate("osteon_render_cache_total", "result")}, "ops"),
                Panel("Kept bytes", "Of pictures.", {"": "max(osteon_render_cache_bytes{HERE})"}, "bytes"),
            ],
        ),
        Row(
            "Transcoding",
            [
                Panel("Instances", "By transfer syntaxes.",
                      {"{{source}} → {{target}}": rate("osteon_transcode_seconds_count", "source", "target")}, "ops"),
                Panel("Time", "By transfer syntaxes, 90th percentile.",
                      quantiles("osteon_transcode_seconds", "source", "target", of=(0.9,)), "s"),
                Panel("Wait", "Of requests in the queues, 90th percentile.",
                      {"{{queue}}": 'osteon:queue_wait_seconds:p90{queue=~"imaging[.].*"}'}, "s",
                      runbook="queue-wait-growing"),
            ],
        ),
        Row(
            "Trouble",
            [
                Panel("Not done", "Requests by reason.",
                      {"{{reason}}": rate("osteon_imaging_failures_total", "reason")}, "ops",
                      runbook="imaging-workers-crashing"),
                Panel("Workers ended", "By reason; idle and recycled are usual.",
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
    "What is kept, how fast it grows, and how long disks last as they are filled now.",
    [
        Row(
            "Archive",
            [
                Panel("Studies", "In the index.", {"": 'max(osteon_archive_resources{HERE, level="study"})'}, "short",
                      "stat", 6),
                Panel("Instances", "In the index.", {"": 'max(osteon_archive_resources{HERE, level="instance"})'},
                      "short", "stat", 6),
                Panel("Bytes", "Of all instances served.", {"": "max(osteon_archive_bytes{HERE})"}, "bytes", "stat", 6),
                Panel("A day", "Growth, by the last day.", {"": "osteon:archive_bytes:growth_per_day"}, "bytes",
                      "stat", 6),
                Panel("Bytes in 90 days", "As it grew in the last week; the line is now.",
                      {"in 90 days": "predict_linear(osteon:archive_bytes:max[1w], 90 * 86400)",
                       "now": "osteon:archive_bytes:max"}, "bytes", wide=12),
                Panel("Growth", "A day.", {"": "osteon:archive_bytes:growth_per_day"}, "bytes", wide=12),
            ],
        ),
        Row(
            "Disks",
            [
                Panel("Spool: room", "Bytes that may still come before C-STORE is refused.",
                      {"{{instance}}": f"osteon_spool_free_bytes{{{_DOOR}}}"}, "bytes", runbook="spool-full-soon"),
                Panel("Spool: room in 4 hours", "As in the last half hour.",
                      {"{{instance}}": "clamp_min(predict_linear("
                       f"osteon_spool_free_bytes{{{_DOOR}}}[30m], 4 * 3600), 0)"},
                      "bytes", runbook="spool-full-soon"),
                Panel("Parts: room", "Disks of RabbitMQ, SeaweedFS and, on Kubernetes, of all volumes.",
                      {"rabbitmq {{instance}}": "rabbitmq_disk_space_available_bytes",
                       "objects {{name}}": 'SeaweedFS_volumeServer_resource{type="avail"}',
                       "{{persistentvolumeclaim}}": "kubelet_volume_stats_available_bytes"}, "bytes",
                      runbook="disk-full-soon"),
            ],
        ),
        Row(
            "Object store",
            [
                Panel("Requests", "By operation and result; refused: absent.",
                      {"{{operation}} {{result}}": rate("osteon_object_seconds_count", "operation", "result")}, "ops",
                      runbook="object-store-failing"),
                Panel("Time", "By operation.", quantiles("osteon_object_seconds", "operation"), "s"),
                Panel("Stored", "Bytes, sidecars included, and packs.",
                      {"bytes": rate("osteon_stored_bytes_total")}, "Bps"),
            ],
        ),
        Row(
            "Database",
            [
                Panel("Transactions", "By kind and result.",
                      {"{{kind}} {{result}}": rate("osteon_database_seconds_count", "kind", "result")}, "ops",
                      runbook="database-failing"),
                Panel("Time", "By kind.", quantiles("osteon_database_seconds", "kind"), "s"),
                Panel("Connections", "Used, and how many may be; and the wait for one.",
                      {"{{job}} {{state}}": "sum by (job, state) (osteon_database_connections{HERE})"}),
                Panel("Wait for a connection", "Until a transaction had one that works.",
                      quantiles("osteon_database_wait_seconds", "job", of=(0.99,)), "s"),
                Panel("Certificates", "Time until those of DICOM TLS expire.",
                      {"{{job}} {{role}}": "min by (job, role) "
                       "(osteon_tls_certificate_expiry_timestamp_seconds{HERE}) - time()"}, "s",
                      runbook="certificate-expires"),
                Panel("Packs without rows", "That the sweep found and indexed.",
                      {"": rate("osteon_swept_packs_total")}, "ops"),
            ],
        ),
    ],
    since="now-7d",
)  # fmt: skip

_PROMISES: Final = {
    "ingest": ("Ingest", "C-STORE succeeds, or fails for what was sent: 99.9 %"),
    "lag": ("Lag", "Packs are found 10 s after their first byte: 99 %"),
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
    "What is promised for 30 days, what of the error budget is left, and how fast it is used up (1: all of it).",
    [
        Row(
            title,
            [
                Panel("Budget left", says, {"": left(slo)}, "percentunit", "stat", 4, runbook=f"{slo}-budget-burn"),
                Panel("Burn rate", "By window; 14.4 for an hour, or 6 for six, wakes somebody.", burn(slo), wide=12,
                      limit=14.4, runbook=f"{slo}-budget-burn"),
                Panel("Events and errors", "A second.",
                      {"events": f'osteon:slo_events:rate5m{{slo="{slo}"}}',
                       "errors": f'osteon:slo_errors:rate5m{{slo="{slo}"}}'}, "ops"),
            ],
        )
        for slo, (title, says) in _PROMISES.items()
    ],
    since="now-7d",
)  # fmt: skip

DASHBOARDS: Final = (INGEST, PIPELINE, RETRIEVE, IMAGING, STORAGE, SLOS)
