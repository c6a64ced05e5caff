//! Reads the pickled batches of `cifar-10-python.tar.gz`: Python 2, protocol 2, a dictionary with a list of labels and a
//! numpy array of u8.
//!
//! A pickle is a program. This interpreter knows the instructions that those files consist of and the three numpy names
//! that they call for, builds plain values, and refuses everything else: nothing is ever executed.

use std::collections::HashMap;
use std::ops::Range;

use super::error::ReadError;
use super::records::{CIFAR10, IMAGE_BYTES, Set};
use crate::data::Dataset;

/// Reads a batch of `images` images of CIFAR-10; `file` is for the error.
///
/// # Errors
/// Anything that the original batches do not hold, with the byte where it stands.
pub fn parse_batch(file: &str, bytes: &[u8], images: usize) -> Result<Dataset, ReadError> {
    parse_batch_of(&CIFAR10, file, bytes, images)
}

/// The same of either set.
pub fn parse_batch_of(set: &Set, file: &str, bytes: &[u8], images: usize) -> Result<Dataset, ReadError> {
    Machine { bytes, at: 0, nodes: vec![], stack: vec![], marks: vec![], memo: HashMap::new() }
        .run()
        .and_then(|(nodes, root)| Batch { set, bytes, nodes: &nodes, root }.dataset(images))
        .map_err(|Fault { offset, problem }| ReadError::Damaged { file: file.into(), offset: offset as u64, problem })
}

struct Fault {
    offset: usize,
    problem: String,
}

fn fault<T>(offset: usize, problem: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { offset, problem: problem.into() })
}

/// A value, and where in the file it was made. Values refer to each other by index, as the memo shares them.
struct Node {
    offset: usize,
    value: Value,
}

type Index = usize;

#[derive(Clone)]
enum Value {
    None,
    Int(i64),
    /// Where in the file they stand.
    Bytes(Range<usize>),
    Tuple(Vec<Index>),
    List(Vec<Index>),
    Dict(Vec<(Index, Index)>),
    Name(Name),
    /// `numpy.dtype("u1")`.
    U8Type,
    /// An array as `_reconstruct` makes it, before its state is set.
    EmptyArray,
    Array(Array),
}

#[derive(Clone)]
struct Array {
    rows: i64,
    columns: i64,
    order: Order,
    data: Range<usize>,
}

#[derive(Clone, Copy)]
enum Order {
    /// Row by row.
    C,
    /// Column by column.
    Fortran,
}

/// The globals that a batch calls for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Name {
    Reconstruct,
    NdArray,
    DType,
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Index>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Index>,
}

