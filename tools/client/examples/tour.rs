//! A tour of the client against a running cluster: `cargo run --example tour [HOST:PORT]...`, by default the one that
//! `haystackd dev` starts.

use std::time::Duration;

use haystack_client::{Answer, CasOutcome, Connection, Error, Expect, Operation, Options};

fn main() -> Result<(), Error> {
    let mut addresses: Vec<String> = std::env::args().skip(1).collect();
    if addresses.is_empty() {
        addresses.push("127.0.0.1:7400".into());
    }
    let mut connection = Connection::connect(Options::new(addresses).timeout(Duration::from_secs(10)))?;
    println!("{} partitions", connection.map()?.partitions.len());

    let version = connection.put("tour/colour", "green")?;
    println!("put at version {version}");
    match connection.cas("tour/colour", Expect::Version(version), "blue")? {
        CasOutcome::Written(version) => println!("blue since version {version}"),
        CasOutcome::Mismatch { actual } => println!("somebody else was faster: {actual:?}"),
    }
    let previous = connection.delete("tour/colour")?.previous;
    println!("deleted version {previous:?}");

    let puts = (0..10_000).map(|n| Operation::put(format!("tour/{n}"), n.to_string()));
    let written = connection.pipeline(puts)?.into_iter().filter(Result::is_ok).count();
    println!("{written} of 10000 written in a pipeline");

    let op = connection.submit(Operation::get("tour/77"))?;
    let completion = connection.completion(Duration::from_secs(10))?.filter(|completion| completion.op == op);
    if let Some(Ok(Answer::Read { found: Some(found), .. })) = completion.map(|completion| completion.outcome)
    {
        println!("tour/77 is {:?} since version {}", found.value, found.version);
    }
    Ok(())
}
