//! Counters: declared beside the component that increments them, gathered by one visitor for `/metrics`, `status` and `top`.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A monotonically increasing count. Wait-free.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }
    pub fn increment(&self) {
        self.add(1);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that goes up and down (queue depth, live tracks).
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What a component shows of itself. Names carry no prefix and no unit other than the last word:
/// `frames_total`, `queue_depth`; the exporter adds `placard_<component>_`.
pub enum Reading<'a> {
    Counter { name: &'a str, help: &'a str, value: u64 },
    Gauge { name: &'a str, help: &'a str, value: u64 },
}

/// A component with counters.
pub trait Counters: Send + Sync {
    /// `ingest`, `batch`, `detect`, …
    fn component(&self) -> &'static str;
    /// The stream these counts are about, if they are about one.
    fn stream(&self) -> Option<&str> {
        None
    }
    fn visit(&self, each: &mut dyn FnMut(Reading<'_>));
}

/// Declares a struct of [`Counter`]s and its [`Counters::visit`] body in one place, so that none can be forgotten.
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $vis:vis struct $name:ident for $component:literal {
        $($counter:ident: $help:literal),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        $vis struct $name {
            /// The stream's name, where these counts are per stream.
            pub stream: Option<std::sync::Arc<str>>,
            $(#[doc = $help] pub $counter: $crate::counters::Counter,)*
        }
        impl $crate::counters::Counters for $name {
            fn component(&self) -> &'static str { $component }
            fn stream(&self) -> Option<&str> { self.stream.as_deref() }
            fn visit(&self, each: &mut dyn FnMut($crate::counters::Reading<'_>)) {
                $(each($crate::counters::Reading::Counter {
                    name: stringify!($counter), help: $help, value: self.$counter.get(),
                });)*
            }
        }
    };
}
