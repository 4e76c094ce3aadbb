//! Cases and a library of atlases to masks.

mod fuse;

use serde::Deserialize;

pub use fuse::{Atlas, Fuse, Fusion, Library, Registration};

use crate::operators::registry::{Entry, Stage};
use crate::operators::spec::{
    Aspects, Config, Default, Field, FieldKind, FieldProblem, Kind, Output, Port, Role, Section, Spec,
};
use crate::voxels::register::Demons;

const LENGTH: FieldKind = FieldKind::Number { min: 0.0, max: 100.0, unit: "mm" };
const WEIGHT: FieldKind = FieldKind::Number { min: 0.0, max: 1000.0, unit: "" };

const PATCH: Field = Field::semantic(
    "patch_mm",
    LENGTH,
    "2.0",
    "How far a patch reaches from its middle along each axis, at least a voxel.",
);
const SEARCH: Field = Field::semantic(
    "search_mm",
    LENGTH,
    "3.0",
    "How far from the voxel's place an atlas's patch may lie along each axis, at least a voxel.",
);

const FUSIONS: &[(&str, &[Field])] = &[
    ("majority", &[]),
    (
        "joint",
        &[
            PATCH,
            SEARCH,
            Field::semantic(
                "alpha",
                FieldKind::Number { min: 1e-9, max: 1000.0, unit: "" },
                "0.1",
                "The number that is added to what an atlas errs with itself.",
            ),
            Field::semantic(
                "beta",
                FieldKind::Number { min: 0.0, max: 16.0, unit: "" },
                "2.0",
                "The power of what two atlases err together.",
            ),
        ],
    ),
    (
        "sparse",
        &[
            PATCH,
            SEARCH,
            Field::semantic(
                "candidates",
                FieldKind::Integer { min: 1, max: 10_000 },
                "40",
                "The most patches of all atlases that a voxel's patch is made of: those that correlate best.",
            ),
            Field::semantic(
                "l1",
                WEIGHT,
                "0.1",
                "The weight of the sum of all weights, by which few are above 0.",
            ),
            Field::semantic(
                "l2",
                FieldKind::Number { min: 1e-9, max: 1000.0, unit: "" },
                "0.01",
                "The weight of half the sum of their squares, by which patches that are alike share.",
            ),
        ],
    ),
];

const DEMONS: &[Field] = &[
    Field::semantic(
        "levels",
        FieldKind::Integer { min: 1, max: 8 },
        "3",
        "The number of levels of voxels, each twice as wide as the next.",
    ),
    Field::semantic(
        "iterations",
        FieldKind::Integer { min: 1, max: 10_000 },
        "30",
        "The most iterations of a level; it ends where five of them change next to nothing.",
    ),
    Field::semantic(
        "fluid",
        FieldKind::Number { min: 0.0, max: 20.0, unit: "voxels" },
        "1.0",
        "The standard deviation by which each change of the field is smoothed.",
    ),
    Field::semantic(
        "diffusion",
        FieldKind::Number { min: 0.0, max: 20.0, unit: "voxels" },
        "1.5",
        "The standard deviation by which the field is smoothed after each change.",
    ),
];

/// The declaration of the type `fuse_atlases`.
pub static SPEC: Spec = Spec {
    name: "fuse_atlases",
    section: Section::Operators,
    summary: "Segments scans with atlases: each is registered to the scan, and their labels are fused.",
    doc: "Each atlas of the library is brought to the scan by an affine map (twelve parameters, by which intensities \
          correlate best; in voxels of about 8, 4 and 2 mm), in mm of patient space. Those `most` atlases whose \
          correlation is highest are then deformed by demons (symmetric forces, the field smoothed after each \
          change), and their labels are carried over by the nearest voxel.\n\n\
          | fusion | a voxel's label |\n\
          | --- | --- |\n\
          | `majority` | that of the most atlases, of equal ones the lower |\n\
          | `joint` | every patch that holds the voxel votes, each atlas by a weight that falls with what it errs together \
          with others there: `(M + alpha I)⁻¹ 1` with `M_ij = (Σ abs(d_i) abs(d_j) / (n − 1))^beta` for the \
          differences d of patches after their mean and deviation, each atlas's at the best place within `search_mm` \
          (Wang et al. 2013) |\n\
          | `sparse` | that for which the patches say most that the scan's patch is made of: the weights β ≥ 0 minimise \
          `½ abs(f − F β)² + l1 Σβ + ½ l2 Σβ²` over atlases' patches F within `search_mm` |\n\n\
          Where atlases and the places that are searched hold one label, it stands. An atlas has no vote where it does not \
          reach, and where none reaches is background. An atlas that is the case itself takes no part, so that figures of \
          atlases are of the others. One that cannot be registered (`NO_OVERLAP`, `UNALIKE`, `FOLDED`, …) is left out \
          and told as `ATLASES_LEFT_OUT`; without any the case is refused as `NO_ATLAS`. Of several channels the first is \
          registered. The same library and scan give the same mask on any number of threads.",
    version: 1,
    inputs: &[Port { name: "cases", accepts: &[Kind::Scan, Kind::Case], many: false }],
    output: Output::Is(Kind::Masks),
    aspects: Aspects::Labels,
    fields: &[
        Field {
            name: "atlases",
            kind: FieldKind::Stage(Kind::Atlases),
            default: Default::Required,
            role: Role::Semantic,
            doc: "The stage that gives the library.",
        },
        Field::semantic(
            "registration",
            FieldKind::Choice(&["none", "affine", "demons"]),
            "\"demons\"",
            "How an atlas is brought to the scan: as both lie in patient space, by an affine map, or by demons behind it.",
        ),
        Field::semantic(
            "demons",
            FieldKind::Table(DEMONS),
            r#"{"levels":3,"iterations":30,"fluid":1.0,"diffusion":1.5}"#,
            "How long demons run, and how smooth their field is.",
        ),
        Field::semantic(
            "most",
            FieldKind::Integer { min: 1, max: 1000 },
            "10",
            "The most atlases that take part: those whose correlation is highest after the affine map.",
        ),
        Field::semantic(
            "fusion",
            FieldKind::Tagged(FUSIONS),
            r#"{"type":"majority"}"#,
            "How the atlases' labels are put together.",
        ),
    ],
};

/// The registry's entry.
pub const ENTRY: Entry = Entry { spec: &SPEC, build };

#[derive(Deserialize)]
struct Declared {
    registration: Registration,
    demons: DeclaredDemons,
    most: usize,
    fusion: Fusion,
}

#[derive(Deserialize)]
struct DeclaredDemons {
    levels: usize,
    iterations: usize,
    fluid: f64,
    diffusion: f64,
}

fn build(config: &Config) -> Result<Stage, Vec<FieldProblem>> {
    let Declared { registration, demons, most, fusion } = crate::operators::read_config(config)?;
    let DeclaredDemons { levels, iterations, fluid, diffusion } = demons;
    let demons = Demons { levels, iterations, fluid, diffusion };
    Ok(Stage::Fuse(Fuse { registration, demons, most, fusion }))
}

#[cfg(test)]
mod tests;
