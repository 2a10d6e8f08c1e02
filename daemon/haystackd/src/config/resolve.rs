//! The settings checked against each other and against this host.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use haystack_core::config::Config;
use haystack_wire::ids::{DEFAULT_CLUSTER_NAME, NetworkId};
use haystack_wire::keys::KeyRing;
use haystack_wire::message::client::VALUE_LIMIT;
use haystack_wire::message::directory::{FOUNDERS_LIMIT, GROUPS_LIMIT, NAME_LIMIT, REPLICAS_LIMIT};

use super::file::Places;
use super::names::{Names, addresses};
use super::{DEFAULT_PORT, INSECURE_WORDS, Problem, Problems, Resolved, Settings, Size};
use crate::error::Failure;
use crate::socket::canonical;

/// Least `memory_limit` in bytes: one value of the largest size that the default allows.
const MEMORY_LIMIT_LEAST: u64 = 1 << 20;
/// Longest `repair_after`, in seconds: a day.
const REPAIR_AFTER_MOST: u64 = 24 * 60 * 60;
/// Longest key file in bytes, far above any real one.
const KEY_FILE_LIMIT: u64 = 64 * 1024;

/// What only the host knows, as functions so that tests can be any host.
pub(super) struct Host {
    /// Addresses of a name.
    pub(super) lookup: fn(&str, u16) -> io::Result<Vec<SocketAddr>>,
    /// Whether an address is one of this host's.
    pub(super) owns: fn(IpAddr) -> bool,
    /// The host's name.
    pub(super) name: fn() -> String,
}

impl Host {
    /// This host.
    pub(super) fn this() -> Self {
        Self {
            lookup: |name, port| (name, port).to_socket_addrs().map(Iterator::collect),
            // Only an address of this host can be bound to.
            owns: |ip| UdpSocket::bind((ip, 0)).is_ok(),
            name: || {
                let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
                name.trim().to_owned()
            },
        }
    }
}

/// Checks and completes the settings, on this host.
pub(super) fn resolve(settings: Settings, places: Places) -> Result<Resolved, Failure> {
    resolve_on(&Host::this(), settings, places)
}

/// Checks and completes the settings.
pub(super) fn resolve_on(host: &Host, settings: Settings, mut places: Places) -> Result<Resolved, Failure> {
    let founders_open = settings.founders.is_empty() && !places.is_broken("founders");
    let joins = founders_open && !settings.seeds.is_empty();
    let problems = core::mem::take(&mut places.problems);
    let mut check = Check { host, places: &places, problems, unresolved: 0, joins };
    let listen = check.listen(settings.listen.as_deref());
    let founders = check.founders(&settings.founders, &settings.seeds, listen);
    let seeds = check.seeds(&settings.seeds, listen);
    let advertise = check.advertise(settings.advertise.as_deref(), listen, &founders);
    let key_file = settings.key_file.map(|file| check.path("key_file", &file));
    let keys = check.keys(key_file.as_deref());
    check.exposure(listen, keys.as_ref(), settings.insecure_listen_without_key.as_deref());
    let name = settings.name.unwrap_or_else(host.name);
    check.name("name", &name);
    let cluster = settings.cluster.unwrap_or_else(|| DEFAULT_CLUSTER_NAME.to_owned());
    check.name("cluster", &cluster);
    let mut node = Config::new(&name, advertise.unwrap_or(listen), founders);
    node.network = NetworkId::of_cluster(&cluster);
    node.seeds = seeds.concat();
    let names = Names {
        founders: settings.founders.clone(),
        seeds: settings.seeds.clone(),
        advertise: settings.advertise.clone(),
        known: seeds.clone(),
        listen: Some(listen),
    };
    node.founder_names = settings.founders;
    node.seed_names = settings.seeds;
    node.zone = settings.zone.unwrap_or_default();
    node.host = settings.host.unwrap_or_default();
    for (key, value) in [("zone", &node.zone), ("host", &node.host)] {
        if !value.is_empty() {
            check.name(key, value);
        }
    }
    if let Some(replicas) = settings.replicas {
        check.range("replicas", u64::from(replicas), 1, REPLICAS_LIMIT as u64, |n| n.to_string());
        node.replicas = replicas;
    }
    if let Some(seconds) = settings.repair_after {
        let show = |n: u64| format!("{n} seconds");
        check.range("repair_after", u64::from(seconds), 1, REPAIR_AFTER_MOST, show);
        node.repair_after = Duration::from_secs(u64::from(seconds));
    }
    node.keys = keys.unwrap_or_else(KeyRing::empty);
    if let Some(partitions) = settings.partitions {
        check.range("partitions", u64::from(partitions), 1, GROUPS_LIMIT as u64, |n| n.to_string());
        node.partitions = partitions;
    }
    if let Some(Size(limit)) = settings.memory_limit {
        check.range("memory_limit", limit, MEMORY_LIMIT_LEAST, u64::MAX, |n| Size(n).to_string());
        node.memory_limit = limit;
    }
    if let Some(Size(limit)) = settings.value_limit {
        check.range("value_limit", limit, 1, VALUE_LIMIT as u64, |n| Size(n).to_string());
        node.value_limit = usize::try_from(limit).unwrap_or(usize::MAX);
    }
    let levels = check.parsed("log_level", settings.log_level.as_deref());
    let format = check.parsed("log_format", settings.log_format.as_deref());
    let state_dir =
        settings.state_dir.map_or("/var/lib/haystack".into(), |dir| check.path("state_dir", &dir));
    check.end(&node)?;
    Ok(Resolved { node, cluster, names, listen, key_file, state_dir, levels, format })
}

