"""Trains and judges the rows of a published paper, on data made for its claims, and writes the results down.

    scripts/papers PAPER.toml            trains all rows; what was trained before is found again
    scripts/papers PAPER.toml --quick    does the same on little data, to see that it works

Leaves target/paper-NAME.json, and a page, tables, plots and the pipeline in results/paper-NAME.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from papers import page  # noqa: E402
from papers.compose import Composed, swept  # noqa: E402
from papers.declared import Paper, PaperError  # noqa: E402

# Of these less is better.
LOWER = {"assd", "rve", "hd", "hd95", "centre_mm"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paper", type=Path, help="what is compared: papers/NAME.toml")
    parser.add_argument("--quick", action="store_true", help="little data, one seed: whether it goes, not what holds")
    parser.add_argument("--compose", type=Path, metavar="FILE", help="write the one pipeline of all rows, and end")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--memory", default="4 GiB")
    return parser.parse_args()


def run(binary, *words, **options):
    print("   $ tomoflow", *map(str, words), flush=True)
    # Waiting threads that spin would take the processor from those that work.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    return subprocess.run([binary, *map(str, words)], check=True, text=True, env=environment, **options)


def archive(paper, binary, results):
    """Makes the data, whole or not at all, and keeps beside it the best figures that can be reached on it."""
    name = "archive-quick" if paper.quick else "archive"
    folder, said = results / name, results / f"{name}.txt"
    version = run(binary, "--version", stdout=subprocess.PIPE).stdout.strip()
    words = f"{' '.join(paper.phantom)} ({version})"
    if not folder.exists() or not said.exists() or said.read_text().splitlines()[:1] != [words]:
        shutil.rmtree(folder, ignore_errors=True)
        partial = results / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        made = run(binary, "phantom", *paper.phantom, "--out", partial, stdout=subprocess.PIPE)
        partial.rename(folder)
        said.write_text(f"{words}\n{made.stdout}")
    text = "\n".join(said.read_text().splitlines()[1:])
    print(text, flush=True)
    return folder, text


def figures(paper, composed, tables):
    """Returns the figures of test cases, (system, metric, place) -> (seed, case) -> figure, and each structure's size in mm."""
    by_stage = {}
    for stage, case, split, label, metric, value in read(tables / "metrics"):
        if split == "test" and label in paper.labels:
            by_stage.setdefault(stage, []).append((case, label, metric, value))
    found, sizes = {}, {}
    for (system, seed, place), stage in composed.figures.items():
        for case, label, metric, value in by_stage.get(stage, ()):
            if metric == "volume_ref_ml" and value is not None and label == paper.labels[0]:
                sizes[case] = (6 * 1000 * value / 3.141592653589793) ** (1 / 3)
            known = found.setdefault((system, of_label(paper, metric, label), place), {})
            known[seed, case] = float("nan") if value is None else value
    if len(paper.labels) > 1:
        averaged(paper, found)
    return found, sizes


def of_label(paper, metric, label):
    """Returns the name of a metric for one label: with the label's name if the paper has several."""
    return metric if len(paper.labels) == 1 else f"{metric} {label}"


def averaged(paper, found):
    """Adds the mean over all labels of each case in which every label has a figure."""
    for system, place in {(system, place) for system, _, place in found}:
        for metric in paper.metrics:
            each = [found.get((system, of_label(paper, metric, label), place), {}) for label in paper.labels]
            known = set.intersection(*(set(one) for one in each))
            found[system, metric, place] = {key: sum(one[key] for one in each) / len(each) for key in known}


def read(table):
    """Returns the rows of the table `metrics`."""
    import duckdb
    from deltalake import DeltaTable

    files = DeltaTable(str(table)).file_uris()
    if not files:
        return []
    query = "select stage, \"case\", split, label, metric, value from read_parquet(?)"
    return duckdb.execute(query, [files]).fetchall()


def together(paper, composed, tables):
    """(system, metric, seed) -> the figure over all test cases together, of the first of the paper's labels."""
    import duckdb
    from deltalake import DeltaTable

    files = DeltaTable(str(tables / "summary")).file_uris()
    if not files:
        return {}
    systems = {stage: (system, seed) for (system, seed, place), stage in composed.figures.items() if place == "box"}
    query = """select stage, metric, mean from read_parquet(?)
               where grouped_by = 'split' and "group" = 'test' and label = ? and starts_with(metric, 'pooled_')"""
    rows = duckdb.execute(query, [files, paper.labels[0]]).fetchall()
    named = ((*systems[stage], metric.removeprefix("pooled_"), mean) for stage, metric, mean in rows if stage in systems)
    return {(system, metric, seed): mean for system, seed, metric, mean in named if metric in paper.metrics}


