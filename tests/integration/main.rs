//! The one integration binary: linking candle is slow. One file a subject.

mod alarms;
mod any_dataset;
mod binary;
mod cli;
mod control;
mod damage;
mod dashboard_pty;
mod data;
mod detach;
mod disk;
mod divergence;
mod durability;
mod exactness;
mod explain;
mod follow;
mod fuzz_corpus;
mod golden;
mod inspector;
mod kills;
mod limits;
mod malformed_files;
mod module_order;
mod mount;
mod old_runs;
mod permissions;
mod pytorch;
mod read_only;
mod resume_changes;
mod screen;
mod soak;
mod starts;
mod terminal_faults;
mod terminal_images;
#[path = "../../src/testing.rs"]
mod testing;
mod training;
