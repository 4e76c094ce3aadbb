#!/usr/bin/env python3
"""The rows of Wang et al. (MICCAI 2019), tables 1 and 2, on synthetic patients: one pipeline, several seeds, one table.

Every row is what `pipelines/vs_*.toml` declares; sizes, epochs and widths are made to fit the machine. All rows see the
same patients and the same split, and are compared case by case, as published: in a box around the tumour, that of
the samples. Then the weight of hardness goes from 0 to 0.8.

    scripts/paper_vs.py                 small: an evening on two cores
    scripts/paper_vs.py --published     the paper's sizes, for a GPU

Leaves target/paper-vs.json, and pages, tables, a plot over the weight of hardness, and the pipeline in
results/paper-vs.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results/paper-vs"
ROWS = {
    "2D U-Net": "vs_2d",
    "3D U-Net": "vs_3d",
    "2.5D U-Net": "vs_25d",
    "2.5D U-Net + AG": "vs_25d_ag",
    "2.5D U-Net + PA": "vs_25d_pa",
    "2.5D U-Net + SpvPA": "vs_25d_spvpa",
    "2.5D U-Net + SpvPA + HDL": "vs_25d_spvpa_hdl",
}
SPACING_MM = [1.5, 0.4, 0.4]
HARDNESS = ["0.0", "0.2", "0.4", "0.6", "0.8"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--published", action="store_true", help="the paper's sizes, epochs and widths")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each row")
    parser.add_argument("--patients", type=int, help="20, or 245 as published")
    parser.add_argument("--size", help="voxels of a patient, DxHxW: 24x128x128, or 60x512x512 as published")
    parser.add_argument("--patch", default="24x96x96", help="voxels of a sample, DxHxW")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--channels", type=int, default=6)
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate at the start")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--memory", default="4 GiB")
    return parser.parse_args()


def tomoflow(*words, **options):
    binary = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release/tomoflow"
    print("   $ tomoflow", shlex.join(map(str, words)), flush=True)
    return subprocess.run([binary, *map(str, words)], check=True, text=True, **options)


class Composed:
    """One pipeline out of many: stages that are the same are one."""

    def __init__(self, settings):
        self.settings = settings
        self.stages = {}
        self.systems = {}

    def name(self, kind, stage, wanted):
        """The name under which a stage stands: an equal one's, where there is one."""
        for name, (known_kind, known) in self.stages.items():
            if (known_kind, known) == (kind, stage):
                return name
        self.stages[wanted] = (kind, stage)
        return wanted

    def add(self, row, seed, hardness=None):
        """Adds a row's pipeline with one seed; gives its stage of figures."""
        whole = tomoflow("check", "--resolved", ROOT / f"pipelines/{row}.toml", stdout=subprocess.PIPE)
        declared = tomllib.loads(whole.stdout)
        named = {}
        for name, stage in declared["sources"].items():
            named[name] = self.name("sources", {**stage, "path": self.settings.archive}, name)
        suffix = f"{row}_{hardness.replace('.', '')}_{seed}" if hardness else f"{row}_{seed}"
        for name, stage in declared["operators"].items():
            stage = {**stage, "inputs": [named[source] for source in stage["inputs"]]}
            if stage["type"] == "train":
                stage = self.training(stage, seed, hardness)
            if "model" in stage:
                stage["model"] = named[stage["model"]]
            if stage["type"] == "patches" and not self.settings.published:
                stage.update(size=[int(n) for n in self.settings.patch.split("x")], per_case=4)
                del stage["size_mm"]
            if stage["type"] == "patches" and row == "vs_3d" and not self.settings.published:
                # The same millimetres at 0.4 mm: 3.75 slices for one.
                depth, height, width = stage["size"]
                stage["size"] = [round(depth * 3.75 / 16) * 16, height, width]
            if stage["type"] == "crop" and not self.settings.published:
                voxels = map(int, self.settings.patch.split("x"))
                stage["size_mm"] = [round(count * mm, 3) for count, mm in zip(voxels, SPACING_MM)]
            # What all rows have in common keeps its name.
            own = stage["type"] in ("train", "infer", "evaluate") or name in self.stages
            named[name] = self.name("operators", stage, f"{name}_{suffix}" if own else name)
        return named["scores"]

    def training(self, stage, seed, hardness):
        stage = {**stage, "seed": seed}
        if hardness:
            stage["loss"] = {"type": "hardness_dice", "lambda": float(hardness)}
        if not self.settings.published:
            test, validation = max(self.settings.patients * 3 // 10, 1), max(self.settings.patients // 10, 1)
            stage.update(
                epochs=self.settings.epochs,
                learning_rate=self.settings.rate,
                patience=0,
                network={**stage["network"], "levels": 4, "channels": self.settings.channels},
                split={"train": self.settings.patients - test - validation, "validation": validation, "test": test, "seed": 1},
            )
        return stage

    def text(self):
        lines = [
            "[pipeline]",
            'name = "paper-vs"',
            'out = "out"',
            f'memory = "{self.settings.memory}"',
            f'device = "{self.settings.device}"',
        ]
        for name, (kind, stage) in self.stages.items():
            lines += ["", f"[{kind}.{name}]", *(f"{field} = {toml(value)}" for field, value in stage.items())]
        figures = [name for name, (_, stage) in self.stages.items() if stage["type"] == "evaluate"]
        return "\n".join([*lines, "", "[sinks.results]", 'type = "delta"', f"inputs = {toml(figures)}", ""])


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{field} = {toml(inner)}" for field, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def compose(settings):
    pipeline = Composed(settings)
    seeds = range(1, settings.seeds + 1)
    rows = {system: [pipeline.add(row, seed) for seed in seeds] for system, row in ROWS.items()}
    hardness = {
        f"lambda {weight}": [pipeline.add("vs_25d_spvpa_hdl", seed, weight) for seed in seeds] for weight in HARDNESS
    }
    return pipeline, rows, hardness


def compare(path, systems, against, page):
    named = [word for name, stages in systems.items() for word in ("--system", f"{name}={','.join(stages)}")]
    tomoflow("compare", path, *named, "--against", against, "--output", RESULTS / page)
    found = tomoflow("compare", path, *named, "--against", against, "--json", stdout=subprocess.PIPE)
    return json.loads(found.stdout)


def lines(pipeline, rows, compared, seconds):
    """An object for each system and seed."""
    means = {(figure["metric"], one["system"]): one["stages"] for figure in compared["figures"] for one in figure["systems"]}
    for system, stages in rows.items():
        for seed, stage in enumerate(stages, 1):
            masks = pipeline.stages[stage][1]["inputs"][0]
            figure = lambda name: means.get((name, system), {}).get(stage)  # noqa: E731
            yield {
                "system": system,
                "seed": seed,
                "dice": figure("dice"),
                "assd_mm": figure("assd"),
                "rve": figure("rve"),
                "seconds": seconds.get(masks, {}).get("seconds_each"),
            }


def table(found, compared):
    """The rows as the paper's tables have them: means over seeds, ± the standard deviation over cases."""
    of = {figure["metric"]: {one["system"]: one for one in figure["systems"]} for figure in compared["figures"]}
    rows = ["| system | Dice (%) | ASSD (mm) | RVE (%) | seconds a case |", "| --- | --- | --- | --- | --- |"]
    for system in ROWS:
        cells = []
        for metric, scale in (("dice", 100), ("assd", 1), ("rve", 100)):
            one = of[metric].get(system, {})
            mean, sd = one.get("mean"), one.get("sd")
            cells.append("–" if mean is None else f"{scale * mean:.2f} ± {scale * (sd or 0):.2f}")
        seconds = [line["seconds"] for line in found if line["system"] == system and line["seconds"] is not None]
        cells.append(f"{sum(seconds) / len(seconds):.2f}" if seconds else "–")
        rows.append(f"| {system} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def plot(compared):
    """Mean Dice over the weight of hardness as an SVG: a dot for each seed, a line through their means."""
    systems = next(figure for figure in compared["figures"] if figure["metric"] == "dice")["systems"]
    points = [(float(one["system"].split()[-1]), one["mean"], list(one["stages"].values())) for one in systems]
    points = sorted(point for point in points if point[1] is not None)
    every = [dice for _, mean, seeds in points for dice in (mean, *seeds)]
    low, high = min(every), max(every)
    margin = max(high - low, 0.01) / 10
    low, high = low - margin, high + margin
    at = lambda weight, dice: (70 + 480 * weight / 0.8, 250 - 220 * (dice - low) / (high - low))  # noqa: E731
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(weight, mean) for weight, mean, _ in points))
    dots = [at(weight, dice) for weight, _, seeds in points for dice in seeds]
    parts = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#888"/>' for x, y in dots]
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="2"/>')
    parts += [f'<text x="{at(w, low)[0]:.1f}" y="272" text-anchor="middle">{w}</text>' for w, _, _ in points]
    for step in range(5):
        dice = low + (high - low) * step / 4
        parts.append(f'<text x="62" y="{at(0, dice)[1] + 4:.1f}" text-anchor="end">{dice:.3f}</text>')
    title = f'<text x="310" y="294" text-anchor="middle">λ of the hardness-weighted Dice loss; Dice, {len(points[0][2])} seeds</text>'
    frame = '<path d="M70 30V250H550" fill="none" stroke="#444"/>'
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 580 304" font-family="sans-serif" font-size="12">'
    return "\n".join([head, '<rect width="580" height="304" fill="#fff"/>', frame, *parts, title, "</svg>", ""])


