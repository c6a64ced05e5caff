//! Differentiation of this module's operations on the CPU, without candle's.
//!
//! candle's `backward` makes a tensor of zeros and a sum for each gradient that it passes on. In a step that is some
//! twenty megabytes of memory written for nothing, most of it by one thread.
//!
//! While a tape records, operations note their backward pass and give plain tensors. Only they are noted: what lies between
//! a parameter and the loss must be made of them. At all other times they are ordinary candle operations.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use candle_core::{CustomOp1, CustomOp2, CustomOp3, Result, Tensor, TensorId, Var, bail};

/// From the gradient of the output, those of the arguments; none for what cannot be differentiated.
type Backward = Box<dyn FnOnce(&Node, &Tensor) -> Result<Vec<Option<Tensor>>>>;

pub struct Node {
    pub arguments: Vec<Tensor>,
    pub output: Tensor,
}

/// The operations of a forward pass, in order; see [`record`].
#[derive(Default)]
pub struct Tape {
    nodes: Vec<(Node, Backward)>,
    outputs: HashSet<TensorId>,
}

thread_local! {
    static RECORDING: RefCell<Option<Tape>> = const { RefCell::new(None) };
}

/// What a loss changes by, for each parameter.
#[derive(Default)]
pub struct Gradients(HashMap<TensorId, Tensor>);

impl Gradients {
    pub fn get(&self, parameter: &Tensor) -> Option<&Tensor> {
        self.0.get(&parameter.id())
    }

    /// Those of the named parameters of a network, in their order.
    ///
    /// None for a parameter that `is_frozen`.
    ///
    /// # Errors
    /// The loss does not depend on another.
    pub fn in_order_of(
        &self,
        parameters: &[(String, Var)],
        is_frozen: impl Fn(&str) -> bool,
    ) -> Result<Vec<Option<Tensor>>> {
        let gradient = |(name, parameter): &(String, Var)| match self.get(parameter) {
            _ if is_frozen(name) => Ok(None),
            Some(gradient) => Ok(Some(gradient.clone())),
            None => bail!("the loss does not depend on {name}"),
        };
        parameters.iter().map(gradient).collect()
    }
}

/// What `f` computes, and the tape that leads back from it.
pub fn record<T>(f: impl FnOnce() -> Result<T>) -> Result<(T, Tape)> {
    let outer = RECORDING.replace(Some(Tape::default()));
    let result = f();
    let tape = RECORDING.replace(outer).unwrap_or_default();
    Ok((result?, tape))
}

impl Tape {
    /// The gradients of `loss`, a number that was computed while the tape recorded, by every variable. On other devices,
    /// where nothing is noted, they are candle's.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn backward(self, loss: &Tensor) -> Result<Gradients> {
        if !self.outputs.contains(&loss.id()) {
            return of_candle(loss);
        }
        let mut gradients = HashMap::from([(loss.id(), loss.ones_like()?)]);
        // A node is dropped, and with it what it kept for the backward pass, before the next.
        for (node, backward) in self.nodes.into_iter().rev() {
            let Some(gradient) = gradients.remove(&node.output.id()) else { continue };
            for (argument, gradient) in node.arguments.iter().zip(backward(&node, &gradient)?) {
                let wanted = argument.is_variable() || self.outputs.contains(&argument.id());
                let Some(gradient) = gradient.filter(|_| wanted) else { continue };
                let sum = match gradients.remove(&argument.id()) {
                    Some(other) => (other + gradient)?,
                    None => gradient,
                };
                gradients.insert(argument.id(), sum);
            }
        }
        Ok(Gradients(gradients))
    }
}

/// Of a loss that was computed on another device, by candle's operations.
fn of_candle(loss: &Tensor) -> Result<Gradients> {
    let store = loss.backward()?;
    let ids: Vec<TensorId> = store.get_ids().copied().collect();
    Ok(Gradients(ids.into_iter().filter_map(|id| Some((id, store.get_id(id)?.clone()))).collect()))
}

