//! Python's pickles, as far as `torch.save` writes them. Nothing in them is executed, and what is read is never larger than
//! the pickle: values are shared by their numbers, never copied.

use std::collections::HashMap;

/// Why a pickle cannot be read, and at which byte.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of its pickle: {what}")]
pub struct Fault {
    pub at: usize,
    pub what: String,
}

type Result<T> = std::result::Result<T, Fault>;

/// The number of a value.
pub type Index = usize;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// None, a float, or the state of an object: no tensor is made of it.
    Other,
    Int(i64),
    Text(String),
    /// A class or function.
    Global {
        module: String,
        name: String,
    },
    Tuple(Vec<Index>),
    List(Vec<Index>),
    Dict(Vec<(Index, Index)>),
    /// What lies elsewhere in the file, by its description.
    Persistent(Index),
    /// What a class or function makes of its arguments.
    Call {
        callable: Index,
        arguments: Index,
    },
}

/// The values that a pickle makes.
#[derive(Debug)]
pub struct Pickle {
    values: Vec<Value>,
    /// What it stands for.
    pub root: Index,
}

impl Pickle {
    pub fn read(bytes: &[u8]) -> Result<Self> {
        Machine { bytes, at: 0, values: vec![], stack: vec![], marks: vec![], memo: HashMap::new() }.run()
    }

    pub fn value(&self, index: Index) -> &Value {
        &self.values[index]
    }

