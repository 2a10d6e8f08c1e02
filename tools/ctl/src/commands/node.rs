//! A node, as it is named on the command line.

use haystack_client::{DEFAULT_PORT, NodeId, NodeStatus};

use super::status::{View, who};
use crate::failure::Failure;
use crate::near::did_you_mean;

/// The node that `text` names: by its name, its address (without a port the usual one is meant), or the beginning of its
/// id. Of two processes of one name, or at one address, the one that answers is meant.
///
/// # Errors
/// A usage failure that lists the nodes, if there is none, or more than one.
pub(crate) fn find_node(view: &View, text: &str) -> Result<NodeId, Failure> {
    let known = || view.nodes.iter().filter_map(|row| Some((row, row.node?)));
    let lower = text.to_ascii_lowercase();
    let is_id = |id: NodeId| !lower.is_empty() && id.to_string().starts_with(&lower);
    let by_name: Vec<_> = known().filter(|(row, _)| row.name == text).collect();
    let by_address: Vec<_> = known().filter(|(row, _)| is_at(row, text)).collect();
    let by_id: Vec<_> = known().filter(|(_, id)| is_id(*id)).collect();
    let Some(fitting) = [by_name, by_address, by_id].into_iter().find(|fitting| !fitting.is_empty()) else {
        let names: Vec<&str> = known().map(|(row, _)| &*row.name).filter(|name| !name.is_empty()).collect();
        let near = did_you_mean(text, names.iter().copied());
        let nodes: Vec<String> = known().map(|(row, _)| who(row)).collect();
        let message = format!("there is no node `{text}`{near}\nThe nodes are {}", nodes.join(", "));
        return Err(Failure::usage(message));
    };
    let up: Vec<_> = fitting.iter().copied().filter(|(row, _)| row.up).collect();
    match (&fitting[..], &up[..]) {
        ([(_, id)], _) | (_, [(_, id)]) => Ok(*id),
        _ => {
            let ids: Vec<String> = fitting.iter().map(|(row, id)| format!("{} {id}", who(row))).collect();
            Err(Failure::usage(format!(
                "`{text}` may be more than one node, give its id: {}",
                ids.join(", ")
            )))
        }
    }
}

fn is_at(row: &NodeStatus, text: &str) -> bool {
    let has_port = |text: &str| text.parse() == Ok(row.addr);
    let bare =
        || text.trim_matches(['[', ']']).parse() == Ok(row.addr.ip()) && row.addr.port() == DEFAULT_PORT;
    has_port(text) || bare()
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::{node, status_of, view_of};
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn a_node_is_found_by_name_address_or_the_beginning_of_its_id() {
        let view = view_of([status_of(1)]);
        for text in ["n2", "127.0.0.2:7400", "127.0.0.2", "0202", "02", &"02".repeat(16)] {
            assert_eq!(find_node(&view, text), Ok(node(2)), "{text}");
        }
        let failure = find_node(&view, "n4").unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        for text in ["", "127.0.0.2:7401", "n", "zz"] {
            assert!(find_node(&view, text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_unknown_node_gets_a_near_match_and_the_list() {
        let mut status = status_of(1);
        status.nodes[1].name = "orders-2".to_owned();
        let said = find_node(&view_of([status]), "order-2").unwrap_err().message;
        assert!(said.starts_with("there is no node `order-2`. Did you mean `orders-2`?"), "{said}");
        assert!(
            said.ends_with("n1 (127.0.0.1:7400), orders-2 (127.0.0.2:7400), n3 (127.0.0.3:7400)"),
            "{said}"
        );
    }

    #[test]
    fn of_two_processes_of_one_name_the_one_that_answers_is_meant() {
        let mut status = status_of(1);
        status.nodes[1].name = "n3".to_owned();
        let said = find_node(&view_of([status.clone()]), "n3").unwrap_err().message;
        assert!(said.contains("more than one") && said.contains(&"03".repeat(16)), "{said}");
        assert!(find_node(&view_of([status.clone()]), "0").unwrap_err().message.contains("more than one"));
        status.nodes[2].up = false;
        assert_eq!(find_node(&view_of([status]), "n3"), Ok(node(2)));
    }
}
