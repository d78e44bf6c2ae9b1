"""Jobs, routing, storage commitment and sending."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from osteon.dicom.uids import TRANSFER_SYNTAXES
from osteon.settings.base import Settings
from osteon.settings.imaging import TranscodeSettings
from osteon.settings.values import MAX_PORT, ByteCount, Days, Seconds, Words


class CommitmentSettings(Settings):
    """Storage commitment."""

    commitment_check: Literal["row", "object", "sha256"] = Field(
        "object",
        description="What is checked of each instance: its row, also its objects and their length, or also its bytes.",
    )
    commitment_wait_seconds: Seconds = Field(
        300.0, ge=0, description="Seconds that an instance may be on its way to the index before it counts as missing."
    )
    commitment_days: Days = Field(7.0, gt=0, description="Days for which one that does not answer is tried again.")
    commitment_linger_seconds: Seconds = Field(
        2.0, ge=0, description="Seconds to leave an association open for the report on a request of ours."
    )


class JobSettings(Settings):
    """How jobs run, in every service that runs some."""

    job_lease_seconds: Seconds = Field(
        30.0, ge=1, description="Seconds after which the job of a process that died is taken over by another one."
    )
    job_poll_seconds: Seconds = Field(1.0, gt=0, description="Seconds between looks for jobs that are due.")
    job_history: int = Field(1000, ge=0, description="Jobs that ended and are kept at least.")
    job_history_days: Days = Field(30.0, ge=0, description="Days after which further ones are forgotten.")
    deidentification_key: SecretStr = Field(
        SecretStr(""),
        description="Secret by which anonymization gives one patient the same pseudonym, UIDs and dates each time; "
        "without it every job has its own.",
    )


class DispatcherSettings(Settings):
    """What `dispatcher` does with jobs."""

    dispatcher_jobs: int = Field(8, ge=1, description="Jobs that one dispatcher runs at the same time.")
    job_retry_seconds: Seconds = Field(
        600.0, ge=0, description="Seconds for which a modality or peer that does not answer is tried again."
    )
    own_dicom_address: str = Field(
        "127.0.0.1:4242",
        pattern=r"^(.*:\d{1,5})?$",
        description="Host and port of the own `ingress`, which stores what is fetched by C-GET.",
    )

    @field_validator("own_dicom_address")
    @classmethod
    def _has_a_port(cls, value: str) -> str:
        if value and not 0 < int(value.rpartition(":")[2]) <= MAX_PORT:
            raise ValueError(f"expected host:port with a port from 1 to {MAX_PORT}")
        return value


class PeerSettings(Settings):
    """Requests to peers by HTTP."""

    peer_ca_dir: Path | None = Field(
        None,
        description="Folder of PEM files that the `CaFile` of a peer may name; empty: a `CaFile` is PEM text itself.",
    )
    peer_proxy_from_environment: bool = Field(
        False, description="Whether peers are called by the proxies in `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`."
    )


class RoutingSettings(Settings):
    """Stable studies, routing rules, and destinations that fail."""

    stable_age_seconds: Seconds = Field(
        60.0, gt=0, description="Seconds without a new instance after which a patient, study or series is stable."
    )
    rules_file: Path | None = Field(
        None, description="YAML or JSON with routing rules; those that are not known yet are added at start."
    )
    breaker_failures: int = Field(
        5, ge=1, description="Failures one after the other after which a destination is left alone."
    )
    breaker_seconds: Seconds = Field(
        30.0, gt=0, description="Seconds for which it is left alone, doubled by each further failure, 300 at most."
    )


class SendingSettings(Settings):
    """Sending instances by C-STORE: C-MOVE, C-GET and jobs that send."""

    send_read_ahead_bytes: ByteCount = Field(
        16 << 20, ge=1, description="Bytes read for one association before the peer takes them."
    )
    send_memory_bytes: ByteCount = Field(
        256 << 20, ge=1, description="Bytes read ahead for all associations; then each reads but what it sends next."
    )
    send_verify: bool = Field(True, description="Compare what is sent with its checksum.")
    send_lossy: Words = Field(
        (), description="Transfer syntax UIDs that may be sent although information is lost, when the peer wants them."
    )
    send_quality: int = Field(90, ge=1, le=100, description="Quality of lossy compression.")
    move_retry_seconds: Seconds = Field(
        60.0, ge=0, description="Seconds for which the destination of a C-MOVE is tried again when it has vanished."
    )

    @field_validator("send_lossy")
    @classmethod
    def _are_lossy(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for uid in value:
            if uid not in TRANSFER_SYNTAXES or not TRANSFER_SYNTAXES[uid].lossy:
                raise ValueError("expected UIDs of lossy transfer syntaxes, such as 1.2.840.10008.1.2.4.50")
        return value


class StoreSenderSettings(SendingSettings, TranscodeSettings):
    """What is needed to send: no group of its own."""