impl Machine<'_> {
    /// The values made, and which of them the pickle stands for.
    fn run(mut self) -> Result<(Vec<Node>, Index), Fault> {
        if !self.bytes.starts_with(b"\x80\x02") {
            return fault(0, "this is not a pickle of protocol 2, as CIFAR's batches are");
        }
        self.at = 2;
        loop {
            let start = self.at;
            let operation = self.take(1, "an instruction")?.start;
            match self.bytes[operation] {
                b'.' => {
                    let root = self.pop(start)?;
                    if self.at < self.bytes.len() {
                        return fault(self.at, "the file should end here, after the pickle");
                    }
                    return Ok((self.nodes, root));
                }
                b'(' => self.marks.push(self.stack.len()),
                b'N' => self.push(start, Value::None),
                0x88 => self.push(start, Value::Int(1)),
                0x89 => self.push(start, Value::Int(0)),
                b'K' => {
                    let value = i64::from(self.take_number::<1>()? as u8);
                    self.push(start, Value::Int(value));
                }
                b'M' => {
                    let value = i64::from(self.take_number::<2>()? as u16);
                    self.push(start, Value::Int(value));
                }
                b'J' => {
                    let value = i64::from(self.take_number::<4>()? as i32);
                    self.push(start, Value::Int(value));
                }
                b'U' => {
                    let length = self.take_number::<1>()? as usize;
                    self.push_bytes(start, length)?;
                }
                // Of text, batches hold ASCII only, so its encoding does not matter.
                b'T' | b'X' => {
                    let length = self.take_number::<4>()? as usize;
                    self.push_bytes(start, length)?;
                }
                b')' => self.push(start, Value::Tuple(vec![])),
                count @ 0x85..=0x87 => {
                    let items = self.pop_many(start, usize::from(count - 0x84))?;
                    self.push(start, Value::Tuple(items));
                }
                b't' => {
                    let items = self.pop_to_mark(start)?;
                    self.push(start, Value::Tuple(items));
                }
                b']' => self.push(start, Value::List(vec![])),
                b'a' => {
                    let item = self.pop(start)?;
                    self.extend_list(start, vec![item])?;
                }
                b'e' => {
                    let items = self.pop_to_mark(start)?;
                    self.extend_list(start, items)?;
                }
                b'}' => self.push(start, Value::Dict(vec![])),
                b's' => {
                    let pair = self.pop_many(start, 2)?;
                    self.extend_dict(start, &pair)?;
                }
                b'u' => {
                    let pairs = self.pop_to_mark(start)?;
                    self.extend_dict(start, &pairs)?;
                }
                b'q' => {
                    let key = self.take_number::<1>()?;
                    self.remember(start, key)?;
                }
                b'r' => {
                    let key = self.take_number::<4>()?;
                    self.remember(start, key)?;
                }
                b'h' => {
                    let key = self.take_number::<1>()?;
                    self.recall(start, key)?;
                }
                b'j' => {
                    let key = self.take_number::<4>()?;
                    self.recall(start, key)?;
                }
                b'c' => {
                    let name = self.take_name(start)?;
                    self.push(start, Value::Name(name));
                }
                b'R' => self.reduce(start)?,
                b'b' => self.build(start)?,
                other => {
                    return fault(start, format!("instruction {other:#04x} does not occur in a CIFAR batch"));
                }
            }
        }
    }

    fn take(&mut self, length: usize, what: &str) -> Result<Range<usize>, Fault> {
        let remaining = self.bytes.len() - self.at;
        if length > remaining {
            return fault(self.bytes.len(), format!("the file ends here, within {what}"));
        }
        self.at += length;
        Ok(self.at - length..self.at)
    }

    /// Little-endian, of `N` bytes.
    fn take_number<const N: usize>(&mut self) -> Result<u32, Fault> {
        let range = self.take(N, "an instruction")?;
        let mut wide = [0; 4];
        wide[..N].copy_from_slice(&self.bytes[range]);
        Ok(u32::from_le_bytes(wide))
    }

    fn take_name(&mut self, start: usize) -> Result<Name, Fault> {
        let module = self.take_line()?;
        let attribute = self.take_line()?;
        match (module.as_str(), attribute.as_str()) {
            ("numpy.core.multiarray", "_reconstruct") => Ok(Name::Reconstruct),
            ("numpy", "ndarray") => Ok(Name::NdArray),
            ("numpy", "dtype") => Ok(Name::DType),
            _ => {
                let name = format!("{module}.{attribute}");
                fault(start, format!("it calls for {name:?}, which no CIFAR batch does: nothing was executed"))
            }
        }
    }

    fn take_line(&mut self) -> Result<String, Fault> {
        // The names of a batch are short; do not echo a file.
        let ahead = &self.bytes[self.at..self.bytes.len().min(self.at + 100)];
        match ahead.iter().position(|&byte| byte == b'\n') {
            Some(length) => {
                self.at += length + 1;
                Ok(String::from_utf8_lossy(&ahead[..length]).into_owned())
            }
            None => fault(self.at, "a name was expected here"),
        }
    }

    fn push(&mut self, offset: usize, value: Value) {
        self.stack.push(self.nodes.len());
        self.nodes.push(Node { offset, value });
    }

    fn push_bytes(&mut self, start: usize, length: usize) -> Result<(), Fault> {
        let range = self.take(length, "a string")?;
        self.push(start, Value::Bytes(range));
        Ok(())
    }

    fn pop(&mut self, start: usize) -> Result<Index, Fault> {
        Ok(self.pop_many(start, 1)?[0])
    }

    fn pop_many(&mut self, start: usize, count: usize) -> Result<Vec<Index>, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.len().checked_sub(count) {
            Some(height) if height >= floor => Ok(self.stack.split_off(height)),
            _ => fault(start, "an instruction lacks its operands"),
        }
    }

    fn pop_to_mark(&mut self, start: usize) -> Result<Vec<Index>, Fault> {
        match self.marks.pop() {
            Some(height) => Ok(self.stack.split_off(height)),
            None => fault(start, "an instruction lacks its operands"),
        }
    }

    /// The value on top of the stack, which stays there.
    fn top(&mut self, start: usize) -> Result<Index, Fault> {
        let top = self.pop(start)?;
        self.stack.push(top);
        Ok(top)
    }

    fn extend_list(&mut self, start: usize, items: Vec<Index>) -> Result<(), Fault> {
        let top = self.top(start)?;
        match &mut self.nodes[top].value {
            Value::List(list) => list.extend(items),
            _ => return fault(start, "an item is added to what is no list"),
        }
        Ok(())
    }

    fn extend_dict(&mut self, start: usize, items: &[Index]) -> Result<(), Fault> {
        let top = self.top(start)?;
        match &mut self.nodes[top].value {
            Value::Dict(dict) if items.len().is_multiple_of(2) => {
                dict.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            _ => return fault(start, "a key and its value are added to what is no dictionary"),
        }
        Ok(())
    }

    fn remember(&mut self, start: usize, key: u32) -> Result<(), Fault> {
        let top = self.top(start)?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, start: usize, key: u32) -> Result<(), Fault> {
        match self.memo.get(&key) {
            Some(&index) => self.stack.push(index),
            None => return fault(start, "it recalls a value that was never stored"),
        }
        Ok(())
    }

    /// The calls that a batch makes: an empty array, and the element type u8.
    fn reduce(&mut self, start: usize) -> Result<(), Fault> {
        let operands = self.pop_many(start, 2)?;
        let Value::Name(function) = self.nodes[operands[0]].value else {
            return fault(start, "it calls what is no function");
        };
        let Value::Tuple(arguments) = &self.nodes[operands[1]].value else {
            return fault(start, "it calls a function without arguments");
        };
        let argument = |index: usize| arguments.get(index).map(|&argument| &self.nodes[argument].value);
        let made = match (function, argument(0)) {
            (Name::Reconstruct, Some(Value::Name(Name::NdArray))) => Value::EmptyArray,
            (Name::DType, Some(Value::Bytes(text))) if &self.bytes[text.clone()] == b"u1" => Value::U8Type,
            (Name::DType, _) => return fault(start, "the array's elements are not of type u8"),
            _ => return fault(start, "a call that does not occur in a CIFAR batch: nothing was executed"),
        };
        self.push(start, made);
        Ok(())
    }

    /// Sets the state of the array, or of the element type: that of u8 says nothing.
    fn build(&mut self, start: usize) -> Result<(), Fault> {
        let state = self.pop(start)?;
        let target = self.top(start)?;
        match self.nodes[target].value {
            Value::U8Type => {}
            Value::EmptyArray => self.nodes[target].value = Value::Array(self.array(start, state)?),
            _ => return fault(start, "a state is set on what has none"),
        }
        Ok(())
    }

    /// From `(version, (rows, columns), dtype, is_fortran, data)`.
    fn array(&self, start: usize, state: Index) -> Result<Array, Fault> {
        if let Value::Tuple(state) = &self.nodes[state].value
            && let &[_, shape, element, fortran, data] = state.as_slice()
            && let Value::Tuple(shape) = &self.nodes[shape].value
            && let &[rows, columns] = shape.as_slice()
            && let (&Value::Int(rows), &Value::Int(columns)) = (&self.nodes[rows].value, &self.nodes[columns].value)
            && let Value::U8Type = self.nodes[element].value
            && let Value::Int(fortran) = self.nodes[fortran].value
            && let Value::Bytes(data) = &self.nodes[data].value
        {
            let order = if fortran == 0 { Order::C } else { Order::Fortran };
            return Ok(Array { rows, columns, order, data: data.clone() });
        }
        fault(start, "the array is not a matrix of u8")
    }
}

