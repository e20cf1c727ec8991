//! Throughput: the same load on every chain of one worker, round by round.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::envoy::Envoy;
use crate::error::{BenchError, Result};
use crate::filters::Chain;
use crate::h2load;
use crate::http;
use crate::report::{Report, Target};
use crate::setup::{API_KEYS, CLUSTERS, Effort, Setup};
use crate::world::{Algorithm, Credential, World, source_rules};
use crate::wrk::{CONNECTIONS, Feed, Round};

/// Tokens that all differ. More than the module caches, and sent in turn, so that each is gone from a
/// cache of the least recently used before it comes again; beside that [`FORGET_EVERY`].
const FRESH: usize = 20_000;

/// The same in a quick run: still more than the module caches.
const FRESH_QUICK: usize = 12_000;

/// A change of policy so often makes every cached identity void: a token that comes again is new to the
/// module whatever its cache is like, as long as a lap of all tokens takes longer than this.
const FORGET_EVERY: Duration = Duration::from_millis(500);

/// What a load presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Present {
    /// One RS256 token again and again.
    Cached,
    /// RS256 tokens that all differ.
    FreshRs256,
    /// ES256 tokens that all differ.
    FreshEs256,
    /// API keys that all differ.
    ApiKeys,
    /// A good RS256 token, and a forged one that never came before, in turn.
    Mixed,
    /// One identity token of the gateway again and again.
    Identity,
}

impl Present {
    fn name(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::FreshRs256 => "fresh-rs256",
            Self::FreshEs256 => "fresh-es256",
            Self::ApiKeys => "api-keys",
            Self::Mixed => "mixed",
            Self::Identity => "identity",
        }
    }

    fn is_fresh(self) -> bool {
        matches!(self, Self::FreshRs256 | Self::FreshEs256 | Self::Mixed)
    }
}

fn fresh_tokens(effort: Effort) -> usize {
    if effort.quick { FRESH_QUICK } else { FRESH }
}

/// What every load presents, in files for wrk.
///
/// # Errors
/// When a token cannot be signed or a file cannot be written.
pub(crate) fn feeds(setup: &Setup) -> Result<BTreeMap<Present, Feed>> {
    let world = &setup.world;
    let cached = world.tokens(Algorithm::Rs256, 1)?;
    let count = fresh_tokens(setup.effort);
    let fresh = world.tokens(Algorithm::Rs256, count)?;
    let good = cached.iter().cloned().cycle();
    let mixed = good.zip(fresh.iter().cloned().map(forge)).flat_map(|(good, bad)| [good, bad]).collect();
    [
        (Present::Cached, cached),
        (Present::FreshRs256, fresh),
        (Present::FreshEs256, world.tokens(Algorithm::Es256, count)?),
        (Present::ApiKeys, (0..API_KEYS).map(World::api_key).collect()),
        (Present::Mixed, mixed),
        (Present::Identity, vec![world.identity_token()]),
    ]
    .into_iter()
    .map(|(present, credentials)| Ok((present, Feed::write(&setup.dir, present.name(), &credentials)?)))
    .collect()
}

/// The same token with another signature.
pub(crate) fn forge(mut credential: Credential) -> Credential {
    let last = match credential.authorization.pop() {
        Some('A') => 'Q',
        _ => 'A',
    };
    let middle = credential.authorization.len() - 40;
    let changed = if credential.authorization.as_bytes()[middle] == b'x' { "y" } else { "x" };
    credential.authorization.replace_range(middle..=middle, changed);
    credential.authorization.push(last);
    credential
}

/// One load on one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Load {
    chain: &'static str,
    pub(crate) present: Present,
}

impl Load {
    /// Chain and credentials.
    pub(crate) fn title(self) -> String {
        format!("{} {}", self.chain, self.present.name())
    }
}

const fn load(chain: &'static str, present: Present) -> Load {
    Load { chain, present }
}

/// A target of the engine, and what it is to reach.
struct Gateway {
    /// How its numbers begin.
    name: &'static str,
    chain: &'static str,
    /// The name of the number of good and bad tokens.
    bad_tokens: &'static str,
    /// Of bare; of native, cached; of native, comparable; fresh RS256, ES256; good and bad tokens.
    targets: [f64; 6],
}

const WASM: Gateway = Gateway {
    name: "gateway",
    chain: "gateway",
    bad_tokens: "bad_tokens_good_throughput",
    targets: [0.60, 0.80, 0.90, 0.95, 0.95, 0.33],
};

