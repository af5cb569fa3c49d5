//! Placard: a video recognition appliance that looks only where a sign says it looks.
//!
//! ```text
//! camera ─ ingest ─▶ batch ─▶ detect ─▶ track ─▶ align ─▶ embed ─▶ matching ─▶ decide ─▶ emit
//!           │          │         │                          │          │          │         │
//!           │       Permit<Detect>                      Permit<Embed>  │     Permit<Emit> journal, MQTT,
//!           │    (mask burned in here)                            Permit<Match>            webhook, console
//!           │                   └─▶ mask check, Permit<MaskCheck> ──────────▶ Permit<TellMask> ┤
//!           └────────────── policy thread: facts + rules ──▶ leases (≤ 200 ms) ────────────┘
//! ```
//!
//! Modules stand in the order of the journey; arrows between them run one way (`tests/tidy.rs` checks it): vocabulary ← engine, gallery,
//! policy ← steps ← appliance ← commands.

// Vocabulary.
pub mod area;
pub mod clock;
pub mod config;
pub mod counters;
pub mod embedding;
pub mod frame;
pub mod hex;
pub mod latency;
pub mod progress;
pub mod purpose;
pub mod queue;
pub mod seal;
pub mod shutdown;
pub mod state;

// What the steps stand on.
pub mod engine;
pub mod gallery;
pub mod policy;
pub mod signs;

pub mod render;

// The steps, in the order of the journey.
pub mod ingest;

pub mod batch;

pub mod detect;

pub mod track;

pub mod align;

pub mod embed;

pub mod matching;

pub mod decide;

pub mod mask_check;

pub mod emit;

pub mod console;

pub mod appliance;

pub mod commands;
