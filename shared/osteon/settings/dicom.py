"""The DIMSE acceptor: its associations, TLS and permissions."""

from typing import Literal

from pydantic import Field, field_validator

from osteon.remotes.port import Permission
from osteon.settings.base import Settings
from osteon.settings.values import ByteCount, Networks, Port, Seconds, Words


class DicomSettings(Settings):
    """The DIMSE acceptor."""

    aet: str = Field("OSTEON", min_length=1, max_length=16, description="Own AE title.")
    dicom_port: Port = Field(4242, description="Port for associations; 0 takes a free one.")
    check_called_aet: bool = Field(False, description="Reject associations that call another AE title.")
    allowed_aets: Words = Field((), description="Calling AE titles that are accepted, comma-separated; empty: all.")
    max_associations: int = Field(200, ge=1, description="More at once are rejected: local limit exceeded, transient.")
    max_associations_per_host: int = Field(
        0,
        ge=0,
        description="More at once from one address (in IPv6 from one network of 64 bits) are rejected likewise; "
        "0: half of `OSTEON_MAX_ASSOCIATIONS`.",
    )
    max_associations_per_aet: int = Field(
        0, ge=0, description="More at once with one calling AE title are rejected likewise; 0: no limit."
    )
    unlimited_hosts: Networks = Field(
        (),
        description="Addresses and networks such as `10.1.0.0/16`, comma-separated, without a limit of their own: "
        "gateways, balancers without PROXY protocol.",
    )
    max_waiting_connections: int = Field(
        1000, ge=1, description="Connections without an association at most; one more closes the oldest."
    )
    max_pdu_bytes: ByteCount = Field(
        0, ge=0, le=2**32 - 1, description="Maximum PDU length that is offered; 0: unlimited."
    )
    async_operations: int = Field(16, ge=1, le=65535, description="Operations in flight that are granted on request.")
    artim_timeout_seconds: Seconds = Field(
        30.0, gt=0, description="Seconds to wait for A-ASSOCIATE-RQ or the end of connection."
    )
    dimse_timeout_seconds: Seconds = Field(
        120.0, gt=0, description="Seconds for a message to end, or to bring 4 KiB more."
    )
    pdu_timeout_seconds: Seconds = Field(
        60.0, gt=0, description="Seconds for a PDU to end, or to bring 64 KiB more; its sender is aborted."
    )
    network_timeout_seconds: Seconds = Field(300.0, gt=0, description="Seconds that an association may be idle.")
    extra_sop_classes: Words = Field((), description="Further (private) storage SOP class UIDs, comma-separated.")
    store_unknown_sop_classes: bool = Field(
        True, description="Accept any SOP class that has a storage transfer syntax and is no known service."
    )
    ack_after: Literal["spool", "index"] = Field(
        "spool", description="Answer C-STORE once on disk (`spool`), or once it can be found (`index`)."
    )


class TlsSettings(Settings):
    """TLS of associations."""

    dicom_tls_port: Port = Field(
        2762, description="Port for associations by TLS, open when there is a certificate; 0 takes a free one."
    )
    dicom_tls_certificate: str = Field("", description="PEM file of the own certificate and those that lead to the CA.")
    dicom_tls_key: str = Field("", description="PEM file of its key, without a password; empty: in the same file.")
    dicom_tls_ca: str = Field("", description="PEM file of the CAs that sign the certificates of the others.")
    dicom_tls_clients: Literal["", "none", "optional", "required"] = Field(
        "", description="Whether a caller must show a certificate; empty: `required` with a CA, else `none`."
    )
    dicom_plaintext_enabled: bool = Field(True, description="Listen on `OSTEON_DICOM_PORT`, which has no TLS, too.")
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
        description="A balancer in front of the DICOM ports sends the caller's address (PROXY protocol 1 or 2); "
        "nothing else may reach them.",
    )


class AccessSettings(Settings):
    """Permissions of callers by DIMSE."""

    unknown_aet_permissions: Words = Field(
        ("echo", "store", "find", "worklist", "move", "get", "storage_commitment"),
        description="What calling AE titles may do that no modality has, comma-separated; `none`: they are rejected.",
    )
    dicom_check_host: bool = Field(
        False, description="Reject AE titles of modalities that call from another host than theirs."
    )

    @field_validator("unknown_aet_permissions", mode="before")
    @classmethod
    def _split_unknown(cls, value: object) -> object:
        return () if value == "none" else value

    @field_validator("unknown_aet_permissions")
    @classmethod
    def _are_permissions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for word in value:
            if word not in set(Permission):
                raise ValueError(f"expected none, or some of {', '.join(Permission)}")
        return value
