"""How acceptors and requestors behave: names, limits and timers."""

import ssl
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptorConfig:
    """What an acceptor is configured with; times are seconds, sizes are bytes."""

    aet: str = "OSTEON"
    check_called_aet: bool = False
    """Reject associations that call another AE title."""
    allowed_aets: tuple[str, ...] = ()
    """Calling AE titles that are accepted; empty: all."""
    max_associations: int = 200
    max_associations_per_host: int = 0
    """Of one address, or one IPv6 network of 64 bits; 0: as many as there may be in all."""
    max_associations_per_aet: int = 0
    """Of one calling AE title; 0: as many as there may be in all."""
    unlimited_hosts: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks whose addresses have no limit of their own: balancers, gateways."""
    max_waiting: int = 1000
    """Connections without an association: before A-ASSOCIATE-RQ, or after the end. One more closes the oldest."""
    max_pdu: int = 0
    """Maximum PDU length that is offered (PS3.8 D.1); 0: unlimited. Longer ones are accepted nevertheless."""
    async_operations: int = 16
    """Operations in flight that are granted to a requestor that negotiates them (PS3.7 D.3.3.3)."""
    artim_timeout: float = 30.0
    dimse_timeout: float = 120.0
    """Time in which a message that has begun must end, or bring at least 4 KiB more."""
    pdu_timeout: float = 60.0
    """Time in which a PDU that has begun must end, or bring at least 64 KiB more."""
    network_timeout: float = 300.0
    """Time that an association may be idle, or that a peer may leave what it was sent unread."""
    reset_check_interval: float = 1.0
    """Time between checks whether a peer has reset a connection that is not being read."""
    progress_repeat: float = 5.0
    """Time after which the last counts of C-MOVE and C-GET are sent again while an instance takes long."""
    extra_sop_classes: tuple[str, ...] = ()
    """Further (private) SOP classes that are stored."""
    store_unknown_sop_classes: bool = True
    """Accept SOP classes that no dictionary knows as storage."""
    query_options: bytes = b"\x01\x01\x01\x01"
    """What C-FIND can do when it is negotiated (PS3.4 C.5.1.1): relational, date-time, fuzzy, timezone; 1 or 0 each."""
    max_command: int = 64 << 10
    """A longer command set aborts the association."""
    max_identifier: int = 1 << 20
    """A longer C-FIND Identifier is refused."""
    max_information: int = 8 << 20
    """Longer Action Information is refused: a request for storage commitment with some 60,000 instances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestorConfig:
    """What all requested associations have in common; times are seconds, sizes are bytes."""

    connect_timeout: float = 10.0
    artim_timeout: float = 30.0
    """Time for the answer to A-ASSOCIATE-RQ, and for the peer to close or release at the end."""
    dimse_timeout: float = 120.0
    """Time for each response; also for a message that has begun to end, or to bring at least 4 KiB more."""
    pdu_timeout: float = 60.0
    """Time in which a PDU that has begun must end, or bring at least 64 KiB more."""
    network_timeout: float = 300.0
    """Time that an association may be idle, or that a peer may leave what it was sent unread."""
    max_pdu: int = 0
    """Maximum PDU length that is offered (PS3.8 D.1); 0: unlimited."""
    async_operations: int = 1
    """Operations in flight that are requested (PS3.7 D.3.3.3); 1: not negotiated."""
    max_command: int = 64 << 10
    """A longer command set aborts the association."""
    max_information: int = 0
    """A requestor takes no N-ACTION."""
    progress_repeat: float = 0.0
    """A requestor performs no C-MOVE and no C-GET."""
    max_identifier: int = 8 << 20
    """A longer data set of a response, or of an N-EVENT-REPORT, aborts the association or is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """The application entity that an association is requested of."""

    aet: str
    host: str
    port: int
    calling_aet: str = "OSTEON"
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    timeout: float = 0.0
    """Seconds to connect, for the answer to A-ASSOCIATE-RQ and for each response; 0: those of `RequestorConfig`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedContext:
    """A presentation context to request (PS3.8 7.1.1.13), and the roles of the requestor in it (PS3.7 D.3.3.4)."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scu: bool = True
    scp: bool = False
    extended: bytes = b""
    """Service-class-application-information (PS3.7 D.3.3.5)."""
