"""The composition root on embedded ports, over a real socket."""

from pathlib import Path

import httpx

from osteon.contracts.find import FindPageReply, FindPageRequest
from osteon.contracts.topology import FIND
from osteon_query.build import build_embedded
from support.dicom.datasets import ct_slice
from support.query.application import QuerySettings, door
from support.services.embedded import embedded


async def test_the_service_serves_http_and_c_find_on_the_ports_given(tmp_path: Path) -> None:
    async with door(tmp_path) as behind:
        settings = QuerySettings(http_port=0)
        async with (
            embedded(build_embedded, settings, bus=behind.bus, index=behind.index, objects=behind.objects) as running,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.ports['http']}") as http,
        ):
            await behind.stow(ct_slice())
            assert len((await http.get("/dicom-web/studies")).json()) == 1
            assert (await http.get("/readyz")).json()["parts"] == dict.fromkeys(running.checks, "ok")
            request = FindPageRequest(
                correlation_id="c",
                sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1",
                transfer_syntax_uid="1.2.840.10008.1.2",
                identifier=b"\x08\x00\x52\x00\x06\x00\x00\x00STUDY ",
                called_aet="B",
            )
            page = await behind.bus.request(FIND, request, timeout=10)
            assert isinstance(page, FindPageReply)
            assert len(page.identifiers) == 1
