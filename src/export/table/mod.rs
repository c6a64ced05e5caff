//! Tables of a run, and the formats that they are written in.

mod columns;
mod contents;
mod csv;
mod json;
mod parquet;

pub use self::columns::{Cell, Column, Table, Values};
pub use self::contents::tables;
pub use self::csv::{io_error, write_csv};
pub use self::json::write_json;
pub use self::parquet::{ParquetError, write_parquet};
