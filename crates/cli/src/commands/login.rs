//! `archway login` and `logout`.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use archway_registry::credentials::{self, Credential};

use crate::{
    args::{LoginArgs, LogoutArgs, RegistryArgs},
    error::CliError,
    session,
};

/// A longer password is not one.
const MAX_PASSWORD: u64 = 64 << 10;

pub(crate) fn login(args: &LoginArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let read = |source| CliError::File { action: "read", path: "standard input".into(), source };
    let username = match &args.username {
        Some(name) => name.clone(),
        None if args.password_stdin => {
            return Err(CliError::usage("--password-stdin", "needs --username, too"));
        }
        None => prompt("Username: ", true).map_err(read)?,
    };
    let password = match args.password_stdin {
        true => {
            let mut password = String::new();
            io::stdin().take(MAX_PASSWORD).read_to_string(&mut password).map_err(read)?;
            password.trim_end_matches(['\r', '\n']).to_owned()
        }
        false => prompt("Password: ", false).map_err(read)?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(CliError::usage("login", "user name and password must not be empty"));
    }
    let credential = Credential::Password { username, password };
    let client = session::client(registries);
    let stored = session::runtime().block_on(async {
        client.check_login(&args.registry, &credential).await?;
        credentials::store(&args.registry, &credential).await
    })?;
    anstream::println!("Logged in to {}. Credentials are in {stored}.", args.registry);
    Ok(())
}

pub(crate) fn logout(args: &LogoutArgs, _: &RegistryArgs) -> Result<(), CliError> {
    let removed = session::runtime().block_on(credentials::erase(&args.registry))?;
    match removed {
        true => anstream::println!("Removed the credentials for {}.", args.registry),
        false => anstream::println!("There were no credentials for {}.", args.registry),
    }
    Ok(())
}

/// Asks on the terminal; without one, reads a line.
fn prompt(question: &str, visible: bool) -> io::Result<String> {
    let terminal = io::stdin().is_terminal();
    if terminal {
        anstream::eprint!("{question}");
        io::stderr().flush()?;
    }
    let _hidden = (terminal && !visible).then(Hidden::start).transpose()?;
    let mut line = String::new();
    io::stdin().lock().take(MAX_PASSWORD).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The terminal shows nothing of what is typed while this lives.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn start() -> io::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(io::stdin(), rustix::termios::OptionalActions::Flush, &self.0);
        anstream::eprintln!();
    }
}
