"""Settings: environment variables `OSTEON_…`, in groups that each service's `settings.py` puts together.

A variable that no group knows, or a value that is not valid, stops the start with a message that names it.
"""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from osteon.dicom.uids import TRANSFER_SYNTAXES
from osteon.errors import Invalid
from osteon.remotes.port import Permission

PREFIX = "OSTEON_"
Port = Annotated[int, Field(ge=0, le=65535)]
Words = Annotated[tuple[str, ...], NoDecode]
"""A comma-separated list."""
_AMQP = re.compile(r"amqps?://[^/\s]")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([^\s/:@\[\]]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_ENDPOINT = re.compile(r"([^\s/:@\[\]]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


class BadSettings(Invalid):
    """The environment can not be used; the message lists every reason, a line each."""


class Settings(BaseSettings):
    """Root of the groups."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, env_ignore_empty=True)


class ProcessSettings(Settings):
    """What every process has."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least severity that is logged."
    )
    log_format: Literal["console", "json"] = Field("console", description="Log lines for a person or for a machine.")
    bind: str = Field("127.0.0.1", description="Address to listen on; `0.0.0.0` for all.")
    health_port: Port = Field(8081, description="Port of `/healthz`, `/readyz` and `/metrics`; 0 takes a free one.")
    drain_seconds: float = Field(25.0, ge=0, description="Time to finish work in flight after SIGTERM.")
    metric_aets: int = Field(
        200, ge=0, description="Calling AE titles that metrics tell apart; further ones are counted as `other`."
    )
    tracing_endpoint: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="Base URL of an OpenTelemetry collector (OTLP by HTTP, `http://host:4318`); empty: no tracing.",
    )