const NATIVE: Gateway = Gateway {
    name: "native_gateway",
    chain: "native-gateway",
    bad_tokens: "native_bad_tokens_good_throughput",
    targets: [0.85, 1.10, 1.20, 1.20, 1.15, 0.42],
};

/// What the stable numbers are made of.
const MAIN: [Load; 16] = [
    load("bare", Present::Cached),
    load("native-cache", Present::Cached),
    load("native-comparable", Present::Cached),
    load("native-comparable-json", Present::Cached),
    load("gateway", Present::Cached),
    load("native", Present::FreshRs256),
    load("gateway", Present::FreshRs256),
    load("native", Present::FreshEs256),
    load("gateway", Present::FreshEs256),
    load("gateway", Present::ApiKeys),
    load("gateway", Present::Mixed),
    load("native-gateway", Present::Cached),
    load("native-gateway", Present::FreshRs256),
    load("native-gateway", Present::FreshEs256),
    load("native-gateway", Present::ApiKeys),
    load("native-gateway", Present::Mixed),
];

/// Each stage alone: what a chain with it costs over one without.
const STAGES: [Load; 4] = [
    load("authn", Present::Cached),
    load("authn+source-type", Present::Cached),
    load("authn+source-type+cluster-status", Present::Cached),
    load("all four", Present::Cached),
];

/// What authorization by the source type costs: by the header at the gateway, by the claim at a sidecar. Each
/// over the chain without it, with the same credential.
const RULES: [(&str, Load, Load); 2] = [
    ("header condition", load("gateway+header-rule", Present::Cached), load("gateway", Present::Cached)),
    (
        "RequestAuthentication and claim",
        load("claim-rule", Present::Identity),
        load("bare", Present::Identity),
    ),
];

/// What a profile is taken of.
pub(crate) const PROFILED: [Load; 8] = [
    load("bare", Present::Cached),
    load("native-comparable", Present::Cached),
    load("native-gateway", Present::Cached),
    load("native-gateway", Present::FreshRs256),
    load("gateway", Present::Cached),
    load("native", Present::FreshRs256),
    load("gateway", Present::FreshRs256),
    load("gateway", Present::Mixed),
];

/// Two builds of the module, load by load.
const BUILDS: [Load; 11] = [
    load("bare", Present::Cached),
    load("gateway", Present::Cached),
    load("other", Present::Cached),
    load("gateway", Present::FreshRs256),
    load("other", Present::FreshRs256),
    load("gateway", Present::FreshEs256),
    load("other", Present::FreshEs256),
    load("gateway", Present::ApiKeys),
    load("other", Present::ApiKeys),
    load("gateway", Present::Mixed),
    load("other", Present::Mixed),
];

/// The rounds of every load, in the order of the rounds.
pub(crate) struct Rounds {
    rounds: BTreeMap<Load, Vec<Round>>,
}

/// Every chain that is compared, in one Envoy.
pub(crate) fn chains(setup: &Setup) -> Vec<Chain> {
    let log = |name: &str| setup.dir.join(name);
    let (world, wasm) = (&setup.world, &setup.wasm);
    let stages = ["authn", "source-type", "cluster-status", "audit"];
    if let Some(other) = &setup.other {
        return vec![
            Chain::bare(),
            Chain::plugins("gateway", &["gateway"], wasm),
            Chain::plugins("other", &["gateway"], other),
        ];
    }
    let mut chains = vec![
        Chain::bare(),
        Chain::native("native-cache", world, true),
        Chain::native("native", world, false),
        Chain::native_comparable("native-comparable", world, &log("access.txt"), false),
        Chain::native_comparable("native-comparable-json", world, &log("access.json"), true),
        Chain::plugins("gateway", &["gateway"], wasm),
        Chain::module("native-gateway", "gateway"),
    ];
    if !setup.effort.quick {
        chains.extend(
            STAGES.iter().zip(1..).map(|(load, count)| Chain::plugins(load.chain, &stages[..count], wasm)),
        );
        chains.push(Chain::header_rule("gateway+header-rule", wasm));
        chains.push(Chain::claim_rule("claim-rule", world));
    }
    chains
}

