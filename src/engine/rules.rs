//! Rules over the archive in one plan: what they are settled on, and whether the archive has drifted from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use tomoflow_connectors::{Digest, Geometry};

use super::archive::Archive;
use crate::executor::keys;
use crate::operators::registry::{Axes, Stage};
use crate::operators::reorient::Reorient;
use crate::operators::rules::{Sampled, SpacingRule};
use crate::pipeline::Plan;
use crate::store::{PinnedSpacing, Store, StoreError};

/// A rule has drifted when it comes to something that differs by more than this share of it.
const DRIFT: f64 = 1e-6;

/// The rules of a plan, as it was declared.
#[derive(Default)]
pub struct Rules {
    /// Rules with a stage each.
    ruled: Vec<Ruled>,
    /// What rules were settled on, by name.
    pinned: BTreeMap<Digest, PinnedSpacing>,
    /// What is given up for what is settled now, by name.
    replaced: BTreeMap<Digest, PinnedSpacing>,
    /// Those that were settled here, and not before.
    new: BTreeSet<Digest>,
}

/// A rule, and the stage that follows it.
struct Ruled {
    stage: usize,
    /// The stage's name.
    shown: String,
    rule: SpacingRule,
    /// What it is called in the store.
    name: Digest,
    /// The stage that makes the scans.
    root: u16,
    /// How they are turned before, in this order.
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

    /// Takes over what the store says they are settled on; with `anew` only to say what it was.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn load(&mut self, store: &Store, anew: bool) -> Result<(), StoreError> {
        for ruled in &self.ruled {
            if let Some(pinned) = store.spacing(ruled.name)? {
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
        let mut pins = BTreeMap::new();
        for ruled in self.ruled.iter().filter(|ruled| !self.pinned.contains_key(&ruled.name)) {
            if let Some(today) = self.today(ruled, archive) {
                pins.insert(ruled.name, today);
            }
        }
        let pins: Vec<(Digest, PinnedSpacing)> = pins.into_iter().collect();
        if pins.is_empty() {
            return Ok(false);
        }
        store.pin_spacings(&pins)?;
        self.new.extend(pins.iter().map(|(name, _)| *name));
        self.pinned.extend(pins);
        Ok(true)
    }

    /// The plan with what is settled in the rules' places.
    pub fn applied(&self, plan: &Plan) -> Plan {
        let mut plan = plan.clone();
        for (stage, spacing_mm) in self.spacings() {
            plan.settle(stage, spacing_mm);
        }
        plan
    }

    /// What is settled, by stage.
    pub fn spacings(&self) -> Vec<(usize, [f64; 3])> {
        let settled = |ruled: &Ruled| Some((ruled.stage, self.pinned.get(&ruled.name)?.spacing_mm));
        self.ruled.iter().filter_map(settled).collect()
    }

    /// The first stage whose rule is not settled.
    pub fn waiting(&self) -> Option<&str> {
        let waits = |ruled: &&Ruled| !self.pinned.contains_key(&ruled.name);
        self.ruled.iter().find(waits).map(|ruled| ruled.shown.as_str())
    }

    /// What a user should know: what was settled now, what waits, and where the archive has drifted.
    pub fn notes(&self, archive: &Archive) -> Vec<String> {
        self.ruled.iter().filter_map(|ruled| self.note(ruled, archive)).collect()
    }

    fn note(&self, ruled: &Ruled, archive: &Archive) -> Option<String> {
        let Ruled { shown, rule, name, .. } = ruled;
        let Some(pinned) = self.pinned.get(name) else {
            return Some(format!("{shown}: no scan yet that its {rule} could follow"));
        };
        let (mm, scans) = (millimetres(pinned.spacing_mm), counted(pinned.scans));
        if self.new.contains(name) {
            let mut note = format!("{shown}: settled on {mm}, the {rule} of {scans}");
            if let Some(before) = self.replaced.get(name) {
                let _ = write!(note, " (before: {})", millimetres(before.spacing_mm));
            }
            // What came since is said from the next run on, unless this one goes on for long.
            if !drifted(pinned, self.today(ruled, archive).as_ref()) {
                return Some(note);
            }
        }
        let today = self.today(ruled, archive).filter(|today| drifted(pinned, Some(today)))?;
        let (now, many) = (millimetres(today.spacing_mm), counted(today.scans));
        Some(format!(
            "{shown}: pinned to {mm} ({scans}); the archive's {rule} is now {now} ({many}); `--repin` follows it"
        ))
    }

    /// What a rule comes to now: over all scans of all stages that share it, each scan once.
    fn today(&self, ruled: &Ruled, archive: &Archive) -> Option<PinnedSpacing> {
        let (mut roots, mut scans) = (BTreeSet::new(), Vec::new());
        for other in self.ruled.iter().filter(|other| other.name == ruled.name) {
            if roots.insert(other.root) {
                scans.extend(archive.scans(other.root).map(|row| other.sampled((&row.grid).into())));
            }
        }
        scans.retain(Sampled::counts);
        let spacing_mm = ruled.rule.spacing_mm(&scans)?;
        Some(PinnedSpacing { spacing_mm, scans: scans.len() as u64 })
    }
}

impl Ruled {
    fn of(plan: &Plan, stage: usize) -> Option<Self> {
        let planned = &plan.stages[stage];
        let Stage::Transform(transform) = &planned.stage else { return None };
        let rule = transform.rule()?;
        let (before, cases) = plan.transforms(*planned.inputs.first()?);
        let root = plan.scans(cases);
        let turned = |stage: usize| match &plan.stages[stage].stage {
            Stage::Transform(before) => match before.axes() {
                Axes::Turned(turn) => Some((stage, turn)),
                _ => None,
            },
            _ => None,
        };
        let (stages, turns): (Vec<usize>, Vec<Reorient>) = before.into_iter().filter_map(turned).unzip();
        Some(Self {
            stage,
            shown: planned.name.clone(),
            rule,
            name: keys::rule(plan, rule, &stages, root),
            root: root as u16,
            turns,
        })
    }

    /// A scan as it comes to the stage.
    fn sampled(&self, grid: Geometry) -> Sampled {
        Sampled::from(&self.turns.iter().fold(grid, |grid, turn| turn.grid(&grid)))
    }
}

fn drifted(pinned: &PinnedSpacing, today: Option<&PinnedSpacing>) -> bool {
    let apart = |(before, now): (f64, f64)| (now - before).abs() > DRIFT * before.abs();
    today.is_some_and(|today| pinned.spacing_mm.into_iter().zip(today.spacing_mm).any(apart))
}

fn millimetres([d, h, w]: [f64; 3]) -> String {
    format!("{d} x {h} x {w} mm")
}

fn counted(scans: u64) -> String {
    if scans == 1 { "1 scan".to_owned() } else { format!("{scans} scans") }
}