class DicomSettings(Settings):
    """The DIMSE acceptor."""

    aet: str = Field("OSTEON", min_length=1, max_length=16, description="Own AE title.")
    dicom_port: Port = Field(4242, description="Port for associations; 0 takes a free one.")
    check_called_aet: bool = Field(False, description="Reject associations that call another AE title.")
    allowed_aets: Words = Field((), description="Calling AE titles that are accepted, comma-separated; empty: all.")
    max_associations: int = Field(200, ge=1, description="More at once are rejected: local limit exceeded, transient.")
    max_waiting_connections: int = Field(
        1000, ge=1, description="Connections without an association at most; one more closes the oldest."
    )
    max_pdu: int = Field(0, ge=0, le=2**32 - 1, description="Maximum PDU length that is offered; 0: unlimited.")
    async_operations: int = Field(16, ge=1, le=65535, description="Operations in flight that are granted on request.")
    artim_timeout: float = Field(30.0, gt=0, description="Seconds to wait for A-ASSOCIATE-RQ or the end of connection.")
    dimse_timeout: float = Field(120.0, gt=0, description="Seconds for a message to end, or to bring 4 KiB more.")
    network_timeout: float = Field(300.0, gt=0, description="Seconds that an association may be idle.")
    extra_sop_classes: Words = Field((), description="Further (private) storage SOP class UIDs, comma-separated.")
    store_unknown_sop_classes: bool = Field(
        True, description="Accept any SOP class that has a storage transfer syntax and is no known service."
    )
    ack_after: Literal["spool", "index"] = Field(
        "spool", description="Answer C-STORE once on disk (`spool`), or once it can be found (`index`)."
    )

    @field_validator("allowed_aets", "extra_sop_classes", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return split_words(value)


class TlsSettings(Settings):
    """TLS of associations."""

    dicom_tls_port: Port = Field(
        2762, description="Port for associations by TLS, open when there is a certificate; 0 takes a free one."
    )
    dicom_tls_certificate: str = Field("", description="PEM file of the own certificate and those that lead to the CA.")
    dicom_tls_key: str = Field("", description="PEM file of its key, without a password; empty: in the same file.")
    dicom_tls_ca: str = Field("", description="PEM file of the CAs that sign the certificates of the others.")
    dicom_tls_clients: Literal["", "none", "optional", "required"] = Field(
        "", description="Whether who connects must show a certificate; empty: `required` with a CA, else `none`."
    )
    dicom_plain: bool = Field(True, description="Listen on `OSTEON_DICOM_PORT`, which has no TLS, too.")
    dicom_tls_client_certificate: str = Field(
        "", description="Certificate that is shown to modalities; empty: `OSTEON_DICOM_TLS_CERTIFICATE`."
    )
    dicom_tls_client_key: str = Field("", description="PEM file of its key; empty: in the same file.")
    dicom_tls_client_ca: str = Field(
        "", description="CAs that sign the certificates of modalities; empty: `OSTEON_DICOM_TLS_CA`, or the system's."
    )
    dicom_tls_check_host: bool = Field(
        True, description="Whether the certificate of a modality must be for the host that is called."
    )


class BalancerSettings(Settings):
    """What is in front of the DIMSE acceptor."""

    proxy_protocol: bool = Field(
        False,
        description="A balancer is in front of the DICOM ports and says who calls (PROXY protocol 1 or 2); "
        "nobody else may reach them.",
    )


class SpoolSettings(Settings):
    """The spool volume."""

    spool: Path = Field(Path("data/spool"), description="Folder of the spool, on a local disk that survives a crash.")
    spool_id: str = Field("spool", pattern=r"^[a-z0-9][a-z0-9.-]*$", description="Names the volume; routes its packs.")
    spool_high_water: float = Field(
        0.9, gt=0, le=1, description="Part of the file system that may be full before C-STORE is answered 0xA700."
    )
    spool_quota: int = Field(0, ge=0, description="Bytes that the spool may hold before 0xA700; 0: no quota.")
    pack_size: int = Field(64 << 20, ge=1 << 16, description="A pack is sealed when it has this many bytes.")
    pack_seconds: float = Field(2.0, gt=0, description="A pack is sealed this long after its first instance.")
    republish_seconds: float = Field(
        600.0, gt=0, description="A pack that no writer took is announced again after this time, then twice that."
    )


class BusSettings(Settings):
    """RabbitMQ."""

    amqp_url: SecretStr = Field(SecretStr("amqp://guest:guest@127.0.0.1:5672/"), description="URL of the broker.")

    @field_validator("amqp_url")
    @classmethod
    def _is_amqp(cls, value: SecretStr) -> SecretStr:
        if not _AMQP.match(value.get_secret_value()):
            raise ValueError("expected amqp://user:password@host:port/vhost or amqps://…")
        return value


class ObjectSettings(Settings):
    """The object store."""

    s3_endpoint: str = Field("127.0.0.1:8333", description="Host and port of the S3 server.")
    s3_access_key: SecretStr = Field(SecretStr(""), description="Access key.")
    s3_secret_key: SecretStr = Field(SecretStr(""), description="Secret key.")
    s3_bucket: str = Field("osteon", description="Bucket; made when absent.")
    s3_secure: bool = Field(False, description="Use HTTPS; trusts the CAs of the system, or of `SSL_CERT_FILE`.")
    s3_region: str = Field("us-east-1", description="Region.")

    @field_validator("s3_endpoint")
    @classmethod
    def _is_endpoint(cls, value: str) -> str:
        if not _ENDPOINT.fullmatch(value):
            raise ValueError("expected host or host:port, without http:// (see OSTEON_S3_SECURE)")
        return value


class IndexSettings(Settings):
    """The database."""

    database_url: SecretStr = Field(
        SecretStr("postgresql+psycopg://osteon@127.0.0.1:5432/osteon"), description="SQLAlchemy URL of the index."
    )
    database_pool: int = Field(8, ge=1, description="Connections at most, per process.")
    migrate: bool = Field(
        True, description="Bring the tables up to date at the start; `false`: wait until `osteon migrate` has."
    )


class WriterSettings(Settings):
    """How the writer works."""

    writer_concurrency: int = Field(2, ge=1, description="Packs that one writer stores at the same time.")


class IndexerSettings(Settings):
    """How the indexer works."""

    index_batch: int = Field(50, ge=1, description="Packs in one transaction at most.")
    index_linger: float = Field(0.05, ge=0, description="Seconds to gather a batch.")
    sweep_hours: float = Field(1.0, ge=0, description="How often to look for packs without rows; 0: never.")
    sweep_age: float = Field(
        300.0, ge=0, description="Seconds from which a pack without rows is swept up; a younger one may be on its way."
    )


class HttpSettings(Settings):
    """The HTTP door."""

    http_port: Port = Field(8042, description="Port of DICOMweb, REST and the Explorer; 0 takes a free one.")
    public_url: str = Field("", description="Base URL in answers; empty: taken from the request.")
    upload_limit: int = Field(10 << 30, ge=1, description="Bytes of one HTTP upload at most.")
    uploads: int = Field(32, ge=1, description="HTTP uploads read at the same time; others wait, at last get 503.")
    query_page: int = Field(200, ge=1, description="Matches in one page of a C-FIND.")
    query_limit: int = Field(10_000, ge=1, description="Matches in one answer of QIDO-RS at most.")
    index_wait: float = Field(60.0, gt=0, description="Seconds that an upload waits to be indexed.")
    cors_origins: Words = Field(
        (),
        description="Origins whose web pages may use the HTTP API, such as `https://viewer.example.org`, "
        "comma-separated; `*`: all; empty: none but its own.",
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        return split_words(value)

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            if word != "*" and not _ORIGIN.fullmatch(word):
                raise ValueError(f"{word!r} is no origin: expected scheme://host[:port], or *")
        return value


class RemotesSettings(Settings):
    """Modalities and peers, and searches in them."""

    remotes_file: Path | None = Field(
        None, description="YAML or JSON with modalities and peers; those that are not known yet are added at start."
    )
    remote_queries: int = Field(100, ge=1, description="Searches in modalities whose answers are kept.")
    remote_query_hours: float = Field(24.0, gt=0, description="Hours for which they are kept.")
    remote_answers: int = Field(10_000, ge=1, description="Matches at most; then a search is cancelled.")
    remote_find_seconds: float = Field(300.0, gt=0, description="Seconds for a search in a modality.")


class AccessSettings(Settings):
    """Who may do what at the DIMSE door."""

    unknown_aets: Words = Field(
        ("echo", "store", "find", "worklist", "move", "get", "storage_commitment"),
        description="What calling AE titles may do that no modality has, comma-separated; `none`: they are rejected.",
    )
    dicom_check_host: bool = Field(
        False, description="Reject AE titles of modalities that call from another host than theirs."
    )

    @field_validator("unknown_aets", mode="before")
    @classmethod
    def _split_unknown(cls, value: object) -> object:
        return () if value == "none" else split_words(value)

    @field_validator("unknown_aets")
    @classmethod
    def _are_permissions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            if word not in set(Permission):
                raise ValueError(f"expected none, or some of {', '.join(Permission)}")
        return value


class CommitmentSettings(Settings):
    """Storage commitment."""

    commitment_check: Literal["row", "object", "sha256"] = Field(
        "object",
        description="What is checked of each instance: its row, also its objects and their length, or also its bytes.",
    )
    commitment_wait: float = Field(
        300.0, ge=0, description="Seconds that an instance may be on its way to the index before it counts as missing."
    )
    commitment_days: float = Field(7.0, gt=0, description="Days for which one that does not answer is tried again.")
    commitment_linger: float = Field(
        2.0, ge=0, description="Seconds to leave an association open for the report on a request of ours."
    )


class DispatcherSettings(Settings):
    """How jobs run."""

    dispatcher_jobs: int = Field(8, ge=1, description="Jobs that one dispatcher runs at the same time.")
    job_lease: float = Field(
        30.0, ge=1, description="Seconds after which the job of a dispatcher that died is taken over by another one."
    )
    job_poll: float = Field(1.0, gt=0, description="Seconds between looks for jobs that are due.")
    job_patience: float = Field(
        600.0, ge=0, description="Seconds for which a modality or peer that does not answer is tried again."
    )
    job_history: int = Field(1000, ge=0, description="Jobs that ended and are kept at least.")
    job_history_days: float = Field(30.0, ge=0, description="Days after which further ones are forgotten.")
    own_door: str = Field(
        "127.0.0.1:4242",
        pattern=r"^(.*:\d{1,5})?$",
        description="Host and port of the own `ingress`, which stores what is fetched by C-GET.",
    )


class RoutingSettings(Settings):
    """Stable studies, routing rules, and destinations that fail."""

    stable_age: float = Field(
        60.0, gt=0, description="Seconds without a new instance after which a patient, study or series is stable."
    )
    rules_file: Path | None = Field(
        None, description="YAML or JSON with routing rules; those that are not known yet are added at start."
    )
    breaker_failures: int = Field(
        5, ge=1, description="Failures one after the other after which a destination is left alone."
    )
    breaker_seconds: float = Field(
        30.0, gt=0, description="Seconds for which it is left alone, doubled by each further failure, 300 at most."
    )


class SendingSettings(Settings):
    """Sending instances by C-STORE: C-MOVE, C-GET and jobs that send."""

    send_read_ahead: int = Field(
        16 << 20, ge=1, description="Bytes read for one association before the peer takes them."
    )
    send_memory: int = Field(
        256 << 20, ge=1, description="Bytes read ahead for all associations; then each reads but what it sends next."
    )
    send_verify: bool = Field(True, description="Compare what is sent with the SHA-256 that it came with.")
    send_lossy: Words = Field(
        (), description="Transfer syntax UIDs that may be sent although information is lost, when the peer wants them."
    )
    send_quality: int = Field(90, ge=1, le=100, description="Quality of lossy compression.")
    send_transcode_seconds: float = Field(330.0, gt=0, description="Seconds to wait for `imaging` to transcode.")
    move_patience: float = Field(
        60.0, ge=0, description="Seconds for which the destination of a C-MOVE is tried again when it has vanished."
    )

    @field_validator("send_lossy", mode="before")
    @classmethod
    def _split_lossy(cls, value: object) -> object:
        return split_words(value)

    @field_validator("send_lossy")
    @classmethod
    def _are_lossy(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for uid in value:
            if uid not in TRANSFER_SYNTAXES or not TRANSFER_SYNTAXES[uid].lossy:
                raise ValueError("expected UIDs of lossy transfer syntaxes, such as 1.2.840.10008.1.2.4.50")
        return value


class ImagingSettings(Settings):
    """Pixel codecs and their worker processes."""

    imaging_workers: int = Field(2, ge=1, description="Worker processes of one service; each uses one processor.")
    imaging_warm: int = Field(
        1, ge=0, description="Worker processes that stay without work, so that the next picture does not wait for one."
    )
    imaging_recycle: int = Field(1000, ge=1, description="Tasks after which a worker process is replaced.")
    imaging_idle_seconds: float = Field(60.0, gt=0, description="A worker process without work ends after this time.")
    imaging_memory: int = Field(2 << 30, ge=1 << 26, description="Bytes of memory that one task may use.")
    imaging_seconds: float = Field(300.0, gt=0, description="Seconds that one task may take.")
    imaging_frame_seconds: float = Field(30.0, gt=0, description="Seconds that one frame may take.")
    imaging_frame_bytes: int = Field(512 << 20, ge=1, description="Bytes of one decoded frame at most.")
    imaging_poison_seconds: float = Field(
        600.0, ge=0, description="How long a request that ended its worker is refused at once."
    )
    imaging_cache_seconds: float = Field(
        3600.0, ge=60, description="Age at which transcoded files that nobody took are deleted."
    )
    imaging_sources: int = Field(
        1 << 30,
        ge=0,
        description="Bytes of instances, from S3 or large ones, that are kept as files for their next frames.",
    )
    render_cache: int = Field(
        1 << 30, ge=0, description="Bytes of pictures that are kept in the object store; the least used go first."
    )


class RenderSettings(Settings):
    """Pictures: what the HTTP door asks `imaging` for."""

    render_at_once: int = Field(
        32, ge=1, description="Pictures that one HTTP door has made at the same time; further requests wait."
    )
    render_seconds: float = Field(60.0, gt=0, description="Seconds to wait for a picture, the turn included.")
    thumbnails_ahead: bool = Field(True, description="Make a thumbnail of each series once its study is stable.")


class StandaloneSettings(Settings):
    """Everything in one process."""

    data: Path = Field(Path("data"), description="Folder of the spool, the objects and the SQLite index.")
    demo: bool = Field(True, description="Load a small demo study into an empty archive.")


S = TypeVar("S", bound=Settings)


def split_words(value: object) -> object:
    """Turn `a, b` into `("a", "b")`; anything but text stays as it is."""
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return value


def groups() -> list[type[Settings]]:
    """Return every group of this module, in the order of the documentation."""
    return [g for g in Settings.__subclasses__() if g.__module__ == __name__]


def known_names() -> set[str]:
    """Return every environment variable that some service reads."""
    return {name for group in groups() for name in variables(group)}


def variables(group: type[Settings]) -> set[str]:
    """Return the environment variables of a group."""
    return {PREFIX + field.upper() for field in group.model_fields}


def load(kind: type[S]) -> S:
    """Read the settings of one service from the environment; raises `BadSettings`."""
    settings, wrong = read(kind)
    if settings is None or wrong:
        raise BadSettings("\n".join(wrong))
    return settings


def read(kind: type[S]) -> tuple[S | None, list[str]]:
    """Return the settings of one service, None when a value can not be used, and a line for each thing wrong."""
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(PREFIX) and name not in known_names() and not name.startswith(PREFIX + "TEST_")
    )
    wrong = [f"{name}: no such setting{_meant(name)} (see docs/settings.md)" for name in unknown]
    try:
        return kind(), wrong
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            name = PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
            wrong.append(f"{name}: {problem['msg']}{_given(kind, problem)}")
        return None, wrong


def _meant(name: str) -> str:
    close = get_close_matches(name, known_names(), n=1)
    return f"; is {close[0]} meant?" if close else ""


def _given(kind: type[Settings], problem: ErrorDetails) -> str:
    """Say what was given, unless it may hold a password."""
    field = kind.model_fields.get(str(problem["loc"][0])) if problem["loc"] else None
    secret = field is not None and field.annotation is SecretStr
    return "" if secret else f" (given: {problem['input']!r})"
