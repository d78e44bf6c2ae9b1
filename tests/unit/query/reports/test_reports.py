"""Structured reports as pages and as text: escaped, bounded, and with all that DCMTK shows."""

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from osteon_query.reports.content_tree import MAX_ITEMS, read_report
from osteon_query.reports.writers import to_html, to_text
from support.dicom.datasets import saved
from support.dicom.documents import code, content, report
from support.dicom.real_files import BUNDLED
from support.query.application import WEB, RunningQuery, multipart, split_multipart


def url_of(dataset: Dataset, below: str = "") -> str:
    """Return the URL of an instance."""
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    return f"{WEB}/studies/{uids[0]}/series/{uids[1]}/instances/{uids[2]}{below}"


def measured(value: str, units: str) -> list[Dataset]:
    """Return a Measured Value Sequence."""
    item = Dataset()
    item.NumericValue, item.MeasurementUnitsCodeSequence = value, [code(units, units, "UCUM")]
    return [item]


def reference(uid: str, frames: list[int]) -> list[Dataset]:
    """Return a Referenced SOP Sequence."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", uid
    item.ReferencedFrameNumber = frames
    return [item]


def example() -> Dataset:
    """Return a report with a content item of each value type."""
    by_reference = Dataset()
    by_reference.RelationshipType, by_reference.ReferencedContentItemIdentifier = "INFERRED FROM", [1, 1, 2]
    return report(
        "Chest & lungs",
        content(
            "CONTAINER",
            "Findings",
            content("TEXT", "Finding", TextValue="A <b>nodule</b>\r\nin the left lobe, über 5 mm"),
            content("NUM", "Length", MeasuredValueSequence=measured("12.5", "mm")),
            content("CODE", "Side", ConceptCodeSequence=[code("Left", "G-A101", "SRT")]),
            by_reference,
        ),
        content("DATE", "Day", Date="20240203"),
        content("TIME", "Hour", Time="040506"),
        content("DATETIME", "Moment", DateTime="20240203040506+0100"),
        content("PNAME", "Reader", PersonName="Roe^Jane^Q"),
        content("UIDREF", "Reference", UID="1.2.3.4"),
        content("IMAGE", "Slice", ReferencedSOPSequence=reference("1.2.3.5", [2, 3])),
        content("SCOORD", "Outline", GraphicType="POLYLINE", GraphicData=[1.5, 2, 3, 4]),
        content("TCOORD", "Beat", TemporalRangeType="POINT", ReferencedTimeOffsets="0.5"),
        PatientName="Doe^John",
    )


EXPECTED = [
    "Chest & lungs", "Patient: Doe, John", "Content date: 2024-01-02", "Content time: 10:11:12",
    "1.1 Findings", "1.1.1 Finding: A <b>nodule</b>", "in the left lobe, über 5 mm", "1.1.2 Length: 12.5 mm",
    "1.1.3 Side: Left (G-A101, SRT)", "1.1.4 see item 1.1.2", "1.2 Day: 2024-02-03", "1.3 Hour: 04:05:06",
    "1.4 Moment: 2024-02-03 04:05:06+0100", "1.5 Reader: Roe, Jane Q", "1.6 Reference: 1.2.3.4",
    "1.7 Slice: instance 1.2.3.5; frames 2\\3", "1.8 Outline: POLYLINE 1.5, 2.0, 3.0, 4.0", "1.9 Beat: POINT 0.5",
]  # fmt: skip


async def test_a_report_comes_as_page_or_text_and_says_everything(archive: RunningQuery) -> None:
    dataset = example()
    await archive.stow(dataset)
    text = await archive.http.get(url_of(dataset, "/rendered"), headers={"Accept": "text/plain"})
    assert text.headers["Content-Type"] == "text/plain; charset=utf-8"
    lines = [line.strip() for line in text.text.splitlines()]
    assert [line for line in EXPECTED if line not in lines] == []
    for accept in ("*/*", "text/html", "text/*", "image/png;q=0.9, text/html;q=0.5, text/plain;q=0.4"):
        page = await archive.http.get(url_of(dataset, "/rendered"), headers={"Accept": accept})
        assert page.status_code == 200
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "<b>nodule</b>" not in page.text
        assert "A &lt;b&gt;nodule&lt;/b&gt;\nin the left lobe, über 5 mm" in page.text
        assert '<a href="#item-1.1.2">see item 1.1.2</a>' in page.text
        assert page.text.count("<ul>") == page.text.count("</ul>") == 2
        assert page.text.count("<li ") == page.text.count("</li>") == 13
    part = await archive.http.get(
        url_of(dataset, "/rendered"), headers={"Accept": 'multipart/related; type="text/html"'}
    )
    assert split_multipart(part) == [("text/html; charset=utf-8", page.content)]
    again = await archive.http.get(url_of(dataset, "/rendered"), headers={"If-None-Match": page.headers["ETag"]})
    assert again.status_code == 304
    assert again.headers["ETag"] != text.headers["ETag"]
    refused = await archive.http.get(url_of(dataset, "/rendered"), headers={"Accept": "image/png"})
    assert (refused.status_code, "text/html" in refused.json()["detail"]) == (406, True)


async def test_wado_uri_sends_a_report_as_page_unless_text_or_file_is_named(archive: RunningQuery) -> None:
    dataset = example()
    await archive.stow(dataset)
    uids = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    params = {"requestType": "WADO", **dict(zip(("studyUID", "seriesUID", "objectUID"), map(str, uids), strict=True))}
    for given, kind in (
        ({}, "text/html; charset=utf-8"),
        ({"contentType": "text/html"}, "text/html; charset=utf-8"),
        ({"contentType": "text/plain"}, "text/plain; charset=utf-8"),
        ({"contentType": "application/dicom"}, "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"),
    ):
        response = await archive.http.get("/wado", params={**params, **given})
        assert (response.status_code, response.headers["Content-Type"]) == (200, kind)


@pytest.mark.parametrize("deflated", [False, True])
async def test_a_text_too_long_for_metadata_is_shown_in_its_character_set(
    archive: RunningQuery, deflated: bool
) -> None:
    text = "Größe unverändert. " * 400
    dataset = report("Long", content("TEXT", "Finding", TextValue=text), SpecificCharacterSet="ISO_IR 100")
    if deflated:
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    await archive.stow(dataset)
    (header,) = await archive.json(url_of(dataset, "/metadata"))
    assert "BulkDataURI" in header["0040A730"]["Value"][0]["0040A160"]
    page = await archive.http.get(url_of(dataset, "/rendered"))
    assert text.strip() in page.text


async def test_a_series_of_reports_is_a_part_each(archive: RunningQuery) -> None:
    first = report("First", content("TEXT", "Finding", TextValue="one"))
    second = report("Second", study=first.StudyInstanceUID, series=first.SeriesInstanceUID)
    await archive.stow(first, second)
    parts = split_multipart(await archive.http.get(url_of(first).partition("/instances/")[0] + "/rendered"))
    assert [kind for kind, _ in parts] == ["text/html; charset=utf-8"] * 2
    assert {re.search(rb"<h1>(\w+)</h1>", page)[1] for _, page in parts} == {b"First", b"Second"}  # type: ignore[index]


HOSTILE = {
    "0040A730": {"vr": "SQ", "Value": [
        {}, "no item", None, {"0040A040": {"vr": "SQ", "Value": [{}]}},
        {"0040A730": {"vr": "UN", "InlineBinary": "AA=="}},
        {"0040A040": {"vr": "CS", "Value": ["TEXT"]}, "0040A160": {"vr": "SQ", "Value": [{"00080104": {}}]}},
        {"0040A040": {"vr": "CS", "Value": ["NUM"]}, "0040A300": {"vr": "SQ", "Value": [{}]}},
        {"0040A040": {"vr": "CS", "Value": [None]}, "0040A043": {"vr": "LO", "Value": ["x"]}},
        {"0040A040": {"vr": "CS", "Value": ["SCOORD"]}, "00700022": {"vr": "FL", "BulkDataURI": "bulk/x"}},
        {"0040A040": {"vr": "CS", "Value": ["PNAME"]}, "0040A123": {"vr": "PN", "Value": [{"Alphabetic": "^"}, None]}},
        {"0040DB73": {"vr": "LO", "Value": ['1"><script>']}},
        {"0040A040": {"vr": "CS", "Value": ["TEXT"]}, "0040A160": {"vr": "UT", "Value": ['"\x00\x1b\'<script>&']}},
    ]},
    "0040A043": {"vr": "SQ", "Value": [{"00080104": {"vr": "LO", "Value": ["</title><script>"]}}]},
    "00100010": {"vr": "PN", "Value": [{"Alphabetic": "<script>^A"}]},
}  # fmt: skip


def test_nothing_out_of_a_data_set_becomes_markup() -> None:
    page = to_html(read_report(HOSTILE))
    assert "<script" not in page
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", page)
    assert html.unescape(page).count("<script>") == 4
    assert "(too long to be shown)" in to_text(read_report(HOSTILE))


def test_a_report_of_any_size_and_depth_has_its_bounds() -> None:
    deep: dict[str, object] = {"0040A040": {"vr": "CS", "Value": ["CONTAINER"]}}
    for _ in range(5000):
        deep = {"0040A730": {"vr": "SQ", "Value": [deep]}}
    assert to_html(read_report(deep)).count("<ul>") == 5000
    item = {"0040A040": {"vr": "CS", "Value": ["TEXT"]}, "0040A160": {"vr": "UT", "Value": ["\n" * 1000]}}
    wide = read_report({"0040A730": {"vr": "SQ", "Value": [item] * (MAX_ITEMS + 5)}})
    assert wide.omitted
    assert len(wide.items) == MAX_ITEMS
    text = {"0040A040": {"vr": "CS", "Value": ["TEXT"]}, "0040A160": {"vr": "UT", "Value": ["a\n'" * 2_000_000 + "b"]}}
    long = read_report({"0040A730": {"vr": "SQ", "Value": [text] * 9}})
    assert (long.omitted, len(long.items)) == (True, 1)
    assert len(to_html(long)) < 8 << 20
    assert len(to_text(long)) < 32 << 20
    assert "longer than what is shown" in to_html(long)


@pytest.mark.skipif(shutil.which("dsr2html") is None, reason="DCMTK is not installed")
def test_every_text_that_dcmtk_shows_is_there(tmp_path: Path) -> None:
    dataset = example()
    del dataset.ContentSequence[0].ContentSequence[3]  # DCMTK refuses it in this SOP class
    path = saved(dataset, tmp_path)
    done = subprocess.run(["dsr2html", "-Er", "-Ec", "-Ee", path], capture_output=True, text=True, check=False)
    peer = html.unescape(re.sub(r"<[^>]*>", "\n", done.stdout.partition("<body>")[2]))
    assert "Findings" in peer, done.stderr
    own = to_text(read_report(dataset.to_json_dict()))
    words = set(re.findall(r"\w{4,}", peer)) & {
        "Findings",
        "Finding",
        "nodule",
        "Length",
        "Side",
        "Left",
        "Reader",
        "Reference",
    }
    assert len(words) >= 6
    assert {word for word in words if word not in own} == set()


async def test_a_real_report_is_shown(archive: RunningQuery) -> None:
    body, kind = multipart([next(BUNDLED.rglob("reportsi.dcm")).read_bytes()])
    stored = await archive.http.post(f"{WEB}/studies", content=body, headers={"Content-Type": kind})
    (reference,) = stored.json()["00081199"]["Value"]
    page = await archive.http.get(reference["00081190"]["Value"][0] + "/rendered")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.text.count("<li ") > 5
