//! Rules over the archive in one plan: what they are settled on, and whether the archive has drifted from it.

mod measured;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use tomoflow_connectors::{Digest, Geometry};

use self::measured::Weighed;
use super::archive::Archive;
use crate::executor::keys;
use crate::operators::cases::declared_grid::DeclaredGrid;
use crate::operators::cases::reorient::Reorient;
use crate::operators::cases::rule::{Rule, Sampled, Settled};
use crate::operators::registry::{Axes, Stage};
use crate::pipeline::{Plan, StageId};
use crate::store::{Pinned, Store, StoreError};

/// A rule has drifted when it comes to a length that differs by more than this share of it.
const DRIFT: f64 = 1e-6;
/// A rule has also drifted when a corner of its grid lies farther off than this, in mm.
const DRIFT_MM: f64 = 1e-3;

/// The rules of a plan, as it was declared.
#[derive(Default)]
pub struct Rules {
    /// Rules with a stage each.
    ruled: Vec<Ruled>,
    /// What rules were settled on, by name.
    pinned: BTreeMap<Digest, Pinned>,
    /// What is given up for what is settled now, by name.
    replaced: BTreeMap<Digest, Pinned>,
    /// The rules that were settled here, and not before.
    new: BTreeSet<Digest>,
    /// Whether it was tried to settle them.
    tried: bool,
    /// What those over intensities come to now, by name.
    weighed: BTreeMap<Digest, Weighed>,
    /// Whether that is news.
    fresh: bool,
}

/// A rule, and the stage that follows it.
struct Ruled {
    stage: usize,
    /// The stage's name.
    shown: String,
    rule: Rule,
    /// The name under which the store knows it.
    name: Digest,
    /// The stage that makes the scans.
    root: StageId,
    /// All stages that make scans, this one first: a reference may be of another source.
    roots: Vec<StageId>,
    /// The turns of the scans before, in this order.
    turns: Vec<Reorient>,
}

impl Rules {
    /// The rules of a plan; none is settled yet.
    pub fn of(plan: &Plan) -> Self {
        let ruled = (0..plan.stages.len()).filter_map(|stage| Ruled::of(plan, stage)).collect();
        Self { ruled, ..Self::default() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ruled.is_empty()
    }

    /// Whether one of them is not settled.
    pub fn wait(&self) -> bool {
        self.ruled.iter().any(|ruled| !self.pinned.contains_key(&ruled.name))
    }

    /// Whether nothing may begin before all that came is quiet: a grid whose scan was looked for in vain holds up
    /// nothing but its own stage.
    pub fn hold(&self) -> bool {
        let unsettled = |ruled: &&Ruled| !self.pinned.contains_key(&ruled.name);
        let mut waiting = self.ruled.iter().filter(unsettled);
        waiting.any(|ruled| !self.tried || matches!(ruled.rule, Rule::Spacing(_)))
    }

    /// Takes over what the store says they are settled on; with `anew` only to say what it was.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(&mut self, store: &Store, anew: bool) -> Result<(), StoreError> {
        for ruled in &self.ruled {
            if let Some(pinned) = store.settled(ruled.name)? {
                let known = if anew { &mut self.replaced } else { &mut self.pinned };
                known.insert(ruled.name, pinned);
            }
        }
        Ok(())
    }

