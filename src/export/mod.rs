//! What people take along of a run: tables, event files for TensorBoard, plots, and a report in one page. All of it is made from
//! the run's directory, live or finished.

pub mod curves;
pub mod figure;
pub mod folder;
pub mod onnx;
pub mod plots;
mod probe_figures;
pub mod recorded_run;
pub mod report;
pub mod table;
pub mod tensorboard;
pub mod torch;

pub use folder::{ExportFolder, FolderError};
pub use recorded_run::RecordedRun;
