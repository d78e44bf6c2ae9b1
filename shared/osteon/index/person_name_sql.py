"""Person-name matching as SQL: PS3.4 C.2.2.2 without case and accents, in any group, and fuzzy semantic matching.

Every condition is answered from the tables of names and words, whose indexes find beginnings, middles and sounds.
"""

from sqlalchemy import ColumnElement, Select, Table, and_, exists, false, intersect, not_, or_, select, true, union

from osteon.dicom.models import Level
from osteon.dicom.query import Empty, Matching, OneOf, Range, Single, Wildcard
from osteon.index.dialect import Dialect
from osteon.index.name_keys import name_key, sound, words
from osteon.index.ranges import starts_with
from osteon.index.tables import NAMES, TABLE_OF
from osteon.index.values import clean


class PersonNameMatcher:
    """Conditions on one name attribute of the rows of one level's table."""

    def __init__(self, dialect: Dialect, level: Level, keyword: str, *, fuzzy: bool) -> None:
        self._dialect = dialect
        self._keyword = keyword
        self._fuzzy = fuzzy
        self._names, self._words = NAMES[level]
        self._owner: ColumnElement[int] = TABLE_OF[level].c.id

    def condition(self, matching: Matching) -> ColumnElement[bool]:
        """Return the condition that the attribute matches."""
        match matching:
            case Single(value):
                return self._text(value, wild=False)
            case Wildcard(pattern):
                return self._text(pattern, wild=True)
            case OneOf(values):
                return or_(false(), *(self._text(value, wild=False) for value in values))
            case Range(low, high):
                return self._owner.in_(self._between(name_key(clean(low or "")), name_key(clean(high or ""))))
            case Empty():
                names = self._names.c
                return not_(exists().where(names.owner == self._owner, names.keyword == self._keyword))

    def _text(self, value: str, *, wild: bool) -> ColumnElement[bool]:
        r"""Each group of the key must be one of the name's; groups of `*` match all."""
        groups = [key for group in clean(value).split("=") if (key := name_key(group)).strip("*" if wild else "")]
        if not groups:
            return true() if wild else false()
        return and_(*(self._group(group, wild=wild) for group in groups))

    def _group(self, key: str, *, wild: bool) -> ColumnElement[bool]:
        literal = self._select(self._names).where(self._key(key, wild=wild))
        parts = words(key.replace("*", " ").replace("?", " ")) if self._fuzzy else ()
        if not parts:
            return self._owner.in_(literal)
        similar = [self._similar(part) for part in parts]
        if not wild or not set(key.rstrip("*")) & set("*?"):
            # What has this key or beginning has its words too. The database begins with the rarest word.
            return and_(*(self._owner.in_(found) for found in similar))
        return self._owner.in_(
            union(literal, similar[0] if len(similar) == 1 else select(intersect(*similar).subquery()))
        )

    def _key(self, key: str, *, wild: bool) -> ColumnElement[bool]:
        column = self._names.c.key
        if not wild or not set(key) & set("*?"):
            return column == key
        beginning = key[: min(key.find(c) for c in "*?" if c in key)]
        if not beginning:
            return self._dialect.infix(self._names, key)
        in_range = starts_with(column, beginning)
        return in_range if key == beginning + "*" else and_(in_range, self._dialect.wildcard(column, key))

    def _similar(self, word: str) -> Select[tuple[int]]:
        """Rows that have a word of this beginning or sound (PS3.4 C.2.2.2.1.1)."""
        columns = self._words.c
        code = sound(word)
        alike = [starts_with(columns.word, word)] + ([columns.sound == code] if code else [])
        return self._select(self._words).where(or_(*alike))

    def _between(self, low: str, high: str) -> Select[tuple[int]]:
        column = self._names.c.key
        return self._select(self._names).where(*([column >= low] if low else []), *([column <= high] if high else []))

    def _select(self, table: Table) -> Select[tuple[int]]:
        return select(table.c.owner).where(table.c.keyword == self._keyword)
