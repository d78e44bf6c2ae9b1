"""The settings file of modalities and peers (`OSTEON_REMOTES_FILE`): fills the index with what is not there yet.

```yaml
modalities:
  ct-1: {AET: CT1, Host: 10.0.0.7, Port: 104, AllowFind: false}
  sink: [SINK, 127.0.0.1, 11299]
peers:
  cloud: [https://cloud.example.org/, user, password]
```

What has been changed or added by REST stays. What was deleted by REST comes again unless it is deleted here too.
"""

from pathlib import Path
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node

from osteon.errors import OsteonError
from osteon.logging import get_logger
from osteon.remotes.orthanc_json import (
    MODALITY_FIELDS,
    PEER_FIELDS,
    BadRemote,
    modality_from,
    peer_from,
    unknown_fields,
)
from osteon.remotes.port import Modality, Peer, Remotes

log = get_logger(__name__)


class BadRemotesFile(OsteonError):
    """The file cannot be used; the message names line and field."""


def read_file(path: Path) -> tuple[list[Modality], list[Peer]]:
    """Read YAML or JSON; raises `BadRemotesFile`. Blocks."""
    try:
        root = yaml.compose(path.read_text("utf-8"), yaml.SafeLoader)
    except OSError as error:
        raise BadRemotesFile(f"OSTEON_REMOTES_FILE: {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadRemotesFile(f"OSTEON_REMOTES_FILE: {path}: is not text in UTF-8") from None
    except yaml.MarkedYAMLError as error:
        # Without the line itself, which may have a password.
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadRemotesFile(f"OSTEON_REMOTES_FILE: {path}, line {line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise BadRemotesFile(f"OSTEON_REMOTES_FILE: {path}: {error}") from None
    found: dict[str, list[Any]] = {"modalities": [], "peers": []}
    for section, line, entries in _entries(path, root):
        if section not in found:
            raise BadRemotesFile(f"{path}, line {line}: {section[:80]!r}: expected modalities or peers")
        for name, at, node in _entries(path, entries):
            try:
                found[section].append(_remote(section, name, _value(node)))
            except BadRemote as error:
                raise BadRemotesFile(f"{path}, line {at}: {section}: {name}: {error}") from None
    return found["modalities"], found["peers"]


def _remote(section: str, name: str, body: Any) -> Modality | Peer:
    """Read an entry. A field that is not known is an error here, unlike in REST: nobody reads a warning."""
    make, fields = (modality_from, MODALITY_FIELDS) if section == "modalities" else (peer_from, PEER_FIELDS)
    if unknown := unknown_fields(body, fields):
        raise BadRemote(f"{unknown[0]}: unknown field; expected {', '.join(sorted(fields))}")
    return make(name, body)


async def add_missing(remotes: Remotes, modalities: list[Modality], peers: list[Peer]) -> None:
    """Add those whose name is not known yet; raises `DatabaseUnavailable`."""
    known = {modality.name for modality in await remotes.modalities()}
    for modality in modalities:
        if modality.name not in known:
            await remotes.put_modality(modality)
            log.info("modality added from the settings file", modality=modality.name)
    known = {peer.name for peer in await remotes.peers()}
    for peer in peers:
        if peer.name not in known:
            await remotes.put_peer(peer)
            log.info("peer added from the settings file", peer=peer.name)


def _entries(path: Path, node: Node | None) -> list[tuple[str, int, Node]]:
    if node is None or (node.tag == "tag:yaml.org,2002:null"):
        return []
    if not isinstance(node, MappingNode):
        raise BadRemotesFile(f"{path}, line {node.start_mark.line + 1}: expected names, each with a colon behind it")
    found = [(str(key.value), key.start_mark.line + 1, value) for key, value in node.value]
    seen: dict[str, int] = {}
    for name, line, _ in found:
        if name in seen:
            raise BadRemotesFile(f"{path}, line {line}: {name[:80]!r} is there already, in line {seen[name]}")
        seen[name] = line
    return found


def _value(node: Node) -> Any:
    try:
        return yaml.SafeLoader("").construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise BadRemote(str(error.problem)) from None
