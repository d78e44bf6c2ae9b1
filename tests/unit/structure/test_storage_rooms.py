"""The rooms of storage import each other in one direction only, and so do their modules."""

from functools import cache
from graphlib import TopologicalSorter

import grimp

ROOMS = ("archive", "commitment", "index", "jobs", "objects", "packs", "remotes", "rules", "spool")


@cache
def imports() -> dict[str, set[str]]:
    """Return each module of the rooms with those that it imports."""
    graph = grimp.build_graph("osteon", cache_dir=None)
    modules = {module for room in ROOMS for module in graph.find_descendants(f"osteon.{room}")}
    return {module: graph.find_modules_directly_imported_by(module) & modules for module in modules}


def room_of(module: str) -> str:
    return module.split(".")[1]


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter(imports()).prepare()


def test_no_rooms_import_each_other_in_a_circle() -> None:
    rooms: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module, imported in imports().items():
        rooms[room_of(module)] |= {room_of(each) for each in imported} - {room_of(module)}
    TopologicalSorter(rooms).prepare()


def test_the_format_of_packs_knows_neither_the_spool_nor_the_index() -> None:
    of_packs = {each for module, imported in imports().items() if room_of(module) == "packs" for each in imported}
    assert {room_of(each) for each in of_packs} <= {"packs", "archive", "objects"}
