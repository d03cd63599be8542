//! Who builds which of the requested platforms, and what the Dockerfile comes to there.
//!
//! A Dockerfile means something else on daemons of another architecture: `BUILDPLATFORM` is theirs. So there is one
//! graph for this machine and one for each kind of daemon, which says - before anything runs - whether all base images
//! are there, what is copied, and whether anything of a platform is executed at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use archway_oci::Platform;
use archway_report::{PlatformPlan, Strategy};

use super::{
    Builder,
    assign::{Assignment, Way},
    fleet::{Fleet, Member},
    remote::RemotePlatform,
};
use crate::{
    Error,
    plan::{Machine, Reading},
    resolve::Bases,
};

/// What this machine builds.
#[derive(Default)]
pub(crate) struct Here {
    /// The platforms, and the builder that should have built them but has nobody who could.
    platforms: Vec<(Platform, Option<String>)>,
}

impl Here {
    /// The platforms, in request order.
    pub(crate) fn platforms(&self) -> Vec<Platform> {
        self.platforms.iter().map(|(platform, _)| platform.clone()).collect()
    }

    /// Adds to the reasons why a platform is built here though somebody else was asked for.
    pub(crate) fn explain(&self, plans: &mut [PlatformPlan]) {
        for (plan, (_, builder)) in plans.iter_mut().zip(&self.platforms) {
            if let Some(builder) = builder {
                plan.reason =
                    format!("{}; here, because no daemon of `{builder}` builds for it", plan.reason);
            }
        }
    }
}

/// A platform whose daemons are known, and their graph not yet.
struct Placed {
    index: usize,
    platform: Platform,
    builder: String,
    members: Vec<Arc<Member>>,
    /// How they do; `None`: none could be reached.
    way: Option<Way>,
    build_platform: Platform,
}

/// Decides for all platforms.
pub(crate) async fn place(
    reading: &Reading<'_>,
    fleets: &[Fleet],
    bases: &mut Bases,
) -> Result<(Here, Vec<RemotePlatform>), Error> {
    let (mut here, mut placed) = (Here::default(), Vec::new());
    for (index, platform) in reading.request.platforms.iter().enumerate() {
        let Builder::Pool(pool) = reading.request.builders.of(platform) else {
            here.platforms.push((platform.clone(), None));
            continue;
        };
        let fleet = fleets.iter().find(|fleet| fleet.name == pool.name).expect("all pools were gathered");
        let cross = cross(reading, fleet, platform, bases).await?;
        let (members, way, build_platform) = match fleet.assign(platform, |own| cross.contains(own)) {
            Assignment::Daemons { members, build_platform, way } => (members, Some(way), build_platform),
            // What they are is known once they are there; native is what they are named for.
            Assignment::Missed { members } => (members, None, platform.clone()),
            Assignment::Here => {
                here.platforms.push((platform.clone(), Some(pool.name.clone())));
                continue;
            }
        };
        let (platform, builder) = (platform.clone(), pool.name.clone());
        placed.push(Placed { index, platform, builder, members, way, build_platform });
    }
    Ok((here, graphs(reading, placed, bases).await?))
}

/// The platforms of daemons on which nothing of `platform` has to be executed.
async fn cross(
    reading: &Reading<'_>,
    fleet: &Fleet,
    platform: &Platform,
    bases: &mut Bases,
) -> Result<BTreeSet<Platform>, Error> {
    let own = fleet.members.iter().filter_map(|member| member.platforms().first());
    let own: BTreeSet<&Platform> = own.collect();
    if own.iter().any(|own| platform.runs_natively_on(own)) {
        return Ok(BTreeSet::new());
    }
    let mut cross = BTreeSet::new();
    for own in own {
        let machine = Machine { name: own, processor: own };
        // A strategy that was asked for and is not this one is no error here: another daemon may do.
        let Ok(graph) = reading.lower(std::slice::from_ref(platform), machine, bases).await else { continue };
        if graph.outputs.iter().all(|output| output.strategy == Strategy::Cross) {
            cross.insert(own.clone());
        }
    }
    Ok(cross)
}

/// One graph for the platforms that daemons of one builder build on the same platform.
async fn graphs(
    reading: &Reading<'_>,
    placed: Vec<Placed>,
    bases: &mut Bases,
) -> Result<Vec<RemotePlatform>, Error> {
    let mut groups: BTreeMap<(String, Platform), Vec<Placed>> = BTreeMap::new();
    for one in placed {
        groups.entry((one.builder.clone(), one.build_platform.clone())).or_default().push(one);
    }
    let mut remote = Vec::new();
    for ((_, build_platform), group) in groups {
        let platforms: Vec<Platform> = group.iter().map(|one| one.platform.clone()).collect();
        let machine = Machine { name: &build_platform, processor: &build_platform };
        let graph = Arc::new(reading.lower(&platforms, machine, bases).await?);
        for one in group {
            let plan = plan(&one);
            let is_cross = one.way == Some(Way::Cross);
            let Placed { index, builder, members, .. } = one;
            remote.push(RemotePlatform { index, plan, builder, members, is_cross, graph: graph.clone() });
        }
    }
    remote.sort_by_key(|platform| platform.index);
    Ok(remote)
}

fn plan(placed: &Placed) -> PlatformPlan {
    let Placed { platform, builder, members, way, build_platform, .. } = placed;
    let who = match members.as_slice() {
        [only] => only.node.endpoint.to_string(),
        all => format!("one of {} daemons", all.len()),
    };
    let (strategy, reason) = match way {
        Some(Way::Native) => (Strategy::Native, format!("builder `{builder}`: {who} is {build_platform}")),
        Some(Way::Cross) => {
            let reason = format!(
                "builder `{builder}`: {who} is {build_platform}, and nothing of {platform} is executed"
            );
            (Strategy::Cross, reason)
        }
        Some(Way::Emulated) => (
            Strategy::Emulated,
            format!("builder `{builder}`: {who} is {build_platform}, and emulates {platform}"),
        ),
        None => (Strategy::Native, format!("builder `{builder}`: {who} cannot be reached just now")),
    };
    PlatformPlan { platform: platform.clone(), strategy, reason }
}
