//! What the daemon is told: one TOML file, the same on every host but for `listen`, `advertise` and `name`, with
//! flags of the same names over it.
//!
//! Everything that is wrong is told at once, each with its place (file and line, or flag) and its cure.

mod file;
mod names;
mod resolve;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use structopt::StructOpt;

use crate::error::Failure;
use crate::logging::{Format, Levels};
pub(crate) use names::{Looked, Names};

/// The UDP port of daemons where an address names none.
pub(crate) const DEFAULT_PORT: u16 = 7400;

/// The words that lift the rule that a daemon without a key serves this host only.
pub(crate) const INSECURE_WORDS: &str = "yes-i-know";

/// The settings as written: keys of the file and flags of the same names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, StructOpt)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// This daemon's name, unique in the cluster [default: the host's name]
    #[structopt(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The cluster's name: daemons and clients of another name are not heard [default: haystack]
    #[structopt(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// UDP address to listen on; `[::]:7400` is every address of the host [default: 127.0.0.1:7400]
    #[structopt(long, value_name = "IP[:PORT]")]
    pub(crate) listen: Option<String>,
    /// Address that the others reach this daemon at, one of the founders [default: `listen`, or the founder that is
    /// an address of this host]
    #[structopt(long, value_name = "HOST[:PORT]")]
    pub(crate) advertise: Option<String>,
    /// The daemons that found the cluster together: exactly these, the same list everywhere
    #[structopt(long, value_name = "HOST[:PORT],...", use_delimiter = true, require_delimiter = true)]
    pub(crate) founders: Vec<String>,
    /// Daemons of a cluster that is there already, to join it; the names are looked up again when nobody answers
    #[structopt(long, value_name = "HOST[:PORT],...", use_delimiter = true, require_delimiter = true)]
    pub(crate) seeds: Vec<String>,
    /// What fails with this daemon at large, as a rack or a site: replicas of a partition are kept in different zones
    #[structopt(long, value_name = "NAME")]
    pub(crate) zone: Option<String>,
    /// The machine that this daemon runs on, where addresses do not tell: replicas are kept on different hosts
    #[structopt(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Replicas of every partition that the founders make, 1 to 9 [default: 3]
    #[structopt(long, value_name = "COUNT")]
    pub(crate) replicas: Option<u32>,
    /// Seconds that a daemon may be silent before the coordinator takes it for down [default: 10]
    #[structopt(long, value_name = "SECONDS")]
    pub(crate) repair_after: Option<u32>,
    /// Partitions that the founders divide the key space into, for good [default: 64]
    #[structopt(long, value_name = "COUNT")]
    pub(crate) partitions: Option<u32>,
    /// File with the cluster key (`haystackctl key new` makes one)
    #[structopt(long, value_name = "FILE", parse(from_os_str))]
    pub(crate) key_file: Option<PathBuf>,
    /// Directory of the life file [default: /var/lib/haystack]
    #[structopt(long, value_name = "DIR", parse(from_os_str))]
    pub(crate) state_dir: Option<PathBuf>,
    /// Memory for keys, values and the replies remembered for clients; beyond it writes that grow are refused [default: 4GiB]
    #[structopt(long, value_name = "SIZE")]
    pub(crate) memory_limit: Option<Size>,
    /// Longest value that is accepted [default: 1MiB]
    #[structopt(long, value_name = "SIZE")]
    pub(crate) value_limit: Option<Size>,
    /// Say `yes-i-know` to listen beyond this host without a key: whoever reaches the port can then read, change and
    /// destroy everything
    #[structopt(long, value_name = "WORDS")]
    pub(crate) insecure_listen_without_key: Option<String>,
    /// How much to log: error, warning, info, debug or trace (in debug builds); then, where one part should differ, COMPONENT=LEVEL:
    /// `info,links=debug` [default: info]
    #[structopt(long, value_name = "LEVELS")]
    pub(crate) log_level: Option<String>,
    /// How to log to standard error: `terminal` or `json` [default: terminal]
    #[structopt(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}

