//! Emit: hits → journal (durable, first) → sinks (at least once).