def main():
    settings = arguments()
    settings.patients = settings.patients or (245 if settings.published else 20)
    settings.size = settings.size or ("60x512x512" if settings.published else "24x128x128")
    RESULTS.mkdir(parents=True, exist_ok=True)
    settings.archive = f"archive-{settings.patients}-{settings.size}"
    archive = RESULTS / settings.archive
    if not archive.exists():
        partial = RESULTS / "archive.partial"
        shutil.rmtree(partial, ignore_errors=True)
        words = ["--collection", "--series", settings.patients, "--size", settings.size, "--seed", 5, "--out", partial]
        tomoflow("phantom", "vs", *words)
        partial.rename(archive)
    pipeline, rows, hardness = compose(settings)
    path = RESULTS / "pipeline.toml"
    path.write_text(pipeline.text())
    tomoflow("run", path)
    compared = compare(path, rows, "2.5D U-Net", "comparison.html")
    hardness = compare(path, hardness, "lambda 0.0", "hardness.html")
    planned = tomoflow("plan", path, "--json", stdout=subprocess.PIPE)
    found = list(lines(pipeline, rows, compared, json.loads(planned.stdout)["stages"]))
    out = ROOT / "target/paper-vs.json"
    out.write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "table.md").write_text(table(found, compared))
    (RESULTS / "hardness.svg").write_text(plot(hardness))
    print((RESULTS / "table.md").read_text())
    print(out, *(RESULTS / name for name in ("comparison.html", "hardness.html", "hardness.svg")), sep="\n")
    return 0 if all(line["dice"] is not None for line in found) else 1


if __name__ == "__main__":
    sys.exit(main())
