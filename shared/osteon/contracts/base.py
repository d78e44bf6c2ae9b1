"""What every message has in common."""

from pydantic import BaseModel, ConfigDict, Field


class Message(BaseModel):
    """A fact or a request on the bus: immutable, JSON on the wire, small (a reference, never pixel data).

    Fields that a newer release added are ignored by an older one, so that both understand each other in an upgrade.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")

    correlation_id: str = Field(description="Follows an instance from its association or request to its index row.")
    traceparent: str = Field(
        default="", description="W3C Trace Context of what the message comes from, when it is traced (docs/tracing.md)."
    )
