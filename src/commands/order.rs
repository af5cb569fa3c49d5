//! `placard order`: orders of a public emergency (C26). An order is entered and renewed by two approvers, whom it names; anybody ends it.

use super::fact::{self, Flags, Told, needed, nothing_of, print, propose};
use super::{Context, Failed, Outcome};
use crate::clock::{Clock, SystemClock};
use crate::policy::facts::{Order, Register, Renewal, Withdrawal};
use crate::policy::rules::{Reason, Rule};
use crate::policy::when::When;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    #[command(flatten)]
    Fact(fact::Action<OrderFlags>),
    /// Propose that an order is prolonged, under a number of its own.
    Renew {
        id: String,
        /// The renewal's number.
        #[arg(long, value_name = "NUMBER")]
        number: String,
        #[arg(long, value_name = "TIME")]
        from: When,
        #[arg(long, value_name = "TIME")]
        until: When,
        /// Who approves it; twice at least. In an operational site they sign.
        #[arg(long = "approved-by", value_name = "WHO")]
        approved_by: Vec<String>,
        #[command(flatten)]
        told: Told,
    },
    /// An order ends now, whatever its date says.
    End {
        id: String,
        #[command(flatten)]
        told: Told,
    },
}

#[derive(clap::Args, Debug)]
struct OrderFlags {
    /// The number that its issuer gave it.
    id: Option<String>,
    #[arg(long, value_name = "WHO")]
    issuer: Option<String>,
    /// Where; may be given again.
    #[arg(long = "zone", value_name = "ZONE")]
    zones: Vec<String>,
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Who approves it; twice at least. In an operational site they sign.
    #[arg(long = "approved-by", value_name = "WHO")]
    approved_by: Vec<String>,
}

impl Flags for OrderFlags {
    type Fact = Order;
    fn fact(self, _register: &Register) -> Result<Order, Failed> {
        Ok(Order {
            id: needed(self.id, "the order's number")?,
            issuer: needed(self.issuer, "--issuer")?,
            zones: self.zones,
            from: needed(self.from, "--from")?,
            until: needed(self.until, "--until")?,
            renewals: Vec::new(),
            approved_by: self.approved_by,
            ended: None,
        })
    }
    fn line(order: &Order) -> String {
        let last = order.renewals.iter().map(|r| &r.until).chain([&order.until]).max_by_key(|u| u.at());
        let last = last.map_or(String::new(), ToString::to_string);
        let ended = order.ended.as_ref().map_or(String::new(), |e| format!("; ENDED at {} by {}", e.at, e.by));
        format!("{} for {}, {} to {last}, renewed {} times{ended}", order.issuer, order.zones.join(", "), order.from, order.renewals.len())
    }
}

fn order<'a>(register: &'a mut Register, id: &str) -> Result<&'a mut Order, Failed> {
    let names: Vec<String> = register.orders.iter().map(|o| o.id.clone()).collect();
    register.orders.iter_mut().find(|o| o.id == id).ok_or_else(|| nothing_of("order", id, names.into_iter()))
}

pub fn run(context: &Context, args: Args) -> Outcome {
    match args.action {
        Action::Fact(action) => fact::run(context, action),
        Action::Renew { id, number, from, until, approved_by, told } => {
            let why = told.reason(&format!("order `{id}` renewed: {number}"));
            let done = propose(context, &told, &why, |register| {
                let order = order(register, &id)?;
                if let Some(ended) = &order.ended {
                    let fact = format!(
                        "order `{id}` was ended at {} by {}, and what was ended is not in force again by being prolonged",
                        ended.at, ended.by
                    );
                    let remedy = "enter the order that is in force now (`placard order add`), with a number of its own";
                    return Err(Failed::refused(&Reason::new(Rule::OrderInForce, fact, remedy)));
                }
                order.renewals.push(Renewal { number, from, until });
                if !approved_by.is_empty() {
                    order.approved_by = approved_by;
                }
                Ok(())
            })?;
            print(context, &done)
        }
        Action::End { id, told } => {
            let why = told.reason(&format!("order `{id}` ended"));
            let ended = Withdrawal { at: When::to_the_millisecond(SystemClock.utc()), by: told.by(), reason: told.reason("") };
            let done = propose(context, &told, &why, |register| {
                order(register, &id)?.ended.get_or_insert(ended);
                Ok(())
            })?;
            print(context, &done)
        }
    }
}
