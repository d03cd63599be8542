//! `WORKDIR`

use archway_dockerfile::ast::Word;

use crate::{
    error::LowerError,
    op::{MkdirOp, Op},
    path,
    selection::Step,
    stage::{Layer, StageBuilder},
};

/// Makes the directory, seen from the one before, and enters it.
pub(crate) fn workdir(
    builder: &mut StageBuilder<'_>,
    step: &Step<'_>,
    word: &Word,
) -> Result<(), LowerError> {
    let text = builder.slashed(builder.expander().word(word)?, word)?;
    let directory = path::absolute(&builder.state.workdir, &text);
    let written = builder.state.enter(&text, directory.clone());
    let mut layer = Layer::None;
    if written != "/" {
        let base = builder.state.node;
        // Accounts of Windows have no numbers; who owns the directory there is in its security descriptor.
        let is_windows = builder.state.platform.os == "windows";
        let user = if is_windows { String::new() } else { builder.state.image.config.user.clone() };
        builder.check_owner(&user, false, word.span)?;
        let op = Op::Mkdir(MkdirOp { base, path: directory, user });
        builder.advance(step, op, &step.instruction.line);
        layer = Layer::Made;
    }
    builder.state.record(format!("WORKDIR {written}"), layer);
    Ok(())
}
