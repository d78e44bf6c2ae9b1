"""Walking over the elements of a small data set, an Identifier for one, with every length checked (PS3.5 section 7)."""

from collections.abc import Iterator
from dataclasses import dataclass

from osteon.dicom.elements import element_head, item_encoding, nested_encoding, skip_undefined
from osteon.dicom.encoding import (
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    UNDEFINED,
    Encoding,
    actual_encoding,
    declared_encoding,
)
from osteon.dicom.errors import BadDataSet, TruncatedDataSet
from osteon.dicom.uids import TransferSyntax


@dataclass(frozen=True, slots=True)
class DataSetSpan:
    """Where the elements of a data set or of an item are, in bytes of `data`, and how they are encoded."""

    data: bytes
    start: int
    stop: int
    encoding: Encoding


@dataclass(frozen=True, slots=True)
class RawElement:
    """One element: `tag` in eight hexadecimal digits, `vr` empty in implicit VR; its value is `value`."""

    tag: str
    vr: str
    value: DataSetSpan

    @property
    def raw(self) -> bytes:
        """The value's bytes, copied."""
        return self.value.data[self.value.start : self.value.stop]


def whole_data_set(data: bytes, syntax: TransferSyntax) -> DataSetSpan:
    """Return the span of a data set, inflated already."""
    return DataSetSpan(data, 0, len(data), actual_encoding(data, 0, declared_encoding(syntax)))


def elements(span: DataSetSpan) -> Iterator[RawElement]:
    """Iterate over the elements; raises `BadDataSet`, `TruncatedDataSet` when a length leads out of the span."""
    position = span.start
    while position < span.stop:
        tag, vr, start, length = element_head(span.data, position, span.encoding)
        name = f"{tag:08X}"
        if tag in (ITEM, ITEM_END, SEQUENCE_END):
            raise BadDataSet("an item or a delimiter where an element is expected", name, position)
        position = _end(span.data, start, length, nested_encoding(vr, span.encoding))
        if position > span.stop:
            raise TruncatedDataSet("the data set ends within the value", name, start)
        yield RawElement(
            name, vr.decode("latin-1"), DataSetSpan(span.data, start, position, nested_encoding(vr, span.encoding))
        )


def items(value: DataSetSpan) -> Iterator[DataSetSpan]:
    """Iterate over the items of a sequence's value; raises `BadDataSet` and `TruncatedDataSet`."""
    position = value.start
    while position < value.stop:
        tag, _, start, length = element_head(value.data, position, value.encoding)
        if tag == SEQUENCE_END:
            return
        if tag != ITEM:
            raise BadDataSet("expected an item or the sequence's end", f"{tag:08X}", position)
        encoding = item_encoding(value.data, start, value.encoding)
        stop = _delimiter(value.data, start, encoding) if length == UNDEFINED else start + length
        if stop > value.stop:
            raise TruncatedDataSet("the sequence ends within the item", f"{tag:08X}", start)
        yield DataSetSpan(value.data, start, stop, encoding)
        position = stop + 8 if length == UNDEFINED else stop


def _end(data: bytes, start: int, length: int, encoding: Encoding) -> int:
    return skip_undefined(data, start, encoding) if length == UNDEFINED else start + length


def _delimiter(data: bytes, position: int, encoding: Encoding) -> int:
    """Return where the delimiter stands that ends an item of undefined length."""
    while True:
        tag, vr, start, length = element_head(data, position, encoding)
        if tag == ITEM_END:
            return position
        position = _end(data, start, length, nested_encoding(vr, encoding))
