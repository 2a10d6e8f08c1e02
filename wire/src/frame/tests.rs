use super::*;

#[test]
fn a_lone_message_of_100_bytes_costs_five_more_and_a_coalesced_one_seven() {
    let payload = [7; 100];
    for sequence in [0, 1 << 31, u64::MAX] {
        for (extent, cost) in [(Extent::Rest, 5), (Extent::Delimited, 7)] {
            let mut out = Vec::new();
            put_message(&mut out, Class::Client, sequence, Part::Whole, &payload, extent);
            assert_eq!(out.len(), payload.len() + cost);
            assert_eq!(out.len(), message_len(Part::Whole, payload.len(), extent));
        }
    }
}
