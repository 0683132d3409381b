//! A cascade of restarts among in-memory actors, without processes:
//! `cargo run --example cascade_in_memory`
//!
//! root (one-for-one) → `shop` (rest-for-one) → `stock`, `till`, `display`. A crash of the till
//! restarts the till and the children after it. Crashes that spend the shop's intensity restart the
//! whole shop. When the root's intensity is spent too, the tree ends and says why.

use std::{error::Error, time::Duration};

use procession::{
    exit::Exit,
    supervision::{ActorChildRef, ChildSpec, SupervisorSpec},
    tree::Tree,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let second = Duration::from_secs(1);
    let shop = SupervisorSpec::rest_for_one()
        .intensity(1, 10 * second)
        .child(counter("stock"))
        .child(counter("till"))
        .child(counter("display"));
    let tree =
        Tree::builder().intensity(1, 10 * second).child(ChildSpec::supervisor("shop", shop)).start().await?;
    let stock: ActorChildRef<Message> = tree.actor("/shop/stock")?;
    let till: ActorChildRef<Message> = tree.actor("/shop/till")?;

    stock.call(Message::Increment, second).await?;
    let count = stock.call(Message::Increment, second).await?;
    println!("the stock has counted to {count}\n\n{}", tree.snapshot());

    println!("the till crashes: it and the display come back, the stock is not touched");
    crash(&tree, &till).await?;
    println!(
        "the stock goes on counting: {}\n\n{}",
        stock.call(Message::Increment, second).await?,
        tree.snapshot()
    );

    println!("it crashes again: the shop's intensity is spent, the root restarts the whole shop");
    crash(&tree, &till).await?;
    println!(
        "the stock starts from zero again: {}\n\n{}",
        stock.call(Message::Increment, second).await?,
        tree.snapshot()
    );

    println!("and twice more: now the root's intensity is spent too");
    crash(&tree, &till).await?;
    till.cast(Message::Crash)?;
    let exit = tree.wait().await;
    println!("the tree has ended:");
    for (depth, cause) in exit.chain().enumerate() {
        let text = match cause {
            Exit::IntensityExceeded { child, limit, .. } => format!("gave up on `{child}`: {limit}"),
            leaf => leaf.to_string(),
        };
        println!("{:indent$}{text}", "", indent = 2 * depth + 2);
    }
    Ok(())
}

/// Crashes an actor and waits until it is back and the whole tree is healthy again.
async fn crash(tree: &Tree, actor: &ActorChildRef<Message>) -> Result<(), Box<dyn Error>> {
    let mut events = tree.events();
    let crashed = actor.cast(Message::Crash)?;
    events.wait_for(|event| event.path == *actor.path() && event.incarnation > crashed).await?;
    let patience = Duration::from_secs(5);
    tree.wait_healthy(patience)
        .await
        .map_err(|health| format!("not healthy after {patience:?}: {health:?}").into())
}

fn counter(id: &str) -> ChildSpec {
    ChildSpec::actor(id, || (Counter, ()))
}

struct Counter;

enum Message {
    Increment(RpcReplyPort<u64>),
    Crash,
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Counter {
    type Msg = Message;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        message: Message,
        count: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Increment(reply) => {
                *count += 1;
                reply.send(*count)?;
                Ok(())
            }
            Message::Crash => Err("out of paper".into()),
        }
    }
}
