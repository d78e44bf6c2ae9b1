"""Names are nouns of DICOM or of known patterns, and a public class has its name for itself."""

import ast
from collections import defaultdict

from support.source_tree import modules, syntax_tree

BANNED = frozenset({
    "answering", "asked", "asking", "bells", "deafen", "doors", "expanding", "farewell", "forms", "heal", "judge",
    "keeping", "ledger", "measuring", "moments", "moved", "moving", "orders", "outgoing", "passes", "proxied",
    "responding", "retrieving", "satellites", "scopes", "settle", "shapes", "showing", "spelled", "straight", "told",
    "trial", "turns", "unheard", "vitals", "wanted", "watching", "wire", "works", "zones",
})  # fmt: skip
"""Participles, pronouns and private metaphors: no module and no package is called so."""


def test_a_public_class_name_occurs_once() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module, path in modules().items():
        for node in syntax_tree(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_module_and_no_package_is_called_by_a_metaphor() -> None:
    assert [module for module in modules() if BANNED.intersection(module.split("."))] == []
