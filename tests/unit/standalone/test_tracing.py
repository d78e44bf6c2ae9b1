"""One association is one trace, from its first instance to the destination that a rule sends it to."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydicom import Dataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet

from osteon import runtime, tracing, tracing_setup
from osteon.contracts.imaging import RenderRequest
from osteon.contracts.packs import Origin, PackStored
from osteon.packs import sidecar
from osteon.tracing_otel import OtelTracer
from osteon_standalone.build import build
from osteon_standalone.settings import StandaloneServiceSettings
from support.dicom.datasets import ct_slice
from support.dimse.raw_peer import running
from support.services.trace_collector import collecting


class Spans:
    """What was traced so far."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def all(self) -> list[ReadableSpan]:
        return list(self._exporter.get_finished_spans())

    def clear(self) -> None:
        self._exporter.clear()

    def named(self, name: str) -> ReadableSpan:
        (found,) = [span for span in self.all() if span.name == name]
        return found

    def has(self, name: str) -> bool:
        return any(span.name == name for span in self.all())

    def parent_of(self, name: str) -> str | None:
        """The name of the span above."""
        above = self.named(name).parent
        return None if above is None else next(s.name for s in self.all() if s.context.span_id == above.span_id)


@pytest.fixture
def spans() -> Iterator[Spans]:
    exporter = InMemorySpanExporter()
    tracing.set_tracer(OtelTracer("test", SimpleSpanProcessor(exporter)))
    yield Spans(exporter)
    tracing.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> StandaloneServiceSettings:
    return StandaloneServiceSettings(
        data=tmp_path / "data", dicom_port=0, http_port=0, demo=False, prefetch_thumbnails=False
    )


def send(port: int, *slices: Dataset) -> None:
    client = AE("SCANNER")
    client.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = client.associate("127.0.0.1", port)
    for each in slices:
        assert association.send_c_store(each).Status == 0
    association.release()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


async def test_an_association_is_one_trace_from_its_door_to_the_destination_of_a_rule(
    settings: StandaloneServiceSettings, spans: Spans
) -> None:
    slices = [ct_slice(study="1.2.7", series="1.2.7.1", number=n) for n in range(3)]
    async with running() as destination, build(settings) as archive:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{archive.ports['http']}") as http:
            await http.put("/modalities/pacs", json=["PACS", "127.0.0.1", destination.port])
            rule = {"when": "instance", "match": {"Modality": "CT"}, "send": [{"modality": "pacs"}]}
            (await http.put("/rules/all", json=rule)).raise_for_status()
        await asyncio.to_thread(send, archive.ports["dicom"], *slices)
        await until(lambda: spans.has("job DicomModalityStore") and spans.has("association"))
    above = {
        "association": None,
        "pack sealed": "association",
        "process PackSealed": "pack sealed",
        "process PackStored": "process PackSealed",
        "process PackIndexed": "process PackStored",
        "job DicomModalityStore": "process PackIndexed",
        "C-STORE": "job DicomModalityStore",
    }
    assert {name: spans.parent_of(name) for name in above} == above
    traces = {spans.named(name).context.trace_id for name in above}
    (trace_id,) = traces
    association = spans.named("association")
    assert association.attributes["osteon.correlation_id"] == f"{trace_id:032x}"
    assert association.attributes["dicom.calling_aet"] == "SCANNER"
    assert spans.named("C-STORE").attributes["osteon.completed"] == 3
    assert spans.named("pack sealed").attributes["osteon.instances"] == 3


async def test_an_upload_is_one_trace_below_that_of_its_client(
    settings: StandaloneServiceSettings, spans: Spans, tmp_path: Path
) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    file = tmp_path / "one.dcm"
    ct_slice().save_as(file, enforce_file_format=True)
    async with (
        build(settings) as archive,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{archive.ports['http']}") as http,
    ):
        answer = await http.post(
            "/instances", content=file.read_bytes(), headers={"traceparent": f"00-{trace}-{parent}-01"}
        )
        answer.raise_for_status()
        await http.get("/readyz")
        await until(lambda: spans.has("process PackStored") and spans.has("POST /instances"))
    assert answer.headers["X-Correlation-ID"] == trace
    request = spans.named("POST /instances")
    assert f"{request.context.trace_id:032x}" == trace
    assert f"{request.parent.span_id:016x}" == parent
    assert request.attributes["http.response.status_code"] == 200
    assert spans.parent_of("process PackStored") == "POST /instances"
    assert not any("readyz" in span.name for span in spans.all())