impl Rounds {
    /// Takes the rounds.
    ///
    /// # Errors
    /// When a load could not be made, or an answer was not the one that the load must get.
    pub(crate) fn take(setup: &Setup, envoy: &mut Envoy) -> Result<Self> {
        let mut loads = if setup.other.is_some() { BUILDS.to_vec() } else { MAIN.to_vec() };
        // h2load sends one text only.
        loads.retain(|load| !setup.http2 || load.present == Present::Cached);
        if !setup.effort.quick && setup.other.is_none() {
            loads.extend(STAGES);
            loads.extend([RULES[0].1, RULES[1].1, RULES[1].2]);
        }
        let feeds = feeds(setup)?;
        let mut rounds: BTreeMap<Load, Vec<Round>> = BTreeMap::new();
        for number in 0..=setup.effort.rounds {
            for load in &loads {
                let Some(feed) = feeds.get(&load.present) else { continue };
                // The first round only warms connections, caches and the compiler up.
                let length = if number == 0 { Duration::from_secs(1) } else { setup.effort.round };
                let round = one(setup, envoy, *load, feed, length)?;
                if number > 0 {
                    rounds.entry(*load).or_default().push(round);
                }
            }
            // Every round begins elsewhere, so that no load always follows the same one.
            loads.rotate_left(1);
        }
        Ok(Self { rounds })
    }

    /// The rates of a load, round by round.
    fn rates(&self, wanted: Load) -> Vec<f64> {
        self.rounds.get(&wanted).into_iter().flatten().map(|r| r.rate()).collect()
    }

    fn costs(&self, wanted: Load) -> Vec<f64> {
        self.rounds.get(&wanted).into_iter().flatten().map(|r| r.cost_us()).collect()
    }

    /// Rate of one load over that of another, round by round.
    fn clock_ratios(&self, of: Load, over: Load) -> Vec<f64> {
        self.rates(of).into_iter().zip(self.rates(over)).map(|(a, b)| a / b).collect()
    }

    /// The same per second of the proxy's processor time: what the ratio by the clock is on a machine
    /// that does nothing else, and what it stays on one that does.
    fn ratios(&self, of: Load, over: Load) -> Vec<f64> {
        self.costs(of).into_iter().zip(self.costs(over)).map(|(a, b)| b / a).collect()
    }

    /// Adds the stable numbers and the rates behind them.
    pub(crate) fn report(&self, setup: &Setup, report: &mut Report) {
        let inputs = json!({
            "clusters": CLUSTERS, "api_keys": API_KEYS, "connections": CONNECTIONS, "workers": 1,
            "rounds": setup.effort.rounds, "round_s": setup.effort.round.as_secs(), "protocol": if setup.http2 { "HTTP/2" } else { "HTTP/1.1" },
        });
        self.report_target(&WASM, &inputs, report);
        self.report_target(&NATIVE, &inputs, report);
        let gateway = |present| load("gateway", present);
        let json_ratio = self.ratios(gateway(Present::Cached), MAIN[3]);
        report.add_rounds("gateway_cached_vs_native_comparable_json", &json_ratio, "", None, inputs.clone());
        for load in self.rounds.keys() {
            let name = format!("rate {} {}", load.chain, load.present.name());
            report.add_rounds(&name, &self.rates(*load), "/s", None, inputs.clone());
            let name = format!("cost {} {}", load.chain, load.present.name());
            report.add_rounds(&name, &self.costs(*load), "µs", None, inputs.clone());
        }
        let busy: Vec<f64> = self.rounds.values().flatten().map(|r| r.busy()).collect();
        report.add_rounds("proxy_busy", &busy, "", None, inputs);
        self.report_stages(report);
        self.report_rules(report);
        self.report_builds(report);
    }

    /// The stable numbers of one target.
    fn report_target(&self, of: &Gateway, inputs: &Value, report: &mut Report) {
        let gateway = |present| load(of.chain, present);
        let [bare, cached, comparable, rs256, es256, mixed] = of.targets;
        for (name, of_load, over, target) in [
            ("cached_vs_bare", gateway(Present::Cached), MAIN[0], bare),
            ("cached_vs_native_cached", gateway(Present::Cached), MAIN[1], cached),
            ("cached_vs_native_comparable", gateway(Present::Cached), MAIN[2], comparable),
            ("new_rs256_vs_native", gateway(Present::FreshRs256), MAIN[5], rs256),
            ("new_es256_vs_native", gateway(Present::FreshEs256), MAIN[7], es256),
        ] {
            let name = format!("{}_{name}", of.name);
            let target = Some(Target::AtLeast(target));
            report.add_rounds(&name, &self.ratios(of_load, over), "", target, inputs.clone());
            let by_clock = format!("{name} by the clock");
            report.add_rounds(&by_clock, &self.clock_ratios(of_load, over), "", None, inputs.clone());
        }
        let good = self.rounds.get(&gateway(Present::Mixed)).into_iter().flatten().map(|r| r.good_cost_us());
        let alone = self.costs(gateway(Present::Cached));
        let ratios: Vec<f64> = good.zip(alone).map(|(mixed, alone)| alone / mixed).collect();
        report.add_rounds(of.bad_tokens, &ratios, "", Some(Target::AtLeast(mixed)), inputs.clone());
    }