/// Whether a gradient by `x` may be asked for.
pub fn is_differentiable(x: &Tensor) -> bool {
    x.track_op() || RECORDING.with_borrow(|tape| tape.as_ref().is_some_and(|tape| tape.outputs.contains(&x.id())))
}

pub fn is_recording() -> bool {
    RECORDING.with_borrow(Option::is_some)
}

/// Notes an operation, while a tape records.
///
/// # Errors
/// candle has computed an argument from a variable.
pub fn note(
    arguments: &[&Tensor],
    output: &Tensor,
    backward: impl FnOnce(&Node, &Tensor) -> Result<Vec<Option<Tensor>>> + 'static,
) -> Result<()> {
    // What no variable went into has no gradient.
    if !is_recording() || !arguments.iter().any(|argument| is_differentiable(argument)) {
        return Ok(());
    }
    if let Some(argument) = arguments.iter().find(|argument| argument.track_op() && !argument.is_variable()) {
        bail!("an operation that no tape records gave a tensor of shape {:?}", argument.shape())
    }
    let node = Node { arguments: arguments.iter().copied().cloned().collect(), output: output.clone() };
    RECORDING.with_borrow_mut(|tape| {
        if let Some(tape) = tape {
            tape.outputs.insert(output.id());
            tape.nodes.push((node, Box::new(backward)));
        }
    });
    Ok(())
}

/// `op` of one contiguous tensor.
pub fn apply1(x: &Tensor, op: impl CustomOp1 + Send + Sync + 'static) -> Result<Tensor> {
    if !is_recording() {
        return x.apply_op1(op);
    }
    let y = x.apply_op1_no_bwd(&op)?;
    note(&[x], &y, move |node, dy| Ok(vec![op.bwd(&node.arguments[0], &node.output, dy)?]))?;
    Ok(y)
}

/// `op` of two contiguous tensors.
pub fn apply2(a: &Tensor, b: &Tensor, op: impl CustomOp2 + Send + Sync + 'static) -> Result<Tensor> {
    if !is_recording() {
        return a.apply_op2(b, op);
    }
    let y = a.apply_op2_no_bwd(b, &op)?;
    note(&[a, b], &y, move |node, dy| {
        let (da, db) = op.bwd(&node.arguments[0], &node.arguments[1], &node.output, dy)?;
        Ok(vec![da, db])
    })?;
    Ok(y)
}

/// `op` of three contiguous tensors.
pub fn apply3(a: &Tensor, b: &Tensor, c: &Tensor, op: impl CustomOp3 + Send + Sync + 'static) -> Result<Tensor> {
    if !is_recording() {
        return a.apply_op3(b, c, op);
    }
    let y = a.apply_op3_no_bwd(b, c, &op)?;
    note(&[a, b, c], &y, move |node, dy| {
        let (da, db, dc) = op.bwd(&node.arguments[0], &node.arguments[1], &node.arguments[2], &node.output, dy)?;
        Ok(vec![da, db, dc])
    })?;
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::relu;
    use candle_core::Device;

    #[test]
    fn what_goes_two_ways_is_summed_and_a_constant_has_no_gradient() -> Result<()> {
        let (x, constant) = (Var::new(&[2f32, -1.0], &Device::Cpu)?, Tensor::new(&[3f32, 4.0], &Device::Cpu)?);
        let concat = crate::ops::concat::concat;
        let (y, tape) = record(|| concat(&[&relu(&x)?, &relu(&constant)?, &relu(&x)?]))?;
        let gradients = tape.backward(&y)?;
        assert_eq!(gradients.get(&x).expect("a gradient").to_vec1::<f32>()?, [2.0, 0.0]);
        assert!(gradients.get(&constant).is_none());
        Ok(())
    }

    #[test]
    fn what_no_tape_records_is_refused_between_two_that_are() -> Result<()> {
        let x = Var::new(&[2f32, -1.0], &Device::Cpu)?;
        let error = record(|| relu(&(x.as_tensor() * 2.0)?)).err().expect("a gradient would be lost").to_string();
        assert!(error.contains("no tape records"), "{error}");
        assert!(!is_recording());
        Ok(())
    }
}
