"""The demo study: real slices and frames that pydicom brings along, sent by C-STORE as one study."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pydicom.data
from pydicom import Dataset, dcmread
from pydicom.uid import UID, generate_uid
from pynetdicom import AE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from osteon.errors import OsteonError

_FILES: Final = Path(pydicom.data.__file__).parent / "test_files"
SERIES: Final[dict[str, tuple[str, ...]]] = {
    "CT slice": ("CT_small.dcm",),
    "CT stack": tuple(f"dicomdirtests/98892001/CT5N/{n}" for n in (2062, 2392, 2693, 3023, 3353)),
    "MR slice": ("MR_small.dcm",),
    "MR stack": tuple(f"dicomdirtests/98892003/MR700/{n}" for n in (4467, 4528, 4558, 4588, 4618, 4648, 4678)),
    "MR with overlay": ("examples_overlay.dcm",),
    "US cine, 30 frames": ("examples_ybr_color.dcm",),
    "US, palette colour": ("examples_palette.dcm",),
}
"""Series description → files of pydicom's wheel."""
PATIENT_ID: Final = "OSTEON-DEMO"


class DemoFailed(OsteonError):
    """The demo study could not be loaded."""


async def load(aet: str, port: int, mark: Path, console: Console) -> None:
    """Send the demo study to the own acceptor, once in the life of a data folder; raises `DemoFailed`.

    `mark` is the file that remembers it, so that a demo study that was deleted stays deleted.
    """
    if await asyncio.to_thread(mark.exists):
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), console=console) as bar:
        task = bar.add_task("Loading the demo study", total=sum(map(len, SERIES.values())))
        await asyncio.to_thread(send, aet, port, lambda: bar.advance(task))
    await asyncio.to_thread(mark.touch)


def instances() -> Iterator[Dataset]:
    """Give the data sets of the demo study: files of several patients, put under one invented patient."""
    study_uid = _uid("study")
    for number, (description, names) in enumerate(SERIES.items(), start=1):
        for position, name in enumerate(names, start=1):
            dataset = dcmread(_FILES / name)
            dataset.PatientName, dataset.PatientID = "Demo^Osteon", PATIENT_ID
            dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
            dataset.StudyInstanceUID, dataset.StudyID = study_uid, "DEMO"
            dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20240229", "120000", "DEMO-1"
            dataset.StudyDescription = "Demo study"
            dataset.SeriesInstanceUID, dataset.SeriesNumber = _uid(description), str(number)
            dataset.SeriesDescription, dataset.InstanceNumber = description, str(position)
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = _uid(name)
            yield dataset


def _uid(of: str) -> UID:
    return generate_uid(entropy_srcs=["osteon demo", of])


def send(aet: str, port: int, advance: Callable[[], None], *, host: str = "127.0.0.1") -> None:
    """Send the demo study; `advance` is called for each instance. Blocks. Raises `DemoFailed`."""
    datasets = list(instances())
    client = AE("OSTEON-DEMO")
    for kind in {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for d in datasets}:
        client.add_requested_context(*kind)
    association = client.associate(host, port, ae_title=aet)
    if not association.is_established:
        raise DemoFailed(f"the demo study could not be loaded: no association with {aet} at {host}:{port}")
    try:
        for dataset in datasets:
            status = association.send_c_store(dataset)
            if "Status" not in status or status.Status != 0x0000:
                raise DemoFailed(f"the demo study could not be loaded: C-STORE was answered {status}")
            advance()
    finally:
        association.release()
