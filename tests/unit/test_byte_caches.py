"""Caches stay within their bytes, and the metric says what they take."""

import ast
import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from osteon import metrics
from osteon.byte_caches import ENTRY_BYTES, ByteCache, cache_sizes, cached
from osteon.dicom.attribute_names import keyword_of, tag_of, vr_of_tag
from osteon.dicom.charset import character_set
from osteon.dicom.dataset_encoder import DatasetEncoder
from osteon.dicom.header.reader import HeaderReader
from osteon.dicom.pixels.frame_reader import FrameTables
from osteon.dicom.query import Wildcard
from osteon.dicom.text_encoder import text_encoder_for
from osteon.dicom.uids import EXPLICIT_VR_LITTLE_ENDIAN
from osteon.dicom.value_matching import matches
from osteon.dicom.vr import private_vr, standard_vr
from osteon.index.dialect import _compiled_statements
from osteon.index.locations import pack_places
from osteon.index.uids import Uids
from osteon.objects.files import REMEMBERED_BYTES, DurableFolder
from osteon.process_metrics import measure_loop_lag
from support.metric_values import value
from support.source_tree import modules, syntax_tree

LARGEST = 20 << 20
"""Bytes that all memoised functions of a process may take together."""


def test_what_was_used_last_stays_within_the_bytes() -> None:
    cache: ByteCache[int, bytes] = ByteCache("test", 10 * (ENTRY_BYTES + 100), lambda _, value: len(value))
    for number in range(100):
        cache[number] = bytes(100)
        assert cache.get(0) is not None
    assert cache.size == cache.limit
    assert [number for number in range(100) if number in cache] == [0, *range(91, 100)]


def test_sizes_are_exact_after_replacing_and_forgetting() -> None:
    cache: ByteCache[str, bytes] = ByteCache("test", 10_000, lambda key, value: len(key) + len(value))
    cache["a"] = bytes(1000)
    cache["a"] = bytes(10)
    assert cache.size == ENTRY_BYTES + 11
    cache.forget("a")
    cache.forget("a")
    assert (cache.size, cache.get("a")) == (0, None)


def test_what_is_larger_than_the_cache_is_not_kept_and_moves_nothing_out() -> None:
    cache: ByteCache[str, bytes] = ByteCache("test", 1000, lambda _, value: len(value))
    cache["small"] = b""
    cache["large"] = bytes(1000)
    assert "small" in cache
    assert "large" not in cache


def test_caches_of_one_name_are_counted_together_for_as_long_as_they_exist() -> None:
    first: ByteCache[int, None] = ByteCache("test-sum", 10_000, lambda *_: 0)
    second: ByteCache[int, None] = ByteCache("test-sum", 10_000, lambda *_: 0)
    first[1] = second[1] = second[2] = None
    assert cache_sizes()["test-sum"] == 3 * ENTRY_BYTES
    del second
    assert cache_sizes()["test-sum"] == ENTRY_BYTES


def test_calls_are_kept_up_to_their_number() -> None:
    calls = []

    @cached("test-calls", entries=3, entry_bytes=100)
    def double(number: int) -> int:
        calls.append(number)
        return 2 * number

    assert [double(number) for number in (1, 1, 2, 3, 4, 5)] == [2, 2, 4, 6, 8, 10]
    assert calls == [1, 2, 3, 4, 5]
    assert cache_sizes()["test-calls"] == 300


async def test_the_metric_shows_each_cache() -> None:
    cache: ByteCache[int, None] = ByteCache("test-shown", 10_000, lambda *_: 0)
    cache[1] = None
    async with measure_loop_lag():
        await asyncio.sleep(0)
        assert value(metrics.CACHE_BYTES.labels("test-shown")) == ENTRY_BYTES
    assert cache.size


def test_memoised_functions_keep_nothing_long() -> None:
    for number in range(10_000):
        tag = f"{number:08X}"
        keyword_of(tag), vr_of_tag(tag), tag_of(tag), standard_vr(number), private_vr(0x00110000 | number, "OSTEON")
        pack_places(f"{number:032x}", "1.2", "1.3", number)
    for number in range(1000):
        character_set(b"X%d" % number)
        text_encoder_for((f"X{number}",))
        matches(Wildcard(f"{number}*"), "1")
        DatasetEncoder(EXPLICIT_VR_LITTLE_ENDIAN).encode({f"{number + 0x100010:08X}": {"vr": "CS", "Value": ["A"]}})
    before = {name: cache_sizes()[name] for name in MEMOISED}
    assert all(before.values())
    assert sum(before.values()) < LARGEST
    character_set(b"L" * 5000)
    text_encoder_for(("L" * 5000,))
    private_vr(0x00111000, "L" * 5000)
    matches(Wildcard("L" * 5000 + "*"), "L")
    assert {name: cache_sizes()[name] for name in MEMOISED} == before


