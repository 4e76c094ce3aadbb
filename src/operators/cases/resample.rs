//! Brings a scan and its labels to another spacing, by the convention of a peer, or to one grid for all.

mod settings;

use std::sync::Arc;

use serde_json::{Value as Json, json};
use tomoflow_connectors::{Geometry, LabelMap, Scan};

use super::declared_grid::GRID;
use super::rule::{Rule, Settled};
use crate::operators::registry::{Entry, Stage, Transform};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::operators::value::{Case, Failure};
use crate::voxels::grid::{self, Convention, Order, Sampling, Tap};
use crate::voxels::interpolate::{self, Taps};
use crate::voxels::kernel::AxisKernel;
use crate::voxels::onto::onto;
use crate::voxels::padding;
pub use crate::voxels::regrid::labels_to_grid;
use crate::voxels::separable::{self, Clip};
use crate::voxels::values;
use crate::voxels::votes;
pub use settings::{LabelOrder, Resample, Target};

/// The declaration of the type `resample`.
pub static SPEC: Spec = Spec {
    name: "resample",
    section: Section::Operators,
    summary: "Brings scans and their labels to another spacing, or onto one common grid.",
    doc: "Scans are resampled along their own axes, oblique and sheared ones as well; beyond the outermost \
          voxel centres the outermost voxels count. Masks are brought back to the scan's original grid at \
          the end. Scans are not smoothed before, as in MONAI, nnU-Net and TorchIO, unless `antialias` asks \
          for it. Voxels that only pad a DICOM scan (PixelPaddingValue) take no part in interpolation; a new \
          voxel whose nearest old voxel is padding is padding as well.\n\n\
          `convention` names the program whose new grid is used, here for `n` voxels of `old` mm resampled \
          to `new` mm:\n\n\
          | convention | voxels | new voxel i lies at |\n\
          | --- | --- | --- |\n\
          | `monai` | round((n − 1)·old/new + 1) | i·new/old: first voxel centres coincide |\n\
          | `nnunet` | round(n·old/new) = m | (i + 0.5)·n/m − 0.5: extents coincide, the spacing is n·old/m |\n\
          | `torchio` | ceil(n·old/new) | (i + 0.5)·new/old − 0.5: extents begin together; a single slice stays as it is |\n\n\
          Halves round to even. `torchio` is TorchIO up to 0.19, except for a voxel past the far end, which \
          is 0 in TorchIO. `nnunet` takes the nearest slice along an axis that is more than three times as \
          coarse as the finest one, before or after resampling, unless two axes share the coarsest spacing. \
          nnU-Net's own values are `order = \"cubic\"` and `labels = \"linear\"`.\n\n\
          `order` names the interpolation of intensities between voxels:\n\n\
          | order | interpolates from | notes |\n\
          | --- | --- | --- |\n\
          | `nearest` | the nearest voxel | halfway between two, the later one |\n\
          | `linear` | 2 voxels along each axis | |\n\
          | `cubic` | a cubic B-spline through all voxels | the same as SciPy's `order=3, mode=\"nearest\"`; ITK's B-spline mirrors at the borders, and differs only there |\n\
          | `lanczos` | 6 voxels along each axis | a sinc of three lobes, with weights that sum to 1 |\n\n\
          `to` takes a rule in place of a spacing. `isotropic` depends on each scan alone. The other rules \
          depend on the archive: on the spacings of all accepted scans that reach this stage, labelled or \
          not, along the axes that they have here.\n\n\
          | rule | the spacing along each axis |\n\
          | --- | --- |\n\
          | `median` | the median of the archive's spacings |\n\
          | `{ percentile = 10 }` | that percentile of the archive's spacings, interpolated linearly |\n\
          | `nnunet` | the median; the 10th percentile along the coarsest axis when its median is more than three times the next one's and its median size less than a third of the others', but never finer than these. Sizes are those of whole scans, where nnU-Net cuts empty borders off first |\n\n\
          Such a rule is computed once, when there are scans, and its value is *pinned*: scans that come or \
          go later do not change it, and the run says when the rule would give another value by now. \
          `--repin` computes it again, and everything that follows is made again, models as well. The keys \
          of results hold the spacing, not the rule. Stages with the same rule over the same kind of scans \
          (the same `where` filter and the same turns before it, whatever their names and paths) share one \
          pin, computed over all their scans.\n\n\
          `to = { like = \"1.2.826…\" }` brings all scans to exactly the grid that one of them has: its \
          size, spacing, origin and direction, as it comes to this stage (turned by a `reorient` before it). \
          The scan is named by its SeriesInstanceUID, or by what `{case}` stands for in names of files, and \
          may be of any source of the pipeline; only its header is read. Its grid is pinned as the spacing \
          of a rule is; the run says when the scan has another grid by now, or is gone. While there is no \
          such scan, each case of this stage is refused as `UNSETTLED`, and everything else runs. `grid` \
          states a grid by its numbers, and gives the same keys. On such a grid intensities are interpolated \
          in patient space, `nearest` or `linear`, whatever the position of the two grids to each other, as \
          SimpleITK's `Resample` does with a reference image: up to half a voxel beyond the outermost voxel \
          centres the outermost voxels count, and farther out are `fill` and background. Nothing is \
          registered: a scan that does not overlap the grid is refused as `NO_OVERLAP`. `convention`, \
          `antialias`, splines and `labels = \"linear\"` have no effect on such a grid.\n\n\
          A spline may overshoot at edges; with `nnunet` the result is clipped to the range of the scan, or \
          of its slice where slices are resampled one by one, as in nnU-Net.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::SameAsInput,
    aspects: Aspects::Both,
    fields: &[
        Field {
            name: "spacing_mm",
            kind: FieldKind::List {
                of: &FieldKind::Number { min: 0.01, max: 1000.0, unit: "mm" },
                len: Some(3),
            },
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The new spacing along `[D, H, W]`, in mm; exactly one of `spacing_mm`, `to` and `grid` is \
                  given.",
        },
        Field {
            name: "to",
            kind: FieldKind::Either(&[
                FieldKind::Choice(&["isotropic", "median", "nnunet"]),
                FieldKind::Table(&[
                    Field::absent(
                        "percentile",
                        FieldKind::Number { min: 0.0, max: 100.0, unit: "" },
                        Role::Semantic,
                        "The percentile, from 0 to 100, of the archive's spacings along each axis.",
                    ),
                    Field::absent(
                        "like",
                        FieldKind::Text,
                        Role::SemanticLater,
                        "The scan onto whose grid all scans are brought, by its SeriesInstanceUID or its \
                         case's name.",
                    ),
                ]),
            ]),
            default: Default::Absent,
            role: Role::Semantic,
            doc: "The rule for the new spacing, in place of `spacing_mm`: `isotropic` is the smallest of the \
                  scan's own spacings, along every axis; `median`, `nnunet` and `{ percentile = 10 }` are \
                  rules over the archive; `{ like = \"1.2.826…\" }` is the grid of a named scan.",
        },
        GRID,
        Field {
            name: "fill",
            kind: FieldKind::Number { min: -1e9, max: 1e9, unit: "" },
            default: Default::Json("0.0"),
            role: Role::SemanticLater,
            doc: "The intensity of voxels of a `grid` that a scan does not cover, in the scale that the \
                  input has: -1024 is air in an untouched CT.",
        },
        Field {
            name: "convention",
            kind: FieldKind::Choice(&["monai", "nnunet", "torchio"]),
            default: Default::Json("\"monai\""),
            role: Role::Semantic,
            doc: "The program whose output lengths and sampling positions are followed.",
        },
        Field {
            name: "order",
            kind: FieldKind::Choice(&["linear", "nearest", "cubic", "lanczos"]),
            default: Default::Json("\"linear\""),
            role: Role::Semantic,
            doc: "The interpolation that makes intensities between voxels.",
        },
        Field {
            name: "labels",
            kind: FieldKind::Choice(&["nearest", "linear"]),
            default: Default::Json("\"nearest\""),
            role: Role::Semantic,
            doc: "The interpolation of labels: the label of the nearest voxel (`nearest`), or the label with \
                  the largest share when each is interpolated linearly on its own (`linear`; of equal shares \
                  that of the nearest voxel, else the lowest label).",
        },
        Field {
            name: "antialias",
            kind: FieldKind::Bool,
            default: Default::Json("false"),
            role: Role::Semantic,
            doc: "Whether intensities are smoothed before, along axes that become coarser: by a Gaussian \
                  with a standard deviation of (f − 1)/2 voxels, where f old voxels go into a new one, as in \
                  scikit-image and MONAI.",
        },
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    Ok(Stage::Transform(Arc::new(Resample::read(config)?)))
}

impl Resample {
    /// The spacing asked for, along `[D, H, W]`.
    fn target_mm(&self, old_mm: [f64; 3]) -> Result<[f64; 3], Failure> {
        let new_mm = match (self.spacing_mm, self.rule()) {
            (Some(new_mm), _) => new_mm,
            (None, Some(rule)) => return Err(rule.unsettled()),
            (None, None) => [old_mm.into_iter().fold(f64::INFINITY, f64::min); 3],
        };
        match new_mm.iter().find(|mm| !(mm.is_finite() && **mm > 0.0)) {
            Some(mm) => Err(Failure::new(
                "BAD_SPACING",
                format!("a positive spacing expected, {mm} mm found"),
                "`spacing_mm` takes three lengths in mm",
            )),
            None => Ok(new_mm),
        }
    }

    /// Returns where the new voxels of a grid lie among its old ones.
    fn plan(&self, geometry: &Geometry) -> Result<Plan, Failure> {
        grid::check(geometry)?;
        let old_mm = geometry.spacing_mm();
        let new_mm = self.target_mm(old_mm)?;
        let samplings = [0, 1, 2]
            .map(|axis| Sampling::new(self.convention, geometry.size[axis], old_mm[axis], new_mm[axis]));
        let is_nnunet = self.convention == Convention::Nnunet;
        let apart = if is_nnunet { grid::separate_axis(old_mm, new_mm) } else { None };
        Ok(Plan { samplings, apart })
    }

    fn voxels(&self, scan: &Scan, plan: &Plan) -> Vec<f32> {
        let (voxels, size) = (scan.voxels(), scan.size());
        match self.order {
            Order::Nearest if !self.antialias => interpolate::nearest(voxels, size, &plan.places()),
            Order::Linear if !self.antialias => {
                interpolate::linear(voxels, size, &Taps::new(plan.taps(), size[2]))
            }
            _ => {
                let lines = [0, 1, 2].map(|axis| {
                    let apart = plan.apart == Some(axis);
                    let order = if apart { Order::Nearest } else { self.order };
                    AxisKernel::new(&plan.samplings[axis], order, self.antialias && !apart)
                });
                let overshoots = matches!(self.order, Order::Cubic | Order::Lanczos);
                let clip = match plan.apart {
                    _ if !(overshoots && self.convention == Convention::Nnunet) => Clip::Never,
                    Some(axis) => Clip::Slices(axis),
                    None => Clip::Volume,
                };
                separable::resample(voxels, size, &lines, clip)
            }
        }
    }

    fn scan(&self, scan: &Scan, plan: &Plan) -> Result<Scan, Failure> {
        let voxels = self.voxels(scan, plan);
        if !values::all_finite(&voxels) {
            return Err(values::not_finite());
        }
        Scan::new(grid::resampled(scan.geometry(), &plan.samplings), voxels).map_err(misfit)
    }

    /// The case on one grid for all.
    fn on_grid(&self, case: &Case, grid: &Geometry) -> Result<Case, Failure> {
        let labels = match &case.labels {
            Some(labels) => {
                grid::check_same_size("labels", case.scan.size(), labels.size())?;
                Some(Arc::new(labels_to_grid(labels, grid)?))
            }
            None => None,
        };
        let scan = Arc::new(onto(&case.scan, grid, self.order, self.fill)?);
        Ok(Case { scan, labels, ..case.clone() })
    }

    fn labels(&self, labels: &LabelMap, plan: &Plan) -> Vec<u16> {
        match self.labels {
            LabelOrder::Nearest => interpolate::nearest(labels.voxels(), labels.size(), &plan.places()),
            LabelOrder::Linear => votes::linear(labels.voxels(), labels.size(), &plan.taps()),
        }
    }
}

/// The places of new voxels among the old ones, and the axis that nnU-Net takes apart.
struct Plan {
    samplings: [Sampling; 3],
    apart: Option<usize>,
}

impl Plan {
    /// Linear, but for an axis taken apart.
    fn taps(&self) -> [Vec<Tap>; 3] {
        [0, 1, 2].map(|axis| {
            let sampling = &self.samplings[axis];
            if self.apart == Some(axis) { grid::nearest(sampling) } else { grid::linear(sampling) }
        })
    }

    fn places(&self) -> [Vec<u32>; 3] {
        let low = |sampling| grid::nearest(sampling).iter().map(|tap| tap.low).collect();
        [0, 1, 2].map(|axis| low(&self.samplings[axis]))
    }
}

fn misfit(error: tomoflow_connectors::volume::SizeMismatch) -> Failure {
    Failure::new("GRID_MISMATCH", error.to_string(), "")
}

impl Resample {
    /// A case of which every voxel counts.
    fn plain(&self, case: &Case) -> Result<Case, Failure> {
        if let Some(grid) = &self.grid {
            return self.on_grid(case, &grid.geometry());
        }
        let plan = self.plan(case.scan.geometry())?;
        grid::check_voxels(plan.samplings.map(|sampling| sampling.new))?;
        if let Some(labels) = &case.labels {
            grid::check_same_size("labels", case.scan.size(), labels.size())?;
        }
        if plan.samplings.iter().all(Sampling::is_identity) {
            return Ok(case.clone());
        }
        let scan = self.scan(&case.scan, &plan)?;
        let labels = match &case.labels {
            Some(labels) => {
                let voxels = self.labels(labels, &plan);
                Some(Arc::new(LabelMap::new(scan.geometry().clone(), voxels).map_err(misfit)?))
            }
            None => None,
        };
        Ok(Case { scan: Arc::new(scan), labels, ..case.clone() })
    }

    /// Returns what is made of a case whose scan is padded: nothing is interpolated with padding, and voxels
    /// whose nearest one pads the scan pad it afterwards.
    fn padded(&self, case: &Case, padding: &LabelMap) -> Result<Case, Failure> {
        let scan = &case.scan;
        grid::check_same_size("padding", scan.size(), padding.size())?;
        let filled = padding::filled(scan.voxels(), padding.voxels(), scan.size());
        let filled = Arc::new(Scan::new(scan.geometry().clone(), filled).map_err(misfit)?);
        let made = self.plain(&Case { scan: filled, padding: None, ..case.clone() })?;
        if made.scan.geometry() == scan.geometry() {
            return Ok(case.clone());
        }
        let padding_there = scan.voxels().iter().zip(padding.voxels());
        let value = padding_there.filter(|(_, padded)| **padded != 0).map(|(value, _)| *value);
        let value = value.fold(f32::INFINITY, f32::min);
        let padding = labels_to_grid(padding, made.scan.geometry())?;
        let voxels = made.scan.voxels().iter().zip(padding.voxels());
        let voxels = voxels.map(|(made, padded)| if *padded != 0 { value } else { *made }).collect();
        let scan = Scan::new(made.scan.geometry().clone(), voxels).map_err(misfit)?;
        let padding = padding.voxels().contains(&1).then(|| Arc::new(padding));
        Ok(Case { scan: Arc::new(scan), padding, ..made })
    }
}

impl Transform for Resample {
    fn apply(&self, case: &Case) -> Result<Case, Failure> {
        match &case.padding {
            Some(padding) => self.padded(case, padding),
            None => self.plain(case),
        }
    }

    fn minds_padding(&self) -> bool {
        true
    }

    fn grid(&self, old: &Geometry) -> Geometry {
        match (&self.grid, self.plan(old)) {
            (Some(grid), _) => grid.geometry(),
            (None, Ok(plan)) => grid::resampled(old, &plan.samplings),
            (None, Err(_)) => old.clone(),
        }
    }

    fn rule(&self) -> Option<Rule> {
        match &self.to {
            Some(Target::Archive(rule)) => Some(rule.clone()),
            Some(Target::Isotropic) | None => None,
        }
    }

    fn settled(&self, config: &Config, settled: &Settled) -> Option<(Config, Stage)> {
        let (mut config, mut resample) = (config.clone(), Self { to: None, ..self.clone() });
        match (self.rule()?, settled) {
            (Rule::Spacing(_), Settled::SpacingMm(spacing_mm)) => {
                config.insert("spacing_mm".to_owned(), json!(spacing_mm));
                resample.spacing_mm = Some(*spacing_mm);
            }
            (Rule::Like(_), Settled::Grid(grid)) => {
                config.insert("grid".to_owned(), json!(grid));
                resample.grid = Some(*grid);
            }
            _ => return None,
        }
        config.insert("to".to_owned(), Json::Null);
        Some((config, Stage::Transform(Arc::new(resample))))
    }
}
