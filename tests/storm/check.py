"""The invariants I1 to I4 after a storm: what the archive serves, against what was sent and answered."""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import httpx
from pydicom import Dataset
from pynetdicom import Association
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

from storm.ledger import InstanceRecord, Ledger
from storm.worlds import StormArchive
from support.archive.running import RunningArchive
from support.load.modalities import retrieved

_http = httpx.Client(timeout=30, limits=httpx.Limits(keepalive_expiry=1))
"""Making a client for each request takes longer than the request."""


@dataclass
class Verdict:
    """What the invariants say; each list has a line for each violation."""

    verified: int = 0
    conflicts: int = 0
    lost: list[str] = field(default_factory=list)
    """I1: acknowledged, and neither served with its bytes nor among the conflicts."""
    duplicated: list[str] = field(default_factory=list)
    """I1: more than one row."""
    invented: list[str] = field(default_factory=list)
    """I2: served and not sent, or refused each time."""
    parked: list[str] = field(default_factory=list)
    """I3: dead letters."""
    left: list[str] = field(default_factory=list)
    """Files, folders and messages that nobody takes away."""

    @property
    def good(self) -> bool:
        """Whether every invariant holds."""
        return not (self.lost or self.duplicated or self.invented or self.parked or self.left)


def settle(world: StormArchive, ledger: Ledger, *, seconds: float) -> float:
    """Wait until the spool is empty and nothing is missing, or the time is over; return how long it took."""
    started = time.monotonic()
    studies = set(ledger.studies)
    while time.monotonic() - started < seconds:
        studies = {study for study in studies if not _complete(world, study, ledger.studies[study])}
        if not studies and not leftovers(world) and not world.waiting():
            break
        time.sleep(0.5)
    return time.monotonic() - started


def _complete(world: StormArchive, study: str, uids: Mapping[str, Mapping[str, InstanceRecord]]) -> bool:
    wanted = {uid for uid, shas in uids.items() if any(fate.acknowledged for fate in shas.values())}
    return wanted <= {uid for uid, _ in rows(world.urls[0], study)}


def _left_behind(world: StormArchive, seconds: float = 10.0) -> list[str]:
    """Return what stays in the spool and in queues: a thumbnail that is being requested goes by itself."""
    over = time.monotonic() + seconds
    while (left := [*leftovers(world), *world.waiting()]) and time.monotonic() < over:
        time.sleep(0.5)
    return left


def check(world: StormArchive, ledger: Ledger) -> Verdict:
    """Read everything back."""
    verdict = Verdict(parked=world.parked(), left=_left_behind(world))
    aside = conflicts(world.urls[0])
    verdict.conflicts = sum(len(shas) - 1 for shas in aside.values())
    archive = RunningArchive(world.dicom_ports[0], world.urls[0])
    with archive.association(StudyRootFind) as association:
        for study, uids in ledger.studies.items():
            found = rows(archive.url, study)
            if c_find(association, study, found) != sorted(found):
                verdict.lost.append(f"study {study}: C-FIND and QIDO-RS do not find the same")
            served = retrieved(archive, study) if found else {}
            _check_study(verdict, uids, Counter(uid for uid, _ in found), served)
            for uid, shas in uids.items():
                compare(verdict, uid, shas, served.get(uid), aside.get(uid, set()))
    return verdict


def _check_study(verdict: Verdict, sent: Collection[str], found: Counter[str], served: Collection[str]) -> None:
    verdict.duplicated += [f"{uid}: {times} rows" for uid, times in found.items() if times > 1]
    verdict.lost += [f"{uid} is found and not served" for uid in found if uid not in served]
    verdict.invented += [f"{uid} was never sent" for uid in found if uid not in sent]


def compare(verdict: Verdict, uid: str, shas: dict[str, InstanceRecord], served: str | None, aside: set[str]) -> None:
    """Judge one SOP Instance UID: what was sent under it, by SHA-256; what is served; what conflicts show."""
    for sha, fate in shas.items():
        if fate.acknowledged and sha not in {served, *aside}:
            verdict.lost.append(f"{uid} ({sha[:8]}): served {str(served)[:8]}, aside {[s[:8] for s in aside]}")
        elif fate.acknowledged:
            verdict.verified += 1
    if served is not None and served not in shas:
        verdict.invented.append(f"{uid}: bytes {served[:8]} were never sent")
    elif served is not None and not (shas[served].acknowledged or shas[served].unanswered):
        verdict.invented.append(f"{uid}: bytes {served[:8]} were refused")


def rows(url: str, study: str) -> list[tuple[str, str]]:
    """Return SOP and Series Instance UID of each row that QIDO-RS has of a study; nothing while it does not answer."""
    try:
        answer = _http.get(f"{url}/dicom-web/studies/{study}/instances", params={"limit": 5000})
    except httpx.HTTPError:
        return []
    found = answer.json() if answer.status_code == 200 else []
    return [(row["00080018"]["Value"][0], row["0020000E"]["Value"][0]) for row in found]


def c_find(association: Association, study: str, found: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the same by C-FIND, for the series that QIDO-RS has."""
    got = []
    for series in {series for _, series in found}:
        keys = Dataset()
        keys.QueryRetrieveLevel, keys.StudyInstanceUID, keys.SeriesInstanceUID = "IMAGE", study, series
        keys.SOPInstanceUID = ""
        answers = association.send_c_find(keys, StudyRootFind)
        got += [(str(row.SOPInstanceUID), series) for _, row in answers if row is not None]
    return sorted(got)


def conflicts(url: str) -> dict[str, set[str]]:
    """Return what conflicts show: SOP Instance UID → SHA-256 of each version."""
    aside: dict[str, set[str]] = {}
    after = 0
    while page := _http.get(f"{url}/conflicts", params={"after": after, "limit": 1000}).json():
        for entry in page:
            for version in (entry["First"], entry["Second"]):
                aside.setdefault(version["SOPInstanceUID"], set()).add(version["Sha256"])
        after = page[-1]["Id"]
    return aside


def leftovers(world: StormArchive) -> list[str]:
    """Return what should not be on the disk once everything is stored."""
    spool = world.spool
    files = [str(path.relative_to(spool)) for path in spool.glob("*/*") if path.name != "lock"]
    folders = [path.name for path in spool.iterdir() if path.is_dir()]
    if len(folders) > len(world.dicom_ports):
        files.append(f"{len(folders)} spool folders for {len(world.dicom_ports)} processes")
    # What imaging keeps in its folder are copies of packs within a bound, not leftovers.
    for service in ("query", "imaging"):
        temporary = list(world.temporary.glob(f"osteon-{service}-*"))
        if len(temporary) > len(world.urls):
            files.append(f"{len(temporary)} folders osteon-{service}-* in TMPDIR for {len(world.urls)} processes")
    files += [str(path.relative_to(world.temporary)) for path in world.temporary.glob("osteon-query-*/*")]
    return files
