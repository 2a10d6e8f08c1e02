//! Membership by gossip: SWIM with Lifeguard.
