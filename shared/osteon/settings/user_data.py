"""Labels, metadata and attachments of resources."""

from pydantic import Field, field_validator

from osteon.contracts.user_data_names import SYSTEM_METADATA, parse_attachment_names, parse_names
from osteon.settings.base import Settings
from osteon.settings.values import ByteCount, Words


class UserDataSettings(Settings):
    """Metadata and attachments of resources (docs/user-data.md)."""

    user_metadata: Words = Field(
        (), description="Names of metadata, such as `reading-state=1024,reader=1025`; codes from 1024 to 65535."
    )
    user_attachments: Words = Field(
        (),
        description="Names of attachments with their media types, such as `report=1024:application/pdf,notes=1025`.",
    )
    max_attachment_bytes: ByteCount = Field(1 << 30, ge=1, description="Bytes of one attachment at most.")
    check_revisions: bool = Field(
        False,
        description="Whether a client that changes or deletes metadata or an attachment must name its revision "
        "(If-Match), else 409.",
    )

    @field_validator("user_metadata")
    @classmethod
    def _are_metadata(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_names(value, SYSTEM_METADATA)
        return value

    @field_validator("user_attachments")
    @classmethod
    def _are_attachments(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_attachment_names(value)
        return value