    /// Microseconds that this build costs more than the other one.
    fn report_builds(&self, report: &mut Report) {
        for other in BUILDS.iter().filter(|l| l.chain == "other") {
            let ours = load("gateway", other.present);
            let more: Vec<f64> =
                self.costs(ours).into_iter().zip(self.costs(*other)).map(|(a, b)| a - b).collect();
            let name = format!("this build less the other: {}", other.present.name());
            report.add_rounds(&name, &more, "µs", None, json!({}));
        }
    }

    /// Microseconds that authorization by the source type costs.
    fn report_rules(&self, report: &mut Report) {
        for (name, with, without) in RULES {
            let costs: Vec<f64> =
                self.costs(with).into_iter().zip(self.costs(without)).map(|(a, b)| a - b).collect();
            report.add_rounds(&format!("rule_us {name}"), &costs, "µs", None, json!({"chain": with.chain}));
        }
    }

    /// Microseconds that each stage adds to the chain before it.
    fn report_stages(&self, report: &mut Report) {
        let mut before = MAIN[0];
        for stage in STAGES {
            let costs: Vec<f64> = self
                .costs(stage)
                .into_iter()
                .zip(self.costs(before))
                .map(|(with, without)| with - without)
                .collect();
            let added = stage.chain.rsplit('+').next().unwrap_or(stage.chain);
            let added = if added == "all four" { "audit" } else { added };
            report.add_rounds(
                &format!("stage_us {added}"),
                &costs,
                "µs",
                None,
                json!({"chain": stage.chain}),
            );
            before = stage;
        }
    }
}

/// The rate at which the gateway is saturated by a cached credential, from two seconds.
///
/// # Errors
/// When the load could not be made.
pub(crate) fn saturation(setup: &Setup, envoy: &mut Envoy) -> Result<f64> {
    let feed = Feed::write(&setup.dir, "one", &setup.world.tokens(Algorithm::Rs256, 1)?)?;
    let load = load("gateway", Present::Cached);
    one(setup, envoy, load, &feed, Duration::from_secs(1))?;
    Ok(one(setup, envoy, load, &feed, Duration::from_secs(2))?.rate())
}

/// Saturates a chain with a load, and checks that the answers are those of the load.
///
/// # Errors
/// When they are not, or the load could not be made.
pub(crate) fn one(
    setup: &Setup,
    envoy: &mut Envoy,
    load: Load,
    feed: &Feed,
    length: Duration,
) -> Result<Round> {
    setup.api.drain();
    let target = envoy.address(load.chain)?;
    let over = AtomicBool::new(false);
    let round = std::thread::scope(|scope| {
        if load.present.is_fresh() {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    setup.api.change(vec![source_rules()]);
                    std::thread::sleep(FORGET_EVERY);
                }
            });
        }
        let before = envoy.processor_ns();
        let round =
            if setup.http2 { h2load::run(target, feed, length) } else { setup.wrk.run(target, feed, length) };
        let used = envoy.processor_ns() - before;
        over.store(true, Ordering::Relaxed);
        round.map(|round| Round { processor_us: used as f64 / 1e3, ..round })
    })?;
    envoy.check()?;
    check(load, round, fresh_tokens(setup.effort)).map_err(|why| {
        let what = format!("{} with {} credentials", load.chain, load.present.name());
        let sample = feed.first().and_then(|lines| http::ask(target, "/v1/objects/42", &lines));
        let sample = sample.map_or(String::new(), |(status, body)| format!("; one answer: {status} {body}"));
        BenchError::invalid(what, why + &sample)
    })?;
    Ok(round)
}

/// A round whose answers were not those of its load says nothing.
fn check(load: Load, round: Round, fresh: usize) -> std::result::Result<(), String> {
    let expected = if load.present == Present::Mixed { 0.5 } else { 0.0 };
    let refused = round.refused / round.requests;
    if (refused - expected).abs() > 0.002 {
        let (refused, expected) = (refused * 100.0, expected * 100.0);
        return Err(format!("{refused:.2}% of the requests were refused, not {expected:.0}%"));
    }
    if load.present.is_fresh() && round.rate() * FORGET_EVERY.as_secs_f64() > fresh as f64 {
        return Err("tokens came again before they were forgotten: raise FRESH".into());
    }
    Ok(())
}
