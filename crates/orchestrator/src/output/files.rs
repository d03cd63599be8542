//! The files of the images: in directories, or in one tar.

use std::{
    io,
    path::{Path, PathBuf},
};

use archway_engine::{Built, view::View};
use archway_layer::{
    extract::{self, ExtractOptions, Ownership},
    write_tree, write_trees,
};
use archway_oci::Platform;

use super::archive::Sink;
use crate::{Context, Error, build::Published, request::Destination};

/// Directory of a platform where several are written: `linux_arm_v7`, as in buildx.
fn directory_name(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

pub(crate) async fn local(
    context: &Context,
    directory: &Path,
    split: bool,
    platforms: &[Built],
) -> Result<Vec<Published>, Error> {
    for built in platforms {
        let target = match split {
            true => directory.join(directory_name(&built.platform)),
            false => directory.to_owned(),
        };
        let view = built.rootfs.view(context.store()).await?;
        let mtime = built.mtime;
        tokio::task::spawn_blocking(move || copy_out(&view, mtime, &target))
            .await
            .expect("writing does not panic")?;
    }
    Ok(vec![Published { target: directory.display().to_string(), digest: None }])
}

/// Streams the tree through a tar into the directory: the unpacker knows how to stay inside it.
/// Files belong to the user, as in buildx.
fn copy_out(view: &View, mtime: Option<i64>, target: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(target).map_err(Error::write(target))?;
    let options = ExtractOptions { ownership: Ownership::Squash, ..ExtractOptions::default() };
    let (reader, writer) = io::pipe().map_err(Error::write(target))?;
    std::thread::scope(|scope| {
        let unpacking = scope.spawn(move || extract::unpack_archive(reader, target, &options));
        let written = write_tree(&view.path(), mtime, writer);
        let unpacked = unpacking.join().expect("unpacking does not panic");
        // A reader that failed breaks the pipe: its error is the cause.
        unpacked?;
        written?;
        Ok(())
    })
}

pub(crate) async fn tar(
    context: &Context,
    destination: &Destination,
    split: bool,
    platforms: &[Built],
) -> Result<Vec<Published>, Error> {
    let mut views: Vec<(String, View)> = Vec::new();
    for built in platforms {
        let prefix = if split { directory_name(&built.platform) } else { String::new() };
        views.push((prefix, built.rootfs.view(context.store()).await?));
    }
    let destination = destination.clone();
    // All are of one build.
    let mtime = platforms.first().and_then(|built| built.mtime);
    let target = tokio::task::spawn_blocking(move || {
        let mut sink = Sink::open(&destination)?;
        let roots: Vec<(String, PathBuf)> =
            views.iter().map(|(prefix, view)| (prefix.clone(), view.path())).collect();
        write_trees(&roots, mtime, &mut sink)?;
        sink.finish()
    })
    .await
    .expect("writing does not panic")?;
    Ok(vec![Published { target, digest: None }])
}
