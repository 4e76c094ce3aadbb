//! `tomoflow export`: masks, and the maps that are kept beside them, as files for other programs; and models.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::PipelineArgs;
use crate::engine::{self, ExportOptions};
use crate::operators::registry::Registry;
use crate::operators::sinks::files::FileFormat;

/// What masks are written as.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// `.nii.gz`
    Nifti,
    /// `.seg.nrrd` with the labels' names, for 3D Slicer
    Nrrd,
    /// `.mha`
    Metaimage,
    /// DICOM SEG that refers to the scan's instances, a bit a voxel
    DicomSeg,
    /// The same with a label a voxel (of 2024; fewer programs read it)
    DicomLabelmap,
    /// RTSTRUCT: contours that refer to the scan's instances
    Rtstruct,
}

/// Arguments of `export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The folder, which is made
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// What masks are written as
    #[arg(long, value_enum, default_value_t = Format::Nifti)]
    format: Format,
    /// The stage whose masks are written, or a training, whose model is; the last one that has masks when left out
    #[arg(long)]
    stage: Option<String>,
    /// Writes the scans, too
    #[arg(long)]
    scans: bool,
}

/// Runs the command.
pub fn run(args: &ExportArgs, registry: &Registry) -> ExitCode {
    let plan = match args.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    let format = match args.format {
        Format::Nifti => FileFormat::Nifti,
        Format::Nrrd => FileFormat::Nrrd,
        Format::Metaimage => FileFormat::Metaimage,
        Format::DicomSeg => FileFormat::DicomSeg,
        Format::DicomLabelmap => FileFormat::DicomLabelmap,
        Format::Rtstruct => FileFormat::Rtstruct,
    };
    let options =
        ExportOptions { folder: args.to.clone(), format, stage: args.stage.clone(), scans: args.scans };
    match engine::export(plan, &options) {
        Ok(exported) => {
            for (case, reject) in &exported.left_out {
                note!("{case}: {reject}");
            }
            let (files, stage) = (exported.files.len(), &exported.stage);
            super::print(format_args!("{files} files of `{stage}` in {}\n", args.to.display()));
            ExitCode::from(u8::from(!exported.left_out.is_empty()))
        }
        Err(error) => {
            note!("error: {error}");
            ExitCode::from(super::run::exit_code(&error))
        }
    }
}