impl Settings {
    /// These settings, and `under` for what they leave open.
    fn over(self, under: Self) -> Self {
        Self {
            name: self.name.or(under.name),
            cluster: self.cluster.or(under.cluster),
            listen: self.listen.or(under.listen),
            advertise: self.advertise.or(under.advertise),
            founders: if self.founders.is_empty() { under.founders } else { self.founders },
            seeds: if self.seeds.is_empty() { under.seeds } else { self.seeds },
            zone: self.zone.or(under.zone),
            host: self.host.or(under.host),
            replicas: self.replicas.or(under.replicas),
            repair_after: self.repair_after.or(under.repair_after),
            partitions: self.partitions.or(under.partitions),
            key_file: self.key_file.or(under.key_file),
            state_dir: self.state_dir.or(under.state_dir),
            memory_limit: self.memory_limit.or(under.memory_limit),
            value_limit: self.value_limit.or(under.value_limit),
            insecure_listen_without_key: self
                .insecure_listen_without_key
                .or(under.insecure_listen_without_key),
            log_level: self.log_level.or(under.log_level),
            log_format: self.log_format.or(under.log_format),
        }
    }

    /// The keys that have a value, as the file spells them.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("name", self.name.is_some()),
            ("cluster", self.cluster.is_some()),
            ("listen", self.listen.is_some()),
            ("advertise", self.advertise.is_some()),
            ("founders", !self.founders.is_empty()),
            ("seeds", !self.seeds.is_empty()),
            ("zone", self.zone.is_some()),
            ("host", self.host.is_some()),
            ("replicas", self.replicas.is_some()),
            ("repair_after", self.repair_after.is_some()),
            ("partitions", self.partitions.is_some()),
            ("key_file", self.key_file.is_some()),
            ("state_dir", self.state_dir.is_some()),
            ("memory_limit", self.memory_limit.is_some()),
            ("value_limit", self.value_limit.is_some()),
            ("insecure_listen_without_key", self.insecure_listen_without_key.is_some()),
            ("log_level", self.log_level.is_some()),
            ("log_format", self.log_format.is_some()),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(key, _)| key)
    }
}

/// Every key of the file.
const KEYS: [&str; 18] = [
    "name",
    "cluster",
    "listen",
    "advertise",
    "founders",
    "seeds",
    "zone",
    "host",
    "replicas",
    "repair_after",
    "partitions",
    "key_file",
    "state_dir",
    "memory_limit",
    "value_limit",
    "insecure_listen_without_key",
    "log_level",
    "log_format",
];

/// The settings understood, checked and completed: what the daemon runs with.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// The node's configuration.
    pub(crate) node: haystack_core::config::Config,
    /// The name that `node.network` stands for.
    pub(crate) cluster: String,
    /// What is looked up again when nobody answers.
    pub(crate) names: Names,
    /// Where to bind.
    pub(crate) listen: SocketAddr,
    /// Where the key came from.
    pub(crate) key_file: Option<PathBuf>,
    /// Where the life file is.
    pub(crate) state_dir: PathBuf,
    /// What to log.
    pub(crate) levels: Levels,
    /// How to log.
    pub(crate) format: Format,
}

