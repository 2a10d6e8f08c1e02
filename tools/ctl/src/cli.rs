//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use haystack_client::{GroupId, LogIndex, Version};
use haystack_wire::keys::Rights;
use structopt::StructOpt;
use structopt::clap::{AppSettings, ArgGroup, Error, ErrorKind};

use crate::failure::{EXIT_STATUS, Failure};
use crate::near::did_you_mean;

/// Reads and writes a stormy-haystack cluster, and administers it
#[derive(Debug, StructOpt)]
#[structopt(
    name = "haystackctl",
    after_help = EXIT_STATUS,
    setting = AppSettings::SubcommandRequiredElseHelp,
    global_setting = AppSettings::VersionlessSubcommands,
    global_setting = AppSettings::DisableHelpSubcommand,
    global_setting = AppSettings::UnifiedHelpMessage,
    global_setting = AppSettings::DeriveDisplayOrder,
    global_setting = AppSettings::AllArgsOverrideSelf,
)]
pub(crate) struct Cli {
    #[structopt(flatten)]
    options: Options,
    #[structopt(subcommand)]
    command: Command,
}

/// Options of every command, before or after its name.
#[derive(Clone, Debug, Default, PartialEq, StructOpt)]
pub(crate) struct Options {
    /// Daemons to ask, one that answers is enough [default: 127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402]
    #[structopt(long, value_name = "HOST:PORT,...")]
    pub(crate) connect: Option<Addresses>,
    /// File with a client key or the cluster key
    #[structopt(long, value_name = "FILE", parse(from_os_str))]
    pub(crate) key_file: Option<PathBuf>,
    /// The cluster's configured name [default: haystack]
    #[structopt(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// Time limit, for `load` and `dump` of each operation [default: 10]
    #[structopt(long, value_name = "SECONDS", parse(try_from_str = seconds), allow_hyphen_values = true)]
    pub(crate) timeout: Option<Duration>,
    /// Writes JSON to standard output
    #[structopt(long)]
    pub(crate) json: bool,
}

/// A list of addresses with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Addresses(pub(crate) Vec<String>);

/// Reads and writes a stormy-haystack cluster, and administers it
// The words of the tool itself: what stands here replaces what stands at `Cli`.
#[derive(Debug, StructOpt)]
pub(crate) enum Command {
    /// Prints the value of a key; exit status 1 if there is none
    Get(Get),
    /// Sets a key, and prints the version that this makes
    Put(Put),
    /// Removes a key; exit status 1 if there is none
    Delete(Delete),
    /// Sets a key if what is there is as expected; exit status 1 if it is not
    Cas(Cas),
    /// Shows nodes and partitions; exit status 0 ok, 1 degraded, 5 unavailable
    Status(Status),
    /// Shows the nodes as gossip tells of them to one daemon
    Members(Plain),
    /// Shows the partitions: slots, leader, replicas
    Partitions(Partitions),
    /// Shows the coordinator; exit status 5 if it does not answer
    Coordinator(Plain),
    /// Shows which nodes serve a key
    Where(Where),
    /// Shows what happened in the cluster, as the first of --connect that answers saw it
    Events(Events),
    /// Waits until the cluster is ready
    Wait(Wait),
    /// Puts every line of a file
    Load(Load),
    /// Writes all keys and values as `load` reads them
    Dump(Plain),
    /// Makes keys that seal a cluster
    Key(Key),
    /// Founds the cluster anew after all its daemons were lost
    Found(Found),
}