/// What the pickle stands for, to be read as a batch.
struct Batch<'a> {
    set: &'a Set,
    bytes: &'a [u8],
    nodes: &'a [Node],
    root: Index,
}

impl Batch<'_> {
    fn dataset(&self, images: usize) -> Result<Dataset, Fault> {
        let labels = self.labels(images)?;
        let images = self.images(images)?;
        Ok(Dataset::from_parts((self.set.info)(), images, labels))
    }

    fn entry(&self, key: &str) -> Result<&Node, Fault> {
        let Value::Dict(dict) = &self.nodes[self.root].value else {
            return fault(0, format!("the pickle holds no dictionary: this is not a {} batch", self.set.name));
        };
        let is_key =
            |node: &Node| matches!(&node.value, Value::Bytes(text) if self.bytes[text.clone()] == *key.as_bytes());
        match dict.iter().rev().find(|&&(name, _)| is_key(&self.nodes[name])) {
            Some(&(_, value)) => Ok(&self.nodes[value]),
            None => fault(0, format!("the pickle holds no {key:?}: this is not a {} batch", self.set.name)),
        }
    }

    fn labels(&self, images: usize) -> Result<Vec<u16>, Fault> {
        let node = self.entry(self.set.pickled_labels)?;
        let Value::List(items) = &node.value else {
            return fault(node.offset, "the labels are no list");
        };
        if items.len() != images {
            return fault(node.offset, format!("{} labels for {images} images", items.len()));
        }
        let label = |&item: &Index| {
            let node = &self.nodes[item];
            match node.value {
                Value::Int(label) => self.set.check_label(label).or_else(|problem| fault(node.offset, problem)),
                _ => fault(node.offset, "a label that is no number"),
            }
        };
        items.iter().map(label).collect()
    }

    fn images(&self, images: usize) -> Result<Vec<u8>, Fault> {
        let node = self.entry("data")?;
        let Value::Array(array) = &node.value else {
            return fault(node.offset, "the images are no numpy array");
        };
        if array.rows != images as i64 || array.columns != IMAGE_BYTES as i64 {
            let shape = format!("{} x {}", array.rows, array.columns);
            return fault(node.offset, format!("the array is {shape}, but should be {images} x {IMAGE_BYTES}"));
        }
        let data = &self.bytes[array.data.clone()];
        if data.len() != images * IMAGE_BYTES {
            let problem = format!("{} bytes for {images} images of {IMAGE_BYTES}", data.len());
            return fault(array.data.start, problem);
        }
        Ok(match array.order {
            Order::C => data.to_vec(),
            Order::Fortran => {
                let mut rows = vec![0; data.len()];
                for (index, value) in rows.iter_mut().enumerate() {
                    *value = data[index % IMAGE_BYTES * images + index / IMAGE_BYTES];
                }
                rows
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_records;
    use super::*;
    use proptest::prelude::*;

    // Made by tests/fixtures/cifar/make.py: four images, as the originals are pickled.
    const PICKLE: &[u8] = include_bytes!("../../../../tests/fixtures/cifar/batch.pickle");
    const FORTRAN: &[u8] = include_bytes!("../../../../tests/fixtures/cifar/batch_fortran.pickle");
    const RECORDS: &[u8] = include_bytes!("../../../../tests/fixtures/cifar/batch.bin");

    fn problem(bytes: &[u8]) -> (u64, String) {
        match parse_batch("b", bytes, 4).unwrap_err() {
            ReadError::Damaged { file, offset, problem } => {
                assert_eq!(file, "b");
                (offset, problem)
            }
            other => panic!("{other}"),
        }
    }

    fn replaced(from: &[u8], to: &[u8]) -> (usize, Vec<u8>) {
        let at = PICKLE.windows(from.len()).position(|window| window == from).unwrap();
        let mut bytes = PICKLE.to_vec();
        bytes.splice(at..at + from.len(), to.iter().copied());
        (at, bytes)
    }

    #[test]
    fn both_memory_orders_hold_the_images_of_the_binary_batch() {
        let expected = parse_records("b", RECORDS, 4).unwrap();
        assert!(parse_batch("b", PICKLE, 4).unwrap() == expected);
        assert!(parse_batch("b", FORTRAN, 4).unwrap() == expected);
    }

    #[test]
    fn whatever_a_batch_does_not_do_is_refused_at_its_byte() {
        let (at, system) = replaced(b"cnumpy.core.multiarray\n_reconstruct\n", b"cposix\nsystem\n");
        let (offset, told) = problem(&system);
        assert_eq!(offset, at as u64);
        assert!(told.contains("posix.system") && told.contains("nothing was executed"), "{told}");

        let (_, floats) = replaced(b"U\x02u1", b"U\x02f4");
        assert!(problem(&floats).1.contains("not of type u8"));

        let (_, cifar100) = replaced(b"U\x06labels", b"U\x0bfine_labels");
        assert!(problem(&cifar100).1.contains("no \"labels\""));

        assert_eq!(problem(b"\x80\x04.").0, 0);
        assert!(problem(&[PICKLE, b"more"].concat()).1.contains("should end here"));
        assert!(matches!(parse_batch("b", PICKLE, 5), Err(ReadError::Damaged { .. })));
    }

    #[test]
    fn a_label_out_of_range_is_named_with_its_byte() {
        let at = 1 + PICKLE.windows(5).position(|window| window == b"(K\x06K\x09").unwrap();
        let mut bytes = PICKLE.to_vec();
        bytes[at + 1] = 200;
        let (offset, told) = problem(&bytes);
        assert_eq!(offset, at as u64);
        assert!(told.contains("label 200"), "{told}");
    }

    proptest! {
        #![proptest_config(crate::testing::property(256))]
        #[test]
        fn truncated_is_an_error_at_the_end(length in 0..PICKLE.len()) {
            let (offset, _) = problem(&PICKLE[..length]);
            prop_assert!(offset <= length as u64);
        }

        // Instructions that exist, in any order: far deeper into the interpreter than plain garbage comes.
        #[test]
        fn any_program_ends_without_a_panic(
            program in proptest::collection::vec(
                proptest::sample::select(b"(NKMJUTX)\x85\x86\x87t]ae}suqrhjcRb.\x00\x01\x88\x89".to_vec()), 0..200)
        ) {
            let _ = parse_batch("b", &[b"\x80\x02", program.as_slice()].concat(), 4);
        }
    }
}
