//! A module that does everything that this layer offers, to be loaded into a real Envoy: what a
//! request asks for by its path comes back in its answer.
//!
//! `cargo build -p portcullis-envoy-probe --profile native`

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_envoy::abi::{
    Answer, CalloutFailure, CalloutId, ConfigEvents, Counter, FilterEvents, LogLevel, MainHandle, Setup, log,
};

use crate::config::{Config, Metrics, PANIC};
use crate::stream::Stream;

mod config;
mod stream;

portcullis_envoy::module!(new_config);

fn new_config(setup: &Setup<'_>) -> Result<Box<dyn ConfigEvents>, String> {
    let text = String::from_utf8_lossy(setup.config()).into_owned();
    let name = String::from_utf8_lossy(setup.name()).into_owned();
    match text.as_str() {
        "refuse" => return Err("it was asked to".to_owned()),
        "panic" => panic!("asked for in a configuration"),
        _ => {}
    }
    let metrics = Metrics::define(setup).map_err(|error| error.to_string())?;
    let micros = text.split("tick=").nth(1).and_then(|text| text.split(' ').next()?.parse().ok());
    log(LogLevel::Info, &format!("probe: {name} of {} workers: {text}", setup.concurrency()));
    Ok(Box::new(Probe(Arc::new(Config {
        name,
        poll: text.contains("poll"),
        period: micros.map(Duration::from_micros),
        metrics,
        ticks: AtomicU64::new(0),
        state: Mutex::default(),
    }))))
}

/// A configuration, shared with its streams.
struct Probe(Arc<Config>);

impl ConfigEvents for Probe {
    fn open(&self) -> Box<dyn FilterEvents> {
        assert!(self.0.name != "panic_open", "asked for at a beginning");
        Box::new(Stream::new(Arc::clone(&self.0)))
    }

    fn tick_period(&self) -> Option<Duration> {
        self.0.period
    }

    fn panic_counter(&self) -> Option<Counter> {
        Some(self.0.metrics.panics)
    }

    fn on_tick(&self, main: &MainHandle<'_>) {
        let config = &self.0;
        let ticks = config.ticks.fetch_add(1, Ordering::Relaxed) + 1;
        main.count(config.metrics.ticks, 1).unwrap();
        main.set(config.metrics.level, 40).unwrap();
        main.add(config.metrics.level, 5).unwrap();
        main.subtract(config.metrics.level, 3).unwrap();
        main.record(config.metrics.marks, ticks).unwrap();
        let held = std::mem::take(&mut config.state.lock().unwrap().held);
        for waker in &held {
            // Twice, to show that wakes of a stream that the first one ended do no harm.
            waker.wake(ticks);
            waker.wake(ticks);
        }
        let poll = config.poll && !std::mem::replace(&mut config.state.lock().unwrap().polling, true);
        if poll {
            let _ = config.call(main, "upstream", "/slow", Duration::from_secs(60));
        }
    }

    fn on_wake(&self, main: &MainHandle<'_>, event: u32) {
        assert!(event != PANIC, "asked for on the main thread");
        self.0.look(main);
    }

    fn on_answer(&self, _main: &MainHandle<'_>, id: CalloutId, answer: Result<Answer<'_>, CalloutFailure>) {
        let outcome = match answer {
            Ok(answer) => format!(
                "{:?} {:?} {}",
                answer.status(),
                answer.header(b"x-upstream").map(String::from_utf8_lossy),
                String::from_utf8_lossy(&answer.body()).replace('\n', "|"),
            ),
            Err(failure) => failure.to_string(),
        };
        let mut state = self.0.state.lock().unwrap();
        let Some(at) = state.under_way.iter().position(|(of, _)| *of == id) else { return };
        let (_, waker) = state.under_way.remove(at);
        let panics = outcome.contains("panic-in-answer");
        state.outcome = outcome;
        waker.wake(1);
        drop(state);
        assert!(!panics, "asked for in an answer");
    }

    fn on_end(&self) {
        log(LogLevel::Info, &format!("probe: {} ends on {:?}", self.0.name, std::thread::current().name()));
    }
}
