//! What `examples/cluster` says of workers, tried as far as one machine without a cluster goes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;

/// Stands for Slurm's own: it drops its options, and does the rest.
const SRUN: &str = "#!/bin/sh\nwhile [ \"${1#-}\" != \"$1\" ]; do shift; done\nexec \"$@\"\n";
/// Gives the commands of all containers of a file of manifests as JSON, once each document has its kind and its name.
const COMMANDS: &str = "
import json, sys, yaml
documents = list(yaml.safe_load_all(open(sys.argv[1])))
assert documents and all(d['kind'] and d['apiVersion'] and d['metadata']['name'] for d in documents), documents
pods = [d['spec']['template']['spec'] for d in documents if 'template' in d.get('spec', {})]
print(json.dumps([c['command'] + c['args'] for pod in pods for c in pod['containers']]))
";

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cluster")
}

/// Returns a folder in which commands are found before the system's: `srun`, and the program that is tested.
fn cluster(place: &Workplace) -> PathBuf {
    let folder = place.path().join("bin");
    std::fs::create_dir(&folder).unwrap();
    let srun = folder.join("srun");
    std::fs::write(&srun, SRUN).unwrap();
    std::fs::set_permissions(&srun, std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink(env!("CARGO_BIN_EXE_tomoflow"), folder.join("tomoflow")).unwrap();
    folder
}

#[test]
fn a_job_array_works_for_a_run() {
    let place = Workplace::new(3);
    let expected = place.anew();
    let token = place.path().join("token");
    std::fs::write(&token, "a token of one cluster alone\n").unwrap();
    let token = token.to_str().unwrap();
    let mut crew = Crew::start(&place, &["--no-local", "--token-file", token]);
    let path = format!("{}:{}", cluster(&place).display(), std::env::var("PATH").unwrap_or_default());
    let mut tasks: Vec<Running> = (1..=2)
        .map(|task: u32| {
            let mut job = Command::new("bash");
            job.arg(examples().join("workers.sbatch")).args([&crew.address, token]);
            job.env("PATH", &path).env("OMP_NUM_THREADS", "1").env("MKL_NUM_THREADS", "1");
            job.env("SLURM_CPUS_PER_TASK", "1").env("SLURM_JOB_ID", "70");
            job.env("SLURM_ARRAY_JOB_ID", "7").env("SLURM_ARRAY_TASK_ID", task.to_string());
            job.env_remove("TOMOFLOW_SECRET").env_remove("TOMOFLOW_POINT").env("RUST_LOG", "info");
            job.stdin(Stdio::null()).stdout(Stdio::null());
            spawn(&place, job, &format!("slurm-7-{task}"))
        })
        .collect();
    assert_eq!(crew.summary()["actions_run"], 9);
    assert_same(&place.tables(), &expected, "by a job array");
    let said = crew.run.said();
    assert!(said.contains("the worker `slurm-7-1`") || said.contains("the worker `slurm-7-2`"), "{said}");
    // A task that came when all was done waits for the next run; the others end with theirs.
    let gone = status(&place)["gone"]["last"].as_array().unwrap().clone();
    for worker in &gone {
        let task = worker["name"].as_str().unwrap().rsplit('-').next().unwrap().parse::<usize>().unwrap();
        assert_eq!(tasks[task - 1].ends(), Some(0), "{}", tasks[task - 1].said());
    }
    assert!(!gone.is_empty());
}

#[test]
fn scripts_and_units_are_what_the_program_takes() {
    let mut seen = 0;
    for file in std::fs::read_dir(examples()).unwrap().map(|entry| entry.unwrap().path()) {
        let text = std::fs::read_to_string(&file).unwrap();
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sbatch") => {
                let checked = Command::new("bash").arg("-n").arg(&file).output().unwrap();
                let said = String::from_utf8_lossy(&checked.stderr);
                assert!(checked.status.success() && said.is_empty(), "{}: {said}", file.display());
            }
            Some("service") => {
                let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
                let line = line.replace("/usr/local/bin/tomoflow", "\"$TOMOFLOW\"").replace("%i", "0");
                takes(Command::new("sh").args(["-c", &format!("{line} --help")]), &file);
            }
            _ => continue,
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen} files");
}

#[test]
fn manifests_are_what_the_program_takes() {
    let has = Command::new("python3").args(["-c", "import yaml"]).output();
    if !has.is_ok_and(|output| output.status.success()) {
        println!("skipped: python3 with its `yaml` expected, none is to be had");
        return;
    }
    for name in ["workers.yaml", "tomoflow.yaml"] {
        let file = examples().join(name);
        let output = Command::new("python3").args(["-c", COMMANDS]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let commands: Vec<Vec<String>> = serde_json::from_slice(&output.stdout).unwrap();
        assert!(!commands.is_empty(), "{name}");
        // What goes through a shell there is not taken apart here.
        for command in commands.iter().filter(|command| command[0] == "tomoflow") {
            let mut program = Command::new(env!("CARGO_BIN_EXE_tomoflow"));
            takes(program.args(&command[1..]).arg("--help"), &file);
        }
    }
}

/// Asserts that the program knows all options of a command that asks for its help in the end.
fn takes(command: &mut Command, file: &Path) {
    let output = command.env("TOMOFLOW", env!("CARGO_BIN_EXE_tomoflow")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{}: {said}", file.display());
    assert!(String::from_utf8_lossy(&output.stdout).contains("Usage:"), "{}", file.display());
}
