"""Random data sets, and real ones with damage: read, or refused by an error of this room; nothing else."""

import json
import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.dicom.attributes import held_values, request_attributes
from osteon.dicom.errors import BadDataSet
from osteon.dicom.header.reader import HeaderReader
from support.dicom.elements import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT, JPEG, RLE
from support.fuzz.acceptor import fuzz
from support.fuzz.case_counts import EFFORT
from support.fuzz.data_sets import bundled, data_sets, read_either, same_identity_from_any_beginning

SYNTAXES = [EXPLICIT, IMPLICIT, BIG_ENDIAN, JPEG, RLE]


@pytest.fixture(scope="module")
def reader() -> HeaderReader:
    return HeaderReader(memo_limit=1 << 20)


@fuzz(150)
@given(data=data_sets(), syntax=st.sampled_from(SYNTAXES))
def test_any_data_set_is_read_or_refused(reader: HeaderReader, data: bytes, syntax: str) -> None:
    read_either(reader, data, syntax)


@fuzz(80)
@given(data=data_sets())
def test_what_is_remembered_never_changes_what_is_read(reader: HeaderReader, data: bytes) -> None:
    assert str(read_either(reader, data)) == str(read_either(HeaderReader(), data))


@fuzz(80)
@given(data=data_sets())
def test_the_index_takes_what_it_holds_from_any_header(reader: HeaderReader, data: bytes) -> None:
    header = json.loads(reader.read_beginning(data, EXPLICIT).json)
    assert all(isinstance(value, str) for value in held_values(header).values())
    assert all(isinstance(text, str) for pair in request_attributes(header) for text in pair)


@fuzz(150)
@given(data=data_sets(), random=st.randoms(use_true_random=False))
def test_a_beginning_names_the_same_instance_as_the_whole(data: bytes, random: random.Random) -> None:
    cuts = [random.randrange(len(data) + 1) for _ in range(8)]
    same_identity_from_any_beginning(data, EXPLICIT, cuts)


@fuzz(150)
@given(data=data_sets(), random=st.randoms(use_true_random=False))
def test_a_beginning_of_a_damaged_deflated_stream_names_the_same_instance(data: bytes, random: random.Random) -> None:
    packer = zlib.compressobj(random.choice([0, 1, 6]), zlib.DEFLATED, -zlib.MAX_WBITS)
    stream = bytearray(packer.compress(data) + packer.flush())
    stream[random.randrange(len(stream))] ^= 1 << random.randrange(8)
    same_identity_from_any_beginning(bytes(stream), DEFLATED, [random.randrange(len(stream) + 1) for _ in range(8)])


@pytest.mark.parametrize(("name", "data", "syntax"), [pytest.param(*found, id=found[0]) for found in bundled()])
def test_bundled_file_with_damage_is_read_or_refused(reader: HeaderReader, name: str, data: bytes, syntax: str) -> None:
    dice = random.Random(name)
    for _ in range(12 * EFFORT):
        damaged = bytearray(data[: 1 << 16])
        for _ in range(dice.choice([1, 1, 2, 8])):
            at = min(dice.randrange(len(damaged)), dice.randrange(len(damaged)))
            damage = dice.choice(
                [dice.randbytes(1), b"\xff" * 4, bytes(4), b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"SQ"]
            )
            damaged[at : at + dice.choice([0, len(damage)])] = damage
        if isinstance(read_either(reader, bytes(damaged), syntax), BadDataSet):
            continue
