"""What is said of a paper's claims, on figures that can be counted by hand. Exits with 0 when all of it is right."""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "scripts"))

import numpy as np  # noqa: E402
from papers import page  # noqa: E402
from papers.declared import Paper, PaperError, merged  # noqa: E402
from papers.judge import difference, headroom, holm, needed, pooled, verdicts  # noqa: E402

# Holm: 0.01 x 3, then 0.02 x 2, then 0.5 x 1; a later one is never below an earlier one.
assert holm([0.02, None, 0.5, 0.01]) == [0.04, None, 0.5, 0.03]
assert holm([0.04, 0.03]) == [0.06, 0.06]

# Two seeds of four cases: better by 0.1 in each, but for one case that has no figure in one of the systems.
better = np.array([[0.9, 0.8, 0.7, math.nan], [0.9, 0.8, 0.7, math.nan]])
worse = np.array([[0.8, 0.7, 0.6, 0.5], [0.8, 0.7, 0.6, 0.5]])
one = difference(better, worse, np.random.default_rng(0))
assert one["cases"] == 3 and one["missing"] == 1 and one["seeds"] == 2
assert abs(one["difference"] - 0.1) < 1e-12 and abs(one["interval"][0] - 0.1) < 1e-9 and one["p"] < 0.001

# What is nothing but noise is not resolved; and a difference is needed to say how many cases it takes.
noise = np.random.default_rng(3).normal(0, 0.1, (3, 40))
noise -= noise.mean()
none = difference(noise, np.zeros_like(noise), np.random.default_rng(0))
assert none["p"] > 0.5 and none["interval"][0] < 0 < none["interval"][1]
assert needed({"difference": 0.0}) is None
# Spread 0.05 of the mean of 10 cases and a difference of 0.07: (0.05 * 2.8 / 0.07)^2 = 4 times as many.
assert needed({"difference": 0.07, "resampled_sd": 0.05, "cases": 10}) == 40


def figures(offset):
    """Five seeds of twelve cases, `offset` above a base."""
    return {(seed, f"c{case}"): 0.5 + 0.01 * case + offset for seed in range(1, 6) for case in range(12)}


claims = [
    {"text": "more", "better": "a", "worse": "b", "metric": "dice"},
    {"text": "less", "better": "b", "worse": "a", "metric": "dice"},
    {"text": "nearer", "better": "a", "worse": "b", "metric": "assd"},
    {"text": "small", "better": "a", "worse": "b", "metric": "dice", "below_mm": 1},
]
found = {
    ("a", "dice", "box"): figures(0.05),
    ("b", "dice", "box"): figures(0.0),
    ("a", "assd", "box"): figures(-0.05),
    ("b", "assd", "box"): figures(0.0),
}
judged = verdicts(claims, found, {f"c{case}": 5.0 for case in range(12)}, {"assd"})
assert [one["verdict"] for one in judged[:3]] == ["holds", "reversed", "holds"], judged
assert judged[2]["difference"] > 0 and judged[2]["interval"][0] <= judged[2]["interval"][1]
assert judged[3]["difference"] is None and "no cases" in judged[3]["verdict"]
assert "| more | +5.00 |" in page.claims(judged) and page.forest(judged).count("<circle") == 3
assert page.curve([(0.0, [0.5, 0.6]), (0.4, [0.7])], "λ", "Dice").count("<circle") == 3


# One seed has no spread, however alike its cases are.
few = {key: {at: value for at, value in of.items() if at[0] == 1} for key, of in found.items()}
assert verdicts(claims[:1], few, {}, set())[0]["verdict"].startswith("not judged (1 seeds of 12")

# Seeds pair by their number: what one system has not is left out, and said.
alone = {**found, ("a", "dice", "box"): {key: value for key, value in figures(0.05).items() if key[0] != 2}}
one = verdicts(claims[:1], alone, {}, set())[0]
assert one["seeds"] == 4 and one["seeds_left_out"] == 1 and "1 seeds of one system left out" in page.claims([one])
assert np.isnan(pooled({(1, "c"): 0.5}, [1], ["c", "d"])[0, 1])


class Closed:
    """A paper whose rows are told as a share of the way from one to another."""

    headroom = {"from": "low", "to": "high"}
    rows = [{"system": name} for name in ("low", "half", "high")]
    metrics = {"dice": "Dice"}


ways = {(name, "dice", "box"): figures(offset) for name, offset in (("low", 0.0), ("half", 0.05), ("high", 0.1))}
closed = headroom(Closed, ways)
assert list(closed) == ["half"] and abs(closed["half"]["share"] - 0.5) < 1e-9 and closed["half"]["cases"] == 12
assert headroom(Closed, {**ways, ("high", "dice", "box"): figures(0.0)}) == {}


class Scored:
    """A paper of two figures."""

    metrics = {"dice": "Dice (%)", "assd": "ASSD (mm)", "lesion_dice_small": "Dice of small ones (%)"}


# Two seeds of one row, one of another whose figure of small lesions has no value; no row has a pooled distance.
over_all = {
    ("a", "dice", 1): 0.5,
    ("a", "dice", 2): 0.75,
    ("a", "lesion_dice_small", 1): 0.25,
    ("a", "lesion_dice_small", 2): None,
    ("b", "dice", 1): 1.0,
    ("b", "lesion_dice_small", 1): None,
}
told = page.pooled(Scored, ["a", "b", "c"], over_all).splitlines()
assert told[0] == "| system | seeds | Dice (%) | Dice of small ones (%) |", told
assert told[2:] == ["| a | 2 | 62.50 | 25.00 |", "| b | 1 | 100.00 | – |"], told
assert page.pooled(Scored, ["a"], {}) == ""

# A table of another type takes the other's place; of the same, it is laid over it.
steps = {"schedule": {"type": "steps", "at": [0.5], "warm_up": 4}, "seed": 1}
assert merged(steps, {"schedule": {"type": "cosine", "warm_up": 1}}) == {"schedule": {"type": "cosine", "warm_up": 1}, "seed": 1}
assert merged(steps, {"schedule": {"warm_up": 1}})["schedule"] == {"type": "steps", "at": [0.5], "warm_up": 1}


class Written:
    """A paper's file that is a text."""

    def __init__(self, text):
        self.text = text

    def read_text(self):
        return self.text

    def __str__(self):
        return "paper.toml"


root = Path(__file__).resolve().parent.parent.parent
for path in sorted((root / "papers").glob("*.toml")):
    paper = Paper(path, quick=False)
    for row in paper.rows:
        assert (root / row["pipeline"]).is_file(), row
text = (root / "papers/vs.toml").read_text()
for wrong, said in [
    (text.replace('worse = "2D U-Net"', 'worse = "2D U-net"'), "2D U-net"),
    (text.replace("below_mm", "below"), "unknown field `below`"),
    (text.replace('metric = "assd"', 'metric = "asd"'), "`asd` found"),
]:
    try:
        Paper(Written(wrong), quick=False)
        raise AssertionError(f"not refused: {said}")
    except PaperError as error:
        assert said in str(error), error
