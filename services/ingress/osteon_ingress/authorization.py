"""What each calling AE title may do: the permissions of its modality, or those that the settings give unknown ones.

The list of modalities is requested from `query` every few seconds. While `query` does not answer, the last list holds.
A file keeps it, so that a service has it that starts without broker or database.
"""

import asyncio
import ipaddress
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from osteon.bus.port import Bus
from osteon.contracts.remote import KnownModality, ListModalitiesReply, ListModalitiesRequest
from osteon.contracts.topology import MODALITIES
from osteon.dimse.handler import AssociationInfo
from osteon.dimse.observer import RejectReason
from osteon.errors import OsteonError
from osteon.logging import get_logger
from osteon.remotes.port import Permission

REFRESH_SECONDS: Final = 3.0
"""Seconds after which a change of a modality holds at every `ingress`, about."""
_TIMEOUT: Final = 5.0
_RESOLVE_SECONDS: Final = 60.0
"""Seconds after which host names are looked up again."""
FILE_NAME: Final = "modalities.json"

log = get_logger(__name__)


class ModalityAccessList:
    """What calling AE titles may do.

    Args:
        unknown: permissions of AE titles that are not in the list.
        check_host: whether modalities must connect from the host that the list has for them.
        file: where the list is kept.
        refresh_seconds: between requests for it.
    """

    def __init__(
        self,
        unknown: Sequence[str],
        file: Path,
        *,
        check_host: bool = False,
        refresh_seconds: float = REFRESH_SECONDS,
    ) -> None:
        self._unknown = frozenset(Permission(word) for word in unknown)
        self._check_host = check_host
        self._file = file
        self._refresh_seconds = refresh_seconds
        self._current: ListModalitiesReply | None = None
        self._by_aet: Mapping[str, Sequence[KnownModality]] = {}
        self._addresses: dict[str, frozenset[str]] = {}
        self._resolved = 0.0
        self._answered = True

    def refuse(self, info: AssociationInfo) -> RejectReason | None:
        """Return why an association cannot be accepted, or None."""
        if self._current is None and (self._check_host or self._unknown != frozenset(Permission)):
            return RejectReason.TEMPORARY_CONGESTION
        known = info.calling_aet in self._by_aet
        if (known and not self._matching(info)) or (not known and not self._unknown):
            return RejectReason.CALLING_AET_NOT_RECOGNIZED
        return None

    def allows(self, info: AssociationInfo, permission: Permission) -> bool:
        """Whether this AE may do this, now."""
        if info.calling_aet not in self._by_aet:
            return permission in self._unknown
        return any(permission in modality.permissions for modality in self._matching(info))

    def _matching(self, info: AssociationInfo) -> Sequence[KnownModality]:
        known = self._by_aet.get(info.calling_aet, ())
        if not self._check_host:
            return known
        address = _plain(info.remote_host)
        return [one for one in known if address in self._addresses.get(one.host, ())]

    async def refresh_forever(self, bus: Bus) -> None:
        """Keep the list up to date until cancelled."""
        while True:
            try:
                await self._refresh(bus)
                self._answered = True
            except OsteonError as error:
                if self._answered:
                    log.warning("modality list not refreshed, last one kept", error=str(error))
                self._answered = False
            await self._resolve()
            await asyncio.sleep(self._refresh_seconds)

    async def _refresh(self, bus: Bus) -> None:
        known = self._current.version if self._current else ""
        received = await bus.request(
            MODALITIES, ListModalitiesRequest(correlation_id="", known_version=known), timeout=_TIMEOUT
        )
        if received.version != known:
            await self._apply(received)
            try:
                await asyncio.to_thread(self._save, received)
            except OSError as error:
                log.warning("modality list not saved", file=str(self._file), error=str(error))

    async def load(self) -> None:
        """Load the list from its file, if there is one."""
        try:
            received = ListModalitiesReply.model_validate_json(await asyncio.to_thread(self._file.read_bytes))
        except FileNotFoundError:
            return
        except (OSError, ValidationError) as error:
            log.warning("saved modality list not readable", file=str(self._file), error=str(error))
            return
        await self._apply(received)

    async def _apply(self, received: ListModalitiesReply) -> None:
        by_aet: dict[str, list[KnownModality]] = {}
        for modality in received.modalities:
            by_aet.setdefault(modality.aet, []).append(modality)
        hosts = sorted({modality.host for modality in received.modalities})
        await self._resolve(hosts)
        self._addresses = {host: self._addresses[host] for host in hosts if host in self._addresses}
        self._current, self._by_aet = received, by_aet

    def _save(self, received: ListModalitiesReply) -> None:
        # Several processes share the folder, each in a container where it may be process 1.
        new = self._file.with_suffix(f".{uuid.uuid4().hex}")
        new.write_text(received.model_dump_json(), "utf-8")
        new.replace(self._file)

    async def _resolve(self, hosts: Sequence[str] | None = None) -> None:
        """Look up the addresses of hosts; without `hosts`, of all, once a minute. A failure keeps the old ones."""
        loop = asyncio.get_running_loop()
        if not self._check_host or (hosts is None and loop.time() - self._resolved < _RESOLVE_SECONDS):
            return
        self._resolved = loop.time()
        for host in list(self._addresses) if hosts is None else hosts:
            try:
                found = await loop.getaddrinfo(host, None)
            except OSError as error:
                log.warning("modality host not found", host=host, error=str(error))
                continue
            self._addresses[host] = frozenset(_plain(str(address[0])) for *_, address in found)


def _plain(address: str) -> str:
    """Return an IPv4-mapped IPv6 address as IPv4, any other as it is."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)
