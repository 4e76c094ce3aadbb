//! Workers that come and go: processes that take actions of a run for as long as they live.
//!
//! The run listens, and whoever proves that it knows the same secret, is of the same version, would do the same and sees
//! the same files, or is sent them, is given actions under leases ([`board`]). Only the driver of process 0 hands them out.

mod board;
mod call;
mod certificates;
mod duties;
mod gate;
mod member;
mod place;
mod sight;
mod supply;
mod talk;
mod wire;
mod words;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use certificates::Certificates;
pub use gate::Gate;
pub use place::Workers;
pub use work::{Joined, work};

use self::board::Board;
use self::gate::Task;
use self::place::{Own, Wanted};
use self::sight::Sight;
use self::words::Offer;
use super::Agreement;
use crate::executor::{Context, Executor};
use crate::networks::Device;
use crate::operators::cases::rule::Settled;
use crate::store::StoreError;

/// The number of beats in the time for which a worker may be silent.
const BEATS: u32 = 5;

/// How a run takes workers.
#[derive(Clone, Debug)]
pub struct Listening {
    /// `host:port` where they call.
    pub address: String,
    /// The file that holds what they and the run know.
    pub token: Option<PathBuf>,
    /// The certificates by which it and the workers prove themselves; links are encrypted then, and clear without.
    pub certificates: Option<Certificates>,
    /// Whether the run's own machine does actions as well.
    pub local: bool,
    /// The time for which a worker may be silent before its actions are given to others.
    pub silence: Duration,
    /// Whether workers that do not see the run's files are sent what they need.
    pub send: bool,
    /// The pipeline as one text, which means the same in any folder.
    pub text: String,
}

impl Listening {
    /// The time for which a worker may be silent unless the user says otherwise.
    pub const SILENCE: Duration = Duration::from_secs(6);

    fn beat(&self) -> Duration {
        (self.silence / BEATS).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }
}

impl Gate {
    /// Lets workers take part in what a context's plan asks for. `device` is that of this machine, if the one that the
    /// pipeline asks for is there.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn begin_with(
        &self,
        context: &Context,
        settled: &[(usize, Settled)],
        executor: &Executor,
        device: Option<Device>,
    ) -> Result<Workers, StoreError> {
        let settings = &context.plan.settings;
        let sight = Sight::new(&context.plan)
            .map_err(|source| StoreError::Io { path: settings.out.join("store"), source })?;
        let Listening { local, silence, text, .. } = &self.listening;
        let board = Board::new(
            executor.reporter(),
            context.artifacts.clone(),
            *silence,
            *local,
            self.departed.clone(),
        );
        let board = Arc::new(board);
        let offer = Offer {
            text: text.clone(),
            file: settings.file.clone(),
            out: settings.out.clone(),
            agreement: Agreement::alone(&context.plan),
            settled: settled.to_vec(),
            device: settings.device.clone(),
            memory_bytes: settings.memory_bytes,
            sight: sight.question(),
            beat_ms: u64::try_from(self.beat().as_millis()).unwrap_or(1000),
        };
        self.begin(Task { offer, board: board.clone(), sight });
        let own = Own {
            threads: if *local { executor.threads() } else { 0 },
            gpu: device.is_some_and(Device::is_gpu),
            networks: device.is_some(),
        };
        Ok(Workers::new(board, Wanted::of(&settings.device), own))
    }
}
