"""Composes one pipeline of all rows of a paper; equal stages become one, so that rows share their preparation."""

import json
import subprocess
import tomllib

from .declared import PaperError, merged

# What belongs to one system and one seed, and never to others.
OWN = {"train", "infer", "detect", "crf", "adopt", "atlases", "fuse_atlases", "evaluate", "evaluate_boxes"}
# What judges, and the figures that each gives where its stage names none.
JUDGES = {"evaluate": ["dice", "assd", "rve"], "evaluate_boxes": ["sensitivity", "ap50"]}
# What stands between a network and its judge, case by case.
BETWEEN = {"paint", "combine", "crf"}
# Fields that name a stage with a model, or with a library of atlases.
NAMES = ("model", "start", "atlases")


class Composed:
    """The stages of all rows, and the stage that evaluates each system, seed and place."""

    def __init__(self, paper, root, binary, archive):
        self.paper, self.root, self.binary, self.archive = paper, root, binary, archive
        self.stages = {}
        # (system, seed, "box" or "whole") -> the stage whose figures are meant.
        self.figures = {}
        self.resolved = {}

    def rows(self):
        """Adds every row with its seeds, and the sweep."""
        for row in self.paper.rows:
            for seed in range(1, self.paper.seeds_of(row["system"]) + 1):
                self.add(row, row["system"], seed, {})
        sweep = self.paper.sweep
        if sweep:
            row = next(row for row in self.paper.rows if row["system"] == sweep["system"])
            for value in sweep["values"]:
                for seed in range(1, sweep["seeds"] + 1):
                    self.add(row, swept(sweep, value), seed, nested(sweep["field"], value))

    def add(self, row, system, seed, more):
        """Adds one row's pipeline with one seed."""
        declared = self.read(row["pipeline"])
        changes = merged(self.paper.changes(row), more)
        names = {}
        for name, stage in declared["sources"].items():
            change = changes.get(stage["type"], {})
            names[name] = self.stand("sources", name, {**merged(stage, change), "path": str(self.archive)}, name)
        slug = f"{plain(system)}_{seed}"
        boxes = {}
        for name, stage in ordered(declared["operators"], set(names)):
            inputs = stage["inputs"]
            stage = {**stage, "inputs": [names[source] for source in inputs]}
            change = changes.get(stage["type"], {})
            if change:
                stage = placed(without(merged(stage, change)), str(self.archive))
            if stage["type"] in JUDGES and not self.asked(stage):
                continue
            if stage["type"] == "train":
                stage["seed"] = seed
            for field in NAMES:
                if isinstance(stage.get(field), str):
                    stage[field] = names[stage[field]]
            wanted = f"{name}_{slug}" if stage["type"] in OWN else name
            names[name] = self.stand("operators", name, stage, wanted)
            if stage["type"] == "crop":
                # What is cut around the tumour is judged on the whole scan as well.
                boxes[names[name]] = stage["inputs"][0]
        self.judged(declared, names, slug, system, seed, boxes)

    def judged(self, declared, names, slug, system, seed, boxes):
        """Finds the stage whose figures count; if it judges a box, adds the same network on whole scans."""
        for name, stage in declared["operators"].items():
            if stage["type"] not in JUDGES or not self.asked(stage):
                continue
            evaluate = self.stages[names[name]][1]
            self.figures[system, seed, "box"] = names[name]
            infer = self.stages[evaluate["inputs"][0]][1]
            whole = boxes.get(infer["inputs"][0])
            if infer["type"] != "infer" or whole is None:
                continue
            segment = self.stand("operators", "whole", {**infer, "inputs": [whole]}, f"whole_{slug}")
            judge = {**evaluate, "inputs": [segment, *evaluate["inputs"][1:]]}
            self.figures[system, seed, "whole"] = self.stand("operators", "scores_whole", judge, f"scores_whole_{slug}")

    def asked(self, stage):
        """Whether a stage gives one of the paper's figures: masks may be judged beside the boxes that they come from."""
        given = stage.get("metrics", JUDGES[stage["type"]])
        return any(metric.split("_at_")[0] in given for metric in self.paper.metrics)

    def read(self, pipeline):
        """Returns the complete pipeline of a row, as `tomoflow check --resolved` prints it."""
        if pipeline not in self.resolved:
            words = [self.binary, "check", "--resolved", self.root / pipeline]
            done = subprocess.run(words, check=False, capture_output=True, text=True)
            if done.returncode:
                raise PaperError(f"{pipeline}: {done.stderr.strip()}")
            self.resolved[pipeline] = tomllib.loads(done.stdout)
        return self.resolved[pipeline]

    def stand(self, kind, base, stage, wanted):
        """Adds a stage and returns its name: that of an equal stage, if there is one."""
        for name, (known_kind, known) in self.stages.items():
            if (known_kind, known) == (kind, stage):
                return name
        name, number = wanted, 2
        while name in self.stages:
            name, number = f"{base}_{number}", number + 1
        self.stages[name] = (kind, stage)
        return name

    def only_judged(self, name):
        """Whether nothing but figures comes of a stage."""
        users = [(user, stage["type"]) for user, (_, stage) in self.stages.items() if name in stage.get("inputs", ())]
        return all(kind in JUDGES or (kind in BETWEEN and self.only_judged(user)) for user, kind in users)

    def text(self, memory, device, out="out"):
        """Returns the pipeline as TOML."""
        lines = ["[pipeline]", f"name = {toml('paper-' + self.paper.name)}", f"out = {toml(out)}"]
        lines += [f"memory = {toml(memory)}", f"device = {toml(device)}"]
        for name, (kind, stage) in self.stages.items():
            if stage["type"] in {"infer", "detect"} and self.only_judged(name):
                # The figures are those of test cases: masks of others would be made for nobody.
                stage = {**stage, "parts": ["test"]}
            lines += ["", f"[{kind}.{name}]", *(f"{field} = {toml(value)}" for field, value in stage.items())]
        figures = sorted(set(self.figures.values()))
        return "\n".join([*lines, "", "[sinks.results]", 'type = "delta"', f"inputs = {toml(figures)}", ""])


