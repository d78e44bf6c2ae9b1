"""The HTTP server, and searches in other archives."""

import re
from pathlib import Path

from pydantic import Field, field_validator

from osteon.settings.base import Settings
from osteon.settings.values import ByteCount, Hours, Port, Seconds, Words

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([^\s/:@\[\]]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")


class HttpSettings(Settings):
    """The HTTP server."""

    http_port: Port = Field(8042, description="Port of DICOMweb, REST and the Explorer; 0 takes a free one.")
    public_url: str = Field("", description="Base URL in answers; empty: taken from the request.")
    max_upload_bytes: ByteCount = Field(10 << 30, ge=1, description="Bytes of one HTTP upload at most.")
    max_concurrent_uploads: int = Field(
        32, ge=1, description="HTTP uploads read at the same time; others wait, at last get 503."
    )
    max_uploads_per_client: int = Field(
        16, ge=1, description="HTTP uploads of one client address read at the same time; others wait, at last get 429."
    )
    max_upload_files: int = Field(
        100_000, ge=1, description="Files, parts or ZIP entries of one HTTP upload at most; more are 413."
    )
    upload_min_bytes_per_second: int = Field(
        4096, ge=1, description="Bytes a second below which an HTTP upload ends with 408, after a minute of grace."
    )
    http_trusted_proxies: Words = Field(
        ("127.0.0.1", "::1"),
        description="Addresses or networks of proxies whose Forwarded and X-Forwarded headers hold, comma-separated.",
    )
    query_page: int = Field(200, ge=1, description="Matches in one page of a C-FIND.")
    query_max_keys: int = Field(
        1_000, ge=10, description="Matching and return keys of a search at most; more are refused: 0xA900, 400."
    )
    query_max_matching_keys: int = Field(
        100, ge=1, description="Keys with values of a search at most; more are refused likewise."
    )
    query_max_values: int = Field(
        1_000, ge=1, description="Values in a key at most, such as a list of UIDs; more are refused likewise."
    )
    query_limit: int = Field(10_000, ge=1, description="Matches in one answer of QIDO-RS at most.")
    upload_index_timeout_seconds: Seconds = Field(60.0, gt=0, description="Seconds that an upload waits to be indexed.")
    max_concurrent_archives: int = Field(
        8, ge=1, description="Archives that one `query` makes at the same time for waiting clients; more are 503."
    )
    archive_jobs: int = Field(2, ge=1, description="Archives that jobs of one `query` make at the same time.")
    archives_kept: int = Field(20, ge=1, description="Archives of jobs that are kept; the oldest go first.")
    archives_kept_bytes: ByteCount = Field(100 << 30, ge=1, description="Bytes of them, apart from the newest.")
    cors_origins: Words = Field(
        (),
        description="Origins whose web pages may use the HTTP API, such as `https://viewer.example.org`, "
        "comma-separated; `*`: all; empty: none but its own.",
    )

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
    remote_query_hours: Hours = Field(24.0, gt=0, description="Hours for which they are kept.")
    remote_answers: int = Field(10_000, ge=1, description="Matches at most; then a search is cancelled.")
    remote_find_seconds: Seconds = Field(300.0, gt=0, description="Seconds for a search in a modality.")
