//! Work that is queued as a whole.

use std::sync::Arc;

use cudarc::driver::result::{graph, stream};
use cudarc::driver::sys::{self, CUgraph, CUgraphExec, CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::context::Context;
use super::error::CudaError;

pub struct Graph {
    context: Arc<Context>,
    graph: CUgraph,
    executable: CUgraphExec,
    nodes: usize,
}

// SAFETY: handles of the driver; a graph is used by one thread at a time, since using it takes `&mut self`.
unsafe impl Send for Graph {}

impl Graph {
    /// Of what `queue` queues, which must not wait, allocate or copy.
    pub fn capture<E: From<CudaError>>(
        context: &Arc<Context>,
        queue: impl FnOnce() -> Result<(), E>,
    ) -> Result<Self, E> {
        context.bind()?;
        // SAFETY: the stream exists as long as the context.
        unsafe { stream::begin_capture(context.stream, CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) }
            .map_err(CudaError::of("cuStreamBeginCapture"))?;
        let queued = queue();
        // Ended whatever came of it, or the stream would go on capturing.
        // SAFETY: as above.
        let graph = unsafe { stream::end_capture(context.stream) }.map_err(CudaError::of("cuStreamEndCapture"));
        queued?;
        let graph = graph?;
        // SAFETY: the graph was just captured.
        let executable = unsafe { graph::instantiate(graph, CUgraphInstantiate_flags(0)) };
        let mut captured = Self { context: Arc::clone(context), graph, executable: std::ptr::null_mut(), nodes: 0 };
        captured.executable = executable.map_err(CudaError::of("cuGraphInstantiate"))?;
        // SAFETY: without room for nodes the function writes their number alone.
        unsafe { sys::cuGraphGetNodes(graph, std::ptr::null_mut(), &raw mut captured.nodes).result() }
            .map_err(CudaError::of("cuGraphGetNodes"))?;
        Ok(captured)
    }

    /// Kernels that it queues.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// Queues it; does not wait.
    pub fn launch(&mut self) -> Result<(), CudaError> {
        self.context.bind()?;
        // SAFETY: both exist as long as this.
        unsafe { graph::launch(self.executable, self.context.stream) }.map_err(CudaError::of("cuGraphLaunch"))
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _ = self.context.bind();
        // SAFETY: made by `capture`; what is under way is waited for first.
        unsafe {
            let _ = stream::synchronize(self.context.stream);
            if !self.executable.is_null() {
                let _ = graph::exec_destroy(self.executable);
            }
            let _ = graph::destroy(self.graph);
        }
    }
}
