"""Which presentation contexts to propose, and on which an instance is sent (PS3.4 B.3, PS3.5 10.1).

An acceptor takes one transfer syntax of a context: DCMTK and Orthanc one that they prefer, older ones the first that
they know, and some only the default. So each stored transfer syntax gets a context of its own, in which there is
nothing to choose, and what every peer can read comes in another one.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from osteon.contracts.retrieve import PlannedInstance
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN, TRANSFER_SYNTAXES
from osteon.dimse.associate_rq_encoder import MOST_CONTEXTS
from osteon.dimse.config import RequestedContext
from osteon.dimse.handler import PresentationContext

ContextKey = tuple[str, str]
"""SOP Class UID and transfer syntax UID of an instance."""
_FALLBACK: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)


def context_key(instance: PlannedInstance) -> ContextKey:
    """Return what decides on the contexts that an instance needs."""
    return instance.sop_class_uid, instance.transfer_syntax_uid


def proposals(
    kinds: Iterable[ContextKey], *, lossy: Sequence[str] = (), transcode: bool = True
) -> list[list[RequestedContext]]:
    """Return what to propose, in associations of at most 128 contexts; those of a SOP class stay together.

    Args:
        kinds: SOP Class UID and stored transfer syntax UID of the instances, in any order, repeated or not.
        lossy: transfer syntaxes in which they may be sent although information is lost.
        transcode: False proposes nothing but the stored transfer syntaxes.
    """
    stored: dict[str, dict[str, None]] = {}
    for sop_class, syntax in kinds:
        stored.setdefault(sop_class, {})[syntax] = None
    batches: list[list[RequestedContext]] = []
    for sop_class, syntaxes in stored.items():
        contexts = _contexts(sop_class, list(syntaxes), lossy if transcode else (), transcode)
        if not batches or len(batches[-1]) + len(contexts) > MOST_CONTEXTS:
            batches.append([])
        batches[-1] += contexts
    return batches


def _contexts(sop_class: str, stored: list[str], lossy: Sequence[str], transcode: bool) -> list[RequestedContext]:
    offered: list[tuple[str, ...]] = [(syntax,) for syntax in stored]
    if transcode and (fallback := tuple(uid for uid in _FALLBACK if uid not in stored)):
        offered.append(fallback)
    offered += [(uid,) for uid in lossy if uid not in stored]
    return [RequestedContext(abstract_syntax=sop_class, transfer_syntaxes=syntaxes) for syntaxes in offered]


def targets(accepted: Sequence[PresentationContext], lossy: Sequence[str]) -> list[str]:
    """Return the transfer syntaxes of `accepted` into which an instance may be transcoded, the best first.

    Explicit VR comes before implicit, which loses the VRs of private elements; both before compression, which takes
    time; what loses information comes last, and only if allowed.
    """
    syntaxes = {context.transfer_syntax for context in accepted}
    plain = [uid for uid in _FALLBACK if uid in syntaxes]
    rest = sorted(syntaxes.difference(plain))
    lossless = [uid for uid in rest if uid in TRANSFER_SYNTAXES and not TRANSFER_SYNTAXES[uid].lossy]
    return [*plain, *lossless, *(uid for uid in lossy if uid in syntaxes and uid not in lossless)]