impl fmt::Display for Resolved {
    /// As a file that says the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = &self.node;
        writeln!(f, "name = {}", quoted(&node.name))?;
        writeln!(f, "cluster = {}", quoted(&self.cluster))?;
        writeln!(f, "listen = \"{}\"", self.listen)?;
        writeln!(f, "advertise = \"{}\"", node.advertise)?;
        let names: Vec<String> = node.founder_names.iter().map(|name| quoted(name)).collect();
        let addrs: Vec<String> = node.founders.iter().map(SocketAddr::to_string).collect();
        if !names.is_empty() {
            writeln!(f, "founders = [{}] # {}", names.join(", "), addrs.join(", "))?;
            writeln!(f, "partitions = {}", node.partitions)?;
            let founders = node.founder_names.len();
            if node.replicas as usize > founders {
                let count = if founders == 1 {
                    "1 founder makes 1".to_owned()
                } else {
                    format!("{founders} founders make {founders}")
                };
                writeln!(
                    f,
                    "replicas = {} # {count}: a daemon has one replica of a partition at most",
                    node.replicas
                )?;
            } else {
                writeln!(f, "replicas = {}", node.replicas)?;
            }
        }
        let seeds: Vec<String> = node.seed_names.iter().map(|name| quoted(name)).collect();
        if !seeds.is_empty() {
            let addrs: Vec<String> = node.seeds.iter().map(SocketAddr::to_string).collect();
            writeln!(f, "seeds = [{}] # {}", seeds.join(", "), addrs.join(", "))?;
        }
        for (key, value) in [("zone", &node.zone), ("host", &node.host)] {
            if !value.is_empty() {
                writeln!(f, "{key} = {}", quoted(value))?;
            }
        }
        writeln!(f, "repair_after = {}", node.repair_after.as_secs())?;
        if let Some(file) = &self.key_file {
            writeln!(f, "key_file = {}", quoted(&file.display().to_string()))?;
        }
        writeln!(f, "state_dir = {}", quoted(&self.state_dir.display().to_string()))?;
        writeln!(f, "memory_limit = \"{}\"", Size(node.memory_limit))?;
        writeln!(f, "value_limit = \"{}\"", Size(node.value_limit as u64))?;
        if !self.listen.ip().is_loopback() && node.keys.is_empty() {
            writeln!(f, "insecure_listen_without_key = \"{INSECURE_WORDS}\"")?;
        }
        writeln!(f, "log_level = \"{}\"", self.levels)?;
        write!(f, "log_format = \"{}\"", self.format)
    }
}

/// A TOML basic string of text without control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Reads `file`, if there is one, puts `flags` over it, and checks the whole.
///
/// # Errors
/// [`Failure::Config`] with everything that is wrong, or [`Failure::Unresolved`] if all that is wrong is that a name
/// has no address now.
pub(crate) fn load(file: Option<&Path>, flags: Settings) -> Result<Resolved, Failure> {
    let (written, places) = match file {
        Some(path) => file::read(path).map_err(Failure::Config)?,
        None => (Settings::default(), file::Places::default()),
    };
    let places = places.overlaid(&flags);
    resolve::resolve(flags.over(written), places)
}

/// A number of bytes, as people write it: `1048576`, `1MiB`, `64 KiB`, `2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim() {
            "" | "B" => Some(0),
            "KiB" => Some(10),
            "MiB" => Some(20),
            "GiB" => Some(30),
            "TiB" => Some(40),
            _ => None,
        };
        let size = shift.zip(number.parse::<u64>().ok()).and_then(|(shift, n)| n.checked_mul(1u64 << shift));
        size.map(Self).ok_or_else(|| {
            format!(
                "`{text}` is no size: write a whole number of bytes, or of KiB, MiB, GiB or TiB, as in 512MiB"
            )
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        match units.iter().find(|(_, shift)| self.0 > 0 && self.0.trailing_zeros() >= *shift) {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 1048576 or \"1MiB\"")
            }
            fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size cannot be negative"))
            }
            fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Where: `FILE:LINE: key`, `--flag`, or the key alone.
    pub(crate) place: String,
    /// What, and what to do.
    pub(crate) text: String,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() > 1 {
            write!(f, "{} things are wrong:\n  ", self.0.len())?;
        }
        let lines = self.0.iter().map(|Problem { place, text }| format!("{place}: {text}"));
        f.write_str(&lines.collect::<Vec<_>>().join("\n  "))
    }
}

/// What was probably meant by `word`: the nearest of `known`, if it is near.
pub(crate) fn near_match<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // 0.7 takes a slip or two in a short word and not a different word (judgement).
    let scored = known.into_iter().map(|known| (strsim::normalized_damerau_levenshtein(word, known), known));
    scored.filter(|(score, _)| *score >= 0.7).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}
