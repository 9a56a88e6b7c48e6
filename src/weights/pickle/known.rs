//! The few Python names that a state_dict needs, and what calling them would give.

use super::super::bad;
use super::super::tensor::DType;
use super::{Id, MAX_VALUES, Machine, Name, Storage, Tensor, Value};
use crate::error::Result;

/// The whitelist. Everything else that a pickle can name would run code in Python.
pub(super) fn known(module: &str, name: &str) -> Result<Name> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Name::OrderedDict,
        ("torch", "Size") => Name::Size,
        ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Name::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Name::RebuildParameter,
        ("torch" | "torch.cuda" | "torch.storage", storage) if storage.ends_with("Storage") => match storage {
            "DoubleStorage" => Name::Storage(DType::F64),
            "FloatStorage" => Name::Storage(DType::F32),
            "HalfStorage" => Name::Storage(DType::F16),
            "BFloat16Storage" => Name::Storage(DType::BF16),
            "LongStorage" => Name::Storage(DType::I64),
            "IntStorage" => Name::Storage(DType::I32),
            "ShortStorage" => Name::Storage(DType::I16),
            "CharStorage" => Name::Storage(DType::I8),
            "ByteStorage" | "BoolStorage" => Name::Storage(DType::U8),
            _ => Name::OtherStorage,
        },
        _ => {
            let (module, name): (String, String) =
                (module.chars().take(100).collect(), name.chars().take(100).collect());
            return Err(bad(format!(
                "the pickle asks for {module}.{name}, which is not part of a state_dict; nothing was executed. \
                 If the file is a whole model, save model.state_dict() instead"
            )));
        }
    })
}

impl Machine<'_> {
    /// What a call of one of the known names would return.
    pub(super) fn build(&self, callee: Id, arguments: Id) -> Result<Value> {
        let arguments = self.as_tuple(arguments)?;
        match (self.value(callee), arguments) {
            (Value::Name(Name::OrderedDict), []) => Ok(Value::Dict(Vec::new())),
            (Value::Name(Name::OrderedDict), [pairs]) => {
                let Value::List(pairs) = self.value(*pairs) else {
                    return Err(bad("an OrderedDict is made of no list"));
                };
                // Python 2 hands over all items at once; a hostile pickle would repeat that.
                self.copied.set(self.copied.get() + pairs.len());
                if self.copied.get() > MAX_VALUES {
                    return Err(bad("the pickle copies more items than a state_dict needs"));
                }
                let pair = |id: &Id| match self.value(*id) {
                    Value::Tuple(pair) | Value::List(pair) if pair.len() == 2 => Ok((pair[0], pair[1])),
                    _ => Err(bad("an OrderedDict is made of what are not pairs")),
                };
                Ok(Value::Dict(pairs.iter().map(pair).collect::<Result<_>>()?))
            }
            (Value::Name(Name::Size), [sizes]) => {
                self.as_sizes(*sizes)?;
                Ok(self.value(*sizes).clone())
            }
            (Value::Name(Name::RebuildTensor), [storage, first, shape, strides, ..]) => {
                let storage = match self.value(*storage) {
                    Value::Storage(storage) => storage.clone(),
                    _ => return Err(bad("a tensor has no storage")),
                };
                let (shape, strides) = (self.as_sizes(*shape)?, self.as_sizes(*strides)?);
                if shape.len() != strides.len() {
                    return Err(bad(format!("a tensor has shape {shape:?} and strides {strides:?}")));
                }
                Ok(Value::Tensor(Tensor { storage, first: self.as_size(*first)?, shape, strides }))
            }
            (Value::Name(Name::RebuildParameter), [tensor, ..]) => match self.value(*tensor) {
                Value::Tensor(tensor) => Ok(Value::Tensor(tensor.clone())),
                _ => Err(bad("a parameter has no tensor")),
            },
            _ => Err(bad("the pickle calls what is not a function, or with wrong arguments")),
        }
    }

    /// `("storage", type, key, location, count[, view])`; the location ("cpu", "cuda:0") does not matter.
    pub(super) fn storage(&self, id: Id) -> Result<Value> {
        let [kind, dtype, key, _location, count, view @ ..] = self.as_tuple(id)? else {
            return Err(bad("the pickle refers to outside data in an unknown way"));
        };
        if self.as_text(*kind)? != "storage" {
            return Err(bad(format!("the pickle refers to outside data of kind {:?}", self.as_text(*kind)?)));
        }
        let dtype = match self.value(*dtype) {
            Value::Name(Name::Storage(dtype)) => *dtype,
            Value::Name(Name::OtherStorage) => {
                return Err(bad("a tensor's element type is complex or quantised, expected plain numbers"));
            }
            _ => return Err(bad("a storage has no element type")),
        };
        let key = self.as_text(*key)?.to_owned();
        if key.len() > 64 {
            return Err(bad(format!("a storage has a name of {} bytes", key.len())));
        }
        let (first, count) = match view.first().map(|&view| self.value(view)) {
            None | Some(Value::None) => (0, self.as_size(*count)?),
            Some(Value::Tuple(view)) if view.len() == 3 => (self.as_size(view[1])?, self.as_size(view[2])?),
            _ => return Err(bad("a storage is a view in an unknown way")),
        };
        Ok(Value::Storage(Storage { key, dtype, first, count }))
    }
}
