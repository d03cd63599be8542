//! Running an image, emulated if its platform is not this machine's.

use std::sync::Arc;

use archway_engine::{BaseImage, RootFs};
use archway_oci::{ContainerConfig, Platform, reference::ImageLocation};
use archway_sandbox::{Exit, Rootfs as SandboxRootfs, Spec, Stdio, User};
use tokio_util::sync::CancellationToken;

use crate::{
    Context, Error,
    origin::{self, Found, Origin},
};

/// Search path of images that set none, as Docker's.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What to run instead of what the image says.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Arguments; replace the image's command if not empty.
    pub command: Vec<String>,
    /// Program; replaces the image's entrypoint and command.
    pub entrypoint: Option<String>,
    /// `NAME=value`, over the image's.
    pub env: Vec<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Directory to start in.
    pub workdir: Option<String>,
}

/// An image, ready to run on each of its platforms.
pub struct Runnable {
    name: String,
    found: Found,
    platforms: Vec<Platform>,
}

impl Runnable {
    /// Finds the image.
    pub async fn find(context: &Context, location: &ImageLocation, pull: bool) -> Result<Self, Error> {
        let found = Found::at(context, location, pull).await?;
        let children = found.children(context).await?;
        let platforms = children.into_iter().map(|(platform, _)| platform).collect();
        Ok(Self { name: origin::describe(location), found, platforms })
    }

    /// The platforms it has.
    pub fn platforms(&self) -> &[Platform] {
        &self.platforms
    }

    /// Runs it on one platform. What it writes is lost. `interrupt` kills it.
    pub async fn run(
        &self,
        context: &Context,
        platform: &Platform,
        overrides: &Overrides,
        stdio: Stdio,
        interrupt: &CancellationToken,
    ) -> Result<Exit, Error> {
        let image = Arc::new(self.image(context, platform).await?);
        let config = image.config.config.clone();
        let rootfs = context.engine.rootfs(image, &context.events)?;
        let scratch = context.store().snapshots().begin()?;
        let spec = Spec {
            rootfs: SandboxRootfs {
                lowers: rootfs.materialize(context.store()).await?.iter().rev().cloned().collect(),
                upper: Some(scratch.delta().to_owned()),
                work: Some(scratch.work().to_owned()),
            },
            argv: argv(&config, overrides),
            env: environment(&config, overrides),
            cwd: overrides.workdir.clone().unwrap_or(config.working_dir.clone()),
            user: user(context, &rootfs, &config, overrides).await?,
            hostname: "archway".into(),
            interpreter: context
                .engine
                .sandbox
                .emulation()
                .for_platform(platform)
                .map_err(archway_engine::StepError::Emulation)?,
            ..Spec::default()
        };
        let mut running = context.engine.sandbox.run(&spec, stdio).await?;
        tokio::select! {
            exit = running.wait() => return Ok(exit?),
            () = interrupt.cancelled() => running.kill(),
        }
        Ok(running.wait().await?)
    }

    async fn image(&self, context: &Context, platform: &Platform) -> Result<BaseImage, Error> {
        let descriptor = self.found.child(context, &self.name, platform).await?;
        let (manifest, config) = self.found.image(context, &descriptor).await?;
        self.found.import_layers(context.store(), &manifest)?;
        let origin = match &self.found.origin {
            Origin::Registry(reference) => Some(reference.clone()),
            _ => None,
        };
        Ok(BaseImage::new(self.name.clone(), origin, manifest, config)?)
    }
}

fn argv(config: &ContainerConfig, overrides: &Overrides) -> Vec<String> {
    let (entrypoint, command) = match &overrides.entrypoint {
        Some(program) => (vec![program.clone()], Vec::new()),
        None => (config.entrypoint.clone().unwrap_or_default(), config.cmd.clone().unwrap_or_default()),
    };
    let command = if overrides.command.is_empty() { command } else { overrides.command.clone() };
    entrypoint.into_iter().chain(command).collect()
}

fn environment(config: &ContainerConfig, overrides: &Overrides) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let replaced = |variable: &&String| !overrides.env.iter().any(|own| name(own) == name(variable));
    let mut env: Vec<String> = config.env.iter().filter(replaced).cloned().collect();
    env.extend(overrides.env.iter().cloned());
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.push(DEFAULT_PATH.into());
    }
    env
}

async fn user(
    context: &Context,
    rootfs: &RootFs,
    config: &ContainerConfig,
    overrides: &Overrides,
) -> Result<User, Error> {
    let text = overrides.user.as_deref().unwrap_or(&config.user);
    if text.is_empty() {
        return Ok(User::default());
    }
    let user = rootfs.process_user(context.store(), text).await?;
    Ok(User { uid: user.uid, gid: user.gid, additional_gids: user.groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ContainerConfig {
        ContainerConfig {
            entrypoint: Some(vec!["/app".into()]),
            cmd: Some(vec!["--serve".into()]),
            env: vec!["A=1".into(), "B=2".into()],
            ..ContainerConfig::default()
        }
    }

    #[test]
    fn the_command_is_the_images_unless_it_is_replaced() {
        let with = |command: &[&str], entrypoint: Option<&str>| Overrides {
            command: command.iter().map(ToString::to_string).collect(),
            entrypoint: entrypoint.map(str::to_owned),
            ..Overrides::default()
        };
        let cases = [
            (with(&[], None), vec!["/app", "--serve"]),
            (with(&["--help"], None), vec!["/app", "--help"]),
            (with(&[], Some("sh")), vec!["sh"]),
            (with(&["-c", "id"], Some("sh")), vec!["sh", "-c", "id"]),
        ];
        for (overrides, want) in cases {
            assert_eq!(argv(&config(), &overrides), want);
        }
    }

    #[test]
    fn variables_are_replaced_by_name() {
        let overrides = Overrides { env: vec!["B=3".into()], ..Overrides::default() };
        assert_eq!(environment(&config(), &overrides), ["A=1", "B=3", DEFAULT_PATH]);
    }
}
