"""The commands as a whole, against pynetdicom: what they print, and with which code they end."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.presentation import build_context

from osteon.cli.scu import echo, find, get, move, send
from osteon.dicom.part10 import file_sha256, read_part10
from osteon_local.part import free_port
from support.cli.scu import ToolResult, pynetdicom, tool
from support.dicom.datasets import ct_slice, saved
from support.dicom.real_files import dataset_bytes
from support.dimse.pynetdicom_acceptor import accepting
from support.dimse.raw_peer import EXPLICIT

__all__ = ["tool"]
Tool = Callable[..., ToolResult]
STUDY = "1.2.826.0.1.1"


def match(name: str, **more: object) -> Dataset:
    dataset = Dataset()
    dataset.PatientName, dataset.StudyInstanceUID = name, STUDY
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def matches(*found: Dataset, status: int = 0) -> tuple[object, Callable[..., object]]:
    def on_find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for each in found:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, each
        yield status, None

    return evt.EVT_C_FIND, on_find


@pytest.mark.slow
def test_echo_tells_round_trip_times(tool: Tool) -> None:
    with pynetdicom() as where:
        ran = tool(echo.main, where, "-c", 3, "-i", 0)
        told = json.loads(tool(echo.main, *where.split(":"), "--json").out)
        quiet = tool(echo.main, where, "-q")
    assert ran.code == 0
    assert ran.out.count("success") == 3 + 1
    assert (len(told["round_trips_ms"]), told["statuses"], told["failed"]) == (1, [0], 0)
    assert (quiet.code, quiet.out) == (0, "")


def test_echo_that_is_not_answered_with_success_is_a_failure(tool: Tool) -> None:
    with pynetdicom((evt.EVT_C_ECHO, lambda _: 0x0122)) as where:
        ran = tool(echo.main, where)
    assert (ran.code, "0x0122" in ran.out) == (1, True)


@pytest.mark.parametrize("command", [echo, find, send], ids=lambda command: command.__name__.rpartition(".")[2])
def test_a_peer_that_cannot_be_reached_is_said_so(tool: Tool, command: object, tmp_path: Path) -> None:
    more = [saved(ct_slice(), tmp_path)] if command is send else []
    ran = tool(command.main, f"127.0.0.1:{free_port()}", *more)
    assert ran.code == 2
    assert "nothing listens at 127.0.0.1:" in ran.err
    assert "Traceback" not in ran.err


def test_a_rejection_is_given_in_words(tool: Tool) -> None:
    entity = AE(ae_title="PYNET")
    entity.add_supported_context("1.2.840.10008.1.1")
    entity.require_called_aet = True
    with accepting(entity) as port:
        ran = tool(echo.main, f"127.0.0.1:{port}", "-aec", "OTHER")
    assert (ran.code, "called AE title not recognized" in ran.err) == (2, True)


def test_no_accepted_context_is_given_in_words(tool: Tool) -> None:
    entity = AE(ae_title="PYNET")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.2")
    with accepting(entity) as port:
        runs = [tool(each.main, f"127.0.0.1:{port}") for each in (echo, find)]
    assert [(ran.code, "accepted no presentation context" in ran.err) for ran in runs] == [(2, True)] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cert", "x.pem"], "for --tls"),
        (["--tls", "--ca", "/nowhere.pem"], "/nowhere.pem"),
        (["-k", "Nonsense"], "Nonsense"),
        (["-aec", "a title of too many characters"], "AE title"),
    ],
    ids=["no --tls", "no file", "key", "title"],
)
def test_wrong_usage_is_said_so(tool: Tool, arguments: list[str], message: str) -> None:
    with pynetdicom() as where:
        ran = tool(find.main, where, *arguments)
    assert (ran.code, message in ran.err) == (2, True), ran


def test_find_prints_a_table_csv_and_json(tool: Tool) -> None:
    with pynetdicom(matches(match("A^B"), match("Müller", SpecificCharacterSet="ISO_IR 100"))) as where:
        table = tool(find.main, where, "-k", "PatientName=*", "-k", "StudyInstanceUID")
        as_csv = tool(find.main, where, "-k", "PatientName=*", "-k", "StudyInstanceUID", "--csv")
        as_json = tool(find.main, where, "--json")
    assert STUDY in table.out
    assert "Müller" in table.out
    rows = [["PatientName", "StudyInstanceUID"], ["A^B", STUDY], ["Müller", STUDY]]
    assert list(csv.reader(StringIO(as_csv.out))) == rows
    assert [each["PatientName"] for each in json.loads(as_json.out)] == ["A^B", "Müller"]
    assert {ran.code for ran in (table, as_csv, as_json)} == {0}


def test_find_without_a_match_is_no_failure(tool: Tool) -> None:
    with pynetdicom(matches()) as where:
        assert json.loads(tool(find.main, where, "--json").out) == []
        assert tool(find.main, where).code == 0


def test_find_cancels_at_its_limit(tool: Tool) -> None:
    cancelled = threading.Event()

    def on_find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for _ in range(1_000):
            if event.is_cancelled:
                cancelled.set()
                yield 0xFE00, None
                return
            cancelled.wait(0.01)  # pynetdicom reads nothing while it has something to send
            yield 0xFF00, match("A^B")

    with pynetdicom((evt.EVT_C_FIND, on_find)) as where:
        ran = tool(find.main, where, "--limit", 3, "--csv")
    assert (ran.code, len(ran.out.splitlines())) == (0, 1 + 3)
    assert "--limit" in ran.err
    assert cancelled.is_set()


def test_find_that_fails_says_why(tool: Tool) -> None:
    with pynetdicom(matches(match("A^B"), status=0xA700)) as where:
        ran = tool(find.main, where)
    assert (ran.code, "0xA700" in ran.err, "A^B" in ran.out) == (1, True, True)


def test_send_tells_what_was_stored_and_what_was_not(tool: Tool, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    paths = [saved(ct_slice(number=number), folder) for number in range(5)]
    (folder / "text.txt").write_text("nothing to send")
    refused, kept = paths[2].stem, []

    def on_store(event: evt.Event) -> int:
        kept.append(event.request.AffectedSOPInstanceUID)
        return 0xA700 if kept[-1] == refused else 0

    report = tmp_path / "report"
    with pynetdicom((evt.EVT_C_STORE, on_store)) as where:
        first = tool(send.main, where, folder, "--report", report)
        second = tool(send.main, where, folder, "--report", report, "--json")
    assert (first.code, "4 sent" in first.out, "1 failed" in first.out, "1 files left out" in first.out) == (
        1,
        *[True] * 3,
    )
    assert f"{refused}.dcm: 0xA700" in first.err
    assert kept == [*sorted(path.stem for path in paths), refused]
    told = json.loads(second.out)
    assert (told["sent"], told["already"], told["failed"], told["skipped"]) == (0, 4, 1, 1)
    assert told["failures"][0]["path"].endswith(f"{refused}.dcm")


def test_send_without_anything_to_send_says_so(tool: Tool, tmp_path: Path) -> None:
    assert (nothing := tool(send.main, "127.0.0.1:1")).code == 2
    assert "nothing to send" in nothing.err
    absent = tool(send.main, "127.0.0.1:1", tmp_path / "absent")
    assert (absent.code, "no such file" in absent.err) == (1, True)
    assert tool(send.main, "127.0.0.1:1", tmp_path, "--json").code == 0


@pytest.mark.slow
def test_move_tells_what_was_moved_and_what_failed(tool: Tool) -> None:
    sent = [ct_slice(number=number) for number in range(3)]

    def on_store(event: evt.Event) -> int:
        return 0xA700 if event.request.AffectedSOPInstanceUID == sent[1].SOPInstanceUID else 0

    def on_move(event: evt.Event) -> Iterator[object]:
        if event.move_destination != "SINK":
            yield None, None
            return
        host, port = sink.split(":")
        yield host, int(port), {"contexts": [build_context(sent[0].SOPClassUID, EXPLICIT)]}
        yield 3
        for each in sent:
            yield 0xFF00, each

    with pynetdicom((evt.EVT_C_STORE, on_store)) as sink, pynetdicom((evt.EVT_C_MOVE, on_move)) as where:
        ran = tool(move.main, where, "--to", "SINK", "-k", f"StudyInstanceUID={STUDY}")
        told = json.loads(tool(move.main, where, "--to", "SINK", "-k", f"StudyInstanceUID={STUDY}", "--json").out)
        unknown = tool(move.main, where, "-aem", "NOBODY", "-k", f"StudyInstanceUID={STUDY}")
    assert (ran.code, "2 moved, 1 failed" in ran.out, sent[1].SOPInstanceUID in ran.err) == (1, True, True)
    assert (told["completed"], told["failed"], told["failed_uids"]) == (2, 1, [sent[1].SOPInstanceUID])
    assert (unknown.code, "0xA801" in unknown.err, "destination" in unknown.err) == (1, True, True)
    assert "needs -k StudyInstanceUID" in tool(move.main, where, "--to", "SINK").err


def on_get(*sent: Dataset) -> tuple[object, Callable[..., object]]:
    def answer(event: evt.Event) -> Iterator[object]:
        yield len(sent)
        for each in sent:
            yield 0xFF00, each

    return evt.EVT_C_GET, answer


def test_get_writes_whole_files_in_folders_of_study_and_series(tool: Tool, tmp_path: Path) -> None:
    sent = [ct_slice(study=STUDY, number=number) for number in range(3)]
    with pynetdicom(on_get(*sent), matches(match("A", SOPClassesInStudy=sent[0].SOPClassUID))) as where:
        ran = tool(get.main, where, "-aec", "PYNET", "-o", tmp_path / "out", "-k", f"StudyInstanceUID={STUDY}")
    assert (ran.code, "3 fetched" in ran.out) == (0, True), ran
    for each in sent:
        path = tmp_path / "out" / STUDY / each.SeriesInstanceUID / f"{each.SOPInstanceUID}.dcm"
        assert dcmread(path) == each
        meta = read_part10(path.read_bytes())
        assert (meta.source_aet, file_sha256(meta)) != ("", None)
        assert len(dataset_bytes(path)) > 8192
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 3


def test_get_asks_again_with_other_sop_classes_as_long_as_instances_fail(tool: Tool, tmp_path: Path) -> None:
    second = [proposed.abstract_syntax for proposed in list(get.batches([]))[1]]
    known = {context.abstract_syntax for context in AllStoragePresentationContexts}
    rare = ct_slice(study=STUDY, SOPClassUID=next(uid for uid in second if uid in known))
    common = ct_slice(study=STUDY)
    asked = []

    def on_get(event: evt.Event) -> Iterator[object]:
        asked.append(event.assoc.requestor.requested_contexts)
        yield 2
        yield 0xFF00, rare
        yield 0xFF00, common

    with pynetdicom((evt.EVT_C_GET, on_get)) as where:
        ran = tool(get.main, where, "-o", tmp_path, "-k", f"StudyInstanceUID={STUDY}", "--json")
    told = json.loads(ran.out)
    assert len(asked) > 1
    assert (ran.code, told["completed"], told["failed"], told["failed_uids"], told["files"]) == (0, 2, 0, [], 2), told


def test_get_into_a_folder_that_cannot_be_written_says_so(tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sent = ct_slice(study=STUDY)
    with pynetdicom(on_get(sent), matches(match("A", SOPClassesInStudy=sent.SOPClassUID))) as where:
        ran = tool(get.main, where, "-o", tmp_path / "file", "-k", f"StudyInstanceUID={STUDY}")
    assert (ran.code, "Not a directory" in ran.err, sent.SOPInstanceUID in ran.err) == (1, True, True), ran


@pytest.mark.slow
def test_ctrl_c_cancels_and_releases() -> None:
    heard, cancelled, released = threading.Event(), threading.Event(), threading.Event()

    def on_find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        heard.set()
        while not event.is_cancelled:
            cancelled.wait(0.05)
            yield 0xFF00, match("A^B")
        cancelled.set()
        yield 0xFE00, None

    handlers = (evt.EVT_C_FIND, on_find), (evt.EVT_RELEASED, lambda _: released.set())
    command = (sys.executable, "-m", "osteon.cli", "find")
    with pynetdicom(*handlers) as where:
        process = subprocess.Popen([*command, where, "--json"], stdout=subprocess.PIPE, env=dict(os.environ))
        assert heard.wait(20)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        assert (process.returncode, cancelled.wait(5), released.wait(5)) == (130, True, True)
    assert isinstance(json.loads(out), list)


@pytest.mark.slow
def test_ctrl_c_while_nobody_answers_ends_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen([sys.executable, "-m", "osteon.cli", "echo", where], stderr=subprocess.PIPE)
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(6)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
    assert (process.returncode, b"Traceback" in err) == (130, False)