/// An address as written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// In numbers.
    Ip(SocketAddr),
    /// As a name to look up, with its port.
    Name(String, u16),
}

impl FromStr for Endpoint {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(Self::Ip(canonical((ip, DEFAULT_PORT).into())));
        }
        let wrong = |why: &str| Err(format!("`{text}` is no address: {why}"));
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return if addr.port() == 0 { wrong("port 0 is none") } else { Ok(Self::Ip(canonical(addr))) };
        }
        let (name, port) = match text.rsplit_once(':') {
            None => (text, DEFAULT_PORT),
            Some((name, port)) => match port.parse::<u16>() {
                Ok(port) if port > 0 => (name, port),
                _ => return wrong("the port must be 1 to 65535, as in `n1.example:7400`"),
            },
        };
        let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let numeric = name.chars().all(|c| c.is_ascii_digit() || c == '.');
        if name.is_empty() || name.len() > 253 || !name.chars().all(legal) || numeric {
            return wrong("write `n1.example:7400`, `10.0.0.1:7400` or `[fd00::1]:7400`");
        }
        Ok(Self::Name(name.to_owned(), port))
    }
}

/// The check under way: collects what is wrong.
struct Check<'a> {
    host: &'a Host,
    places: &'a Places,
    problems: Vec<Problem>,
    /// How many of the problems are names without an address.
    unresolved: usize,
    /// Whether there are seeds and no founders.
    joins: bool,
}