    /// Settles those that are not and have scans, and keeps that; whether there was one.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn settle(&mut self, archive: &Archive, store: &Store) -> Result<bool, StoreError> {
        let (mut pins, mut known) = (BTreeMap::new(), false);
        (self.tried, self.fresh) = (true, false);
        for ruled in self.ruled.iter().filter(|ruled| !self.pinned.contains_key(&ruled.name)) {
            if let Some(today) = self.today(ruled, archive) {
                pins.insert(ruled.name, today);
            }
        }
        // A rule that cannot be settled anew, since its scan is gone or nothing counts any more, stays as it
        // is known.
        for ruled in &self.ruled {
            let in_vain = match ruled.rule {
                Rule::Spacing(_) => false,
                Rule::Like(_) => !pins.contains_key(&ruled.name),
                Rule::Intensities(_) => {
                    self.weighed.get(&ruled.name).is_some_and(|weighed| weighed.today.is_none())
                }
            };
            if in_vain && let Some(before) = self.replaced.remove(&ruled.name) {
                self.pinned.insert(ruled.name, before);
                known = true;
            }
        }
        let pins: Vec<(Digest, Pinned)> = pins.into_iter().collect();
        if pins.is_empty() {
            return Ok(known);
        }
        store.settle(&pins)?;
        self.new.extend(pins.iter().map(|(name, _)| *name));
        self.pinned.extend(pins);
        Ok(true)
    }

    /// The plan with what is settled in the rules' places.
    pub fn applied(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        for (stage, settled) in self.settled() {
            plan.settle(stage, &settled);
        }
        plan
    }

    /// Returns what rules are settled on, by stage.
    pub fn settled(&self) -> Vec<(usize, Settled)> {
        let settled = |ruled: &Ruled| Some((ruled.stage, self.pinned.get(&ruled.name)?.settled));
        self.ruled.iter().filter_map(settled).collect()
    }

    /// The first stage whose rule is not settled.
    pub fn waiting(&self) -> Option<&str> {
        let waits = |ruled: &&Ruled| !self.pinned.contains_key(&ruled.name);
        self.ruled.iter().find(waits).map(|ruled| ruled.shown.as_str())
    }

    /// Returns what a user should know: what was settled now, what waits, and where the archive has drifted.
    pub fn notes(&self, archive: &Archive) -> Vec<String> {
        self.ruled.iter().filter_map(|ruled| self.note(ruled, archive)).collect()
    }

    fn note(&self, ruled: &Ruled, archive: &Archive) -> Option<String> {
        let Ruled { shown, rule, name, .. } = ruled;
        let today = self.today(ruled, archive);
        let Some(pinned) = self.pinned.get(name) else {
            return Some(match rule {
                Rule::Spacing(rule) => format!("{shown}: no scan yet that its {rule} could follow"),
                Rule::Like(key) => format!("{shown}: no accepted scan `{key}`, whose grid it asks for"),
                Rule::Intensities(_) => {
                    format!("{shown}: no intensities yet that its statistics could follow")
                }
            });
        };
        if self.new.contains(name) {
            let from = match rule {
                Rule::Like(_) => format!("the {rule}"),
                Rule::Spacing(_) | Rule::Intensities(_) => format!("the {rule} of {}", counted(pinned.scans)),
            };
            let mut note = format!("{shown}: settled on {}, {from}", said(&pinned.settled));
            if let Some(before) = self.replaced.get(name) {
                let _ = write!(note, " (before: {})", said(&before.settled));
            }
            // Drift since the start is told from the next run on, unless this one goes on for long.
            if !today.as_ref().is_some_and(|today| drifted(&pinned.settled, &today.settled)) {
                return Some(note);
            }
        }
        let kept = said(&pinned.settled);
        match (rule, today) {
            (Rule::Like(key), None) => Some(format!(
                "{shown}: pinned to {kept}; `{key}`, whose grid it was, is not among the scans any more"
            )),
            (_, Some(today)) if drifted(&pinned.settled, &today.settled) => {
                let (now, scans) = (said(&today.settled), counted(pinned.scans));
                Some(match rule {
                    Rule::Spacing(_) => format!(
                        "{shown}: pinned to {kept} ({scans}); the archive's {rule} is now {now} ({}); \
                         `--repin` follows it",
                        counted(today.scans)
                    ),
                    Rule::Intensities(_) => format!(
                        "{shown}: pinned to {kept} ({scans}); the archive's {rule} are now {now} ({}); \
                         `--repin` follows them",
                        counted(today.scans)
                    ),
                    Rule::Like(_) => {
                        format!("{shown}: pinned to {kept}; the {rule} is now {now}; `--repin` follows it")
                    }
                })
            }
            _ => None,
        }
    }

    /// Returns what a rule comes to now: over all scans of all stages that share it, each scan once.
    fn today(&self, ruled: &Ruled, archive: &Archive) -> Option<Pinned> {
        let rule = match &ruled.rule {
            Rule::Spacing(rule) => rule,
            Rule::Like(key) => {
                let mut all = ruled.roots.iter().flat_map(|root| archive.scans(*root));
                let grid = ruled.turned((&all.find(|row| *row.key == **key)?.grid).into());
                return Some(Pinned { settled: Settled::Grid(DeclaredGrid::from(&grid)), scans: 1 });
            }
            Rule::Intensities(_) => return self.weighed.get(&ruled.name).and_then(|weighed| weighed.today),
        };
        let (mut roots, mut scans) = (BTreeSet::new(), Vec::new());
        for other in self.ruled.iter().filter(|other| other.name == ruled.name) {
            if roots.insert(other.root) {
                let sampled = |grid| Sampled::from(&other.turned(grid));
                scans.extend(archive.scans(other.root).map(|row| sampled((&row.grid).into())));
            }
        }
        scans.retain(Sampled::counts);
        let settled = Settled::SpacingMm(rule.spacing_mm(&scans)?);
        Some(Pinned { settled, scans: scans.len() as u64 })
    }
}

