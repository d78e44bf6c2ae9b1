"""Labels, metadata and attachments of resources."""

from pydantic import Field, field_validator

from osteon.contracts.user_data_names import SYSTEM_METADATA, parse_names
from osteon.settings.base import Settings
from osteon.settings.values import Words


class UserDataSettings(Settings):
    """Metadata of resources (docs/user-data.md)."""

    user_metadata: Words = Field(
        (), description="Names of metadata, such as `reading-state=1024,reader=1025`; codes from 1024 to 65535."
    )
    check_revisions: bool = Field(
        False,
        description="Whether a client that changes or deletes metadata must name their revision (If-Match), else 409.",
    )

    @field_validator("user_metadata")
    @classmethod
    def _are_metadata(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_names(value, SYSTEM_METADATA)
        return value