@pytest.mark.slow
def test_a_process_without_a_collector_imports_nothing_of_tracing() -> None:
    code = (
        "import sys, osteon_writer.build, osteon_ingress.build, osteon.runtime as r\n"
        "import osteon.tracing as t, osteon.tracing_setup as s\n"
        "s.start('test', '')\n"
        "assert t.start_span('x') is t.NOOP_SPAN and t.current_traceparent() == ''\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'osteon.tracing_otel'))])"
    )
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tracing_is_on_with_a_collector_of_ours_or_of_the_standard_and_off_when_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variables, endpoint, on in (
        ({}, "", False),
        ({}, "http://127.0.0.1:9", True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, "", True),
        ({"OTEL_SDK_DISABLED": "true"}, "http://127.0.0.1:9", False),
    ):
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            tracing_setup.start("test", endpoint)
            assert (tracing.start_span("x") is not tracing.NOOP_SPAN) == on, (variables, endpoint)
            tracing.set_tracer(None)


def test_a_process_that_can_not_trace_says_which_packages_are_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "osteon.tracing_otel", None)
    settings = StandaloneServiceSettings(tracing_endpoint="http://127.0.0.1:4318")

    async def never() -> None:
        raise AssertionError("started")

    with pytest.raises(SystemExit):
        runtime.main("test", settings, never)
    assert "osteon[tracing]" in capsys.readouterr().err


def test_spans_go_to_the_collector_when_a_process_ends(settings: StandaloneServiceSettings) -> None:
    async def work() -> None:
        with tracing.span("work"):
            pass

    with collecting() as collector:
        runtime.main("writer", settings.model_copy(update={"tracing_endpoint": f"{collector.url}/"}), work)
    assert collector.paths == {"/v1/traces"}
    assert [(span.service, span.name, span.parent) for span in collector.spans] == [("osteon-writer", "work", "")]
    assert tracing.start_span("x") is tracing.NOOP_SPAN


def test_what_is_stored_and_kept_does_not_depend_on_the_trace() -> None:
    facts = PackStored(
        correlation_id="c", pack_id="p", study_uid="1.2", series_uid="1.2.3", origin=Origin.DIMSE,
        received_at=datetime(2026, 1, 2, tzinfo=UTC), instances=1, size=1,
    )  # fmt: skip
    render = RenderRequest(
        correlation_id="c", key="1.2/1.2.3/p.tar", offset=0, length=1, transfer_syntax_uid=ExplicitVRLittleEndian,
        sop_instance_uid="1.2.3.4", mode="preview", media_type="image/png",
    )  # fmt: skip
    elsewhere = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    assert sidecar.encode(facts, []) == sidecar.encode(facts.model_copy(update=elsewhere), [])
    assert render.cache_key == render.model_copy(update=elsewhere).cache_key


async def test_searches_and_retrievals_are_below_their_association(
    settings: StandaloneServiceSettings, spans: Spans
) -> None:
    async with build(settings) as archive:
        await asyncio.to_thread(send, archive.ports["dicom"], ct_slice(study="1.2.8"))
        await until(lambda: spans.has("process PackIndexed") and spans.has("association"))
        spans.clear()
        await asyncio.to_thread(find_and_get, archive.ports["dicom"], "1.2.8")
        await until(lambda: spans.has("association"))
    names = ("process FindPageRequest", "process RetrievePlanRequest", "C-STORE")
    above = {name: spans.parent_of(name) for name in names}
    assert above == dict.fromkeys(above, "association")
    assert spans.named("C-STORE").attributes["osteon.purpose"] == "c-get"


def find_and_get(port: int, study: str) -> None:
    client = AE("SCANNER")
    for model in (StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet):
        client.add_requested_context(model)
    client.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    handlers = [(evt.EVT_C_STORE, lambda _: 0x0000)]
    role = build_role(CTImageStorage, scp_role=True)
    association = client.associate("127.0.0.1", port, ext_neg=[role], evt_handlers=handlers)
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", study
    found = list(association.send_c_find(wanted, StudyRootQueryRetrieveInformationModelFind))
    assert [status.Status for status, _ in found] == [0xFF00, 0]
    got = list(association.send_c_get(wanted, StudyRootQueryRetrieveInformationModelGet))
    assert got[-1][0].Status == 0
    association.release()
