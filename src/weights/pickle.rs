//! Parses the pickles that `torch.save` writes, and nothing else: no name is looked up, no code runs.
//!
//! Opcodes: Python Lib/pickletools.py. A pickle may build containers, numbers, texts, ordered dictionaries, storages and
//! tensors; whatever else it asks for is refused by name. Values live in one list and refer to each other by number, so
//! deep nesting and cycles cost no stack, and the length of the list bounds the memory.

mod known;

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{self, Read};

use super::bad;
use super::tensor::DType;
use crate::error::Result;
use known::known;

const MAX_VALUES: usize = 1 << 18;
const MAX_OPCODES: usize = 1 << 22;
const MAX_TEXT: usize = 1 << 16;
const MAX_TEXT_TOTAL: usize = 16 << 20;

pub(super) type Id = u32;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A number that no tensor needs: floats, and integers beyond 64 bits.
    Number,
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    Storage(Storage),
    Tensor(Tensor),
}

/// The Python names that a state_dict needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    OrderedDict,
    Size,
    RebuildTensor,
    RebuildParameter,
    Storage(DType),
    /// Complex or quantised elements, which are not read.
    OtherStorage,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Storage {
    pub key: String,
    pub dtype: DType,
    /// First element of a view, 0 for a whole storage (legacy files).
    pub first: usize,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tensor {
    pub storage: Storage,
    pub first: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

impl Value {
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A parsed pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    pub fn root(&self) -> &Value {
        self.get(self.root)
    }

    pub fn get(&self, id: Id) -> &Value {
        self.values.get(id as usize).unwrap_or(&Value::None)
    }

    /// Every storage that was named.
    pub fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// Parses one pickle and leaves `reader` behind its STOP.
    pub fn parse(reader: &mut dyn Read) -> Result<Self> {
        let mut machine = Machine {
            reader,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            text: 0,
            copied: Cell::new(0),
        };
        for _ in 0..MAX_OPCODES {
            let opcode = machine.byte()?;
            if opcode == b'.' {
                let root = machine.pop()?;
                return Ok(Pickle { values: machine.values, root });
            }
            machine.step(opcode)?;
        }
        Err(bad(format!("the pickle has more than {MAX_OPCODES} operations, far more than a state_dict needs")))
    }
}

struct Machine<'a> {
    reader: &'a mut dyn Read,
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Bytes of text so far.
    text: usize,
    /// Pairs copied from lists into dictionaries so far.
    copied: Cell<usize>,
}

impl Machine<'_> {
    fn step(&mut self, opcode: u8) -> Result<()> {
        match opcode {
            0x80 => drop(self.bytes(1)?),              // PROTO
            0x95 => drop(self.bytes(8)?),              // FRAME
            b'(' => self.marks.push(self.stack.len()), // MARK
            b'0' => drop(self.pop()?),                 // POP
            b'1' => drop(self.pop_mark()?),            // POP_MARK
            b'N' => self.push(Value::None)?,           // NONE
            0x88 => self.push(Value::Bool(true))?,     // NEWTRUE
            0x89 => self.push(Value::Bool(false))?,    // NEWFALSE
            b'J' => {
                let value = i64::from(i32::from_le_bytes(self.array()?)); // BININT
                self.push(Value::Int(value))?;
            }
            b'K' => {
                let value = i64::from(self.byte()?); // BININT1
                self.push(Value::Int(value))?;
            }
            b'M' => {
                let value = i64::from(u16::from_le_bytes(self.array()?)); // BININT2
                self.push(Value::Int(value))?;
            }
            0x8a => {
                let len = self.byte()?; // LONG1
                let bytes = self.bytes(len.into())?;
                self.push(long(&bytes))?;
            }
            b'I' | b'L' => {
                let line = self.line()?; // INT, LONG
                self.push(match line.as_str() {
                    "00" => Value::Bool(false),
                    "01" => Value::Bool(true),
                    digits => digits.trim_end_matches('L').parse().map_or(Value::Number, Value::Int),
                })?;
            }
            b'G' => {
                self.bytes(8)?; // BINFLOAT
                self.push(Value::Number)?;
            }
            b'F' => {
                self.line()?; // FLOAT
                self.push(Value::Number)?;
            }
            b'U' | b'C' | 0x8c => {
                let len = self.byte()?; // SHORT_BINSTRING, SHORT_BINBYTES, SHORT_BINUNICODE
                self.text(len.into())?;
            }
            b'X' | b'T' | b'B' => {
                let len = u32::from_le_bytes(self.array()?); // BINUNICODE, BINSTRING, BINBYTES
                self.text(len.into())?;
            }
            0x8d | 0x8e => {
                let len = u64::from_le_bytes(self.array()?); // BINUNICODE8, BINBYTES8
                self.text(len)?;
            }
            b')' => self.push(Value::Tuple(Vec::new()))?, // EMPTY_TUPLE
            b']' => self.push(Value::List(Vec::new()))?,  // EMPTY_LIST
            b'}' => self.push(Value::Dict(Vec::new()))?,  // EMPTY_DICT
            b't' => {
                let items = self.pop_mark()?; // TUPLE
                self.push(Value::Tuple(items))?;
            }
            0x85..=0x87 => {
                let at = self.stack.len().checked_sub(usize::from(opcode - 0x84)).ok_or_else(underflow)?; // TUPLE1..3
                let items = self.stack.split_off(at);
                self.push(Value::Tuple(items))?;
            }
            b'l' => {
                let items = self.pop_mark()?; // LIST
                self.push(Value::List(items))?;
            }
            b'd' => {
                let items = self.pop_mark()?; // DICT
                self.push(Value::Dict(Vec::new()))?;
                self.extend_dict(&items)?;
            }
            b'a' => {
                let item = self.pop()?; // APPEND
                self.extend_list(vec![item])?;
            }
            b'e' => {
                let items = self.pop_mark()?; // APPENDS
                self.extend_list(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?); // SETITEM
                self.extend_dict(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?; // SETITEMS
                self.extend_dict(&items)?;
            }
            b'q' => {
                let slot = self.byte()?; // BINPUT
                self.put(slot.into())?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.array()?); // LONG_BINPUT
                self.put(slot)?;
            }
            b'p' => {
                let slot = self.line()?.parse().map_err(|_| bad("the pickle is damaged: PUT without a number"))?;
                self.put(slot)?;
            }
            0x94 => self.put(self.memo.len() as u32)?, // MEMOIZE
            b'h' => {
                let slot = self.byte()?; // BINGET
                self.recall(slot.into())?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.array()?); // LONG_BINGET
                self.recall(slot)?;
            }
            b'g' => {
                let slot = self.line()?.parse().map_err(|_| bad("the pickle is damaged: GET without a number"))?;
                self.recall(slot)?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?); // GLOBAL
                self.push(Value::Name(known(&module, &name)?))?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?); // STACK_GLOBAL
                let name = known(self.as_text(module)?, self.as_text(name)?)?;
                self.push(Value::Name(name))?;
            }
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?); // REDUCE, NEWOBJ
                let value = self.build(callee, arguments)?;
                self.push(value)?;
            }
            b'b' => drop(self.pop()?), // BUILD: attributes such as state_dict()._metadata
            b'Q' => {
                let id = self.pop()?; // BINPERSID
                let storage = self.storage(id)?;
                self.push(storage)?;
            }
            other => return Err(bad(format!("the pickle uses operation 0x{other:02x}, which no state_dict needs"))),
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        match self.reader.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(bad("the pickle ends early: the file is truncated"))
            }
            Err(e) => Err(bad(format!("the pickle cannot be read: {e}"))),
        }
    }

    fn bytes(&mut self, len: usize) -> Result<Vec<u8>> {
        self.text += len;
        if len > MAX_TEXT || self.text > MAX_TEXT_TOTAL {
            return Err(bad(format!("the pickle holds a text of {len} bytes, far more than a state_dict needs")));
        }
        let mut bytes = vec![0; len];
        self.reader.read_exact(&mut bytes).map_err(|_| bad("the pickle ends early: the file is truncated"))?;
        Ok(bytes)
    }

    fn text(&mut self, len: u64) -> Result<()> {
        let bytes = self.bytes(usize::try_from(len).unwrap_or(usize::MAX / 2))?;
        self.push(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn line(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                _ if bytes.len() >= 512 => return Err(bad("the pickle is damaged: a line is too long")),
                byte => bytes.push(byte),
            }
        }
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.values.len() >= MAX_VALUES {
            return Err(bad(format!(
                "the pickle holds more than {MAX_VALUES} values, far more than a state_dict needs"
            )));
        }
        self.stack.push(self.values.len() as Id);
        self.values.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id> {
        if self.marks.last().is_some_and(|&mark| mark >= self.stack.len()) {
            return Err(underflow());
        }
        self.stack.pop().ok_or_else(underflow)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(underflow)?;
        if mark > self.stack.len() { Err(underflow()) } else { Ok(self.stack.split_off(mark)) }
    }

    fn top(&mut self) -> Result<&mut Value> {
        let id = *self.stack.last().ok_or_else(underflow)?;
        self.values.get_mut(id as usize).ok_or_else(underflow)
    }

    fn extend_list(&mut self, items: Vec<Id>) -> Result<()> {
        match self.top()? {
            Value::List(list) => list.extend(items),
            _ => return Err(bad("the pickle is damaged: APPEND to what is not a list")),
        }
        Ok(())
    }

    fn extend_dict(&mut self, items: &[Id]) -> Result<()> {
        match self.top()? {
            Value::Dict(pairs) if items.len().is_multiple_of(2) => {
                let (added, _) = items.as_chunks::<2>();
                pairs.extend(added.iter().map(|[key, value]| (*key, *value)));
                Ok(())
            }
            _ => Err(bad("the pickle is damaged: items for what is not a dictionary")),
        }
    }

    fn put(&mut self, slot: u32) -> Result<()> {
        let id = *self.stack.last().ok_or_else(underflow)?;
        if self.memo.len() >= MAX_VALUES {
            return Err(bad("the pickle is damaged: too many memo slots"));
        }
        self.memo.insert(slot, id);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Result<()> {
        let id =
            self.memo.get(&slot).ok_or_else(|| bad(format!("the pickle is damaged: memo slot {slot} is empty")))?;
        self.stack.push(*id);
        Ok(())
    }

    fn value(&self, id: Id) -> &Value {
        self.values.get(id as usize).unwrap_or(&Value::None)
    }

    fn as_text(&self, id: Id) -> Result<&str> {
        self.value(id).text().ok_or_else(|| bad("the pickle is damaged: a text is missing"))
    }

    fn as_size(&self, id: Id) -> Result<usize> {
        match self.value(id) {
            Value::Int(value) => usize::try_from(*value).map_err(|_| bad(format!("a tensor has a size of {value}"))),
            _ => Err(bad("the pickle is damaged: a size is not a number")),
        }
    }

    fn as_sizes(&self, id: Id) -> Result<Vec<usize>> {
        match self.value(id) {
            Value::Tuple(items) | Value::List(items) if items.len() <= 8 => {
                items.iter().map(|&item| self.as_size(item)).collect()
            }
            _ => Err(bad("the pickle is damaged: a tensor has no shape of at most 8 axes")),
        }
    }

    fn as_tuple(&self, id: Id) -> Result<&[Id]> {
        match self.value(id) {
            Value::Tuple(items) => Ok(items),
            _ => Err(bad("the pickle is damaged: a tuple is missing")),
        }
    }
}

fn underflow() -> crate::Error {
    bad("the pickle is damaged: it takes more than it has put")
}

/// Little-endian two's complement of any length.
fn long(bytes: &[u8]) -> Value {
    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    match whole.get_mut(..bytes.len()) {
        Some(low) => low.copy_from_slice(bytes),
        None => return Value::Number,
    }
    Value::Int(i64::from_le_bytes(whole))
}
