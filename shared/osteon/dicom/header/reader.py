"""The header reader: data set bytes → DICOM JSON (PS3.5 section 7, PS3.18 F.2), without a data set object between."""

from collections.abc import Sequence
from dataclasses import replace

from osteon.dicom.deflate import inflate, inflate_beginning
from osteon.dicom.encoding import Buffer
from osteon.dicom.header.memo import FragmentMemo
from osteon.dicom.header.model import Header
from osteon.dicom.header.parser import HeaderParser
from osteon.dicom.header.state import ParserState
from osteon.dicom.uids import TransferSyntax, transfer_syntax


class HeaderReader:
    """Reads headers, and remembers elements from one data set to the next. May be shared between threads.

    Args:
        bulk_limit: longest value, in bytes, that is put into the JSON rather than left out as bulk data.
        memo_limit: bytes of memory for remembered elements.
        header_limit: bytes of a data set, bulk data left out, that are read at most; its JSON may take twice that.
        max_elements: elements and items of a data set that are read, of the data set itself and of each item 16,384 at
            most. A sequence with more is left out.
        max_depth: levels of nested sequences that are read; deeper ones are skipped and marked. orjson writes JSON to a
            depth of 254, and each level of sequences takes three.
    """

    def __init__(
        self,
        bulk_limit: int = 4096,
        *,
        memo_limit: int = 8 << 20,
        header_limit: int = 64 << 20,
        max_elements: int = 200_000,
        max_depth: int = 80,
    ) -> None:
        self.bulk_limit = bulk_limit
        self.header_limit = header_limit
        self.max_elements = max_elements
        self.max_depth = max_depth
        self._memo = FragmentMemo(memo_limit)

    def read(self, dataset: Buffer, transfer_syntax_uid: str) -> Header:
        """Read a whole data set, which begins at the first byte of `dataset` and ends with its last.

        Pixel data is not copied. Raises `BadDataSet` (`TruncatedDataSet` when it ends early), naming the element and
        its offset, and `UnknownTransferSyntax`.
        """
        syntax = transfer_syntax(transfer_syntax_uid)
        cut = False
        if syntax.deflated:
            dataset, cut = inflate(dataset, self.header_limit)
        return self._parser(dataset, syntax, cut=cut).header()

    def read_beginning(self, dataset: Buffer, transfer_syntax_uid: str, known: Sequence[bytes] = ()) -> Header:
        """Read a data set as far as it goes: the elements before the one, nested or not, that cannot be read.

        `Header.unread` says what that was. `known` are elements in JSON, `"00100020":{…}`, that are added when they
        are not among those. Raises `UnknownTransferSyntax`.
        """
        syntax = transfer_syntax(transfer_syntax_uid)
        if not syntax.deflated:
            return self._parser(dataset, syntax).beginning(known)
        inflated, ended, fault = inflate_beginning(dataset, self.header_limit + 1)
        cut = len(inflated) > self.header_limit
        header = self._parser(inflated[: self.header_limit], syntax, cut=cut).beginning(known)
        if not ended and not cut:
            header = replace(header, unread=f"cannot be inflated: {fault or 'the stream ends early'}")
        return header

    def _parser(self, dataset: Buffer, syntax: TransferSyntax, *, cut: bool = False) -> HeaderParser:
        return HeaderParser(
            ParserState(
                dataset,
                syntax,
                self._memo,
                bulk_limit=self.bulk_limit,
                limit=self.header_limit,
                json_left=2 * self.header_limit,
                elements_left=self.max_elements,
                max_depth=self.max_depth,
                cut=cut,
            )
        )
