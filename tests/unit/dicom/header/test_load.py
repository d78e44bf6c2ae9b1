"""Large headers are parsed to the same, and other threads run meanwhile."""

import sys
import threading

import orjson

from osteon.dicom.header.load import load_header

ITEM = {"00080100": {"vr": "SH", "Value": ["Ä"]}, "00080102": {"vr": "DS", "Value": [1.5, -2, None]}}


def large(items: int) -> bytes:
    """Return a header with a long sequence, and one as deep as the reader makes them."""
    deep: dict[str, object] = {}
    for _ in range(80):
        deep = {"00081140": {"vr": "SQ", "Value": [deep]}}
    return orjson.dumps(
        {"00081115": {"vr": "SQ", "Value": [ITEM] * items}} | {"00082112": {"vr": "SQ", "Value": [deep]}}
    )


def test_both_parsers_give_the_same() -> None:
    for items in (1, 10_000):
        raw = large(items)
        assert load_header(raw) == orjson.loads(raw)


def test_another_thread_runs_while_a_large_header_is_parsed() -> None:
    raw, turns, done = large(50_000), 0, threading.Event()

    def parse() -> None:
        load_header(raw)
        done.set()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread = threading.Thread(target=parse)
        thread.start()
        while not done.is_set():
            turns += 1
            done.wait(1e-6)
    finally:
        sys.setswitchinterval(before)
    thread.join()
    assert turns > 20
