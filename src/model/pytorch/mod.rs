//! Files that `torch.save` writes: a zip archive with a pickle, which says what tensors there are, and their numbers.

mod pickle;

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use candle_core::{DType, Device, Tensor};
use zip::{CompressionMethod, ZipArchive};

use self::pickle::{Fault, Index, Pickle, Value};

/// Under these keys a checkpoint keeps the network's tensors.
const STATE_DICT_KEYS: [&str; 3] = ["state_dict", "model_state_dict", "model"];
/// Tensors may share numbers, as tied weights do, but a small file must not fill the memory.
const LARGEST_SHARE: usize = 8;
const SAVE_AGAIN: &str = "torch.save(torch.load(\"old.pth\", map_location=\"cpu\"), \"new.pth\")";

/// Why no tensors can be read from a file of PyTorch's, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PytorchError {
    #[error("PyTorch's format from before version 1.6; a later PyTorch converts it: {SAVE_AGAIN}")]
    Legacy,
    #[error("a TorchScript module; save its tensors: torch.save(torch.jit.load(\"old.pt\").state_dict(), \"new.pth\")")]
    TorchScript,
    #[error("a zip archive that torch.save did not write: it has no data.pkl")]
    NoPickle,
    #[error("a pickled object of class {0}; save its tensors: torch.save(model.state_dict(), \"new.pth\")")]
    Object(String),
    #[error("there are no tensors in it, but {0}; save them: torch.save(model.state_dict(), \"new.pth\")")]
    NoTensors(String),
    #[error(transparent)]
    Pickle(#[from] Fault),
    #[error("tensor {name}: {what}")]
    Tensor { name: String, what: String },
    #[error("{0} of the archive is compressed, which torch.save does not do; a PyTorch saves it anew: {SAVE_AGAIN}")]
    Compressed(String),
    #[error("its numbers are those of a big-endian machine; save it on another")]
    BigEndian,
    #[error("the archive is damaged: {0}")]
    Zip(#[from] zip::result::ZipError),
    #[error("the archive is damaged: {0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

type Result<T> = std::result::Result<T, PytorchError>;

/// What a file holds.
#[derive(Debug)]
pub struct Contents {
    pub tensors: BTreeMap<String, Tensor>,
    /// Names of what stands among the tensors and is none.
    pub others: Vec<String>,
}

/// The number that a file of before version 1.6 begins with, pickled.
const LEGACY_MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Whether these are the bytes of what a PyTorch of any version writes, and of nothing else that holds weights.
pub fn is_pytorch(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || is_legacy(bytes)
}

/// A row of pickles, or before version 0.1.10 a tar archive.
fn is_legacy(bytes: &[u8]) -> bool {
    bytes.starts_with(LEGACY_MAGIC) || bytes.get(257..262).is_some_and(|magic| magic == b"ustar")
}

pub fn read(bytes: &[u8]) -> Result<Contents> {
    if is_legacy(bytes) {
        return Err(PytorchError::Legacy);
    }
    let mut archive = Archive::open(bytes)?;
    let pickle = Pickle::read(&archive.read("data.pkl")?)?;
    if archive.contains("byteorder") && archive.read("byteorder")? == b"big" {
        return Err(PytorchError::BigEndian);
    }
    let mut size = 0usize;
    let mut contents = Contents { tensors: BTreeMap::new(), others: vec![] };
    for &(key, value) in state_dict(&pickle)? {
        let name = pickle.text(key).unwrap_or("a key that is no text").to_owned();
        match tensor(&pickle, value) {
            Some(Ok(described)) => {
                let tensor = described.read(&name, &mut archive)?;
                size = size.saturating_add(tensor.elem_count() * tensor.dtype().size_in_bytes());
                if size > LARGEST_SHARE.saturating_mul(bytes.len()) {
                    return Err(PytorchError::Tensor {
                        name,
                        what: "the tensors share the same numbers too often".into(),
                    });
                }
                contents.tensors.insert(name, tensor);
            }
            Some(Err(what)) => return Err(PytorchError::Tensor { name, what }),
            None => contents.others.push(name),
        }
    }
    Ok(contents)
}

/// The names and values of the network's tensors.
fn state_dict(pickle: &Pickle) -> Result<&[(Index, Index)]> {
    let has_tensors = |items: &[(Index, Index)]| items.iter().any(|item| tensor(pickle, item.1).is_some());
    let items = match pickle.value(pickle.root) {
        Value::Dict(items) => items,
        Value::Call { callable, .. } => {
            let class = pickle.global(*callable).map(|(module, name)| format!("{module}.{name}"));
            return Err(PytorchError::Object(class.unwrap_or_else(|| "unknown".to_owned())));
        }
        _ => return Err(PytorchError::NoTensors("no dictionary either".to_owned())),
    };
    if has_tensors(items) {
        return Ok(items);
    }
    for key in STATE_DICT_KEYS {
        let found = items.iter().find(|item| pickle.text(item.0) == Some(key));
        if let Some(Value::Dict(items)) = found.map(|item| pickle.value(item.1))
            && has_tensors(items)
        {
            return Ok(items);
        }
    }
    let keys: Vec<&str> = items.iter().filter_map(|item| pickle.text(item.0)).take(10).collect();
    let told = if keys.is_empty() { "an empty dictionary".to_owned() } else { format!("the keys {}", keys.join(", ")) };
    Err(PytorchError::NoTensors(told))
}

/// A tensor as the pickle describes it.
struct Described {
    /// The name of its numbers in the archive.
    storage: String,
    dtype: DType,
    /// How many numbers that has.
    storage_len: usize,
    offset: usize,
    dims: Vec<usize>,
    strides: Vec<usize>,
}

/// `None`: it is no tensor.
fn tensor(pickle: &Pickle, value: Index) -> Option<std::result::Result<Described, String>> {
    let (function, arguments) = call(pickle, value)?;
    let described = match function {
        ("torch._utils", "_rebuild_tensor_v2") => describe(pickle, arguments),
        // A parameter is a tensor with a name of its own.
        ("torch._utils", "_rebuild_parameter") => {
            let wrapped = arguments.first().and_then(|&wrapped| call(pickle, wrapped));
            wrapped.and_then(|(_, arguments)| describe(pickle, arguments))
        }
        (module, name) if name.starts_with("_rebuild_") => {
            return Some(Err(format!("made by {module}.{name}; save a plain one")));
        }
        _ => return None,
    };
    Some(described.unwrap_or_else(|| Err("it is not described as torch.save does".to_owned())))
}

/// Module and name of what is called, and its arguments.
fn call(pickle: &Pickle, value: Index) -> Option<((&str, &str), &[Index])> {
    let Value::Call { callable, arguments } = pickle.value(value) else { return None };
    Some((pickle.global(*callable)?, pickle.tuple(*arguments)?))
}

/// `None`: the description is not PyTorch's.
fn describe(pickle: &Pickle, arguments: &[Index]) -> Option<std::result::Result<Described, String>> {
    let &[storage, offset, dims, strides, ..] = arguments else { return None };
    let Value::Persistent(storage) = pickle.value(storage) else { return None };
    let &[_, class, key, _, len] = pickle.tuple(*storage)? else { return None };
    let size = |index: Index| pickle.int(index).and_then(|int| usize::try_from(int).ok());
    let sizes = |tuple: Index| pickle.tuple(tuple)?.iter().map(|&index| size(index)).collect::<Option<Vec<_>>>();
    let (dims, strides) = (sizes(dims)?, sizes(strides)?);
    if dims.len() != strides.len() {
        return None;
    }
    let dtype = match pickle.global(class)?.1 {
        "FloatStorage" => DType::F32,
        "DoubleStorage" => DType::F64,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "LongStorage" => DType::I64,
        other => return Some(Err(format!("{other} holds no weights; save them as 32-bit floats: tensor.float()"))),
    };
    let (storage, storage_len, offset) = (format!("data/{}", pickle.text(key)?), size(len)?, size(offset)?);
    Some(Ok(Described { storage, dtype, storage_len, offset, dims, strides }))
}

impl Described {
    fn read(&self, name: &str, archive: &mut Archive) -> Result<Tensor> {
        let fault = |what: &str| PytorchError::Tensor { name: name.to_owned(), what: what.to_owned() };
        let bytes = archive.read(&self.storage)?;
        let item = self.dtype.size_in_bytes();
        if self.storage_len.checked_mul(item) != Some(bytes.len()) {
            return Err(fault("the archive has more or fewer of its numbers than it says"));
        }
        let count = self.dims.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim));
        // One that repeats its numbers could be of any size.
        let count = count.filter(|&count| count <= self.storage_len);
        let count = count.ok_or_else(|| fault("it is larger than its numbers; save a contiguous one"))?;
        let last = self.dims.iter().zip(&self.strides).try_fold(self.offset, |last, (&dim, &stride)| {
            last.checked_add(dim.saturating_sub(1).checked_mul(stride)?)
        });
        if count > 0 && last.is_none_or(|last| last >= self.storage_len) {
            return Err(fault("it reaches beyond its numbers"));
        }
        let mut gathered = Vec::with_capacity(count * item);
        let mut position = vec![0; self.dims.len()];
        for _ in 0..count {
            let at = self.offset + position.iter().zip(&self.strides).map(|(&at, &stride)| at * stride).sum::<usize>();
            gathered.extend_from_slice(&bytes[at * item..(at + 1) * item]);
            // The last dimension is the fastest.
            for (at, &dim) in position.iter_mut().zip(&self.dims).rev() {
                *at += 1;
                if *at < dim {
                    break;
                }
                *at = 0;
            }
        }
        Ok(Tensor::from_raw_buffer(&gathered, self.dtype, &self.dims, &Device::Cpu)?)
    }
}

/// The archive of a file; everything in it lies in one folder, whatever its name.
struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    folder: String,
}

impl<'a> Archive<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes))?;
        let names: Vec<String> = zip.file_names().map(|name| Ok(name?.into_owned())).collect::<Result<_>>()?;
        let Some(folder) = names.iter().find_map(|name| name.strip_suffix("data.pkl")) else {
            return Err(PytorchError::NoPickle);
        };
        if names.iter().any(|name| name.strip_prefix(folder) == Some("constants.pkl")) {
            return Err(PytorchError::TorchScript);
        }
        Ok(Self { folder: folder.to_owned(), zip })
    }

    fn contains(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}{name}", self.folder)).is_some()
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        let mut entry = self.zip.by_name(&format!("{}{name}", self.folder))?;
        // So what is read is no larger than the file.
        if entry.compression() != CompressionMethod::Stored {
            return Err(PytorchError::Compressed(name.to_owned()));
        }
        let mut bytes = vec![];
        entry.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
