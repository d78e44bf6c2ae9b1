"""Settings of `query`."""

from pathlib import Path
from typing import Protocol

from osteon.settings import (
    BusSettings,
    DicomSettings,
    HttpSettings,
    IndexSettings,
    ObjectSettings,
    ProcessSettings,
    RemotesSettings,
    RenderSettings,
)


class QueryServiceSettings(
    ProcessSettings,
    DicomSettings,
    HttpSettings,
    BusSettings,
    ObjectSettings,
    IndexSettings,
    RemotesSettings,
    RenderSettings,
):
    """The HTTP server, the broker, the object store and the database; AE title and DICOM port for `/system` only."""


class DoorSettings(Protocol):
    """What the HTTP API reads, whichever service it is part of."""

    @property
    def bind(self) -> str:
        """Address to listen on."""

    @property
    def http_port(self) -> int:
        """Port to listen on; 0 for a free one."""

    @property
    def drain_seconds(self) -> float:
        """Seconds in which requests in flight may end after SIGTERM."""

    @property
    def public_url(self) -> str:
        """Base URL in responses; empty: taken from the request."""

    @property
    def upload_limit(self) -> int:
        """Bytes of one HTTP upload at most."""

    @property
    def uploads(self) -> int:
        """Uploads that are read at the same time."""

    @property
    def query_page(self) -> int:
        """Matches in one page of a C-FIND."""

    @property
    def query_limit(self) -> int:
        """Matches in one answer at most."""

    @property
    def index_wait(self) -> float:
        """Seconds that an upload waits to be indexed."""

    @property
    def cors_origins(self) -> tuple[str, ...]:
        """Origins whose web pages may use the HTTP API."""

    @property
    def aet(self) -> str:
        """AE title of the archive."""

    @property
    def dicom_port(self) -> int:
        """Port of the archive for DIMSE."""

    @property
    def remotes_file(self) -> Path | None:
        """Modalities and peers to begin with."""

    @property
    def remote_queries(self) -> int:
        """Searches in modalities that are kept."""

    @property
    def remote_query_hours(self) -> float:
        """Hours for which they are kept."""

    @property
    def remote_answers(self) -> int:
        """Matches of one of them at most."""

    @property
    def remote_find_seconds(self) -> float:
        """Seconds that one of them takes at most."""

    @property
    def render_at_once(self) -> int:
        """Pictures that are made at the same time."""

    @property
    def render_seconds(self) -> float:
        """Seconds to wait for a picture."""

    @property
    def thumbnails_ahead(self) -> bool:
        """Whether thumbnails are made when a study is stable."""
