"""Person names (VR PN, PS3.5 6.2) in the forms that they are searched by.

A name has up to three groups (alphabetic, ideographic, phonetic; `=`) of five components (`^`). PS3.4 C.2.2.2.1 lets an
archive ignore case and accents and match in any group, so each group is indexed under a folded key, and its words,
with their sound, serve fuzzy semantic matching.
"""

import re
import unicodedata
from typing import Final

MAX_KEY: Final = 512
"""Characters of a key at most: four bytes each still fit into an entry of a B-tree page. PS3.5 allows 64 a group."""

_LETTERS: Final = str.maketrans(
    {
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "ł": "l",
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
        "\u0131": "i",
        "ħ": "h",
        "ŋ": "n",
        "ŧ": "t",
    }
)
_SEPARATORS: Final = re.compile(r"[\s^,.=/\-]+")
_APOSTROPHES: Final = re.compile(r"['`\u00b4\u2018\u2019\u02bc]")


def fold(text: str) -> str:
    """Take case, accents and width away; scripts other than Latin, Greek and Cyrillic keep their marks."""
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join(c for c in decomposed if not "\u0300" <= c <= "\u036f")
    return unicodedata.normalize("NFC", bare.casefold().translate(_LETTERS))


def name_key(group: str) -> str:
    """Return the key of one group: folded, without needless spaces and trailing `^`. Wildcards stay as they are."""
    components = [" ".join(component.split()) for component in fold(group).split("^")]
    return "^".join(components).rstrip("^")[:MAX_KEY]


def name_keys(value: str) -> tuple[str, ...]:
    r"""Return the different keys of all groups of all values (`\`) of a name attribute."""
    keys = (name_key(group) for name in value.split("\\") for group in name.split("="))
    return tuple(dict.fromkeys(key for key in keys if key))


def words(key: str) -> tuple[str, ...]:
    """Return the different words of a key, in their order."""
    parts = _SEPARATORS.split(_APOSTROPHES.sub("", key))
    return tuple(dict.fromkeys(part for part in parts if part))


_BEGINNINGS: Final = (
    (re.compile(r"^(?:kn|gn|pn)"), "n"),
    (re.compile(r"^wr"), "r"),
    (re.compile(r"^ps"), "s"),
    (re.compile(r"^x"), "s"),
)
_SOUNDS: Final = (
    (re.compile(r"tsch|tch|sch|sh|cz|ch(?=[eiy])"), "s"),
    (re.compile(r"ph"), "f"),
    (re.compile(r"gh(?=[^aeiouy]|$)"), ""),
    (re.compile(r"dt|th"), "t"),
    (re.compile(r"c(?=[eiy])|z"), "s"),
    (re.compile(r"ck|[cqg]"), "k"),
    (re.compile(r"x"), "ks"),
    (re.compile(r"[wv]"), "f"),
    (re.compile(r"d"), "t"),
    (re.compile(r"b"), "p"),
    (re.compile(r"[jy]"), "i"),
    (re.compile(r"h"), ""),
)
_VOWELS: Final = re.compile(r"[aeiou]+")
_REPEATED: Final = re.compile(r"(.)\1+")


def sound(word: str) -> str | None:
    """Return a code that words of similar sound share; None for a word that is not of the letters a-z.

    Made for European names: consonants that are confused share a letter (b/p, d/t/th, c/k/q/g, f/v/w/ph, s/z/sh/ch),
    silent beginnings and h fall away, a vowel counts only at the beginning (as `a`), repetitions count once. At most
    eight letters: Meyer, Maier and Mayr are `mr`, Smith and Schmidt `smt`.
    """
    if not (word.isascii() and word.isalpha()):
        return None
    for pattern, replacement in (*_BEGINNINGS, *_SOUNDS):
        word = pattern.sub(replacement, word)
    head = "a" if _VOWELS.match(word) else ""
    return _REPEATED.sub(r"\1", head + _VOWELS.sub("", word))[:8] or None