/// A command without arguments.
#[derive(Debug, StructOpt)]
pub(crate) struct Plain {
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `get`.
#[derive(Debug, StructOpt)]
pub(crate) struct Get {
    /// The key; one that starts with `-` goes after `--`
    #[structopt(value_name = "KEY", parse(from_os_str))]
    pub(crate) key: OsString,
    /// Takes what any replica has, which may be old; says how old on standard error
    #[structopt(long)]
    pub(crate) stale: bool,
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `put`.
#[derive(Debug, StructOpt)]
pub(crate) struct Put {
    /// The key; what starts with `-` goes after `--`
    #[structopt(value_name = "KEY", parse(from_os_str))]
    pub(crate) key: OsString,
    /// The value; `-` reads it from standard input
    #[structopt(value_name = "VALUE", parse(from_os_str))]
    pub(crate) value: OsString,
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `delete`.
#[derive(Debug, StructOpt)]
pub(crate) struct Delete {
    /// The key; one that starts with `-` goes after `--`
    #[structopt(value_name = "KEY", parse(from_os_str))]
    pub(crate) key: OsString,
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `cas`.
#[derive(Debug, StructOpt)]
#[structopt(
    usage = "haystackctl cas KEY (--absent | --expect VALUE | --version VERSION) NEW [OPTIONS]",
    group = ArgGroup::with_name("expected").required(true)
)]
pub(crate) struct Cas {
    /// The key; what starts with `-` goes after `--`
    #[structopt(value_name = "KEY", parse(from_os_str))]
    pub(crate) key: OsString,
    /// Expects that there is no such key
    #[structopt(long = "absent", group = "expected")]
    _absent: bool,
    /// Expects this value
    #[structopt(
        long,
        value_name = "VALUE",
        parse(from_os_str),
        group = "expected",
        allow_hyphen_values = true
    )]
    pub(crate) expect: Option<OsString>,
    /// Expects this version, as `put`, `cas` and `--json` print it
    #[structopt(long, value_name = "VERSION", parse(try_from_str = version), group = "expected")]
    pub(crate) version: Option<Version>,
    /// The new value; `-` reads it from standard input
    #[structopt(value_name = "NEW", parse(from_os_str))]
    pub(crate) new: OsString,
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `status`.
#[derive(Debug, StructOpt)]
pub(crate) struct Status {
    /// Shows all partitions, not only those that are not well
    #[structopt(long)]
    pub(crate) groups: bool,
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `partitions`.
#[derive(Debug, StructOpt)]
pub(crate) struct Partitions {
    /// Only those that a node has a replica of: its name, its address, or the beginning of its id
    #[structopt(long, value_name = "NODE")]
    pub(crate) of: Option<String>,
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `where`.
#[derive(Debug, StructOpt)]
pub(crate) struct Where {
    /// The key; one that starts with `-` goes after `--`
    #[structopt(value_name = "KEY", parse(from_os_str))]
    pub(crate) key: OsString,
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `events`.
#[derive(Debug, StructOpt)]
pub(crate) struct Events {
    /// Goes on with what happens, until Ctrl-C
    #[structopt(long)]
    pub(crate) follow: bool,
    /// Begins with the event of this number; 0 is the oldest that the daemon remembers. Every daemon has numbers of its
    /// own: give one address to --connect
    #[structopt(
        long,
        value_name = "N",
        default_value = "0",
        hide_default_value = true,
        parse(try_from_str = number),
        allow_hyphen_values = true
    )]
    pub(crate) from: u64,
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `wait`.
#[derive(Debug, StructOpt)]
#[structopt(usage = "haystackctl wait --ready [OPTIONS]", group = ArgGroup::with_name("until").required(true))]
pub(crate) struct Wait {
    /// Until every partition has a leader and every founder is a member
    #[structopt(long = "ready", group = "until")]
    _ready: bool,
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `load`.
#[derive(Debug, StructOpt)]
pub(crate) struct Load {
    /// Lines `key<TAB>value`, `key` (whose value is empty), or `{"key": "...", "value": "..."}`; `-` reads standard
    /// input
    #[structopt(value_name = "FILE", parse(from_os_str))]
    pub(crate) file: PathBuf,
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `key`.
#[derive(Debug, StructOpt)]
#[structopt(setting = AppSettings::SubcommandRequiredElseHelp)]
pub(crate) struct Key {
    #[structopt(flatten)]
    options: Options,
    #[structopt(subcommand)]
    pub(crate) command: KeyCommand,
}

/// Makes keys that seal a cluster
#[derive(Debug, StructOpt)]
pub(crate) enum KeyCommand {
    /// Makes a new cluster key, for the `key_file` of every daemon
    New(Plain),
    /// Derives a client key from the cluster key
    Client(KeyClient),
}

/// Arguments of `key client`.
#[derive(Debug, StructOpt)]
pub(crate) struct KeyClient {
    /// The file with the cluster key
    #[structopt(long, value_name = "FILE", parse(from_os_str))]
    pub(crate) from: PathBuf,
    /// Some of `r` (read), `w` (write), `a` (administer)
    #[structopt(long, value_name = "RIGHTS", parse(try_from_str = rights))]
    pub(crate) rights: Rights,
    #[structopt(flatten)]
    options: Options,
}

/// Arguments of `found`.
#[derive(Debug, StructOpt)]
#[structopt(
    usage = "haystackctl found --abandon-old-data [--yes] [OPTIONS]",
    group = ArgGroup::with_name("how").required(true)
)]
pub(crate) struct Found {
    /// Tells every founder to give up the cluster that it belonged to, and its data
    #[structopt(long = "abandon-old-data", group = "how")]
    _abandon_old_data: bool,
    /// Does not ask for confirmation
    #[structopt(long)]
    pub(crate) yes: bool,
    #[structopt(flatten)]
    options: Options,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A command, with the options from before and after its name.
    Command(Box<Command>, Options),
    /// Help or the version: this text.
    Text(String),
}

/// Reads a command line.
///
/// # Errors
/// A usage failure: clap by itself would exit with 1.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Asked, Failure> {
    match Cli::from_iter_safe(args) {
        Ok(Cli { options, command }) => {
            let options = command.options().over(options);
            Ok(Asked::Command(Box::new(command), options))
        }
        Err(error) => match error.kind {
            ErrorKind::HelpDisplayed | ErrorKind::VersionDisplayed => Ok(Asked::Text(error.message)),
            // clap's message is the whole help then.
            ErrorKind::MissingArgumentOrSubcommand => {
                Err(Failure::usage(format!("what is to be done?\n\n{}", error.message)))
            }
            _ => Err(Failure::usage(near_miss(&error))),
        },
    }
}

/// clap's message, with what was probably meant where a word is unknown.
fn near_miss(error: &Error) -> String {
    let said = error.message.trim_start_matches("error: ");
    let word = match (error.kind, &error.info) {
        (ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand, Some(info)) => info.first(),
        _ => None,
    };
    let Some(word) = word else { return said.to_owned() };
    let known = COMMANDS.iter().chain(&FLAGS).copied();
    let meant = did_you_mean(word, known.filter(|known| known.starts_with('-') == word.starts_with('-')));
    match said.split_once('\n') {
        Some((first, rest)) => format!("{first}{meant}\n{rest}"),
        None => format!("{said}{meant}"),
    }
}

/// What may be meant by what starts with a dash.
const FLAGS: [&str; 18] = [
    "--connect",
    "--key-file",
    "--cluster",
    "--timeout",
    "--json",
    "--help",
    "--stale",
    "--groups",
    "--of",
    "--follow",
    "--from",
    "--ready",
    "--absent",
    "--expect",
    "--version",
    "--rights",
    "--yes",
    "--abandon-old-data",
];

/// The names of the commands.
const COMMANDS: [&str; 15] = [
    "get",
    "put",
    "delete",
    "cas",
    "status",
    "members",
    "partitions",
    "coordinator",
    "where",
    "events",
    "wait",
    "load",
    "dump",
    "key",
    "found",
];

impl Command {
    /// The options after the command's name. clap hands global options down, and never up.
    fn options(&self) -> Options {
        match self {
            Self::Get(Get { options, .. })
            | Self::Put(Put { options, .. })
            | Self::Delete(Delete { options, .. })
            | Self::Cas(Cas { options, .. })
            | Self::Status(Status { options, .. })
            | Self::Members(Plain { options })
            | Self::Coordinator(Plain { options })
            | Self::Partitions(Partitions { options, .. })
            | Self::Where(Where { options, .. })
            | Self::Events(Events { options, .. })
            | Self::Dump(Plain { options })
            | Self::Wait(Wait { options, .. })
            | Self::Load(Load { options, .. })
            | Self::Found(Found { options, .. }) => options.clone(),
            Self::Key(Key { options, command }) => match command {
                KeyCommand::New(Plain { options: inner })
                | KeyCommand::Client(KeyClient { options: inner, .. }) => inner.clone().over(options.clone()),
            },
        }
    }
}

impl Options {
    /// These, and where they say nothing, the others.
    fn over(self, outer: Self) -> Self {
        Self {
            connect: self.connect.or(outer.connect),
            key_file: self.key_file.or(outer.key_file),
            cluster: self.cluster.or(outer.cluster),
            timeout: self.timeout.or(outer.timeout),
            json: self.json || outer.json,
        }
    }
}

impl FromStr for Addresses {
    type Err = String;
    fn from_str(list: &str) -> Result<Self, String> {
        let addresses: Vec<String> =
            list.split(',').map(str::trim).filter(|address| !address.is_empty()).map(str::to_owned).collect();
        if addresses.is_empty() {
            return Err("there is no address in it; write HOST:PORT, with commas between several".to_owned());
        }
        Ok(Self(addresses))
    }
}

/// Longest time limit: a day.
const TIMEOUT_MOST: f64 = 86_400.0;

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text).parse::<f64>().ok();
    number
        .filter(|seconds| (0.001..=TIMEOUT_MOST).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("`{text}` is no number of seconds from 0.001 to {TIMEOUT_MOST}"))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is no number of an event: write 0 or more, as `events` shows them"))
}

fn version(text: &str) -> Result<Version, String> {
    let parts = text.split_once('.').and_then(|(group, index)| {
        Some(Version { group: GroupId(group.parse().ok()?), index: LogIndex(index.parse().ok()?) })
    });
    parts.ok_or_else(|| format!("`{text}` is no version; versions look like `3.1207`"))
}

fn rights(text: &str) -> Result<Rights, String> {
    let has = |letter| text.contains(letter);
    let rights = Rights { read: has('r'), write: has('w'), admin: has('a') };
    let is_plain = text.chars().all(|letter| "rwa".contains(letter));
    if is_plain && rights != Rights::NONE {
        Ok(rights)
    } else {
        Err(format!("`{text}` are no rights; give some of the letters r, w and a, such as `rw`"))
    }
}

#[cfg(test)]
mod tests;