def ordered(operators, known):
    """Returns the stages sorted so that each comes after its inputs: a file may name them in any order."""
    left = dict(operators)
    while left:
        ready = [
            name
            for name, stage in left.items()
            if all(source in known for source in stage["inputs"])
            and all(not isinstance(stage.get(field), str) or stage[field] in known for field in NAMES)
        ]
        if not ready:
            raise PaperError(f"stages that follow each other expected, these wait for one another: {', '.join(left)}")
        for name in ready:
            known.add(name)
            yield name, left.pop(name)


def without(value):
    """Returns a table without the fields that a paper removes by setting them to "none"."""
    if not isinstance(value, dict):
        return value
    return {field: without(inner) for field, inner in value.items() if inner != "none"}


def placed(value, archive):
    """Returns a value in whose texts `{archive}` is replaced by the data's folder."""
    if isinstance(value, dict):
        return {field: placed(inner, archive) for field, inner in value.items()}
    return value.replace("{archive}", archive) if isinstance(value, str) else value


def nested(field, value):
    """Returns a field such as `train.loss.lambda` as nested tables that hold the value."""
    for part in reversed(field.split(".")):
        value = {part: value}
    return value


def swept(sweep, value):
    """Returns the name that a swept value has among the systems, such as `lambda 0.6`."""
    return f"{sweep['field'].split('.')[-1]} {value}"


def plain(system):
    """Returns a system's name in the form that it has in names of stages."""
    words = "".join(letter if letter.isalnum() else " " for letter in system.lower()).split()
    return "_".join(words)


def toml(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{field} = {toml(inner)}" for field, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)
