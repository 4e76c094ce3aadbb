"""Decides whether claims hold: differences of means over seeds, a bootstrap over cases and seeds, and Holm's correction."""

import math

import numpy as np

RESAMPLES = 10_000
LEVEL = 0.05
# Fewer say nothing: a single seed has no spread, and a handful of cases no interval.
LEAST_SEEDS, LEAST_CASES = 3, 8


def pooled(found, seeds, cases):
    """Returns the figures of a system as an array `[seeds, cases]`, with NaN where there is none."""
    return np.array([[found.get((seed, case), math.nan) for case in cases] for seed in seeds], dtype=float)


def difference(better, worse, rng):
    """Returns the mean difference of two systems, its 95 % interval, and the share of resamples on each side of 0.

    Figures are `[seeds, cases]`, the same seeds and cases in both: one seed means the same first weights of what the
    systems share and the same order of samples. A case counts by the mean over its seeds in which both systems have a
    figure; one without such a seed enters no difference, and is counted as missing.
    """
    seeds = len(better)
    differences = better - worse
    partly = int((np.isnan(differences).any(axis=0) & ~np.isnan(differences).all(axis=0)).sum())
    kept = ~np.isnan(differences).all(axis=0)
    differences = differences[:, kept]
    cases = differences.shape[1]
    if seeds == 0 or cases < 2:
        return None
    means = np.nanmean(differences, axis=0)
    resampled = np.empty(RESAMPLES)
    for number in range(RESAMPLES):
        chosen = rng.integers(0, seeds, seeds)
        drawn = rng.integers(0, cases, cases)
        with np.errstate(invalid="ignore"):
            sample = differences[np.ix_(chosen, drawn)]
        resampled[number] = np.nanmean(sample) if not np.isnan(sample).all() else np.nan
    resampled = resampled[~np.isnan(resampled)]
    low, high = np.percentile(resampled, [2.5, 97.5])
    side = min((resampled <= 0).sum(), (resampled >= 0).sum())
    p = min(1.0, 2 * (side + 1) / (len(resampled) + 1))
    return {
        "difference": float(means.mean()),
        "interval": [float(low), float(high)],
        "p": float(p),
        "cases": int(cases),
        "missing": int((~kept).sum()),
        "partly": partly,
        "seeds": int(seeds),
        "sd": float(means.std(ddof=1)),
        "resampled_sd": float(resampled.std(ddof=1)),
    }


def holm(values):
    """Returns Holm's corrected p values in the order given; `None` stays `None`."""
    order = sorted((p, at) for at, p in enumerate(values) if p is not None)
    corrected, least = [None] * len(values), 0.0
    for rank, (p, at) in enumerate(order):
        least = max(least, min(1.0, p * (len(order) - rank)))
        corrected[at] = least
    return corrected


def needed(found):
    """Estimates how many cases would resolve a difference of this size, from the spread of the resamples, which falls with
    the square root of the number of cases (as far as it comes from cases and not from seeds)."""
    if found["difference"] == 0:
        return None
    ratio = found["resampled_sd"] * (1.96 + 0.84) / abs(found["difference"])
    return math.ceil(found["cases"] * ratio**2)


def headroom(paper, figures):
    """Returns the share of the way from one row to another that each row goes, with its interval by bootstrap over cases.

    There is no share if the two rows cannot be told apart.
    """
    if not paper.headroom:
        return {}
    rng, metric = np.random.default_rng(2), next(iter(paper.metrics))
    means = {}
    for row in paper.rows:
        of = figures.get((row["system"], metric, "box"), {})
        cases = {}
        for (_, case), value in of.items():
            cases.setdefault(case, []).append(value)
        means[row["system"]] = {case: float(np.mean(values)) for case, values in cases.items() if not np.isnan(values).any()}
    low, high = means.get(paper.headroom["from"], {}), means.get(paper.headroom["to"], {})
    closed = {}
    for system, own in means.items():
        cases = sorted(set(own) & set(low) & set(high))
        if system in paper.headroom.values() or len(cases) < 2:
            continue
        table = np.array([[one[case] for case in cases] for one in (own, low, high)])
        drawn = table[:, rng.integers(0, len(cases), (RESAMPLES, len(cases)))].mean(axis=2)
        room = drawn[2] - drawn[1]
        if np.percentile(room, 2.5) <= 0:
            continue
        shares = (drawn[0] - drawn[1]) / room
        whole = table.mean(axis=1)
        closed[system] = {
            "share": float((whole[0] - whole[1]) / (whole[2] - whole[1])),
            "interval": [float(end) for end in np.percentile(shares, [2.5, 97.5])],
            "cases": len(cases),
        }
    return closed


def verdicts(claims, figures, sizes, lower_is_better):
    """Returns each claim with its difference, interval and verdict."""
    rng = np.random.default_rng(1)
    found = []
    for claim in claims:
        metric = claim["metric"]
        sides = [figures.get((claim[side], metric, "box"), {}) for side in ("better", "worse")]
        cases = sorted({case for side in sides for _, case in side})
        if "below_mm" in claim:
            cases = [case for case in cases if sizes.get(case, math.inf) < claim["below_mm"]]
        known = [{seed for seed, _ in side} for side in sides]
        seeds = sorted(set.intersection(*known))
        better, worse = (pooled(side, seeds, cases) for side in sides)
        one = difference(better, worse, rng) if cases and seeds else None
        if one:
            one["seeds_left_out"] = len(set.union(*known)) - len(seeds)
        if one and metric in lower_is_better:
            one.update(difference=-one["difference"], interval=[-end for end in reversed(one["interval"])])
        found.append(one)
    corrected = holm([one and one["p"] for one in found])
    results = []
    for claim, one, p in zip(claims, found, corrected):
        base = {"text": claim["text"], "better": claim["better"], "worse": claim["worse"], "metric": claim["metric"]}
        if one is None:
            results.append({**base, "difference": None, "interval": None, "verdict": "not resolved (no cases to compare)"})
            continue
        if one["seeds"] < LEAST_SEEDS or one["cases"] < LEAST_CASES:
            verdict = f"not judged ({one['seeds']} seeds of {one['cases']} cases are too few)"
        elif p <= LEVEL:
            verdict = "holds" if one["difference"] > 0 else "reversed"
        else:
            about = needed(one)
            verdict = f"not resolved (about {about} cases needed)" if about else "not resolved (no difference at all)"
        results.append({**base, **one, "p_holm": p, "verdict": verdict})
    return results
