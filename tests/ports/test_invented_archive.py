"""The archive that benchmarks fill by SQL has the rows that the index would have made of the same packs."""

import pytest
from sqlalchemy import select

from osteon.index.sql import SqlIndex
from osteon.index.tables import (
    NAMES,
    changes,
    instances,
    packs,
    patients,
    series,
    studies,
    study_sop_classes,
    study_updates,
    totals,
)
from support.index.invented_archive import SERIES_A_STUDY, fill, one_pack
from support.index.stored_packs import check_sums

pytestmark = pytest.mark.slow
STUDIES, SLICES = 12, 3
LEVELS = (patients, studies, series, instances)
NUMBERED = {"id", "seq", "patient", "study", "series", "pack", "owner", "sop_class", "transfer_syntax"}
"""Columns that depend on how rows were numbered."""
OTHER = {"sha256", "xxh3", "calling_aet", "date", "updated", "origin"}


async def contents(index: SqlIndex) -> dict[str, list[tuple[object, ...]]]:
    found = {}
    secondary = [table for pair in NAMES.values() for table in pair]
    for table in (*LEVELS, packs, changes, study_sop_classes, study_updates, totals, *secondary):
        sums = {"series"} if table in (patients, studies, totals) else set()
        columns = [c for c in table.c if c.name not in NUMBERED - sums | OTHER]
        async with index.database.read() as connection:
            rows = await connection.execute(select(*columns) if columns else select(table.c[0] * 0))
            found[table.name] = sorted((tuple(row) for row in rows), key=repr)
    return found


async def test_sql_makes_the_rows_that_indexing_makes(postgres):
    urls = [str(postgres.create_database()) for _ in range(2)]
    filled, indexed = map(SqlIndex, urls)
    try:
        await filled.start()
        fill(urls[0], 0, 8, SLICES)
        fill(urls[0], 8, STUDIES, SLICES)
        await check_sums(filled)
        await indexed.start()
        for number in range(STUDIES * SERIES_A_STUDY):
            await indexed.upsert([one_pack(number, SLICES)])
        assert await contents(filled) == await contents(indexed)
        last = STUDIES * SERIES_A_STUDY - 1  # is known already
        await filled.upsert([one_pack(number, SLICES) for number in range(last, last + 3)])
        assert (await filled.statistics()).series == last + 3
        await check_sums(filled)
    finally:
        await filled.close()
        await indexed.close()
