//! One who works for a run: what it said of itself, what it has, and what is to be sent to it.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Instant;

use crossbeam_channel::Sender;
use tomoflow_connectors::dicom::FileStat;

use super::words::{Join, Pulse, ToWorker, What};
use crate::engine::status::WorkerStatus;

/// One who works for the run.
pub struct Member {
    /// What it said of itself.
    pub join: Join,
    /// The address from which it called.
    pub address: String,
    /// Whether its device is a GPU.
    pub gpu: bool,
    /// Whether it sees the run's files, so that nothing has to be sent.
    pub sees: bool,
    pub(super) outbox: Sender<ToSend>,
    pub(super) stream: TcpStream,
    pub(super) heard: Instant,
    pub(super) silent: bool,
    pub(super) leaving: bool,
    pub(super) failing: u32,
    pub(super) rests_until: Option<Instant>,
    /// Its leases: bytes each needs, and whether it needs the device.
    pub(super) leases: BTreeMap<u64, (u64, bool)>,
    pub(super) done: u64,
    /// Actions that it was given although another had them.
    pub(super) twice: u64,
    pub(super) pulse: Pulse,
}

/// What is to be sent to a worker.
#[derive(Clone, Debug)]
pub enum ToSend {
    /// A message.
    Said(ToWorker),
    /// A file that was asked for under a lease: where it lies, and what it was when it was indexed, if it was.
    File {
        /// The lease.
        lease: u64,
        /// What was asked for.
        what: What,
        /// The path of the file.
        path: PathBuf,
        /// A source's file must still be this one.
        indexed: Option<FileStat>,
    },
}

impl Member {
    /// Returns a member of whom something was heard just now.
    pub fn new(join: Join, address: String, sees: bool, outbox: Sender<ToSend>, stream: TcpStream) -> Self {
        Self {
            gpu: join.device != "cpu",
            join,
            address,
            sees,
            outbox,
            stream,
            heard: Instant::now(),
            silent: false,
            leaving: false,
            failing: 0,
            rests_until: None,
            leases: BTreeMap::new(),
            done: 0,
            twice: 0,
            pulse: Pulse::default(),
        }
    }

    /// Whether it may be given something now.
    pub fn may(&self) -> bool {
        let rests = self.rests_until.is_some_and(|until| until > Instant::now());
        !(self.silent || self.leaving || rests)
    }

    /// Returns what `status` shows of it.
    pub fn status(&self) -> WorkerStatus {
        WorkerStatus {
            name: self.join.name.clone(),
            address: self.address.clone(),
            device: self.join.device.clone(),
            threads: self.join.threads,
            memory_bytes: self.join.memory_bytes,
            running: self.leases.len(),
            done: self.done,
            twice: self.twice,
            held_bytes: self.pulse.held_bytes,
            read_bytes: self.pulse.read_bytes,
            silent_s: self.silent.then(|| self.heard.elapsed().as_secs_f64()),
            leaving: self.leaving,
            lost: None,
            trainings: self.pulse.trainings.clone(),
        }
    }

    /// Leases for the CPU or for the device.
    pub fn busy(&self, device: bool) -> usize {
        self.leases.values().filter(|(_, of)| *of == device).count()
    }

    /// Bytes that its leases need.
    pub fn needed(&self) -> u64 {
        self.leases.values().fold(0, |sum, (bytes, _)| sum.saturating_add(*bytes))
    }

    /// Has something said to it.
    pub fn say(&self, said: ToWorker) {
        // Its listener finds out that it is gone.
        drop(self.outbox.send(ToSend::Said(said)));
    }

    /// The member as logs name it.
    pub fn named(&self) -> String {
        format!("the worker `{}` at {}", self.join.name, self.address)
    }
}
