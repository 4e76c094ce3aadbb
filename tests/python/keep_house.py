"""Keeps house in tables, as other programs do.

usage: keep_house.py TABLES clean|checkpoint|vacuum|compact|read[,…]
"""

import os
import sys

import deltalake

tables, works = sys.argv[1], sys.argv[2].split(",")
for name in sorted(os.listdir(tables)):
    if name.startswith("."):
        continue
    for work in works:
        table = deltalake.DeltaTable(os.path.join(tables, name))
        if work == "clean":
            table.cleanup_metadata()
        elif work == "checkpoint":
            table.create_checkpoint()
        elif work == "vacuum":
            table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        elif work == "compact":
            table.optimize.compact()
        table = deltalake.DeltaTable(os.path.join(tables, name))
        found = deltalake.QueryBuilder().register("rows", table).execute("select * from rows")
        assert found.read_all().num_rows >= 0
