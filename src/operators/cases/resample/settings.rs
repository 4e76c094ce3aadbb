//! What a pipeline file asks of a resampling, and which of it goes together.

use serde::Deserialize;
use serde_json::Value as Json;

use super::super::declared_grid::DeclaredGrid;
use crate::operators::cases::rule::{Rule, SpacingRule};
use crate::operators::spec::{Config, FieldProblem};
use crate::voxels::grid::{Convention, Order};

/// A resampling.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Resample {
    /// The spacing along `[D, H, W]`, in mm; this, `to` or `grid`.
    #[serde(default)]
    pub spacing_mm: Option<[f64; 3]>,
    /// A rule in place of a spacing.
    #[serde(default)]
    pub to: Option<Target>,
    /// One grid for all scans.
    #[serde(default)]
    pub grid: Option<DeclaredGrid>,
    /// The intensity beyond a scan on that grid.
    #[serde(default)]
    pub fill: f32,
    /// The program whose grid is made.
    pub convention: Convention,
    /// How intensities are made.
    pub order: Order,
    /// How labels are made.
    #[serde(default)]
    pub labels: LabelOrder,
    /// Whether axes that become coarser are smoothed before.
    #[serde(default)]
    pub antialias: bool,
}

/// A spacing or a grid that is not said outright.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "DeclaredTarget")]
pub enum Target {
    /// The smallest of the scan's own spacings along every axis.
    Isotropic,
    /// A rule over the archive.
    Archive(Rule),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DeclaredTarget {
    Word(TargetWord),
    Table { percentile: Option<f64>, like: Option<String> },
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum TargetWord {
    Isotropic,
    Median,
    Nnunet,
}

impl TryFrom<DeclaredTarget> for Target {
    type Error = &'static str;

    fn try_from(declared: DeclaredTarget) -> Result<Self, Self::Error> {
        use DeclaredTarget::{Table, Word};
        let rule = match declared {
            Word(TargetWord::Isotropic) => return Ok(Self::Isotropic),
            Word(TargetWord::Median) => Rule::Spacing(SpacingRule::Median),
            Word(TargetWord::Nnunet) => Rule::Spacing(SpacingRule::Nnunet),
            Table { percentile: Some(percent), like: None } => {
                Rule::Spacing(SpacingRule::Percentile(percent))
            }
            Table { percentile: None, like: Some(key) } => Rule::Like(key),
            Table { .. } => return Err("either `percentile` or `like` expected"),
        };
        Ok(Self::Archive(rule))
    }
}

/// How a label between voxels is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LabelOrder {
    /// The nearest voxel's.
    #[default]
    Nearest,
    /// The one with the largest share of the neighbours.
    Linear,
}

impl Resample {
    /// Reads a checked configuration.
    ///
    /// # Errors
    /// What does not go together.
    pub fn read(config: &Config) -> Result<Self, Vec<FieldProblem>> {
        if let Some(Json::Object(to)) = config.get("to")
            && to.values().filter(|value| !value.is_null()).count() != 1
        {
            let hint = "to = { percentile = 10 }, or to = { like = \"1.2.826…\" }";
            return Err(vec![FieldProblem::new("to", "either `percentile` or `like` expected", hint)]);
        }
        let resample: Self = crate::operators::read_config(config)?;
        let given = [resample.spacing_mm.is_some(), resample.to.is_some(), resample.grid.is_some()];
        let found = match given.into_iter().filter(|given| *given).count() {
            0 => Some("none"),
            1 => None,
            _ => Some("more than one"),
        };
        if let Some(found) = found {
            let message = format!("one of `spacing_mm`, `to` and `grid` expected, {found} found");
            let hint = "spacing_mm = [1.0, 1.0, 1.0] or to = \"isotropic\"";
            return Err(vec![FieldProblem::new("spacing_mm", message, hint)]);
        }
        if let Some(grid) = &resample.grid {
            grid.check().map_err(|problem| vec![problem])?;
        }
        let problems = resample.in_vain();
        if problems.is_empty() { Ok(resample) } else { Err(problems) }
    }

    /// Makes a resampling to a spacing, labels by the nearest voxel and nothing smoothed before.
    pub fn to_spacing(spacing_mm: [f64; 3], convention: Convention, order: Order) -> Self {
        let spacing_mm = Some(spacing_mm);
        let (to, grid, fill) = (None, None, 0.0);
        Self { spacing_mm, to, grid, fill, convention, order, labels: LabelOrder::Nearest, antialias: false }
    }

