"""Where everything is kept: the spool, packs, the broker, the object store and the index."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from osteon.settings.base import Settings
from osteon.settings.values import MAX_PORT, ByteCount, Hours, Seconds

_AMQP = re.compile(r"amqps?://[^/\s]")
_ENDPOINT = re.compile(r"([^\s/:@\[\]]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


class SpoolSettings(Settings):
    """The spool volume."""

    spool_dir: Path = Field(
        Path("data/spool"), description="Folder of the spool, on a local disk that survives a crash."
    )
    spool_id: str = Field("spool", pattern=r"^[a-z0-9][a-z0-9.-]*$", description="Names the volume; routes its packs.")
    spool_high_water: float = Field(
        0.9, gt=0, le=1, description="Part of the file system that may be full before C-STORE is answered 0xA700."
    )
    spool_quota_bytes: ByteCount = Field(
        0, ge=0, description="Bytes that the spool may hold before 0xA700; 0: no quota."
    )
    pack_seconds: Seconds = Field(2.0, gt=0, description="A pack is sealed this long after its first instance.")
    republish_seconds: Seconds = Field(
        600.0, gt=0, description="A pack that no writer took is announced again after this time, then twice that."
    )


class PackSettings(Settings):
    """Packs, from DIMSE and from HTTP."""

    pack_size_bytes: ByteCount = Field(
        64 << 20, ge=1 << 16, description="A pack is sealed when it has this many bytes."
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
        found = _ENDPOINT.fullmatch(value)
        if found is None or (found[2] and not 0 < int(found[2][1:]) <= MAX_PORT):
            raise ValueError("expected host or host:port, without http:// (see OSTEON_S3_SECURE)")
        return value


class PackCacheSettings(Settings):
    """Packs in a local folder of each service that reads them."""

    pack_cache_bytes: ByteCount = Field(
        1 << 30, ge=0, description="Bytes of packs that a service keeps in a local folder; 0: none."
    )
    pack_cache_dir: Path | None = Field(
        None,
        description="Folder of these packs, on a local disk; each process makes its own folder in it. Default: TMPDIR. "
        "It may be deleted at any time.",
    )


class ConflictSettings(Settings):
    """Instances of which several versions came (docs/conflicts.md)."""

    conflicts_serve: Literal["first", "newest"] = Field(
        "first",
        description="Which version of an instance is served until a person decides, when several that differ came; "
        "all are kept. `newest` is what Orthanc calls OverwriteInstances.",
    )

    @property
    def serves_newest(self) -> bool:
        """Whether the last version is served."""
        return self.conflicts_serve == "newest"


class IndexSettings(ConflictSettings):
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
    index_batch_wait_seconds: Seconds = Field(0.05, ge=0, description="Seconds to gather a batch.")
    compare_max_bytes: ByteCount = Field(
        1 << 30,
        ge=0,
        description="Longest instance that is compared with another version of it, to see whether they are the same "
        "in other bytes; a longer one stays a conflict.",
    )
    sweep_hours: Hours = Field(1.0, ge=0, description="How often to look for packs without rows; 0: never.")
    sweep_min_age_seconds: Seconds = Field(
        300.0, ge=0, description="Seconds from which a pack without rows is swept up; a younger one may be on its way."
    )