impl Check<'_> {
    fn wrong(&mut self, key: &str, text: impl Into<String>) {
        if self.places.is_broken(key) {
            return;
        }
        self.problems.push(Problem { place: self.places.of(key), text: text.into() });
    }

    fn end(mut self, node: &Config) -> Result<(), Failure> {
        if self.problems.is_empty() {
            // Everything it checks was checked above, with its place; this holds the two together.
            if let Err(error) = node.check() {
                self.wrong("configuration", error.to_string());
            }
        }
        match self.problems.len() {
            0 => Ok(()),
            all if all == self.unresolved => Err(Failure::Unresolved(Problems(self.problems))),
            _ => Err(Failure::Config(Problems(self.problems))),
        }
    }

    fn parsed<T: FromStr<Err = String> + Default>(&mut self, key: &str, text: Option<&str>) -> T {
        text.map_or_else(|| Ok(T::default()), str::parse).unwrap_or_else(|problem| {
            self.wrong(key, problem);
            T::default()
        })
    }

    fn range(&mut self, key: &str, value: u64, least: u64, most: u64, show: fn(u64) -> String) {
        if value < least {
            self.wrong(key, format!("{} is too little: {} is the least", show(value), show(least)));
        } else if value > most {
            self.wrong(key, format!("{} is too much: {} is the most", show(value), show(most)));
        }
    }

    fn name(&mut self, key: &str, name: &str) {
        if name.is_empty() || name.len() > NAME_LIMIT || name.chars().any(char::is_control) {
            self.wrong(key, format!("a name has 1 to {NAME_LIMIT} bytes and no control characters"));
        }
    }

    fn path(&self, key: &str, path: &Path) -> PathBuf {
        self.places.base(key).join(path)
    }

    fn listen(&mut self, text: Option<&str>) -> SocketAddr {
        let default = SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
        match text.map(str::parse) {
            None => default,
            Some(Ok(Endpoint::Ip(addr))) => addr,
            Some(Ok(Endpoint::Name(name, _))) => {
                self.wrong(
                    "listen",
                    format!("`{name}` is a name: write the IP address, or `[::]:7400` for all"),
                );
                default
            }
            Some(Err(problem)) => {
                self.wrong("listen", problem);
                default
            }
        }
    }

    /// Addresses of each seed, as many as are found: a seed that has none now may have one later.
    fn seeds(&mut self, names: &[String], listen: SocketAddr) -> Vec<Vec<SocketAddr>> {
        if names.len() > FOUNDERS_LIMIT {
            self.wrong("seeds", format!("{} seeds are too many: {FOUNDERS_LIMIT} is the most", names.len()));
            return Vec::new();
        }
        let mut found = Vec::new();
        for name in names {
            match name.parse::<Endpoint>() {
                Err(problem) => self.wrong("seeds", problem),
                Ok(Endpoint::Ip(_)) => found.push(self.address("seeds", name, listen).into_iter().collect()),
                Ok(Endpoint::Name(..)) => found.push(addresses(self.host.lookup, name, Some(listen))),
            }
        }
        found
    }

    fn founders(&mut self, names: &[String], seeds: &[String], listen: SocketAddr) -> Vec<SocketAddr> {
        if names.is_empty() && seeds.is_empty() && !self.places.is_broken("seeds") {
            let text = "missing. List the addresses of all daemons that found the cluster together, the same list \
                        everywhere, as in `founders = [\"n1.example:7400\", \"n2.example:7400\", \
                        \"n3.example:7400\"]`; or, to join a cluster that is there, some of its daemons as `seeds`. To \
                        try things out on this host, run `haystackd dev`";
            self.wrong("founders", text);
        }
        if names.len() > FOUNDERS_LIMIT {
            self.wrong(
                "founders",
                format!("{} founders are too many: {FOUNDERS_LIMIT} is the most", names.len()),
            );
            return Vec::new();
        }
        let mut found: Vec<SocketAddr> = Vec::new();
        for name in names {
            let Some(addr) = self.address("founders", name, listen) else { continue };
            if let Some(same) = found.iter().position(|other| *other == addr) {
                let text = format!(
                    "`{}` and `{name}` are the same address, {addr}: each daemon needs its own",
                    names[same]
                );
                self.wrong("founders", text);
            }
            found.push(addr);
        }
        let inside = found.iter().position(|addr| addr.ip().is_loopback());
        let outside = found.iter().position(|addr| !addr.ip().is_loopback());
        if let (Some(inside), Some(outside), true) = (inside, outside, found.len() == names.len()) {
            let text = format!(
                "`{}` is {}, which no other host can reach, while `{}` is not of this host. If it is this host's \
                 name, correct its line in /etc/hosts; else write addresses",
                names[inside], found[inside], names[outside]
            );
            self.wrong("founders", text);
        }
        found
    }

    /// The address that `text` stands for: of a name the lowest IPv4 address, else the lowest, so that all hosts
    /// choose alike; IPv6 only if `listen` speaks nothing else.
    fn address(&mut self, key: &str, text: &str, listen: SocketAddr) -> Option<SocketAddr> {
        let addr = match text.parse() {
            Err(problem) => {
                self.wrong(key, problem);
                return None;
            }
            Ok(Endpoint::Ip(addr)) => addr,
            Ok(Endpoint::Name(name, port)) => {
                let written = format!("{name}:{port}");
                match addresses(self.host.lookup, &written, Some(listen)).into_iter().min() {
                    Some(addr) => addr,
                    None => {
                        self.unresolved += 1;
                        let kind = if listen.is_ipv4() { "IPv4 " } else { "" };
                        self.wrong(
                            key,
                            format!("the name `{name}` has no {kind}address: check DNS or /etc/hosts"),
                        );
                        return None;
                    }
                }
            }
        };
        if addr.ip().is_unspecified() || addr.ip().is_multicast() {
            self.wrong(
                key,
                format!("`{text}` is not the address of one daemon: write one that the others can reach"),
            );
            return None;
        }
        if listen.is_ipv4() != addr.is_ipv4() && !(listen.is_ipv6() && listen.ip().is_unspecified()) {
            let text = format!(
                "this daemon listens on {listen} and cannot reach {addr}: listen on `[::]` to have both"
            );
            self.wrong(key, text);
            return None;
        }
        Some(addr)
    }

    fn advertise(
        &mut self,
        text: Option<&str>,
        listen: SocketAddr,
        founders: &[SocketAddr],
    ) -> Option<SocketAddr> {
        let (key, advertise) = match text {
            Some(text) => ("advertise", self.address("advertise", text, listen)?),
            None if !listen.ip().is_unspecified() => ("listen", listen),
            None => {
                let own = founders
                    .iter()
                    .filter(|addr| addr.port() == listen.port() && (self.host.owns)(addr.ip()));
                match own.collect::<Vec<_>>()[..] {
                    [own] => ("advertise", *own),
                    _ if founders.is_empty() && self.joins => {
                        let text = "missing: a daemon that joins and listens on every address of its host must be \
                                    told at which one the others reach it";
                        self.wrong("advertise", text);
                        return None;
                    }
                    _ if founders.is_empty() => return None,
                    _ => {
                        let text = "missing, and which of the founders this daemon is cannot be seen from the \
                                    addresses of this host: set it to that founder's address";
                        self.wrong("advertise", text);
                        return None;
                    }
                }
            }
        };
        if !founders.is_empty() && !founders.contains(&advertise) {
            let list = founders.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
            let text = format!(
                "{advertise} is not among the founders ({list}): list it there, or set `advertise` to \
                                the one that reaches this daemon"
            );
            self.wrong(key, text);
        }
        Some(advertise)
    }

    fn keys(&mut self, file: Option<&Path>) -> Option<KeyRing> {
        let path = file?;
        match read_keys(path) {
            Ok(keys) => Some(keys),
            Err(problem) => {
                self.wrong("key_file", format!("{}: {problem}", path.display()));
                None
            }
        }
    }

    /// Without a key, anybody who reaches the port is an administrator.
    fn exposure(&mut self, listen: SocketAddr, keys: Option<&KeyRing>, words: Option<&str>) {
        if let Some(words) = words.filter(|words| *words != INSECURE_WORDS) {
            let text = format!("`{words}` says nothing: write `{INSECURE_WORDS}`, or better set `key_file`");
            self.wrong("insecure_listen_without_key", text);
        } else if keys.is_none() && words.is_none() && !listen.ip().is_loopback() {
            let key_file_failed = self.places.is_broken("key_file")
                || self.places.is_broken("insecure_listen_without_key")
                || self.problems.iter().any(|problem| problem.place == self.places.of("key_file"));
            if !key_file_failed {
                let text = format!(
                    "{listen} is open to other hosts, and without a key whoever reaches it can read, change and \
                     destroy everything. Make a key with `haystackctl key new`, copy it to every host and set \
                     `key_file`; or listen on 127.0.0.1"
                );
                self.wrong("listen", text);
            }
        }
    }
}

/// Reads a file with a cluster key.
fn read_keys(path: &Path) -> Result<KeyRing, String> {
    use std::os::unix::fs::PermissionsExt as _;
    let cannot = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file: `haystackctl key new` makes one".to_owned(),
        _ => format!("cannot read the key file: {error}"),
    };
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() || metadata.len() > KEY_FILE_LIMIT {
        return Err("this is no key file".to_owned());
    }
    if metadata.permissions().mode() & 0o007 != 0 {
        let path = path.display();
        return Err(format!(
            "everybody on this host may read or change it: `chmod o= {path}`, and if others could \
                            have read it, make a new key"
        ));
    }
    let text = std::fs::read_to_string(path).map_err(cannot)?;
    let keys = KeyRing::from_file_text(&text).map_err(|error| error.to_string())?;
    if !keys.is_cluster() {
        return Err(
            "a client key, and daemons need the cluster key: `haystackctl key new` makes one".to_owned()
        );
    }
    Ok(keys)
}
