//! `tomoflow export`: masks, and the maps that are kept beside them, as files for other programs; and models.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::PipelineArgs;
use crate::engine::{self, ExportOptions};
use crate::operators::registry::Registry;
use crate::operators::sinks::files::FileFormat;

/// The format of mask files.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// NIfTI, `.nii.gz`
    Nifti,
    /// NRRD, `.seg.nrrd` with the labels' names, for 3D Slicer
    Nrrd,
    /// MetaImage, `.mha`
    Metaimage,
    /// DICOM SEG that refers to the scan's instances, with one bit for each voxel of each label
    DicomSeg,
    /// DICOM SEG with one label for each voxel (label maps came into DICOM in 2024, and fewer programs read them)
    DicomLabelmap,
    /// RTSTRUCT, whose contours refer to the scan's instances
    Rtstruct,
    /// nnU-Net's raw layout: `imagesTr`, `labelsTr` and `dataset.json`, with the labels of the cases, or the masks of
    /// `--stage`; scans without labels go to `imagesTs`
    Nnunet,
    /// Boxes as `STAGE.csv`, one line for each, with columns as in DeepLesion's `DL_info.csv`: `File_name`, `Key_slice_index`, `Bounding_boxes`
    /// (first and last pixels, counted from 1), `Class` and `Score`
    Boxes,
}

/// Arguments of `export`.
#[derive(Args, Debug)]
pub struct ExportArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The folder that is written to; it is created when it is absent
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// The format of the files that are written
    #[arg(long, value_enum, default_value_t = Format::Nifti)]
    format: Format,
    /// The stage whose masks are written, or the training whose model is written; when it is left out, the last stage
    /// that has masks (with `--format nnunet`, the labels of the cases)
    #[arg(long)]
    stage: Option<String>,
    /// Write the scans beside their masks
    #[arg(long)]
    scans: bool,
    /// Leave out everything that names a patient: DICOM attributes by the basic application confidentiality profile of
    /// PS3.15, and files are named by pseudonyms. Pixels stay as they are: a face, or text in a scan, may still be
    /// recognised
    #[arg(long)]
    deidentify: bool,
}

/// Runs the command.
pub fn run(args: &ExportArgs, registry: &Registry) -> ExitCode {
    let plan = match args.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    let format = match args.format {
        // Scans are its own, and written as NIfTI.
        Format::Nnunet | Format::Nifti | Format::Boxes => FileFormat::Nifti,
        Format::Nrrd => FileFormat::Nrrd,
        Format::Metaimage => FileFormat::Metaimage,
        Format::DicomSeg => FileFormat::DicomSeg,
        Format::DicomLabelmap => FileFormat::DicomLabelmap,
        Format::Rtstruct => FileFormat::Rtstruct,
    };
    let options = ExportOptions {
        folder: args.to.clone(),
        format,
        stage: args.stage.clone(),
        scans: args.scans,
        deidentify: args.deidentify,
    };
    let exported = match args.format {
        Format::Nnunet => engine::export_nnunet(plan, &options),
        Format::Boxes => engine::export_boxes(plan, &options),
        _ => engine::export(plan, &options),
    };
    match exported {
        Ok(exported) => {
            for line in &exported.notes {
                note!("warning: {line}");
            }
            for (case, reject) in &exported.left_out {
                note!("{case}: {reject}");
            }
            let (files, stage) = (exported.files.len(), &exported.stage);
            super::print(format_args!("{files} files of `{stage}` in {}\n", args.to.display()));
            if args.deidentify {
                note!(
                    "warning: nobody has looked at the pixels: masks may trace text that is burnt into a scan, and scans may \
                     show it, or a face\nhint: look at the files before they are handed on"
                );
            }
            ExitCode::from(u8::from(!exported.left_out.is_empty()))
        }
        Err(error) => {
            note!("error: {error}");
            ExitCode::from(super::run::exit_code(&error))
        }
    }
}
