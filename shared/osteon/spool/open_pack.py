"""One series' open pack as its association sees it: what is in it, and how a large instance gets into it."""

import hashlib
from dataclasses import dataclass, field

from osteon.packs.tar import BLOCK, encode_header, padding
from osteon.spool.incoming_instance import IncomingInstance
from osteon.spool.pack_file import Buffer, PackFile
from osteon.spool.sealed_pack import SealedPack, SealReason


@dataclass(slots=True, eq=False)
class OpenPack:
    """A pack that grows: its file, its series (None until the end of the instance is known), what it holds."""

    file: PackFile
    series: tuple[str, str] | None
    received_at: int
    due: float
    digests: dict[str, bytes] = field(default_factory=dict)
    streaming: bool = False
    sealed: SealedPack | None = None
    seal_reason: SealReason | None = None


@dataclass(frozen=True, slots=True)
class WriteReceipt:
    """A complete member that was written. It is durable once a commit has put its pack on the disk that far."""

    pack: OpenPack
    end: int

    @property
    def is_durable(self) -> bool:
        """Whether a commit has put the member on the disk."""
        return self.pack.file.durable >= self.end


class MemberStream:
    """A large instance that is being written into a pack piece by piece. Its head comes last."""

    def __init__(self, pack: OpenPack, instance: IncomingInstance) -> None:
        self.pack = pack
        self.instance = instance
        self.head = BLOCK + len(instance.file_header())
        self.length = self.head
        self.digest = hashlib.sha256()
        self.ended = False

    def write(self, piece: Buffer) -> None:
        """Append a piece of the data set. Raises `SpoolFailed`."""
        self.pack.file.write(self.length, (piece,))
        self.length += len(piece)
        self.digest.update(piece)

    def finish(self) -> bytes:
        """Write head and padding; the data set is complete. Returns its SHA-256. Raises `SpoolFailed`."""
        digest = self.digest.digest()
        size = self.length - BLOCK
        header = self.instance.file_header(digest)
        self.pack.file.write(self.length, (bytes(padding(size)),))
        self.pack.file.write(0, (encode_header(self.instance.member_name, size, self.instance.received_at), header))
        return digest
