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
    "The distance, in mm, that a patch reaches from its middle along each axis; at least one voxel.",
);
const SEARCH: Field = Field::semantic(
    "search_mm",
    LENGTH,
    "3.0",
    "The greatest distance, in mm, of an atlas's patch from the voxel's place along each axis; at least one \
     voxel.",
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
                "The number α that is added to the diagonal of `M`, the errors of each atlas with itself.",
            ),
            Field::semantic(
                "beta",
                FieldKind::Number { min: 0.0, max: 16.0, unit: "" },
                "2.0",
                "The exponent β of the joint errors of two atlases in `M`.",
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
                "The greatest number of patches, of all atlases together, from which a voxel's patch is \
                 composed: those that correlate best.",
            ),
            Field::semantic(
                "l1",
                WEIGHT,
                "0.1",
                "The weight of the L1 term `Σβ`; the greater it is, the fewer patches take part.",
            ),
            Field::semantic(
                "l2",
                FieldKind::Number { min: 1e-9, max: 1000.0, unit: "" },
                "0.01",
                "The weight of the L2 term `½ Σβ²`; the greater it is, the more evenly similar patches share \
                 the weight.",
            ),
        ],
    ),
];

const DEMONS: &[Field] = &[
    Field::semantic(
        "levels",
        FieldKind::Integer { min: 1, max: 8 },
        "3",
        "The number of resolution levels; the voxels of each are twice as wide as those of the next.",
    ),
    Field::semantic(
        "iterations",
        FieldKind::Integer { min: 1, max: 10_000 },
        "30",
        "The greatest number of iterations on a level; a level ends earlier when five iterations have \
         changed next to nothing.",
    ),
    Field::semantic(
        "fluid",
        FieldKind::Number { min: 0.0, max: 20.0, unit: "voxels" },
        "1.0",
        "The standard deviation, in voxels, of the Gaussian that smooths each change of the field.",
    ),
    Field::semantic(
        "diffusion",
        FieldKind::Number { min: 0.0, max: 20.0, unit: "voxels" },
        "1.5",
        "The standard deviation, in voxels, of the Gaussian that smooths the field after each change.",
    ),
];

/// The declaration of the type `fuse_atlases`.
pub static SPEC: Spec = Spec {
    name: "fuse_atlases",
    section: Section::Operators,
    summary: "Segments scans with atlases: each is registered to the scan, and their labels are fused.",
    doc: "Each atlas of the library is registered to the scan in patient space by an affine map, whose \
          twelve parameters maximise the correlation of intensities (in voxels of about 8, 4 and 2 mm). The \
          `most` atlases with the highest correlation are then deformed by demons (symmetric forces; the \
          field is smoothed after each iteration), and their labels are carried over by the nearest \
          voxel.\n\n\
          | fusion | a voxel's label |\n\
          | --- | --- |\n\
          | `majority` | the label of the most atlases, the lower one of equally frequent labels |\n\
          | `joint` | the label with the most votes of all patches that hold the voxel; an atlas has less weight the more its errors there agree with those of others: `(M + alpha I)⁻¹ 1` with `M_ij = (Σ abs(d_i) abs(d_j) / (n − 1))^beta` for the differences d of patches after their mean and deviation, each atlas's at the best place within `search_mm` (Wang et al. 2013) |\n\
          | `sparse` | that for which the patches say most that the scan's patch is made of: the weights β ≥ 0 minimise `½ abs(f − F β)² + l1 Σβ + ½ l2 Σβ²` over atlases' patches F within `search_mm` |\n\n\
          Where all atlases, at all places that are searched, hold the same label, that label is taken. An \
          atlas has no vote where it does not cover the scan; voxels that no atlas covers are background. A \
          case that is itself an atlas is segmented by the other atlases. An atlas that cannot be registered \
          (`NO_OVERLAP`, `UNALIKE`, `FOLDED`, …) is left out and reported as `ATLASES_LEFT_OUT`; a case \
          without any atlas is refused as `NO_ATLAS`. If scans have several channels, the first one is \
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
            doc: "The stage of type `atlases` that gives the library.",
        },
        Field::semantic(
            "registration",
            FieldKind::Choice(&["none", "affine", "demons"]),
            "\"demons\"",
            "The registration of an atlas to the scan: none, so that both stay where they lie in patient \
             space (`none`); an affine map (`affine`); or an affine map followed by demons (`demons`).",
        ),
        Field::semantic(
            "demons",
            FieldKind::Table(DEMONS),
            r#"{"levels":3,"iterations":30,"fluid":1.0,"diffusion":1.5}"#,
            "The settings of demons: their levels and iterations, and the smoothing of the field.",
        ),
        Field::semantic(
            "most",
            FieldKind::Integer { min: 1, max: 1000 },
            "10",
            "The greatest number of atlases that are fused: those with the highest correlation after the \
             affine map.",
        ),
        Field::semantic(
            "fusion",
            FieldKind::Tagged(FUSIONS),
            r#"{"type":"majority"}"#,
            "The way in which the atlases' labels are fused.",
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
