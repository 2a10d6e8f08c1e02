//! The command line.

use std::path::PathBuf;

use structopt::StructOpt;
use structopt::clap::{AppSettings, ErrorKind};

use crate::config::Settings;
use crate::error::{EXIT_CODES, Failure};

/// A daemon of a stormy-haystack cluster: a partitioned, replicated key-value store in memory
#[derive(Debug, StructOpt)]
#[structopt(
    name = "haystackd",
    after_help = EXIT_CODES,
    setting = AppSettings::SubcommandRequiredElseHelp,
    global_setting = AppSettings::VersionlessSubcommands,
    global_setting = AppSettings::DisableHelpSubcommand,
    global_setting = AppSettings::UnifiedHelpMessage,
    global_setting = AppSettings::DeriveDisplayOrder,
)]
pub(crate) enum Cli {
    /// Runs a daemon until SIGTERM or SIGINT, which hand its leaderships over first
    #[structopt(usage = "haystackd run [--config FILE] [OPTIONS]")]
    Run(Box<Run>),
    /// Starts a local cluster to try things out, and stops it on Ctrl-C; its data ends with it
    #[structopt(usage = "haystackd dev [OPTIONS]")]
    Dev(Dev),
    /// Checks a configuration file as `run` would read it on this host, and prints what it comes to
    CheckConfig {
        /// The configuration file
        #[structopt(value_name = "FILE", parse(from_os_str))]
        file: PathBuf,
    },
}

/// Options of `run`.
#[derive(Debug, StructOpt)]
pub(crate) struct Run {
    /// Configuration file; the options below are its keys, and win over it
    #[structopt(long, value_name = "FILE", parse(from_os_str))]
    pub(crate) config: Option<PathBuf>,
    /// The settings made by flags.
    #[structopt(flatten)]
    pub(crate) settings: Settings,
    /// Reports to `haystackd dev` on standard output, and ends when standard input does.
    #[structopt(long, hidden = true)]
    pub(crate) child_of_dev: bool,
}

/// Options of `dev`.
#[derive(Clone, Debug, StructOpt)]
pub(crate) struct Dev {
    /// Daemons to start, 1 to 16
    #[structopt(long, value_name = "COUNT", default_value = "3")]
    pub(crate) nodes: u16,
    /// Partitions to divide the key space into
    #[structopt(long, value_name = "COUNT", default_value = "8")]
    pub(crate) partitions: u32,
    /// Replicas of every partition [default: 3, or as many as there are daemons]
    #[structopt(long, value_name = "COUNT")]
    pub(crate) replicas: Option<u32>,
    /// UDP port of the first daemon on 127.0.0.1, the others follow; 0 takes any that are free
    #[structopt(long, value_name = "PORT", default_value = "7400", parse(try_from_str = port))]
    pub(crate) port: u16,
    /// File with a cluster key, to have everything sealed
    #[structopt(long, value_name = "FILE", parse(from_os_str))]
    pub(crate) key_file: Option<PathBuf>,
    /// How much the daemons log to standard error, as for `run`
    #[structopt(long, value_name = "LEVELS", default_value = "warning")]
    pub(crate) log_level: String,
    /// How they log: `terminal` or `json`
    #[structopt(long, value_name = "FORMAT", default_value = "terminal")]
    pub(crate) log_format: String,
}

/// A port, or 0 for any.
fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` is no port: write 1 to 65535, or 0 for any that are free"))
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A command.
    Command(Cli),
    /// Help or the version, which was printed.
    Nothing,
}

/// Reads the command line.
///
/// # Errors
/// [`Failure::Usage`]: clap by itself would exit with 1.
pub(crate) fn parse() -> Result<Asked, Failure> {
    match Cli::from_iter_safe(std::env::args_os()) {
        Ok(cli) => Ok(Asked::Command(cli)),
        Err(error) => match error.kind {
            ErrorKind::HelpDisplayed | ErrorKind::VersionDisplayed => {
                crate::report::print(&error.message);
                Ok(Asked::Nothing)
            }
            // clap's message is the whole help then.
            ErrorKind::MissingArgumentOrSubcommand => {
                Err(Failure::Usage(format!("what is to be done?\n\n{}", error.message)))
            }
            _ => Err(Failure::Usage(error.message.trim_start_matches("error: ").to_owned())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_run_are_the_keys_of_the_file() {
        let line = "haystackd run --config f --listen 127.0.0.1:1 --founders a,b --memory-limit 2MiB";
        let Cli::Run(run) = Cli::from_iter_safe(line.split(' ')).unwrap() else { panic!("not run") };
        assert_eq!(run.settings.listen.as_deref(), Some("127.0.0.1:1"));
        assert_eq!(run.settings.founders, ["a", "b"]);
        assert_eq!(run.settings.memory_limit, Some(crate::config::Size(2 << 20)));
        assert!(!run.child_of_dev);
    }

    #[test]
    fn dev_has_a_default_for_everything() {
        let Cli::Dev(dev) = Cli::from_iter_safe(["haystackd", "dev"]).unwrap() else { panic!("not dev") };
        assert_eq!((dev.nodes, dev.partitions, dev.port), (3, 8, 7400));
    }

    #[test]
    fn a_wrong_command_line_is_refused() {
        for line in ["haystackd", "haystackd go", "haystackd run --listn x", "haystackd dev --nodes many"] {
            assert!(Cli::from_iter_safe(line.split(' ')).is_err(), "{line}");
        }
    }
}