    /// Returns the problems of what is asked for beside a grid and has no say there, or asked of a grid where
    /// there is none.
    fn in_vain(&self) -> Vec<FieldProblem> {
        let grid = self.grid.is_some() || matches!(self.to, Some(Target::Archive(Rule::Like(_))));
        if !grid {
            let hint = "at a new spacing the grid ends where the scan ends: leave `fill` out";
            let fill = FieldProblem::new("fill", "`fill` is for a grid, a spacing found", hint);
            return if self.fill == 0.0 { Vec::new() } else { vec![fill] };
        }
        let given = [
            ("convention", self.convention != Convention::Monai),
            ("order", matches!(self.order, Order::Cubic | Order::Lanczos)),
            ("labels", self.labels != LabelOrder::Nearest),
            ("antialias", self.antialias),
        ];
        let problem = |(field, _)| {
            let hint = "on a grid voxels are made `nearest` or `linear`, and labels by the nearest voxel";
            FieldProblem::new(field, format!("a grid takes no such `{field}`"), hint)
        };
        given.into_iter().filter(|(_, given)| *given).map(problem).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::SPEC;
    use super::*;
    use crate::operators::spec::semantic;

    /// A configuration with defaults, but for these fields.
    fn config(changes: Json) -> Config {
        let config = json!({
            "spacing_mm": null, "to": null, "grid": null, "fill": 0.0, "convention": "monai", "order": "linear",
            "labels": "nearest", "antialias": false,
        });
        let mut config = config.as_object().unwrap().clone();
        config.extend(changes.as_object().unwrap().clone());
        config
    }

    fn fields(changes: Json) -> Vec<String> {
        let problems = Resample::read(&config(changes)).err().unwrap_or_default();
        problems.into_iter().map(|problem| problem.field).collect()
    }

    fn grid() -> Json {
        json!({
            "size": [2, 3, 4], "spacing_mm": [3.0, 1.0, 1.0], "origin_mm": [0.0, 0.0, 0.0],
            "direction": [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
        })
    }

    #[test]
    fn a_target_is_a_word_a_percentile_or_a_scan() {
        let to = |to: Json| Resample::read(&config(json!({ "to": to }))).map(|read| read.to.unwrap());
        let archive = |rule| Ok(Target::Archive(rule));
        assert_eq!(to(json!("isotropic")), Ok(Target::Isotropic));
        assert_eq!(to(json!("nnunet")), archive(Rule::Spacing(SpacingRule::Nnunet)));
        let percentile = json!({ "percentile": 10.0, "like": null });
        assert_eq!(to(percentile), archive(Rule::Spacing(SpacingRule::Percentile(10.0))));
        let like = json!({ "percentile": null, "like": "1.2" });
        assert_eq!(to(like), archive(Rule::Like("1.2".to_owned())));
        for bad in [json!({ "percentile": null, "like": null }), json!({ "percentile": 1.0, "like": "1.2" })]
        {
            assert_eq!(fields(json!({ "to": bad })), ["to"]);
        }
    }

    #[test]
    fn one_of_three_is_given_and_nothing_in_vain() {
        assert_eq!(fields(json!({})), ["spacing_mm"]);
        assert_eq!(fields(json!({ "spacing_mm": [1.0, 1.0, 1.0], "to": "median" })), ["spacing_mm"]);
        assert_eq!(fields(json!({ "spacing_mm": [1.0, 1.0, 1.0], "grid": grid() })), ["spacing_mm"]);
        assert!(fields(json!({ "grid": grid(), "order": "nearest", "fill": -1024.0 })).is_empty());
        let all = json!({
            "grid": grid(), "convention": "nnunet", "order": "cubic", "labels": "linear", "antialias": true,
        });
        assert_eq!(fields(all), ["convention", "order", "labels", "antialias"]);
        let like = json!({ "to": { "percentile": null, "like": "1.2" }, "order": "lanczos" });
        assert_eq!(fields(like), ["order"]);
        assert_eq!(fields(json!({ "to": "median", "fill": 1.0 })), ["fill"]);
        let mut long = grid();
        long["direction"][0][2] = json!(0.5);
        assert_eq!(fields(json!({ "grid": long })), ["grid.direction"]);
    }

    #[test]
    fn what_was_kept_before_there_were_grids_stays_valid() {
        let kept = |changes: Json| Json::Object(semantic(SPEC.fields, &config(changes)));
        let before = |to: Json| {
            json!({
                "spacing_mm": null, "to": to, "convention": "monai", "order": "linear", "labels": "nearest",
                "antialias": false,
            })
        };
        assert_eq!(kept(json!({ "to": "isotropic" })), before(json!("isotropic")));
        let percentile = json!({ "to": { "percentile": 10.0, "like": null } });
        assert_eq!(kept(percentile), before(json!({ "percentile": 10.0 })));
        assert_ne!(kept(json!({ "grid": grid() })), kept(json!({ "grid": grid(), "fill": 1.0 })));
    }
}
