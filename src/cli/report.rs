//! `tomoflow report`: one HTML page about what a pipeline's tables hold.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::PipelineArgs;
use crate::engine::{self, Heat, Picture, PictureBox, Status};
use crate::operators::registry::Registry;
use crate::report::{self, BoxPicture, CasePicture, HeatMap, ReportContext};

/// Cases that are shown with a picture.
const PICTURES: usize = 6;

/// Arguments of `report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The file that the page is written to; when it is left out, `report.html` in the pipeline's folder `out`.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &ReportArgs, registry: &Registry) -> ExitCode {
    let plan = match args.pipeline.load(registry) {
        Ok(plan) => plan,
        Err(problems) => return super::refuse(&problems),
    };
    let out = plan.settings.out.clone();
    let path = args.output.clone().unwrap_or_else(|| out.join("report.html"));
    let pipeline_name = plan.settings.name.clone();
    let pictures = match engine::pictures(plan, PICTURES) {
        Ok(pictures) => pictures,
        Err(error) => {
            note!("error: {error}");
            return ExitCode::from(super::run::exit_code(&error));
        }
    };
    let cases = pictures.into_iter().map(picture).collect();
    let begun = engine::begin_page(&out, &path);
    let Status { workers, gone, .. } = match Status::read(&out.join("store")) {
        Ok(status) => status.unwrap_or_default(),
        Err(error) => {
            note!("warning: the page tells of no workers: {error}");
            Status::default()
        }
    };
    match report::write(&out.join("tables"), &path, ReportContext { pipeline_name, cases, workers, gone }) {
        Ok(()) => {
            if let Err(error) = begun.and_then(|()| engine::keep_page(&out, &path)) {
                note!("how the page was written is not kept, so that `verify` cannot compare it: {error}");
            }
            super::print(format_args!("{}\n", std::fs::canonicalize(&path).unwrap_or(path).display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            note!("error: {error}");
            ExitCode::from(74)
        }
    }
}

fn picture(picture: Picture) -> CasePicture {
    let [_, spacing_h_mm, spacing_w_mm] = picture.geometry.spacing_mm();
    let name = picture.figure;
    let dice = picture.dice.map_or_else(|| format!("no {name}"), |dice| format!("{name} {dice:.3}"));
    let on_page = |own: PictureBox| BoxPicture { low: own.low, high: own.high, score: own.score };
    let split = if picture.split.is_empty() { String::new() } else { format!(", {}", picture.split) };
    CasePicture {
        caption: format!("{dice}{split}, slice {} of {}", picture.slice + 1, picture.geometry.size[0]),
        case: picture.case,
        rows: picture.geometry.size[1],
        columns: picture.geometry.size[2],
        spacing_h_mm,
        spacing_w_mm,
        pixels: picture.pixels,
        truth: picture.truth,
        prediction: picture.prediction,
        heats: picture.heats.into_iter().map(|Heat { name, shares }| HeatMap { name, shares }).collect(),
        boxes: picture.boxes.into_iter().map(on_page).collect(),
    }
}
