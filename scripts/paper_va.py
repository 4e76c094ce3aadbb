#!/usr/bin/env python3
"""The small rows of Wang et al. (MICCAI 2019, volumetric attention) on synthetic livers: several seeds, one table.

Every row is what `pipelines/va_small*.toml` declares; all see the same cases and the same split. In one image a vessel
looks like a lesion: what a row without attention can reach is bounded, and attention is worth what exceeds it.

    scripts/paper_va.py                        three seeds of six rows: hours on two cores
    scripts/paper_va.py --seeds 1 --epochs 3 --rows "VA rpn" none

Leaves target/paper-va.json, and tables in results/paper-va. Needs pyarrow (make setup).
"""

import argparse
import json
import os
import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results/paper-va"
ROWS = {
    "none": "va_small",
    "VCA": "va_small_vca",
    "VSA": "va_small_vsa",
    "VA rpn": "va_small_va",
    "VA rcnn": "va_small_va_rcnn",
    "VA rpn, one image": "va_small_va_3",
}
# (the better one, the other one, the figure)
CLAIMS = [
    ("VA rpn", "none", "pooled_ap50"),
    ("VA rpn", "VA rcnn", "pooled_sensitivity_at_1"),
    ("VA rpn", "VA rpn, one image", "pooled_ap50"),
]
FIGURES = ["pooled_ap50", "pooled_sensitivity_at_0.5", "pooled_sensitivity_at_1", "pooled_sensitivity_at_2"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each row")
    parser.add_argument("--cases", type=int, default=24, help="livers, two thirds of them to learn from")
    parser.add_argument("--size", default="40x96x96", help="voxels of a liver, DxHxW")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def tomoflow(*words):
    binary = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/tomoflow"
    print("   $ tomoflow", shlex.join(map(str, words)), flush=True)
    # libtorch's threads spin while they wait for each other, which on a shared machine costs most of the time.
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ}
    subprocess.run([binary, *map(str, words)], check=True, text=True, env=environment)


def run(row, seed, livers, settings):
    """Trains one row with one seed; gives its figures of the test cases."""
    import pyarrow.parquet as parquet

    out = RESULTS / f"{ROWS[row]}_{seed}"
    test, validation = max(settings.cases // 3, 1), max(settings.cases // 12, 1)
    split = f"{{ train = {settings.cases - test - validation}, validation = {validation}, test = {test}, seed = 1 }}"
    changes = {
        "pipeline.out": json.dumps(str(out)),
        "sources.scans.path": json.dumps(str(livers)),
        "sources.truth.path": json.dumps(str(livers)),
        "operators.net.seed": seed,
        "operators.net.epochs": settings.epochs,
        "operators.net.split": split,
        "sinks.results.type": '"parquet"',
    }
    words = [word for name, value in changes.items() for word in ("--set", f"{name}={value}")]
    tomoflow("run", ROOT / f"pipelines/{ROWS[row]}.toml", *words, "--threads", settings.threads)
    rows = parquet.read_table(out / "parquet/summary.parquet").to_pylist()
    such = [one for one in rows if (one["grouped_by"], one["group"], one["label"]) == ("split", "test", "lesion")]
    return {one["metric"]: one["mean"] for one in such if one["metric"] in FIGURES}


def verdict(found, better, other, figure):
    """Whether every seed, or none, has the better one ahead; anything between is not resolved."""
    pairs = zip(found.get(better, []), found.get(other, []))
    differences = [one.get(figure, 0) - another.get(figure, 0) for one, another in pairs]
    if len(differences) < 2:
        return {"verdict": "not resolved", "differences": differences}
    ahead = [difference > 0 for difference in differences]
    said = "holds" if all(ahead) else "reversed" if not any(ahead) else "not resolved"
    return {"verdict": said, "differences": differences}


def main():
    settings = arguments()
    livers = RESULTS / "livers"
    tomoflow("phantom", "liver", "--cases", settings.cases, "--size", settings.size, "--out", livers)
    found = {row: [run(row, seed, livers, settings) for seed in range(1, settings.seeds + 1)] for row in settings.rows}
    claims = [{"claim": f"{a} above {b} in {figure}", **verdict(found, a, b, figure)} for a, b, figure in CLAIMS]
    target = ROOT / "target/paper-va.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"rows": found, "claims": claims, "settings": vars(settings)}, indent=1))
    print("| row |", " | ".join(FIGURES), "|\n|", " | ".join(["---"] * (len(FIGURES) + 1)), "|")
    for row, seeds in found.items():
        means = [sum(one.get(figure) or 0 for one in seeds) / len(seeds) for figure in FIGURES]
        print(f"| {row} |", " | ".join(f"{mean:.3f}" for mean in means), "|")
    for claim in claims:
        print(claim["claim"], "-", claim["verdict"], [round(d, 3) for d in claim["differences"]])


if __name__ == "__main__":
    main()
