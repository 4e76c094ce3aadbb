//! `tomoflow phantom`: writes a synthetic archive with truth.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::phantom::collection::write_collection;
use crate::phantom::liver::{LiverPhantom, write_cases};
use crate::phantom::pelvis::{PelvisPhantom, write_pelves};
use crate::phantom::vs::{Oracle, PhantomError, VsPhantom, oracle, write_archive};

/// The kinds of archives.
#[derive(Clone, Debug, Subcommand)]
pub enum PhantomCommand {
    /// Write T2-like MR scans of heads with a tumour like a vestibular schwannoma, and its outlines, as DICOM.
    Vs(VsArgs),
    /// Write CT-like volumes of livers with lesions, and with vessels that look like lesions in a single slice, named as
    /// LiTS names its files.
    Liver(LiverArgs),
    /// Write T2-like MR scans of pelves with bladder, prostate and rectum as NIfTI files; only some of them have labels.
    Pelvis(PelvisArgs),
}

/// Which livers to write, and where.
#[derive(Clone, Debug, Args)]
pub struct LiverArgs {
    /// The number of cases that are written.
    #[arg(long, default_value_t = 12)]
    pub cases: usize,
    /// The number of the first case.
    #[arg(long, default_value_t = 0)]
    pub first: usize,
    /// The seed of the random numbers; the same seed gives the same files.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The numbers of slices, rows and columns of each volume.
    #[arg(long, value_name = "DxHxW", default_value = "40x96x96", value_parser = parse_size)]
    pub size: [usize; 3],
    /// The number of vessels for each lesion, from 0 to 1: with 1, half of what looks like a lesion in a slice is a
    /// vessel.
    #[arg(long, default_value_t = 1.0)]
    pub hard: f64,
    /// The folder that is written to; it is created when it is absent.
    #[arg(long)]
    pub out: PathBuf,
}

/// What to write of pelves, and where.
#[derive(Clone, Debug, Args)]
pub struct PelvisArgs {
    /// The number of cases with labels to learn from.
    #[arg(long, default_value_t = 4)]
    pub labelled: usize,
    /// The number of cases with labels to choose the best epoch by.
    #[arg(long, default_value_t = 2)]
    pub validation: usize,
    /// The number of cases without labels; their true labels are written to a folder of their own.
    #[arg(long, default_value_t = 24)]
    pub unlabelled: usize,
    /// The number of cases with labels to test on.
    #[arg(long, default_value_t = 40)]
    pub test: usize,
    /// The seed of the random numbers; the same seed gives the same files.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The numbers of slices, rows and columns of each volume; every size covers the same 112 x 160 x 160 mm.
    #[arg(long, value_name = "DxHxW", default_value = "28x64x64", value_parser = parse_size)]
    pub size: [usize; 3],
    /// The folder that is written to; it is created when it is absent.
    #[arg(long)]
    pub out: PathBuf,
}

/// What to write, and where.
#[derive(Clone, Debug, Args)]
pub struct VsArgs {
    /// The number of series that are written.
    #[arg(long, default_value_t = 12)]
    pub series: usize,
    /// The number of the first series: `--series 1 --first 12` adds the 13th to an archive of 12.
    #[arg(long, default_value_t = 0)]
    pub first: usize,
    /// The seed of the random numbers; the same seed gives the same files.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// The numbers of slices, rows and columns of each scan; with fewer than 512 rows or columns it shows only the part
    /// of the head around the tumour.
    #[arg(long, value_name = "DxHxW", default_value = "60x512x512", value_parser = parse_size)]
    pub size: [usize; 3],
    /// Write two series for each patient, T1 and T2, in folders as in the TCIA collection Vestibular-Schwannoma-SEG;
    /// `--series` is then the number of patients.
    #[arg(long)]
    pub collection: bool,
    /// The distance between the voxels of a slice, in mm.
    #[arg(long, value_name = "MM", default_value_t = VsPhantom::DEFAULT.pixel_mm)]
    pub pixel_mm: f64,
    /// The difficulty of the patients, from 0 to 1: small tumours of low contrast beside nerves and vessels that a single slice
    /// cannot tell from them, blurred edges, and outlines that are not exact. The best Dice that can be reached then is printed.
    #[arg(long, value_name = "DEGREE", default_value_t = 0.0)]
    pub hard: f64,
    /// The folder that is written to; it is created when it is absent.
    #[arg(long)]
    pub out: PathBuf,
}

/// Reads `24x96x96`.
fn parse_size(text: &str) -> Result<[usize; 3], String> {
    let numbers: Option<Vec<usize>> = text.split('x').map(|number| number.parse().ok()).collect();
    numbers
        .and_then(|numbers| numbers.try_into().ok())
        .ok_or_else(|| "three numbers expected, slices x rows x columns, e.g. 24x96x96".to_owned())
}

/// Runs the command: 0, or 74 for an archive that cannot be written.
pub fn main(command: &PhantomCommand) -> ExitCode {
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note!("error: {error}");
            ExitCode::from(74)
        }
    }
}