impl Ruled {
    fn of(plan: &Plan, stage: usize) -> Option<Self> {
        let planned = &plan.stages[stage];
        let Stage::Transform(transform) = &planned.stage else { return None };
        let rule = transform.rule()?;
        let input = *planned.inputs.first()?;
        let (before, cases) = (plan.regridded(input), plan.transforms(input).1);
        let root = plan.scans(cases);
        let turned = |stage: usize| match &plan.stages[stage].stage {
            Stage::Transform(before) => match before.axes() {
                Axes::Turned(turn) => Some((stage, turn)),
                _ => None,
            },
            _ => None,
        };
        let (turning, turns): (Vec<usize>, Vec<Reorient>) = before.iter().copied().filter_map(turned).unzip();
        let matters = if let Rule::Intensities(_) = rule { before } else { turning };
        let makes_scans = |other: &usize| {
            *other != root && matches!(plan.stages[*other].stage, Stage::Assemble(_) | Stage::Scans(_))
        };
        let others = (0..plan.stages.len()).filter(makes_scans);
        let roots = std::iter::once(root).chain(others).map(StageId::at).collect();
        Some(Self {
            stage,
            shown: planned.name.clone(),
            name: keys::rule(plan, &rule, &matters, cases),
            rule,
            root: StageId::at(root),
            roots,
            turns,
        })
    }

    /// The grid of a scan as it comes to the stage.
    fn turned(&self, grid: Geometry) -> Geometry {
        self.turns.iter().fold(grid, |grid, turn| turn.grid(&grid))
    }
}

fn drifted(pinned: &Settled, today: &Settled) -> bool {
    match (pinned, today) {
        (Settled::SpacingMm(before), Settled::SpacingMm(now)) => {
            before.iter().zip(now).any(|(before, now)| (now - before).abs() > DRIFT * before.abs())
        }
        (Settled::Grid(before), Settled::Grid(now)) => {
            !before.geometry().same_grid(&now.geometry(), DRIFT_MM)
        }
        (Settled::Intensities { mean, std, clip }, Settled::Intensities { mean: m, std: s, clip: c }) => {
            let off = |a: f64, b: f64| (a - b).abs() > DRIFT * std.abs();
            let ends = clip.iter().flatten().zip(c.iter().flatten());
            off(*mean, *m)
                || off(*std, *s)
                || clip.is_some() != c.is_some()
                || ends.into_iter().any(|(a, b)| off(*a, *b))
        }
        _ => true,
    }
}

fn said(settled: &Settled) -> String {
    match settled {
        Settled::SpacingMm([d, h, w]) => format!("{d} x {h} x {w} mm"),
        Settled::Grid(grid) => grid.to_string(),
        Settled::Intensities { mean, std, clip: None } => format!("mean {mean} and deviation {std}"),
        Settled::Intensities { mean, std, clip: Some([low, high]) } => {
            format!("mean {mean} and deviation {std} within {low} to {high}")
        }
    }
}

fn counted(scans: u64) -> String {
    if scans == 1 { "1 scan".to_owned() } else { format!("{scans} scans") }
}
