//! Which daemons may build a platform, or that this machine has to.

use std::sync::Arc;

use archway_buildkit::pool::Ability;
use archway_oci::Platform;

use super::fleet::{Fleet, Member};

/// Who may build a platform.
pub(crate) enum Assignment {
    /// These daemons, whose steps run on `build_platform`. Not empty.
    Daemons { members: Vec<Arc<Member>>, build_platform: Platform, way: Way },
    /// Daemons that cannot be reached now.
    Missed { members: Vec<Arc<Member>> },
    /// None of the pool's daemons ever will: this machine does.
    Here,
}

/// How daemons build a platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Their processors run its programs.
    Native,
    /// Nothing of it is executed.
    Cross,
    /// They have an emulator.
    Emulated,
}

impl Fleet {
    /// Decides, given whether the Dockerfile executes nothing of `platform` when it is built on another one.
    ///
    /// Native daemons come first, then daemons that need not run its programs, then daemons that emulate it. A native
    /// daemon that cannot be reached just now is waited for rather than replaced by an emulator.
    pub(crate) fn assign(&self, platform: &Platform, is_cross: impl Fn(&Platform) -> bool) -> Assignment {
        let with = |ability| -> Vec<Arc<Member>> {
            self.members.iter().filter(|member| member.ability(platform) == Some(ability)).cloned().collect()
        };
        if let Some(native) = group(with(Ability::Native)) {
            return native.built(Way::Native);
        }
        let is_named =
            |member: &&Arc<Member>| member.is_missed(platform) && member.node.platforms.contains(platform);
        let named: Vec<Arc<Member>> = self.members.iter().filter(is_named).cloned().collect();
        if !named.is_empty() {
            return Assignment::Missed { members: named };
        }
        let others = self.members.iter().filter(|member| {
            let is_allowed = member.node.platforms.is_empty() || member.node.platforms.contains(platform);
            is_allowed && member.platforms().first().is_some_and(&is_cross)
        });
        if let Some(cross) = group(others.cloned().collect()) {
            return cross.built(Way::Cross);
        }
        if let Some(emulated) = group(with(Ability::Emulated)) {
            return emulated.built(Way::Emulated);
        }
        let missed: Vec<Arc<Member>> =
            self.members.iter().filter(|member| member.is_missed(platform)).cloned().collect();
        match missed.is_empty() {
            true => Assignment::Here,
            false => Assignment::Missed { members: missed },
        }
    }
}

/// Daemons of one build platform.
struct Group {
    members: Vec<Arc<Member>>,
    build_platform: Platform,
}

/// Those that are like the first: a Dockerfile means the same on all of them.
fn group(members: Vec<Arc<Member>>) -> Option<Group> {
    let build_platform = members.first()?.platforms().first()?.clone();
    let is_alike = |member: &Arc<Member>| member.platforms().first() == Some(&build_platform);
    Some(Group { members: members.into_iter().filter(is_alike).collect(), build_platform })
}

impl Group {
    fn built(self, way: Way) -> Assignment {
        Assignment::Daemons { members: self.members, build_platform: self.build_platform, way }
    }
}