/// Runs the command.
///
/// # Errors
/// [`PhantomError`] when the size is out of range, or a file cannot be written.
pub fn run(command: &PhantomCommand) -> Result<(), PhantomError> {
    let args = match command {
        PhantomCommand::Vs(args) => args,
        PhantomCommand::Pelvis(args) => return pelvis(args),
        PhantomCommand::Liver(args) => return livers(args),
    };
    let VsArgs { series, first, seed, size, pixel_mm, hard, .. } = *args;
    let settings = VsPhantom { series, first, seed, size, pixel_mm, hard };
    if args.collection {
        let written = write_collection(&settings, &args.out)?;
        super::print(format_args!(
            "{} patients with two series and two structure sets each in {}\n",
            written.len(),
            args.out.display()
        ));
        oracles(&settings);
        return Ok(());
    }
    let written = write_archive(&settings, &args.out)?;
    let slices: usize = written.iter().map(|series| series.slices.len()).sum();
    super::print(format_args!(
        "{} series of {slices} slices and {} structure sets in {}\n",
        written.len(),
        written.len(),
        args.out.display()
    ));
    oracles(&settings);
    Ok(())
}

/// Prints what can be reached on hard patients: how much there is to gain is known before anything is trained.
fn oracles(settings: &VsPhantom) {
    if settings.hard <= 0.0 || settings.series == 0 {
        return;
    }
    let numbers = settings.first..settings.first.saturating_add(settings.series);
    let found: Vec<Oracle> = numbers.map(|index| oracle(settings, index)).collect();
    let mean = |of: fn(&Oracle) -> f64| found.iter().map(of).sum::<f64>() / found.len() as f64;
    super::print(format_args!(
        "what can be reached in a box of 50 x 50 x 100 mm around the tumour (mean Dice with the drawn outline):\n\
         \x20 {:.3} by whoever sees all slices and knows where the tumour ends (the outlines are not exact)\n\
         \x20 {:.3} by whoever sees one slice at a time and takes all that looks like the tumour there\n\
         \x20 ({:.1} decoys beside each tumour, tumours of {:.1} mm)\n",
        mean(|one| one.with_context),
        mean(|one| one.without_context),
        mean(|one| one.decoys as f64),
        mean(|one| one.diameter_mm),
    ));
}

fn livers(args: &LiverArgs) -> Result<(), PhantomError> {
    let LiverArgs { cases, first, seed, size, hard, out } = args;
    let settings = LiverPhantom { cases: *cases, first: *first, seed: *seed, size: *size, hard: *hard };
    let written = write_cases(&settings, out)?;
    super::print(format_args!("{} volumes with a segmentation each in {}\n", written.len(), out.display()));
    Ok(())
}

fn pelvis(args: &PelvisArgs) -> Result<(), PhantomError> {
    let PelvisArgs { labelled, validation, unlabelled, test, seed, size, out } = args;
    let settings = PelvisPhantom {
        labelled: *labelled,
        validation: *validation,
        unlabelled: *unlabelled,
        test: *test,
        seed: *seed,
        size: *size,
    };
    let written = write_pelves(&settings, out)?;
    super::print(format_args!(
        "{} scans in {}, {} of them without labels; who is for what is in split.csv\n",
        written.len(),
        out.display(),
        unlabelled
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(subcommand)]
        command: PhantomCommand,
    }

    #[test]
    fn the_command_line_is_an_archive() {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().to_str().unwrap();
        let line = ["phantom", "vs", "--series", "1", "--first", "4", "--size", "4x16x24", "--out", path];
        run(&CommandLine::try_parse_from(line).unwrap().command).unwrap();
        let files = std::fs::read_dir(out.path()).unwrap().count();
        assert_eq!(files, 5);
        let line = ["phantom", "liver", "--cases", "1", "--size", "8x48x48", "--hard", "0.5", "--out", path];
        run(&CommandLine::try_parse_from(line).unwrap().command).unwrap();
        assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 7);
    }

    #[test]
    fn pelves_are_as_many_as_asked_for() {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().to_str().unwrap();
        let counts = ["--labelled", "1", "--validation", "0", "--unlabelled", "2", "--test", "1"];
        let line = ["phantom", "pelvis", "--size", "7x16x16", "--out", path].into_iter().chain(counts);
        run(&CommandLine::try_parse_from(line).unwrap().command).unwrap();
        let files = |below: &str| std::fs::read_dir(out.path().join(below)).unwrap().count();
        assert_eq!(["images", "labels", "hidden"].map(files), [4, 2, 2]);
    }

    #[test]
    fn sizes_that_make_no_sense_are_refused() {
        for size in ["96x96", "24x96x", "axbxc", "24x96x96x1"] {
            assert!(CommandLine::try_parse_from(["phantom", "vs", "--out", "a", "--size", size]).is_err());
        }
        let line = ["phantom", "vs", "--out", "a", "--size", "1x96x96"];
        let error = run(&CommandLine::try_parse_from(line).unwrap().command).unwrap_err();
        assert!(error.to_string().contains("hint: the order is slices"), "{error}");
    }
}
