//! The files of the images: in directories, or in one tar.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use archway_engine::view::View;
use archway_layer::{
    Entry,
    extract::{self, ExtractOptions, Ownership},
    write_tree, write_trees_with,
};
use archway_oci::Platform;

use super::{Product, archive::Sink, statements};
use crate::{Context, Error, build::Published, request::Destination};

/// Directory of a platform where several are written: `linux_arm_v7`, as in buildx.
fn directory_name(platform: &Platform) -> String {
    platform.to_string().replace('/', "_")
}

pub(crate) async fn local(
    context: &Context,
    directory: &Path,
    split: bool,
    product: Product<'_>,
) -> Result<Vec<Published>, Error> {
    for (built, said) in product.platforms.iter().zip(product.said) {
        let target = match split {
            true => directory.join(directory_name(&built.platform)),
            false => directory.to_owned(),
        };
        let view = built.rootfs.view(context.store()).await?;
        let (mtime, said) = (built.mtime, said.clone());
        let written = tokio::task::spawn_blocking(move || {
            let statements = statements::of(&view, &said)?;
            copy_out(&view, mtime, &target)?;
            for statement in statements {
                // One that an earlier build left, or a link in its place, is replaced.
                let mut file = Sink::open(&Destination::File(target.join(statement.name)))?;
                file.write_all(&statement.bytes).map_err(Error::write(&target))?;
                file.finish()?;
            }
            Ok::<_, Error>(())
        });
        written.await.expect("writing does not panic")?;
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
    product: Product<'_>,
) -> Result<Vec<Published>, Error> {
    let mut views = Vec::new();
    for (built, said) in product.platforms.iter().zip(product.said) {
        let prefix = if split { directory_name(&built.platform) } else { String::new() };
        views.push((prefix, built.rootfs.view(context.store()).await?, said.clone()));
    }
    let destination = destination.clone();
    // All are of one build.
    let mtime = product.platforms.first().and_then(|built| built.mtime);
    let target = tokio::task::spawn_blocking(move || {
        let mut files = Vec::new();
        for (prefix, view, said) in &views {
            for statement in statements::of(view, said)? {
                files.push((Path::new(prefix).join(statement.name), statement.bytes));
            }
        }
        let mut sink = Sink::open(&destination)?;
        let roots: Vec<(String, PathBuf)> =
            views.iter().map(|(prefix, view, _)| (prefix.clone(), view.path())).collect();
        write_trees_with(&roots, mtime, &mut sink, |tar| {
            for (path, bytes) in &files {
                let entry = Entry::file(path.as_os_str().as_encoded_bytes(), bytes.len() as u64, 0o644);
                tar.append(&entry, bytes.as_slice())?;
            }
            Ok(())
        })?;
        sink.finish()
    })
    .await
    .expect("writing does not panic")?;
    Ok(vec![Published { target, digest: None }])
}
