"""Which presentation contexts are proposed."""

from osteon.dicom.uids import DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN as DEFLATED
from osteon.dimse.handler import PresentationContext
from osteon.sending.contexts import proposals, targets
from support.dimse.raw_peer import CT, EXPLICIT, IMPLICIT, MR

J2K, JPEG, J2K_LOSSY = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"


def proposed(*kinds: tuple[str, str], **more: object) -> list[list[tuple[str, tuple[str, ...]]]]:
    return [[(each.abstract_syntax, each.transfer_syntaxes) for each in batch] for batch in proposals(kinds, **more)]


def test_each_stored_syntax_has_a_context_of_its_own_beside_what_everybody_can_read():
    assert proposed((CT, J2K), (CT, DEFLATED), (CT, J2K)) == [
        [(CT, (J2K,)), (CT, (DEFLATED,)), (CT, (EXPLICIT, IMPLICIT))]
    ]


def test_a_stored_plain_syntax_is_not_mixed_with_the_other_one():
    assert proposed((CT, EXPLICIT)) == [[(CT, (EXPLICIT,)), (CT, (IMPLICIT,))]]
    assert proposed((CT, EXPLICIT), (CT, IMPLICIT)) == [[(CT, (EXPLICIT,)), (CT, (IMPLICIT,))]]


def test_lossy_syntaxes_are_proposed_only_where_they_are_allowed():
    assert proposed((CT, EXPLICIT), lossy=(JPEG,))[0][-1] == (CT, (JPEG,))
    assert proposed((CT, EXPLICIT), lossy=(JPEG,), transcode=False) == [[(CT, (EXPLICIT,))]]


def test_an_association_has_at_most_128_contexts_and_keeps_those_of_a_class_together():
    batches = proposed(*((f"1.2.{n}", syntax) for n in range(100) for syntax in (J2K, DEFLATED)))
    assert [len(batch) for batch in batches] == [126, 126, 48]
    for batch in batches:
        assert len({sop_class for sop_class, _ in batch}) * 3 == len(batch)


def test_nothing_to_send_needs_no_association():
    assert proposals([]) == []


def test_transcoding_prefers_what_keeps_all_and_takes_lossy_only_when_allowed():
    accepted = [PresentationContext(n, MR, uid) for n, uid in enumerate((JPEG, J2K_LOSSY, J2K, IMPLICIT, EXPLICIT))]
    assert targets(accepted, ()) == [EXPLICIT, IMPLICIT, J2K]
    assert targets(accepted, (JPEG,)) == [EXPLICIT, IMPLICIT, J2K, JPEG]
