//! How processes begin: what each is configured with.

use haystack_client::core::Client;
use haystack_core::config::Config;
use haystack_core::node::Node;
use haystack_wire::ids::NetworkId;
use haystack_wire::keys::{KeyRing, Rights, new_cluster_key};
use haystack_wire::rng::Rng;

use crate::actor::Actor;
use crate::daemon::Daemon;
use crate::dice::Dice;
use crate::host::Process;
use crate::scenario::{Contacts, Scenario};
use crate::shape::Luggage;
use crate::world::World;

impl World {
    /// A new process begins on a host.
    pub(crate) fn start(&mut self, host: usize) {
        let now = self.queue.now();
        let rng = Rng::from_u64(self.dice.u64());
        let process = if self.daemons().contains(&host) {
            self.unpack(host);
            let config = self.daemon_config(host);
            let identity = self.disks[host].begin(&config.name, &mut self.dice);
            let local = self.hosts[host].clock.at(now);
            let node = Node::new(config, identity, local, rng, self.log.clone());
            Process::Daemon(Box::new(Daemon::new(node)))
        } else {
            Process::Client(Box::new(self.new_actor(host, now, rng)))
        };
        let this = &mut self.hosts[host];
        this.life += 1;
        this.process = process;
        this.timer_at = u64::MAX;
        this.turn_scheduled = false;
        this.free_at = now;
        this.disk_free_at = now;
        let name = this.name.split('.').next().unwrap_or_default().to_owned();
        this.name = if this.life == 1 { name } else { format!("{name}.{}", this.life) };
        self.schedule_turn(host);
    }

    /// What a joiner comes with, when it comes first.
    fn unpack(&mut self, host: usize) {
        let luggage = self.scenario.joiner(host).map(|joiner| joiner.luggage);
        // Not once all is calm: nobody could count on the process that it is taken of any more.
        let comes = self.hosts[host].life == 0 && !self.nemesis.calm;
        let Some(Luggage::CopiedState(from)) = luggage.filter(|_| comes) else { return };
        let Some(bytes) = self.disks[from].life.clone() else { return };
        self.copied.extend(self.hosts[from].daemon().map(|daemon| daemon.node.id()));
        self.disks[host].life = Some(bytes);
    }

    fn daemon_config(&self, host: usize) -> Config {
        let addrs = |hosts: &[usize]| hosts.iter().map(|at| self.hosts[*at].addr).collect::<Vec<_>>();
        let shape = &self.scenario.shape;
        let (founders, seeds) = match self.scenario.joiner(host) {
            Some(joiner) => (Vec::new(), addrs(&joiner.seeds)),
            None => (addrs(&self.founders().collect::<Vec<_>>()), Vec::new()),
        };
        let mut config = Config::new(&self.scenario.name(host), self.hosts[host].addr, founders);
        config.seed_names = seeds.iter().map(ToString::to_string).collect();
        config.seeds = seeds;
        if shape.zones > 0 {
            config.zone = format!("z{}", host % shape.zones);
        }
        config.repair_after = shape.repair_after;
        config.network = NetworkId::of_cluster("sim");
        config.keys = self.cluster_keys.clone();
        config.partitions = shape.partitions;
        config.replicas = shape.degree;
        config.limits = self.scenario.limits;
        config.links = self.scenario.links;
        config.buggify = self.buggify();
        config.session_ttl = self.scenario.session_ttl;
        config.observe = true;
        config.mutations = self.mutations;
        config
    }

    fn new_actor(&mut self, host: usize, now: u64, rng: Rng) -> Actor {
        let mut contacts: Vec<_> = self.founders().map(|at| self.hosts[at].addr).collect();
        let number = host - self.clients().start;
        match self.scenario.load.contacts {
            _ if host == self.auditor() => self.dice.shuffle(&mut contacts),
            Contacts::Some => {
                self.dice.shuffle(&mut contacts);
                contacts.truncate(self.dice.range(1, contacts.len() as u64) as usize);
            }
            Contacts::All => {}
            Contacts::Own => contacts = vec![contacts[number]],
        }
        let mut config = haystack_client::core::Config::new(contacts);
        config.keys = self.client_keys.clone();
        config.network = NetworkId::of_cluster("sim");
        let local = self.hosts[host].clock.at(now);
        let core = Client::new(config, local, rng).expect("there are addresses");
        let dice = self.dice.fork();
        let mut load = self.scenario.load.clone();
        if host == self.auditor() {
            (load.depth, load.think) = ((16, 16), 1);
        }
        let mut actor = Actor::new(core, load, dice, &mut self.record.history, now);
        actor.active = host != self.auditor() && !self.nemesis.calm;
        actor
    }
}

/// The keys of daemons and of clients.
pub(crate) fn keys(scenario: &Scenario, dice: &mut Dice) -> (KeyRing, KeyRing) {
    if !scenario.sealed {
        return (KeyRing::empty(), KeyRing::empty());
    }
    let mut random = [0; 32];
    random.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&dice.u64().to_be_bytes()));
    let read = |text: &str| KeyRing::from_file_text(text).expect("a key file that was just written");
    let cluster = read(&new_cluster_key(random));
    let client = cluster.client_key(Rights::ALL).expect("a cluster key gives client keys");
    let client = read(&client);
    (cluster, client)
}
