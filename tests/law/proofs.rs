//! What is proven of the regimes' policies, over every state that their schema allows: `profiles/laws.cedar`, by Cedar's symbolic
//! compiler and the solver cvc5. Where no solver is installed the proofs are skipped, and counted.
//!
//! The oracle compares states that were drawn (`law/oracle.rs`); this leaves out none. It speaks of policies alone: that the plane asks
//! every regime, and grants only what all of them and the rules permit, is tested there and in `src/policy/cedar/tests.rs`.
//!
//! Cedar reads `a && b && c` as `(a && b) && c`, and the compiler writes the left side of a conjunction twice: some 2^45 terms of ours. So
//! the same conditions are handed to it as `a && (b && c)`, which means the same, errors included.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, RequestEnv, Schema};
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicySet, solver::LocalSolver};
use placard::policy::profile::Library;
use serde_json::{Value, json};

const REGIMES: [&str; 5] = ["baseline", "cn-pipl", "eu-ai-act", "uk-ico", "us-bipa"];
const LAWS: &str = include_str!("../../profiles/laws.cedar");

/// Past what the test harness keeps to itself: a skipped test is counted by its line.
fn say(line: &str) {
    let _nobody_reads = writeln!(std::io::stdout(), "{line}");
}

fn on_the_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// Asks the solver: `Ok` where what one set permits the other does too, in every state.
struct Prover {
    runtime: tokio::runtime::Runtime,
    compiler: CedarSymCompiler<LocalSolver>,
    schema: Schema,
}

