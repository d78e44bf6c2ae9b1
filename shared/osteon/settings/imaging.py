"""Rendering and transcoding."""

from pydantic import Field

from osteon.settings.base import Settings
from osteon.settings.values import ByteCount, Seconds


class TranscodeSettings(Settings):
    """Transcoding on request, for C-STORE to others and for WADO-RS."""

    transcode_timeout_seconds: Seconds = Field(330.0, gt=0, description="Seconds to wait for `imaging` to transcode.")


class ImagingSettings(Settings):
    """Pixel codecs and their worker processes."""

    imaging_workers: int = Field(2, ge=1, description="Worker processes of one service; each uses one processor.")
    imaging_min_idle_workers: int = Field(
        1, ge=0, description="Worker processes that stay without work, so that the next picture does not wait for one."
    )
    imaging_max_tasks_per_worker: int = Field(1000, ge=1, description="Tasks after which a worker process is replaced.")
    imaging_idle_seconds: Seconds = Field(60.0, gt=0, description="A worker process without work ends after this time.")
    imaging_memory_bytes: ByteCount = Field(2 << 30, ge=1 << 26, description="Bytes of memory that one task may use.")
    imaging_seconds: Seconds = Field(300.0, gt=0, description="Seconds that one task may take.")
    imaging_frame_seconds: Seconds = Field(30.0, gt=0, description="Seconds that one frame may take.")
    imaging_frame_bytes: ByteCount = Field(512 << 20, ge=1, description="Bytes of one decoded frame at most.")
    imaging_poison_seconds: Seconds = Field(
        600.0, ge=0, description="How long a request that ended its worker is refused at once."
    )
    imaging_cache_seconds: Seconds = Field(
        3600.0, ge=60, description="Age at which unused transcoded files are deleted."
    )
    imaging_sources_bytes: ByteCount = Field(
        1 << 30,
        ge=0,
        description="Bytes of instances, from S3 or large ones, that are kept as files for their next frames.",
    )
    render_cache_bytes: ByteCount = Field(
        1 << 30, ge=0, description="Bytes of pictures that are kept in the object store; the least used go first."
    )


class RenderSettings(Settings):
    """Rendered images, which `query` draws where that needs no codec, and else requests from `imaging`."""

    render_concurrency: int = Field(
        32, ge=1, description="Images that one HTTP server has rendered at the same time; further requests wait."
    )
    render_seconds: Seconds = Field(60.0, gt=0, description="Seconds to wait for a picture, the turn included.")
    render_memory_bytes: ByteCount = Field(
        32 << 20, ge=0, description="Bytes of pictures drawn here that are kept in memory; the least used go first."
    )
    prefetch_thumbnails: bool = Field(True, description="Make a thumbnail of each series once its study is stable.")
