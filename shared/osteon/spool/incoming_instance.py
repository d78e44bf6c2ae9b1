"""An instance on its way into a pack, and whether it is what the C-STORE command announced (PS3.4 B.2.3)."""

from dataclasses import dataclass

from osteon.dicom.identity import Identity
from osteon.dicom.part10 import write_part10_header
from osteon.dicom.uids import is_uid
from osteon.packs.errors import WrongInstance


@dataclass(frozen=True, slots=True)
class IncomingInstance:
    """What is known of an instance before its data set. `received_at` in Unix seconds."""

    sop_class_uid: str
    sop_uid: str
    transfer_syntax: str
    calling_aet: str
    received_at: int

    @property
    def member_name(self) -> str:
        """The name of its member in a pack."""
        return f"{self.sop_uid}.dcm"

    def file_header(self, sha256: bytes | None = None) -> bytes:
        """Return what precedes the data set in its Part 10 file; its length does not depend on the digest."""
        return write_part10_header(
            self.sop_class_uid, self.sop_uid, self.transfer_syntax, source_aet=self.calling_aet, sha256=sha256
        )

    def check_uids(self) -> None:
        """Raise `WrongInstance` when the command itself has no usable UIDs."""
        for uid, tag in ((self.sop_class_uid, "0000,0002"), (self.sop_uid, "0000,1000")):
            if not is_uid(uid):
                raise WrongInstance(f"({tag}) of the command is not a UID")

    def check(self, identity: Identity) -> None:
        """Raise `WrongInstance` when the data set is another instance than the command says."""
        if identity.sop_class_uid != self.sop_class_uid:
            raise WrongInstance("(0008,0016) SOP Class UID differs from the command")
        if identity.sop_uid != self.sop_uid:
            raise WrongInstance("(0008,0018) SOP Instance UID differs from the command")
