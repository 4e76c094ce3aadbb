"""Reads the tables below a folder with deltalake and DuckDB, and prints what they find as JSON."""

import json
import pathlib
import sys

import deltalake
import duckdb

found = {}
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    table = deltalake.DeltaTable(str(folder))
    arrow = table.to_pyarrow_table()
    files = [str(folder / pathlib.Path(uri).name) for uri in table.file_uris()]
    query = "select count(*), count(distinct entry) from read_parquet($files)"
    rows, entries = duckdb.execute(query, {"files": files}).fetchone() if files else (0, 0)
    found[folder.name] = {
        "version": table.version(),
        "files": len(files),
        "rows": arrow.num_rows,
        "duckdb": [rows, entries],
        "columns": {field.name: str(field.type) for field in arrow.schema},
        "first": arrow.sort_by("entry").slice(0, 1).to_pylist(),
        "operations": sorted({entry["operation"] for entry in table.history()}),
    }
    if folder.name == "masks":
        area = "select sum(list_sum(list_filter(runs, lambda x, i: i % 2 = 0))) from read_parquet($files)"
        found["masks"]["pixels"] = duckdb.execute(area, {"files": files}).fetchone()[0]
        earlier = deltalake.DeltaTable(str(folder), version=1).to_pyarrow_table()
        found["masks"]["rows_of_version_1"] = earlier.num_rows
    if folder.name == "summary":
        means = "select \"group\", max(mean) from read_parquet($files) group by all"
        found["summary"]["means"] = dict(duckdb.execute(means, {"files": files}).fetchall())
print(json.dumps(found))
