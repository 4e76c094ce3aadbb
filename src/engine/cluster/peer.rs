//! A process that is not the first: it steps its share of the dataflow, and does the actions it is given.

use std::collections::{HashMap, VecDeque};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use tomoflow_connectors::Digest;

use super::link::Link;
use super::links::{Links, Peer, meet};
use super::message::{FromPeer, ToPeer, hear};
use super::packed::Packed;
use super::{Agreement, Cluster, ClusterError};
use crate::engine::control::Control;
use crate::engine::error::RunError;
use crate::engine::options::Options;
use crate::engine::rules::Rules;
use crate::engine::session;
use crate::executor::{Context, Executor, Finished, Job};
use crate::networks;
use crate::pipeline::Plan;
use crate::store::Artifacts;

/// Takes part in a run that process 0 drives, until that one says that there is no more.
///
/// # Errors
/// When the processes do not agree, or process 0 is gone.
pub fn join(plan: Plan, options: &Options, cluster: &Cluster) -> Result<(), RunError> {
    let mut plan = session::at_home(plan)?;
    let device = networks::device(&plan.settings.device)?;
    let settings = session::executor_settings(&plan, options, device);
    let out = plan.settings.out.clone();
    let Links { rows, mut work, pulse: _pulse } =
        meet(cluster, &Agreement::of(&plan, cluster), settings.threads, &out)?;
    let Some(first) = work.pop() else { return Ok(()) };
    let said = hear_first(&first)?;
    if !Rules::of(&plan).is_empty() {
        let lost = |_| ClusterError::Lost { process: 0, host: first.host.clone() };
        let ToPeer::Settled(all) = said.recv().map_err(lost)? else { return Ok(()) };
        all.iter().for_each(|(stage, settled)| plan.settle(*stage, settled));
    }
    let plan = Arc::new(plan);
    let context = Context {
        plan: plan.clone(),
        artifacts: Artifacts::new(&plan.settings.out.join("store")),
        // The context looks nothing up: each job brings what it needs.
        lookup: std::sync::Weak::<Packed>::new(),
        bytes_read: Arc::default(),
        told: Arc::default(),
        unknown: None,
    };
    let executor = Executor::start(context, settings).map_err(RunError::Threads)?;
    let control = Control::connect(plan, cluster, rows)?;
    let result = work_for(first, &said, executor, options);
    drop(control);
    result
}

/// A process's work: jobs that wait for room, and those under way.
struct Work {
    executor: Executor,
    waiting: VecDeque<Job>,
    under_way: HashMap<Digest, Arc<AtomicBool>>,
}

/// Returns what process 0 says, heard from now on.
fn hear_first(first: &Peer) -> Result<Receiver<ToPeer>, RunError> {
    let (to_us, said) = bounded(64);
    let link = first.link.clone();
    let mut hearing = link.hearing().map_err(|source| ClusterError::Link { process: 0, source })?;
    std::thread::Builder::new()
        .name("first".to_owned())
        .spawn(move || listen(&mut hearing, &link, &to_us))
        .map_err(RunError::Threads)?;
    Ok(said)
}

fn work_for(
    first: Peer,
    said: &Receiver<ToPeer>,
    executor: Executor,
    options: &Options,
) -> Result<(), RunError> {
    let Peer { link, host, .. } = first;
    let broken = |source| RunError::from(ClusterError::Link { process: 0, source });
    let finished = executor.finished().clone();
    let mut work = Work { executor, waiting: VecDeque::new(), under_way: HashMap::new() };
    let mut told_to_stop = false;
    loop {
        work.executor.give_up().map_err(RunError::Threads)?;
        work.dispatch();
        match next(said, &finished) {
            Some(Event::Said(ToPeer::End)) => break,
            Some(Event::Said(message)) => work.hear(message),
            Some(Event::Gone) => return Err(ClusterError::Lost { process: 0, host }.into()),
            Some(Event::Finished(ended)) => {
                let Finished { action, recorded } = *ended;
                work.under_way.remove(&action.key);
                work.executor.ended(&action);
                link.say(&FromPeer::Finished(Box::new((action, recorded)))).map_err(broken)?;
            }
            None => {}
        }
        if options.told_to_stop() && !told_to_stop {
            told_to_stop = true;
            link.say(&FromPeer::Stop).map_err(broken)?;
        }
    }
    work.under_way.values().for_each(|cancelled| cancelled.store(true, Ordering::Relaxed));
    Ok(())
}

impl Work {
    fn hear(&mut self, message: ToPeer) {
        match message {
            ToPeer::Job(job) => {
                let (action, packed) = *job;
                let cancelled = Arc::new(AtomicBool::new(false));
                self.under_way.insert(action.key, cancelled.clone());
                self.waiting.push_back(Job { action, cancelled, lookup: Some(Arc::new(packed)) });
            }
            ToPeer::Cancel(key) => {
                if let Some(cancelled) = self.under_way.get(&key) {
                    cancelled.store(true, Ordering::Relaxed);
                }
            }
            ToPeer::Welcome | ToPeer::Settled(_) | ToPeer::Refused(_) | ToPeer::End | ToPeer::Beat(_) => {}
        }
    }

    /// Hands on what there is room for; what needs the device must not hold up the rest.
    fn dispatch(&mut self) {
        for _ in 0..self.waiting.len() {
            let Some(job) = self.waiting.pop_front() else { return };
            if let Err(job) = self.executor.submit(job) {
                self.waiting.push_back(*job);
            }
        }
    }
}

enum Event {
    Said(ToPeer),
    Gone,
    Finished(Box<Finished>),
}

fn next(said: &Receiver<ToPeer>, finished: &Receiver<Finished>) -> Option<Event> {
    select! {
        recv(said) -> message => Some(message.map_or(Event::Gone, Event::Said)),
        recv(finished) -> ended => ended.ok().map(|ended| Event::Finished(Box::new(ended))),
        default(Duration::from_millis(100)) => None,
    }
}

fn listen(hearing: &mut TcpStream, link: &Link, to_us: &Sender<ToPeer>) {
    let mut silent = Vec::new();
    link.heard();
    while let Ok(message) = hear(hearing) {
        link.heard();
        if let ToPeer::Beat(now) = message {
            if now != silent {
                tell(&now);
            }
            silent = now;
            continue;
        }
        if to_us.send(message).is_err() {
            return;
        }
    }
}

/// Names processes of which process 0 hears nothing.
fn tell(silent: &[usize]) {
    match silent {
        [] => tracing::warn!("process 0 hears of all others again"),
        silent => {
            let numbers: Vec<String> = silent.iter().map(ToString::to_string).collect();
            tracing::warn!("process 0 hears nothing of process {}: it is waited for", numbers.join(", "));
        }
    }
}
