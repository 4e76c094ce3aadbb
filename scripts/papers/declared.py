"""Reads a paper as `papers/NAME.toml` declares it: data, rows, shared settings, a sweep, and claims."""

import copy
import tomllib


class PaperError(Exception):
    """An error that says what was expected, what was found, where, and what to do."""


KNOWN = {
    "name", "title", "against", "metrics", "headroom", "labels", "seeds", "claim_seeds", "data", "set", "quick", "rows", "sweep", "claims",
}
ROW = {"system", "pipeline", "published", "set", "quick"}
CLAIM = {"text", "better", "worse", "metric", "below_mm"}


class Paper:
    """The content of a paper's file, with the changes for `--quick` if it is given."""

    def __init__(self, path, quick):
        try:
            said = tomllib.loads(path.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise PaperError(f"{path}: {error}") from None
        refuse(path, "the paper", said, KNOWN)
        for field in ("name", "title", "against", "metrics", "labels", "data", "rows", "claims"):
            if field not in said:
                raise PaperError(f"{path}: `{field}` expected, nothing found")
        self.path, self.quick = path, quick
        self.name, self.title, self.against = said["name"], said["title"], said["against"]
        self.metrics, self.labels = said["metrics"], said["labels"]
        self.headroom = said.get("headroom")
        self.phantom = said["data"]["quick" if quick else "phantom"]
        self.rows = said["rows"]
        for row in self.rows:
            refuse(path, f"the row `{row.get('system')}`", row, ROW)
        self.claims = said["claims"]
        systems = {row["system"] for row in self.rows}
        if len(self.claims) > 5:
            raise PaperError(f"{path}: at most five claims expected, {len(self.claims)} found")
        for claim in self.claims:
            refuse(path, f"the claim `{claim.get('text')}`", claim, CLAIM)
            for side in ("better", "worse"):
                if claim[side] not in systems:
                    raise PaperError(f"{path}: a system of the rows expected in a claim, `{claim[side]}` found")
            if claim["metric"] not in self.metrics:
                raise PaperError(f"{path}: a claim about one of {sorted(self.metrics)} expected, `{claim['metric']}` found")
        if self.against not in systems:
            raise PaperError(f"{path}: `against` names no row: `{self.against}`")
        for system in (self.headroom or {}).values():
            if system not in systems:
                raise PaperError(f"{path}: a system of the rows expected in `headroom`, `{system}` found")
        self.sweep = None if quick else said.get("sweep")
        self.shared = said.get("set", {})
        self.quickly = said.get("quick", {}) if quick else {}
        self.seeds = 1 if quick else said.get("seeds", 3)
        self.claim_seeds = 1 if quick else said.get("claim_seeds", 5)

    def seeds_of(self, system):
        """Returns the number of trainings of a row, which is greater for a row that a claim names."""
        claimed = any(system in (claim["better"], claim["worse"]) for claim in self.claims)
        return self.claim_seeds if claimed else self.seeds

    def changes(self, row):
        """Returns the settings of a row by the type of a stage; the row's own override the shared ones."""
        changes = copy.deepcopy(self.shared)
        for more in (row.get("set", {}), self.quickly, row.get("quick", {}) if self.quick else {}):
            changes = merged(changes, more)
        return changes


def refuse(path, where, table, known):
    """Refuses unknown fields, since a misspelt one would be ignored without a word."""
    for field in table:
        if field not in known:
            raise PaperError(f"{path}: {where} has the unknown field `{field}`; it takes {', '.join(sorted(known))}")


def merged(below, above):
    """Returns one table laid over another: values of `above` win, and nested tables are merged. One that names another `type`
    takes the place of the other whole, since the fields of one type mean nothing to another."""
    if above.get("type", below.get("type")) != below.get("type"):
        return dict(above)
    result = dict(below)
    for field, value in above.items():
        inner = result.get(field)
        result[field] = merged(inner, value) if isinstance(value, dict) and isinstance(inner, dict) else value
    return result
