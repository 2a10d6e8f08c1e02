use super::*;

#[test]
fn smoke() {
    let keys = KeyRing::from_file_text(&crate::keys::new_cluster_key([7; 32])).unwrap();
    for keys in [keys, KeyRing::empty()] {
        let a = Association {
            version: 1,
            network: NetworkId::default(),
            initiator: LinkEnd::default(),
            responder: LinkEnd::default(),
            random_a: [1; 16],
            random_b: [2; 16],
        };
        let (mut x, y) = Sealer::derive(&keys, keys.active(Role::Peer).unwrap(), &a).unwrap();
        let mut out = Vec::new();
        let draft = x.start(&mut out, ConnectionId(5), 77, true).unwrap();
        crate::frame::put_message(
            &mut out,
            crate::frame::Class::Client,
            9,
            crate::frame::Part::Whole,
            &[1; 100],
            crate::frame::Extent::Rest,
        );
        x.finish(&mut out, draft);
        assert_eq!(out.len(), 100 + if keys.is_empty() { 27 } else { 39 });
        assert_eq!(y.open(&mut out.clone()), Err(DropReason::Authentic));
        let opened = x.open(&mut out).unwrap();
        assert_eq!((opened.packet_number, opened.immediate_ack), (77, true));
        assert_eq!(opened.frames[5..], [1; 100]);
    }
}