impl Prover {
    fn new() -> Option<Self> {
        let Some(solver) = std::env::var_os("CVC5").map(PathBuf::from).or_else(|| on_the_path("cvc5")) else {
            say("SKIPPED: no solver: install the package cvc5, or name its program in CVC5");
            return None;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // Before any other thread of this process could look: the tests of this file alone read it.
        let compiler = runtime.block_on(async {
            let mut command = tokio::process::Command::new(solver);
            command.args(["--lang", "smt", "--tlimit-per=60000"]);
            CedarSymCompiler::new(LocalSolver::from_command(&mut command).expect("a solver that starts")).expect("a compiler")
        });
        let schema = include_str!("../../profiles/policies.cedarschema");
        Some(Self { runtime, compiler, schema: Schema::from_cedarschema_str(schema).expect("our schema").0 })
    }

    fn requests(&self) -> Vec<RequestEnv> {
        self.schema.request_envs().collect()
    }

    /// `None`: the schema does not know what these policies ask for in such a request.
    fn compiled(&self, set: &PolicySet, request: &RequestEnv) -> Option<CompiledPolicySet> {
        CompiledPolicySet::compile(set, request, &self.schema).ok()
    }

    fn within(&mut self, narrow: &CompiledPolicySet, wide: &CompiledPolicySet) -> bool {
        self.runtime.block_on(self.compiler.check_implies_opt(narrow, wide)).expect("an answer of the solver")
    }
}

struct Law {
    name: String,
    under: Vec<String>,
    actions: Vec<String>,
    set: PolicySet,
}

impl Law {
    fn speaks_of(&self, regime: &str, request: &RequestEnv) -> bool {
        let action = request.action().id().unescaped();
        (self.under.iter().any(|u| u == regime || u == "each")) && self.actions.iter().any(|a| a == action)
    }
}

fn laws() -> Vec<Law> {
    let words = |policy: &Policy, key: &str| {
        let list: Vec<String> = policy.annotation(key).expect(key).split(' ').map(str::to_owned).collect();
        list
    };
    let texts: PolicySet = LAWS.parse().expect("laws");
    let mut laws: Vec<(usize, Law)> = Vec::new();
    for policy in texts.policies() {
        let name: &str = policy.id().as_ref();
        let number = name.trim_start_matches("policy").parse().expect("Cedar numbers policies");
        let law = Law {
            name: policy.annotation("law").expect("a name").to_owned(),
            under: words(policy, "under"),
            actions: words(policy, "actions"),
            set: set_of([policy.clone()]),
        };
        assert!(law.under.iter().all(|u| u == "each" || REGIMES.contains(&u.as_str())), "{}: {:?}", law.name, law.under);
        laws.push((number, law));
    }
    laws.sort_by_key(|(number, _)| *number);
    laws.into_iter().map(|(_, law)| law).collect()
}

fn set_of(policies: impl IntoIterator<Item = Policy>) -> PolicySet {
    PolicySet::from_policies(policies.into_iter().map(|p| leaning_right(&p))).expect("policies of different names")
}

fn regime(name: &str) -> Vec<Policy> {
    Library::bundled().profile(name).expect("a bundled profile").policies.policies().cloned().collect()
}

/// The parts of `a && b && c`, or of `a || b || c`.
fn parts(expression: &Value, operator: &str) -> Vec<Value> {
    match expression.get(operator) {
        Some(two) => [parts(&two["left"], operator), parts(&two["right"], operator)].concat(),
        None => vec![leaning(expression)],
    }
}

fn joined(mut parts: Vec<Value>, operator: &str) -> Value {
    let last = parts.pop().unwrap_or_else(|| json!({"Value": true}));
    parts.into_iter().rev().fold(last, |right, left| json!({operator: {"left": left, "right": right}}))
}

fn leaning(expression: &Value) -> Value {
    if let Some(operator) = ["&&", "||"].into_iter().find(|o| expression.get(o).is_some()) {
        return joined(parts(expression, operator), operator);
    }
    match expression {
        Value::Object(fields) => Value::Object(fields.iter().map(|(k, v)| (k.clone(), leaning(v))).collect()),
        Value::Array(items) => Value::Array(items.iter().map(leaning).collect()),
        other => other.clone(),
    }
}

fn leaning_right(policy: &Policy) -> Policy {
    with_conditions(policy, policy.id().clone(), |conditions| conditions.iter().map(leaning).collect())
}

fn with_conditions(policy: &Policy, id: PolicyId, change: impl Fn(&[Value]) -> Vec<Value>) -> Policy {
    let mut text = policy.to_json().expect("a policy as JSON");
    let conditions = change(text["conditions"].as_array().expect("conditions"));
    text["conditions"] = Value::Array(conditions);
    Policy::from_json(Some(id), text).expect("the policy again")
}

/// Where in a permit a condition stands: through `&&` and `||`, the left and right of each.
type Place = Vec<&'static str>;

fn places(expression: &Value, above: &Place, found: &mut Vec<Place>) {
    for operator in ["&&", "||"] {
        if let Some(two) = expression.get(operator) {
            for side in ["left", "right"] {
                places(&two[side], &[above.clone(), vec![operator, side]].concat(), found);
            }
            return;
        }
    }
    found.push(above.clone());
}

/// The condition at `at` is taken for granted: the permit opens at least as much as before. One side of a disjunction takes the other
/// with it.
fn without(expression: &Value, at: &[&'static str]) -> Value {
    match at {
        [] => json!({"Value": true}),
        [operator, side, rest @ ..] => {
            let mut changed = expression.clone();
            changed[*operator][*side] = without(&expression[*operator][*side], rest);
            changed
        }
        [_] => unreachable!("operators and sides come in pairs"),
    }
}

/// On a thread of its own: the compiler descends once for each condition, deeper than a test's stack.
fn with_a_prover(test: impl FnOnce(&mut Prover) + Send + 'static) {
    let run = move || {
        if let Some(mut prover) = Prover::new() {
            test(&mut prover);
        }
    };
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(run).expect("a thread");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn every_law_holds_under_every_regime_it_speaks_of() {
    with_a_prover(prove_every_law);
}

fn prove_every_law(prover: &mut Prover) {
    let laws = laws();
    let mut proofs = 0;
    for name in REGIMES {
        let policies = set_of(regime(name));
        for request in prover.requests() {
            let compiled = prover.compiled(&policies, &request).expect("a profile's policies");
            for law in laws.iter().filter(|law| law.speaks_of(name, &request)) {
                let wide = prover.compiled(&law.set, &request).unwrap_or_else(|| panic!("{}: not for {}", law.name, request.action()));
                assert!(prover.within(&compiled, &wide), "`{name}` permits {} where it must not: {}", request.action(), law.name);
                proofs += 1;
            }
        }
    }
    say(&format!("{proofs} proofs of {} laws", laws.len()));
    assert!(proofs > 150, "{proofs}: laws that speak of nothing");
}

#[test]
fn whatever_permits_a_private_zone_stays_dark() {
    with_a_prover(prove_that_private_zones_stay_dark);
}

fn prove_that_private_zones_stay_dark(prover: &mut Prover) {
    let laws = laws();
    for name in REGIMES {
        let forbids = regime(name).into_iter().filter(|p| p.effect() == Effect::Forbid);
        let anything = Policy::parse(Some(PolicyId::new("anything")), "permit (principal, action, resource);").expect("a policy");
        let policies = set_of(forbids.chain([anything]));
        for request in prover.requests() {
            let private = "permit (principal, action, resource) unless { resource.kind == \"private\" };";
            let law = set_of([Policy::parse(None, private).expect("a policy")]);
            let narrow = prover.compiled(&policies, &request).expect("forbids");
            let wide = prover.compiled(&law, &request).expect("a law");
            assert!(prover.within(&narrow, &wide), "`{name}`: {} in a private zone", request.action());
            // And the prover can say no: the forbids are not all of the first law.
            let first = prover.compiled(&laws[0].set, &request).expect("a law");
            assert!(!prover.within(&narrow, &first), "`{name}`: forbids that speak of kinds nobody listed");
        }
    }
}

/// The actions in a policy's head; none: all.
fn actions(policy: &Policy) -> Vec<String> {
    let head = policy.to_json().expect("a policy as JSON")["action"].clone();
    let entities = head["entities"].as_array().cloned().unwrap_or_else(|| vec![head["entity"].clone()]);
    entities.iter().filter_map(|e| e["id"].as_str().map(str::to_owned)).collect()
}

/// One set that permits what each of two does: their permits in pairs, the forbids of both.
fn both(one: &[Policy], other: &[Policy]) -> PolicySet {
    let permits = |set: &[Policy]| -> Vec<Policy> { set.iter().filter(|p| p.effect() == Effect::Permit).cloned().collect() };
    let conditions = |p: &Policy| p.to_json().expect("a policy as JSON")["conditions"].as_array().expect("conditions").clone();
    let mut merged = Vec::new();
    for (i, a) in permits(one).iter().enumerate() {
        for (j, b) in permits(other).iter().enumerate() {
            let (of_a, of_b) = (actions(a), actions(b));
            // The narrower head of the two: baseline's second permit speaks of three actions at once.
            let narrow = match () {
                () if of_b.is_empty() || (!of_a.is_empty() && of_a.iter().all(|x| of_b.contains(x))) => a,
                () if of_a.is_empty() || of_b.iter().all(|x| of_a.contains(x)) => b,
                () => {
                    assert!(!of_a.iter().any(|x| of_b.contains(x)), "heads that overlap: {of_a:?}, {of_b:?}");
                    continue;
                }
            };
            let id = PolicyId::new(format!("merged-{i}-{j}"));
            merged.push(with_conditions(narrow, id, |_| [conditions(a), conditions(b)].concat()));
        }
    }
    for (k, forbid) in one.iter().chain(other).filter(|p| p.effect() == Effect::Forbid).enumerate() {
        merged.push(forbid.new_id(PolicyId::new(format!("forbid-{k}"))));
    }
    set_of(merged)
}

#[test]
fn a_new_profile_permits_no_more_than_baseline_and_no_more_than_itself() {
    with_a_prover(prove_that_profiles_only_narrow);
}

fn prove_that_profiles_only_narrow(prover: &mut Prover) {
    let baseline = regime("baseline");
    let permissive = r#"@id("x") permit (principal, action, resource);"#;
    let wanton = vec![Policy::parse(Some(PolicyId::new("x")), permissive).expect("a policy")];
    let news = REGIMES[1..].iter().map(|name| (*name, regime(name))).chain([("one that permits everything", wanton)]);
    for (name, new) in news {
        let merged = both(&baseline, &new);
        for request in prover.requests() {
            let compiled = prover.compiled(&merged, &request).expect("the merged set");
            for (whose, wide) in [("baseline", &baseline), (name, &new)] {
                let wide = prover.compiled(&set_of(wide.clone()), &request).expect("policies");
                assert!(prover.within(&compiled, &wide), "`{name}` with baseline permits {} beyond {whose}", request.action());
            }
        }
        // Merged by `either`, it would permit more: what is shown above is not true of any two sets.
        let either: Vec<Policy> = baseline.iter().chain(&new).enumerate().map(|(i, p)| p.new_id(PolicyId::new(format!("p{i}")))).collect();
        let more = prover.requests().iter().any(|request| {
            let either = prover.compiled(&set_of(either.clone()), request).expect("policies");
            let alone = prover.compiled(&set_of(baseline.clone()), request).expect("policies");
            !prover.within(&either, &alone)
        });
        assert!(more, "`{name}` adds nothing to baseline");
    }
}

/// The kinds of places that are listed: a permit for ways in alone names one of them again.
const IMPLIED_AT_WAYS_IN: &str = r#"{"contains":{"left":{"Set":[{"Value":"public"},{"Value":"access"},{"Value":"staff"}]}"#;

/// The attributes that an expression names.
fn attributes(expression: &Value, found: &mut BTreeSet<String>) {
    match expression {
        Value::Object(fields) => {
            if let Some(name) = fields.get("attr").and_then(Value::as_str) {
                found.insert(name.to_owned());
            }
            fields.values().for_each(|v| attributes(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| attributes(v, found)),
        _ => {}
    }
}

/// Whether a law is broken by `policies`; those that name what `part` names are asked first.
fn noticed(prover: &mut Prover, laws: &[Law], name: &str, policies: &PolicySet, part: &Value) -> bool {
    let mut named = BTreeSet::new();
    attributes(part, &mut named);
    let shared = |law: &Law| {
        let mut theirs = BTreeSet::new();
        law.set.policies().for_each(|p| attributes(&p.to_json().expect("a policy as JSON"), &mut theirs));
        theirs.intersection(&named).count()
    };
    let mut laws: Vec<&Law> = laws.iter().collect();
    laws.sort_by_key(|law| Reverse(shared(law)));
    let requests = prover.requests();
    for law in laws {
        for request in requests.iter().filter(|request| law.speaks_of(name, request)) {
            let (narrow, wide) = (prover.compiled(policies, request), prover.compiled(&law.set, request));
            // `None`: the permit is for another kind of request.
            if let (Some(narrow), Some(wide)) = (narrow, wide)
                && !prover.within(&narrow, &wide)
            {
                return true;
            }
        }
    }
    false
}

#[test]
fn every_condition_of_every_permit_is_needed_by_a_law() {
    with_a_prover(leave_out_each_condition);
}

fn leave_out_each_condition(prover: &mut Prover) {
    let laws = laws();
    let (mut tried, mut idle) = (0, Vec::new());
    for name in REGIMES {
        for permit in regime(name).into_iter().filter(|p| p.effect() == Effect::Permit) {
            let body = leaning_right(&permit).to_json().expect("a policy as JSON")["conditions"][0]["body"].clone();
            let mut found = Vec::new();
            places(&body, &Vec::new(), &mut found);
            for place in found {
                let part = place.iter().fold(&body, |at, step| &at[*step]);
                let about = part.to_string();
                // Whether a fact is there at all is asked only so that the next condition may look at it.
                let at_ways_in = permit.annotation("id").is_some_and(|id| id.ends_with("-verify"));
                if part.get("has").is_some() || at_ways_in && about.starts_with(IMPLIED_AT_WAYS_IN) {
                    continue;
                }
                let opened = json!([{"kind": "when", "body": without(&body, &place)}]);
                let opened = with_conditions(&permit, permit.id().clone(), |_| opened.as_array().cloned().unwrap_or_default());
                tried += 1;
                if !noticed(prover, &laws, name, &set_of([opened]), part) {
                    idle.push(format!("{}: {about}", permit.annotation("id").unwrap_or_default()));
                }
            }
        }
    }
    say(&format!("{tried} conditions left out, each in turn"));
    assert!(idle.is_empty(), "no law notices that these are gone:\n{}", idle.join("\n"));
}
