//! All that is taken hold of before a run begins.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::kept::Kept;
use super::refusals::Refusals;
use super::ways_out::{OwnHub, open_dashboard, open_outputs, read_credentials};
use super::{LiveError, LiveOptions};
use crate::clock::Clock;
use crate::output::{AlarmOutputs, Pin};
use crate::pipeline::chain::Chain;
use crate::pipeline::reload::ReloadAt;
use crate::pipeline::sources::Sources;
use crate::pipeline::{Pipeline, record};
use crate::plugin::{Engine, EngineSettings};
use crate::reading::Series;
use crate::sensor::w1::scan;
use crate::sensor::{RomId, SystemPaths};
use crate::uplink::Credentials;

/// All that a run needs, checked and taken hold of. Nothing of it goes on by itself yet.
pub(super) struct Prepared {
    pub(super) pipeline: Pipeline,
    pub(super) kept: Kept,
    /// The thermometers that `id = "all"` took in.
    pub(super) found: Vec<RomId>,
    pub(super) clock: Clock,
    pub(super) series: Arc<[Series]>,
    pub(super) sources: Sources,
    pub(super) engine: Engine,
    pub(super) chain: Chain,
    pub(super) record: Option<File>,
    pub(super) outputs: AlarmOutputs,
    pub(super) status_pins: Vec<Box<dyn Pin>>,
    /// Those of the pipeline's uplinks, in their order.
    pub(super) credentials: Vec<Credentials>,
    pub(super) dashboard: Option<OwnHub>,
    /// The file that can change.
    pub(super) reload: Option<(PathBuf, ReloadAt)>,
}

impl Prepared {
    /// All that can be refused is refused before anything starts, and all of it is told together.
    pub(super) async fn new(
        mut pipeline: Pipeline,
        options: &LiveOptions,
    ) -> Result<Prepared, Vec<LiveError>> {
        let mut refused = Refusals::default();
        // Before the clock, which must not go back behind what is kept.
        let kept = refused.of(Kept::open(options.data_dir.as_deref(), &pipeline.stages));
        let clock = Clock::start_after(kept.as_ref().and_then(Kept::latest));
        let found = refused.of(take_in_all(&mut pipeline, &options.system));
        let sources = refused.of(Sources::open(&pipeline, &options.system));
        let series = sources
            .as_ref()
            .map_or_else(|| pipeline.series().into(), |sources| sources.series(&pipeline));
        let cache = kept.as_ref().and_then(Kept::code_cache);
        let stages = pipeline.stages.len();
        let settings = EngineSettings { cache, stages, ..options.engine.clone() };
        let beginnings = kept.as_ref().map(|kept| kept.beginnings(&pipeline.stages));
        let engine =
            refused.of(Engine::start(settings, pipeline.host_limits).map_err(LiveError::Engine));
        let chain = engine.as_ref().and_then(|engine| {
            let beginnings = beginnings.unwrap_or_default();
            refused.of_all(Chain::start_from(engine, &pipeline.stages, &series, beginnings))
        });
        let record = refused.of(options.record.as_deref().map(open_recording).transpose());
        if options.record.is_some() && pipeline.uplinks.is_empty() && pipeline.dashboard.is_none() {
            refused.of::<()>(Err(LiveError::NothingToRecord));
        }
        let outputs = refused.of_all(open_outputs(&pipeline));
        let credentials: Vec<_> = pipeline
            .uplinks
            .iter()
            .map(|uplink| refused.of_all(read_credentials(uplink)))
            .collect();
        let credentials: Option<Vec<_>> = credentials.into_iter().collect();
        let dashboard = refused.of(open_dashboard(&pipeline).await);
        let (
            Some(kept),
            Some(found),
            Some(sources),
            Some(engine),
            Some(chain),
            Some(record),
            Some((outputs, status_pins)),
            Some(credentials),
            Some(dashboard),
        ) = (kept, found, sources, engine, chain, record, outputs, credentials, dashboard)
        else {
            return Err(refused.errors);
        };
        if !refused.errors.is_empty() {
            return Err(refused.errors);
        }
        Ok(Prepared {
            pipeline,
            kept,
            found,
            clock,
            series,
            sources,
            engine,
            chain,
            record,
            outputs,
            status_pins,
            credentials,
            dashboard,
            reload: options.reload.clone(),
        })
    }
}

fn open_recording(path: &Path) -> Result<File, LiveError> {
    record::open(path).map_err(|source| LiveError::Record { file: path.to_path_buf(), source })
}

/// With `id = "all"` a pipeline without any thermometer would watch nothing and say nothing.
fn take_in_all(pipeline: &mut Pipeline, system: &SystemPaths) -> Result<Vec<RomId>, LiveError> {
    if pipeline.all.is_none() {
        return Ok(Vec::new());
    }
    let found: Vec<RomId> = scan(&system.w1).unwrap_or_default().into_keys().collect();
    pipeline.take_in(found.iter().copied());
    if pipeline.sensors.is_empty() {
        return Err(LiveError::NoThermometer { folder: system.w1.clone() });
    }
    Ok(found)
}
