//! `key new` and `key client`: made here, no daemon is asked.

use std::io::IsTerminal as _;

use haystack_wire::keys::new_cluster_key;
use serde_json::json;

use crate::cli::{KeyClient, KeyCommand};
use crate::context::{Context, read_keys, say};
use crate::failure::{Exit, Failure};
use crate::output;

/// Makes a key.
///
/// # Errors
/// If the cluster key is of no use, or the system gives no random bytes.
pub(crate) fn key(command: &KeyCommand, context: &Context) -> Result<Exit, Failure> {
    let text = match command {
        KeyCommand::New(_) => {
            let mut random = [0; 32];
            getrandom::fill(&mut random).map_err(|error| {
                Failure::new(Exit::Usage, format!("the system gives no random bytes: {error}"))
            })?;
            new_cluster_key(random)
        }
        KeyCommand::Client(asked) => client_key(asked)?,
    };
    if context.json {
        output::json(&json!({ "key": text.trim_end() }))?;
    } else {
        output::write(text.as_bytes())?;
    }
    if std::io::stdout().is_terminal() {
        say(
            "whoever has this line has its rights: keep it in a file that only its user can read (umask 077)",
        );
    }
    Ok(Exit::Done)
}

fn client_key(asked: &KeyClient) -> Result<String, Failure> {
    let keys = read_keys(&asked.from)?;
    keys.client_key(asked.rights).ok_or_else(|| {
        let file = asked.from.display();
        Failure::usage(format!(
            "key file {file}: it holds a client key, and other keys are derived from the cluster key only"
        ))
    })
}