MEMOISED = (
    "attribute_tags", "attribute_keywords", "attribute_vrs", "standard_vr", "private_vr", "pack_keys", "character_sets",
    "text_encoders", "wildcards", "packed_tags",
)  # fmt: skip


def test_the_memo_of_headers_stays_within_its_bytes() -> None:
    reader = HeaderReader(memo_limit=50_000)
    before = cache_sizes()["header_memo"]
    for number in range(500):
        value = f"NAME{number:06}".encode()
        reader.read(b"\x10\x00\x10\x00PN" + len(value).to_bytes(2, "little") + value, EXPLICIT_VR_LITTLE_ENDIAN)
        assert cache_sizes()["header_memo"] - before <= 50_000
    assert cache_sizes()["header_memo"] > before


def test_folders_known_to_be_durable_stay_within_their_bytes(tmp_path: Path) -> None:
    folder = DurableFolder(tmp_path)
    before = cache_sizes()["durable_folders"]
    long = "x" * 200
    for number in range(40):
        folder.write(f"{long}/{long}/{long}/{number}/f", b"")
    assert 40 * 600 < cache_sizes()["durable_folders"] - before <= REMEMBERED_BYTES


def test_frame_tables_stay_within_their_bytes() -> None:
    tables = FrameTables(100_000)
    table: Any = SimpleNamespace(size=30_000, fragments=SimpleNamespace(starts=range(1000)))
    for number in range(10):
        tables.keep(f"file-{number}", table)
    assert [number for number in range(10) if tables.get(f"file-{number}")] == [7, 8, 9]
    table.size = 100_000
    tables.keep("large", table)
    assert tables.get("large") is None


async def test_uids_that_were_forgotten_are_read_again() -> None:
    rows = {number: f"1.2.{number}" for number in range(6000)}

    class Connection:
        async def execute(self, statement: Any) -> list[tuple[int, str]]:
            wanted = next(iter(statement.compile().params.values()))
            return [(number, rows[number]) for number in wanted]

    uids = Uids(SimpleNamespace())  # type: ignore[arg-type]  # nothing is written
    connection: Any = Connection()
    before = cache_sizes()["uid_texts"]
    for _ in range(2):
        for first in range(0, 6000, 1000):
            wanted = range(first, first + 1000)
            assert await uids.texts(connection, wanted) == {number: rows[number] for number in wanted}
    assert await uids.texts(connection, range(6000)) == rows
    assert 0 < cache_sizes()["uid_texts"] - before <= 1 << 20


def test_compiled_statements_stay_within_their_bytes() -> None:
    kept = _compiled_statements()["compiled_cache"]
    for number in range(2000):
        kept[number] = SimpleNamespace(string="SELECT 1")
    assert kept.get(0) is None
    assert kept.get(1999)
    assert kept.size <= kept.limit == 16 << 20


def test_nothing_is_memoised_without_a_bound() -> None:
    """A bare `cache` only where there is nothing to tell calls apart; `lru_cache` only below `cached`."""
    found = {
        name: lines
        for name, path in modules().items()
        if name != "osteon.byte_caches" and (lines := _unbounded(syntax_tree(path)))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("@cache\ndef f(): ...", []),
        ("@cache\ndef f(a): ...", [2]),
        ("@functools.cache\ndef f(a): ...", [2]),
        ("@functools.cache\ndef f(*, a): ...", [2]),
        ("@lru_cache\ndef f(): ...", [1]),
        ("@functools.lru_cache(maxsize=None)\ndef f(): ...", [1]),
        ("f = lru_cache(maxsize=9)(g)", [1]),
        ("f = cache(g)", [1]),
    ],
)
def test_the_walk_finds_what_has_no_bound(source: str, lines: list[int]) -> None:
    assert _unbounded(ast.parse(source)) == lines


def _unbounded(tree: ast.Module) -> list[int]:
    lines = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                arguments = vars(node.args)
                takes = any(arguments[kind] for kind in ("args", "posonlyargs", "kwonlyargs", "vararg", "kwarg"))
                if takes and any(_called(decorator) == "cache" for decorator in node.decorator_list):
                    lines.add(node.lineno)
            case ast.Call(func=ast.Name(id="cache")):
                lines.add(node.lineno)
            case ast.Name() | ast.Attribute() if _called(node) == "lru_cache":
                lines.add(node.lineno)
    return sorted(lines)


def _called(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
