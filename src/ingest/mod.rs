//! Ingest: cameras and files → frames.
