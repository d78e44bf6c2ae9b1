"""What docs/conformance.md promises is what a running acceptor grants, and what the code asks for as user."""

import re
from pathlib import Path

import pytest

from osteon.dicom.models import GET_MODELS
from osteon.dimse.requestor import RequestedAssociation, RequestedContext, associate
from osteon.dimse.sop_classes import UNCOMPRESSED
from osteon.dimse.tls import TLS12_SUITES
from support.dimse.raw_peer import CT, EXPLICIT, running
from support.dimse.scripted_acceptor import Remote

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "conformance.md").read_text()
GET = min(GET_MODELS)
_UID = re.compile(r"`([0-9.]{5,64})`")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table rows below a heading that have a UID."""
    _, _, section = PAGE.partition(f"\n## {heading}\n")
    lines = section.partition("\n## ")[0].splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and _UID.search(line)]


def uids(heading: str) -> list[str]:
    return [_UID.search(" | ".join(row))[1] for row in rows(heading)]


SERVICES = {_UID.search(row[2])[1]: (row[3], row[4]) for row in rows("Overview")}
STORAGE, SYNTAXES = uids("Annex A: storage SOP classes"), uids("Annex B: transfer syntaxes")


async def granted(*proposed: RequestedContext) -> set[tuple[str, str, bool, bool]]:
    """Return abstract syntax, transfer syntax and roles of all that is accepted."""
    found: set[tuple[str, str, bool, bool]] = set()

    def note(association: RequestedAssociation) -> None:
        found.update((c.abstract_syntax, c.transfer_syntax, c.scu, c.scp) for c in association.contexts)

    async with running() as acceptor:
        remote = Remote(aet="OSTEON", host="127.0.0.1", port=acceptor.port)
        for at in range(0, len(proposed), 100):
            getting = RequestedContext(abstract_syntax=GET, transfer_syntaxes=(EXPLICIT,))
            async with associate(remote, [*proposed[at : at + 100], getting]) as association:
                note(association)
    return found


def test_the_page_has_all_its_tables() -> None:
    assert len(SERVICES) >= 13
    assert len(STORAGE) > 150
    assert len(SYNTAXES) > 50
    assert "{{" not in PAGE
    assert all(suite in PAGE for suite in TLS12_SUITES)


async def test_every_service_that_is_promised_is_accepted_in_every_uncompressed_transfer_syntax() -> None:
    promised = [uid for uid, (_, scp) in SERVICES.items() if scp == "yes"]
    assert promised
    wanted = {(uid, syntax, True, False) for uid in promised for syntax in UNCOMPRESSED}
    found = await granted(
        *(RequestedContext(abstract_syntax=uid, transfer_syntaxes=(syntax,)) for uid, syntax, *_ in wanted)
    )
    assert wanted <= found


@pytest.mark.parametrize("sending", [False, True], ids=["stored", "sent by C-GET"])
async def test_every_storage_sop_class_that_is_promised_is_accepted(sending: bool) -> None:
    roles = {"scu": not sending, "scp": sending}
    proposed = [RequestedContext(abstract_syntax=uid, transfer_syntaxes=(EXPLICIT,), **roles) for uid in STORAGE]
    assert {(uid, EXPLICIT, not sending, sending) for uid in STORAGE} <= await granted(*proposed)


async def test_every_transfer_syntax_that_is_promised_is_accepted() -> None:
    found = await granted(*(RequestedContext(abstract_syntax=CT, transfer_syntaxes=(uid,)) for uid in SYNTAXES))
    assert {(CT, uid, True, False) for uid in SYNTAXES} <= found


async def test_what_is_not_promised_is_not_accepted() -> None:
    others = ["1.2.840.10008.5.1.4.31", "1.2.840.10008.5.1.4.34.6.1", "1.2.840.10008.5.1.1.1", "1.2.840.10008.1.3.10"]
    assert not set(others) & {*SERVICES, *STORAGE}
    found = await granted(*(RequestedContext(abstract_syntax=uid, transfer_syntaxes=(EXPLICIT,)) for uid in others))
    assert {uid for uid, *_ in found} == {GET}
