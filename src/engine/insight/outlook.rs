//! Where a pipeline stands, on a copy of what its store knows: nothing is run, and nothing under `out` changes.

use std::sync::Arc;

use crate::engine::archive::{Accept, Archive, Change};
use crate::engine::control::Control;
use crate::engine::driver::Driver;
use crate::engine::error::RunError;
use crate::engine::options::Options;
use crate::engine::outputs::identity::Identity;
use crate::engine::rules::Rules;
use crate::engine::session;
use crate::executor::Context;
use crate::networks::MapKinds;
use crate::operators::registry::Stage;
use crate::pipeline::Plan;
use crate::store::Store;

/// A pipeline whose sources were looked at, with all that follows from them.
pub struct Outlook {
    /// The pipeline.
    pub plan: Arc<Plan>,
    /// The copy.
    pub store: Arc<Store>,
    /// What would be given to actions.
    pub context: Context,
    /// How identifiers are shown.
    pub identity: Identity,
    /// What is wanted and desired.
    pub driver: Driver,
    /// What the sources hold.
    pub archive: Archive,
    /// Files that were read, since they are new or have changed.
    pub files_read: usize,
    /// What rules over the archive are settled on, where that is news.
    pub notes: Vec<String>,
    /// What sources ask for and is not there, what `where` leaves out, and labels that belong to no scan.
    pub unmatched: Vec<String>,
    /// What was left out below the sources, could not be read, or counts although it is gone.
    pub told: Vec<String>,
}

impl Outlook {
    /// Looks at all sources.
    ///
    /// # Errors
    /// When a source cannot be read.
    pub fn of(plan: Plan, options: &Options) -> Result<Self, RunError> {
        Self::accepting(plan, options, &options.accept())
    }

    fn accepting(plan: Plan, options: &Options, accept: &Accept) -> Result<Self, RunError> {
        let store = Arc::new(Store::glance(&plan.settings.out)?);
        let mut rules = Rules::of(&plan);
        rules.load(&store, options.repin)?;
        let mut archive = Archive::new(Arc::new(plan.clone()), store.clone());
        let looked = archive.look(accept)?;
        let files_read = looked.read;
        let mut changes = archive.follow(looked)?;
        changes.extend(archive.remark()?);
        rules.settle(&archive, &store)?;
        let declared = plan;
        let begin = |rules: &Rules, changes: Vec<Change>| -> Result<_, RunError> {
            let plan = Arc::new(rules.applied(&declared));
            let context = session::context(&plan, &store);
            let control = Control::start(plan.clone(), options.workers)?;
            let mut driver = Driver::new(context.clone(), store.clone(), control, None, options.retrain);
            driver.load_pins()?;
            driver.change(changes)?;
            Ok((plan, context, driver))
        };
        let (mut plan, mut context, mut driver) = begin(&rules, changes)?;
        // What is measured already is enough to settle on, when nothing is missing.
        while rules.measure() && !driver.measures() {
            rules.weigh(driver.measured(), store.artifacts());
            if !(rules.fresh() && rules.wait() && rules.settle(&archive, &store)?) {
                break;
            }
            (plan, context, driver) = begin(&rules, archive.everything())?;
        }
        let (notes, told) = (rules.notes(&archive), archive.told_of());
        let mut unmatched = archive.left_out()?;
        unmatched.extend_from_slice(archive.remarks());
        let identity = Identity::of(store.identity_key()?, &plan.settings);
        Ok(Self { plan, store, context, identity, driver, archive, files_read, notes, unmatched, told })
    }

    /// Makes the same for those who only show what there is: an archive that is not mounted is not an empty
    /// one, and a mask without the maps that are asked for now is a mask.
    ///
    /// # Errors
    /// As for [`Outlook::of`].
    pub fn to_show(mut plan: Plan) -> Result<Self, RunError> {
        for stage in &mut plan.stages {
            if let Stage::Infer(infer) = &mut stage.stage {
                infer.options.keep = MapKinds::default();
            }
        }
        Self::accepting(plan, &Options::default(), &Accept::all_sources())
    }
}