    pub fn text(&self, index: Index) -> Option<&str> {
        match self.value(index) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn int(&self, index: Index) -> Option<i64> {
        match self.value(index) {
            Value::Int(int) => Some(*int),
            _ => None,
        }
    }

    pub fn tuple(&self, index: Index) -> Option<&[Index]> {
        match self.value(index) {
            Value::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// Module and name.
    pub fn global(&self, index: Index) -> Option<(&str, &str)> {
        match self.value(index) {
            Value::Global { module, name } => Some((module, name)),
            _ => None,
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Index>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u32, Index>,
}

impl Machine<'_> {
    fn run(mut self) -> Result<Pickle> {
        loop {
            let start = self.at;
            match self.number::<1>()? as u8 {
                // PROTO and FRAME
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'.' => {
                    let root = self.pop()?;
                    return Ok(Pickle { values: self.values, root });
                }
                b'(' => self.marks.push(self.stack.len()),
                b'N' => self.push(Value::Other),
                0x88 => self.push(Value::Int(1)),
                0x89 => self.push(Value::Int(0)),
                b'K' => self.push_number::<1>()?,
                b'M' => self.push_number::<2>()?,
                b'J' => {
                    let int = self.number::<4>()? as u32;
                    self.push(Value::Int(i64::from(int.cast_signed())));
                }
                0x8a => {
                    let length = self.number::<1>()? as usize;
                    self.push_long(length)?;
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Value::Other);
                }
                b'X' => {
                    let length = self.number::<4>()? as usize;
                    self.push_text(length)?;
                }
                0x8c => {
                    let length = self.number::<1>()? as usize;
                    self.push_text(length)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Value::Global { module, name });
                }
                0x93 => {
                    let (name, module) = (self.pop_text()?, self.pop_text()?);
                    self.push(Value::Global { module, name });
                }
                b')' => self.push(Value::Tuple(vec![])),
                b']' => self.push(Value::List(vec![])),
                b'}' => self.push(Value::Dict(vec![])),
                count @ 0x85..=0x87 => {
                    let first = self.stack.len().checked_sub(usize::from(count - 0x84));
                    let first = first.ok_or_else(|| self.fault("a value is missing"))?;
                    let items = self.stack.split_off(first);
                    self.push(Value::Tuple(items));
                }
                b't' => {
                    let items = self.pop_to_mark()?;
                    self.push(Value::Tuple(items));
                }
                b'a' => {
                    let item = self.pop()?;
                    self.list()?.push(item);
                }
                b'e' => {
                    let items = self.pop_to_mark()?;
                    self.list()?.extend(items);
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.dict()?.push((key, value));
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    if !items.len().is_multiple_of(2) {
                        return Err(self.fault("a key without a value"));
                    }
                    self.dict()?.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                }
                b'R' | 0x81 => {
                    let (arguments, callable) = (self.pop()?, self.pop()?);
                    let made = self.made(callable, arguments);
                    self.push(made);
                }
                // The state of an object: of an ordered dictionary its metadata.
                b'b' => drop(self.pop()?),
                b'Q' => {
                    let description = self.pop()?;
                    self.push(Value::Persistent(description));
                }
                b'q' => {
                    let key = self.number::<1>()? as u32;
                    self.memorise(key)?;
                }
                b'r' => {
                    let key = self.number::<4>()? as u32;
                    self.memorise(key)?;
                }
                0x94 => self.memorise(self.memo.len() as u32)?,
                b'h' => {
                    let key = self.number::<1>()? as u32;
                    self.recall(key)?;
                }
                b'j' => {
                    let key = self.number::<4>()? as u32;
                    self.recall(key)?;
                }
                other => {
                    return Err(Fault { at: start, what: format!("{other:#04x} is no instruction of torch.save") });
                }
            }
        }
    }

    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault { at: self.at, what: what.into() }
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| self.fault("it ends in the middle"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// Little-endian, of at most eight bytes.
    fn number<const N: usize>(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(self.take(N)?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.bytes[self.at..];
        let length = memchr::memchr(b'\n', rest).ok_or_else(|| self.fault("a name without an end"))?;
        let line = self.take(length + 1)?;
        Ok(String::from_utf8_lossy(&line[..length]).into_owned())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn push_number<const N: usize>(&mut self) -> Result<()> {
        let int = self.number::<N>()?;
        self.push(Value::Int(int as i64));
        Ok(())
    }

    /// An integer of that many bytes, little-endian with a sign.
    fn push_long(&mut self, length: usize) -> Result<()> {
        let bytes = self.take(length)?;
        // None of those that a tensor is described by is longer.
        let value = match bytes.last() {
            None => Value::Int(0),
            Some(_) if length > 8 => Value::Other,
            Some(&last) => {
                let mut all = [if last >= 0x80 { 0xff } else { 0 }; 8];
                all[..length].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(all))
            }
        };
        self.push(value);
        Ok(())
    }

    fn push_text(&mut self, length: usize) -> Result<()> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn pop(&mut self) -> Result<Index> {
        self.stack.pop().ok_or_else(|| self.fault("a value is missing"))
    }

    fn pop_text(&mut self) -> Result<String> {
        let index = self.pop()?;
        match &self.values[index] {
            Value::Text(text) => Ok(text.clone()),
            _ => Err(self.fault("a text is missing")),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Index>> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        let mark = mark.ok_or_else(|| self.fault("a mark is missing"))?;
        Ok(self.stack.split_off(mark))
    }

    /// The list on top of the stack.
    fn list(&mut self) -> Result<&mut Vec<Index>> {
        let fault = self.fault("a list is missing");
        match self.stack.last().map(|&top| &mut self.values[top]) {
            Some(Value::List(items)) => Ok(items),
            _ => Err(fault),
        }
    }

    /// The dictionary on top of the stack.
    fn dict(&mut self) -> Result<&mut Vec<(Index, Index)>> {
        let fault = self.fault("a dictionary is missing");
        match self.stack.last().map(|&top| &mut self.values[top]) {
            Some(Value::Dict(items)) => Ok(items),
            _ => Err(fault),
        }
    }

    fn made(&self, callable: Index, arguments: Index) -> Value {
        match &self.values[callable] {
            Value::Global { module, name } if module == "collections" && name == "OrderedDict" => Value::Dict(vec![]),
            _ => Value::Call { callable, arguments },
        }
    }

    fn memorise(&mut self, key: u32) -> Result<()> {
        let top = *self.stack.last().ok_or_else(|| self.fault("a value is missing"))?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Result<()> {
        let index = *self.memo.get(&key).ok_or_else(|| self.fault(format!("there is no value {key}")))?;
        self.stack.push(index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_dictionary() {
        // {'a': (1, -2), 'b': 300}, protocol 2
        let pickle =
            Pickle::read(b"\x80\x02}q\0(X\x01\0\0\0aq\x01K\x01J\xfe\xff\xff\xff\x86q\x02X\x01\0\0\0bM,\x01u.").unwrap();
        let Value::Dict(items) = pickle.value(pickle.root) else { panic!("{pickle:?}") };
        assert_eq!(items.iter().map(|item| pickle.text(item.0).unwrap()).collect::<Vec<_>>(), ["a", "b"]);
        let tuple = pickle.tuple(items[0].1).unwrap();
        assert_eq!(tuple.iter().map(|&item| pickle.int(item).unwrap()).collect::<Vec<_>>(), [1, -2]);
        assert_eq!(pickle.int(items[1].1), Some(300));
    }

    #[test]
    fn what_is_no_pickle_is_told_by_its_byte() {
        let told = |bytes: &[u8]| Pickle::read(bytes).unwrap_err().to_string();
        assert_eq!(told(b""), "byte 0 of its pickle: it ends in the middle");
        assert_eq!(told(b"\x80\x02i"), "byte 2 of its pickle: 0x69 is no instruction of torch.save");
        assert_eq!(told(b"R."), "byte 1 of its pickle: a value is missing");
        assert_eq!(told(b"X\xff\xff\xff\xffa"), "byte 5 of its pickle: it ends in the middle");
        assert_eq!(told(b"NN0"), "byte 2 of its pickle: 0x30 is no instruction of torch.save");
        assert_eq!(told(b"(Nu."), "byte 3 of its pickle: a key without a value");
        assert_eq!(told(b"h\x05."), "byte 2 of its pickle: there is no value 5");
        assert_eq!(told(b"Na"), "byte 2 of its pickle: a list is missing");
    }

    proptest! {
        #[test]
        fn whatever_it_holds_nothing_panics(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), prop::sample::select(b"(.NKMJXc)]}taesuRbQqrhjG\x80\x81\x85\x86\x87\x88\x8a\x8c\x93\x94\x95\0\x01\n".to_vec())],
            0..64,
        )) {
            let _ = Pickle::read(&bytes);
        }
    }
}