def lines(paper, composed, found, seconds):
    """Returns an object with the figures for each system, seed, place and case."""
    for (system, seed, place), stage in sorted(composed.figures.items()):
        masks = composed.stages[stage][1]["inputs"][0]
        cases = sorted({case for metric in paper.metrics for s, case in found.get((system, metric, place), {}) if s == seed})
        for case in cases:
            values = {metric: found.get((system, metric, place), {}).get((seed, case)) for metric in paper.metrics}
            values = {metric: None if value is None or value != value else value for metric, value in values.items()}
            each = seconds.get(masks, {}).get("seconds_each")
            yield {"system": system, "seed": seed, "place": place, "case": case, **values, "seconds": each}


def main():
    settings = arguments()
    paper = Paper(settings.paper, settings.quick)
    built = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/tomoflow"
    binary = Path(os.environ.get("TOMOFLOW", built))
    if settings.compose:
        composed = Composed(paper, ROOT, binary, "archive")
        composed.rows()
        settings.compose.write_text(composed.text(settings.memory, settings.device))
        return 0
    results = ROOT / f"results/paper-{paper.name}"
    results.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    data, reachable = archive(paper, binary, results)
    composed = Composed(paper, ROOT, binary, data.name)
    composed.rows()
    path = results / ("quick.toml" if paper.quick else "pipeline.toml")
    out = f"{path.stem}-out"
    path.write_text(composed.text(settings.memory, settings.device, out))
    run(binary, "run", path)
    planned = json.loads(run(binary, "plan", path, "--json", stdout=subprocess.PIPE).stdout)
    found, sizes = figures(paper, composed, results / out / "tables")
    from papers.judge import headroom, verdicts

    claims = verdicts(paper.claims, found, sizes, LOWER)
    closed = headroom(paper, found)
    pooled = together(paper, composed, results / out / "tables")
    write(paper, results, composed, (found, pooled), (claims, closed), reachable, planned["stages"], time.monotonic() - began)
    systems = [row["system"] for row in paper.rows]
    whole = all((system, next(iter(paper.metrics)), "box") in found for system in systems)
    return 0 if whole else 1


def write(paper, results, composed, figured, judged, reachable, seconds, took):
    """Writes the JSON, the tables and the page."""
    found, pooled = figured
    systems = [row["system"] for row in paper.rows]
    claims, closed = judged
    kind = "quick-" if paper.quick else ""
    boxed = any(place == "whole" for _, _, place in composed.figures)
    out = ROOT / f"target/paper-{paper.name}{'-quick' if paper.quick else ''}.json"
    out.parent.mkdir(exist_ok=True)
    rows = list(lines(paper, composed, found, seconds))
    text = json.dumps({"rows": rows, "claims": claims, "headroom": closed, "reachable": reachable, "seconds": took}, indent=1)
    out.write_text(text + "\n")
    sections = [("What can be reached", reachable), ("Claims", page.claims(claims)), ("Differences", page.forest(claims))]
    if closed:
        sections.append(("Headroom", page.headroom(paper, closed)))
    heading = "In a box around the target" if boxed else "Test cases"
    sections.append((heading, page.table(paper, systems, found, "box")))
    sections.append(("Over all test cases together", page.pooled(paper, systems, pooled)))
    if boxed:
        sections.append(("On whole scans", page.table(paper, systems, found, "whole")))
    if paper.sweep:
        sections.append((paper.sweep["axis"], sweep(paper, found)))
    sections = [(heading, text) for heading, text in sections if text.strip()]
    (results / f"{kind}page.html").write_text(page.page(paper.title, sections))
    tables = "\n".join(f"## {heading}\n\n{text}" for heading, text in sections if not text.startswith("<svg"))
    (results / f"{kind}tables.md").write_text(tables)
    for heading, text in sections:
        if text.startswith("<svg"):
            (results / f"{kind}{'sweep' if paper.sweep and heading == paper.sweep['axis'] else 'claims'}.svg").write_text(text)
    print(tables)
    print(out, results / f"{kind}page.html", sep="\n")


def sweep(paper, found):
    metric = next(iter(paper.metrics))
    points = []
    for value in paper.sweep["values"]:
        of = found.get((swept(paper.sweep, value), metric, "box"), {})
        seeds = {}
        for (seed, _), figure in of.items():
            if figure == figure:
                seeds.setdefault(seed, []).append(figure)
        points.append((value, [sum(values) / len(values) for values in seeds.values()]))
    return page.curve(points, paper.sweep["axis"], paper.metrics[metric])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except PaperError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
