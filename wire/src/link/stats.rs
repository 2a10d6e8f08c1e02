//! What an endpoint counts. Whatever is dropped has a reason here.

use crate::datagram::DropReason;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of an endpoint, from its beginning. They only grow, but for the gauges at the end.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct LinkStats {
            $($(#[$doc])* pub $name: u64,)*
            /// Datagrams dropped before they meant anything, by [`DropReason::index`].
            pub dropped: [u64; DropReason::COUNT],
        }

        impl LinkStats {
            /// All counters with their names; those of [`LinkStats::dropped`] begin with `drop_`.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                let named = [$((stringify!($name), self.$name),)*];
                named.into_iter().chain(DROP_NAMES.into_iter().zip(self.dropped))
            }
        }
    };
}

/// The names of [`DropReason::NAMES`], as counters of an endpoint.
const DROP_NAMES: [&str; DropReason::COUNT] = [
    "drop_short",
    "drop_foreign",
    "drop_version",
    "drop_kind",
    "drop_network",
    "drop_own",
    "drop_unsealed",
    "drop_sealed",
    "drop_unknown_key",
    "drop_key_phase",
    "drop_role",
    "drop_packet_number",
    "drop_not_authentic",
    "drop_malformed",
];

counters! {
    /// Datagrams handed in.
    datagrams_in,
    /// Their bytes.
    bytes_in,
    /// Datagrams handed out.
    datagrams_out,
    /// Their bytes.
    bytes_out,
    /// Messages delivered.
    messages_in,
    /// Messages taken for sending.
    messages_out,
    /// Fair-loss messages delivered.
    fair_loss_in,
    /// Fair-loss messages taken for sending.
    fair_loss_out,
    /// Fair-loss messages dropped for newer ones, or for want of a path.
    fair_loss_dropped,
    /// Messages or pieces that were here before.
    duplicate_messages,
    /// Messages outside any link that came.
    gossip_in,
    /// Messages outside any link that were sent.
    gossip_out,
    /// Messages outside any link that came while too many others waited.
    drop_gossip_full,
    /// Messages refused because a window was full.
    would_block,
    /// Datagrams that carried nothing but an acknowledgement.
    ack_only_out,
    /// Packets taken for lost.
    packets_lost,
    /// Packets taken for lost that had arrived.
    packets_spuriously_lost,
    /// Probe timeouts.
    probe_timeouts,
    /// Packets that had arrived before.
    drop_duplicate,
    /// Packets below the window.
    drop_old,
    /// Short datagrams for a connection that is not known.
    drop_unknown_connection,
    /// Packets with more than the bound of incomplete messages allows. Not acknowledged, so they come again.
    drop_assembly_full,
    /// RESETs that mean no association here.
    drop_stale_reset,
    /// Answers to no call of ours, or to one that is over.
    drop_stale_answer,
    /// Datagrams of processes that are proven dead.
    drop_gone,
    /// Datagrams of another process under this process's own identity.
    drop_conflict,
    /// HELLOs that this process does not answer, being no daemon.
    drop_not_accepting,
    /// HELLOs dropped because our own, of the lower node id, is on its way.
    drop_simultaneous,
    /// Handshakes refused because there is no room for one more link.
    drop_links_full,
    /// Third legs that came when the session they meant was no longer the one at hand.
    drop_outdated_handshake,
    /// Handshakes of a known process under another role.
    drop_role_changed,
    /// HELLOs with no version in common, answered with a VERNEG.
    version_mismatch,
    /// Long datagrams for which there is no room to send.
    drop_outbox_full,
    /// RESETs not sent: too many to one address, or longer than what would cause them.
    reset_suppressed,
    /// HELLOs sent.
    hello_out,
    /// RETRYs sent.
    retry_out,
    /// WELCOMEs sent.
    welcome_out,
    /// RESETs sent.
    reset_out,
    /// RESETs taken as a hint.
    reset_in,
    /// Handshakes that met too many others half done.
    half_open_full,
    /// Handshakes that never had their third leg.
    half_open_expired,
    /// Handshakes that ended in an association.
    handshakes,
    /// Frames of later versions, skipped.
    unknown_frames,
    /// Links ended because the other end broke the rules.
    violations,
    /// Links now.
    links,
    /// Handshakes half done now.
    half_open,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_named_as_their_reasons() {
        let names: Vec<String> = DropReason::NAMES.iter().map(|name| format!("drop_{name}")).collect();
        assert_eq!(names, DROP_NAMES);
        let stats = LinkStats { links: 3, ..LinkStats::default() };
        assert!(stats.iter().any(|counter| counter == ("links", 3)));
    }
}
