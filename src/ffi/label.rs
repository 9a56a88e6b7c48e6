//! What a label means, for C: number, name, colour, codes.

use std::ffi::CString;
use std::ptr;

use libc::c_char;

use crate::error::{Error, Result};
use crate::ffi::record::Record;
use crate::ffi::text::c_text;
use crate::labels::{Code, Label};

/// A coded concept (DICOM PS3.3 section 8.8). All three are NULL where a label has no such code. Never grows.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_code {
    /// Such as "64033007".
    pub value: *const c_char,
    /// Coding scheme designator, such as "SCT".
    pub scheme: *const c_char,
    /// Such as "Kidney".
    pub meaning: *const c_char,
}

/// One foreground label. Texts are borrowed from the handle that was asked. Start from TRANSUNET_LABEL_INFO_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct transunet_label_info {
    pub struct_size: usize,
    /// Value in label maps, 1 to 255.
    pub value: u32,
    /// Colour to draw it in, sRGB.
    pub rgb: [u8; 3],
    /// 0.
    pub reserved: u8,
    pub name: *const c_char,
    /// Segmented Property Category, such as Anatomical Structure.
    pub category: transunet_code,
    /// Segmented Property Type, such as Kidney.
    pub r#type: transunet_code,
    /// Laterality or another modifier of the type; NULLs if none.
    pub modifier: transunet_code,
    /// Anatomic region, for findings such as lesions; NULLs if none.
    pub region: transunet_code,
}

// SAFETY: repr(C), struct_size first, NULL pointers are valid values.
unsafe impl Record for transunet_label_info {
    const NAME: &'static str = "transunet_label_info";
}

/// Owns the texts that `transunet_label_info` borrows.
pub(super) struct LabelTexts(Vec<Entry>);

struct Entry {
    value: u8,
    rgb: [u8; 3],
    name: CString,
    category: CodeText,
    kind: CodeText,
    modifier: Option<CodeText>,
    region: Option<CodeText>,
}

struct CodeText([CString; 3]);

impl CodeText {
    fn new(code: &Code) -> Self {
        CodeText([c_text(&code.value), c_text(&code.scheme), c_text(&code.meaning)])
    }

    fn view(&self) -> transunet_code {
        let [value, scheme, meaning] = &self.0;
        transunet_code { value: value.as_ptr(), scheme: scheme.as_ptr(), meaning: meaning.as_ptr() }
    }
}

fn view(code: Option<&CodeText>) -> transunet_code {
    code.map_or(transunet_code { value: ptr::null(), scheme: ptr::null(), meaning: ptr::null() }, CodeText::view)
}

impl LabelTexts {
    pub fn new(labels: &[Label]) -> Self {
        let entry = |label: &Label| Entry {
            value: label.value,
            rgb: label.rgb(),
            name: c_text(&label.name),
            category: CodeText::new(&label.category_code()),
            kind: CodeText::new(&label.type_code()),
            modifier: label.modifier.as_ref().map(CodeText::new),
            region: label.region.as_ref().map(CodeText::new),
        };
        LabelTexts(labels.iter().map(entry).collect())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Label number `index` from 0.
    pub fn info(&self, index: usize) -> Result<transunet_label_info> {
        let entry = self.0.get(index).ok_or_else(|| {
            Error::Argument(format!("index is {index}, there are {} labels, counted from 0", self.len()))
        })?;
        Ok(transunet_label_info {
            struct_size: size_of::<transunet_label_info>(),
            value: entry.value.into(),
            rgb: entry.rgb,
            reserved: 0,
            name: entry.name.as_ptr(),
            category: entry.category.view(),
            r#type: entry.kind.view(),
            modifier: view(entry.modifier.as_ref()),
            region: view(entry.region.as_ref()),
        })
    }
}
