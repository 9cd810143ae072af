//! `nvonnxparser::IParser`: from an ONNX model to a network. It is in a library of its own.

use crate::library::OpenError;
use crate::logger::Logger;
use crate::method::{Absent, Method, This};
use crate::network::Network;
use crate::object::text;
use crate::refitter::{LayerWeights, Refitter};
use crate::version::{Generation, Version};
use crate::{OnnxParserFlag, tables};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::ptr;

type CreateParser = unsafe extern "C" fn(*mut c_void, *mut c_void, c_int) -> *mut c_void;
type GetParserVersion = unsafe extern "C" fn() -> c_int;

/// A library with TensorRT's ONNX parser. It is never unloaded.
#[derive(Clone, Debug)]
pub struct ParserLibrary {
    create: CreateParser,
    version: GetParserVersion,
    /// Of the same form.
    create_refitter: Option<CreateParser>,
}

impl ParserLibrary {
    /// The name under which the parser of a version is installed.
    pub fn name(version: Version) -> String {
        match version.generation {
            Generation::Rtx => format!("libtensorrt_onnxparser_rtx.so.{}", version.major),
            _ => format!("libnvonnxparser.so.{}", version.major),
        }
    }

    /// Loads a parser by its path, or by a name for which the dynamic loader searches.
    ///
    /// # Safety
    /// Loading a library runs its code. It is a parser of a TensorRT that is in the process.
    pub unsafe fn open(name: impl AsRef<OsStr>) -> Result<Self, OpenError> {
        let name = name.as_ref();
        // SAFETY: by contract.
        let library = unsafe { shared_object::open(name) }.map_err(|error| OpenError::new(name, error))?;
        let lacks = |missing| OpenError::NotTensorRt { name: name.into(), missing };
        // SAFETY: in a library that has these symbols they have these signatures.
        let (create, version, create_refitter) = unsafe {
            (
                shared_object::symbol(&library, c"createNvOnnxParser_INTERNAL")
                    .ok_or_else(|| lacks("createNvOnnxParser_INTERNAL"))?,
                shared_object::symbol(&library, c"getNvOnnxParserVersion")
                    .ok_or_else(|| lacks("getNvOnnxParserVersion"))?,
                shared_object::symbol(&library, c"createNvOnnxParserRefitter_INTERNAL"),
            )
        };
        std::mem::forget(library);
        Ok(Self { create, version, create_refitter })
    }

    /// A parser that writes into a network; `None` if TensorRT refuses.
    ///
    /// # Safety
    /// The library is that of the TensorRT that made the network.
    pub unsafe fn create_parser(&self, network: Network, logger: &'static Logger) -> Option<Parser> {
        let version = network.version();
        let logger = logger.as_ptr(version.generation);
        // SAFETY: by contract; the logger has this generation's form and lives forever.
        let this = unsafe { (self.create)(network.as_ptr(), logger, (self.version)()) };
        (!this.is_null()).then(|| Parser { this: this.cast(), version, network })
    }

    /// A parser that puts weights into an engine; `None` if TensorRT refuses, and where the library has none: up to 8.6.
    ///
    /// # Safety
    /// The library is that of the TensorRT that made the refitter.
    pub unsafe fn create_refitter(&self, refitter: Refitter, logger: &'static Logger) -> Option<ParserRefitter> {
        let version = refitter.object().version();
        let logger = logger.as_ptr(version.generation);
        // SAFETY: by contract; the logger has this generation's form and lives forever.
        let this = unsafe { self.create_refitter?(refitter.object().as_ptr(), logger, (self.version)()) };
        (!this.is_null()).then(|| ParserRefitter { this: this.cast(), version, refitter })
    }
}

/// An ONNX parser that puts a model's weights into an engine. Used by one thread at a time.
pub struct ParserRefitter {
    this: This,
    version: Version,
    // After what may hold weights that it was given.
    refitter: Refitter,
}

// SAFETY: a parser belongs to no thread.
unsafe impl Send for ParserRefitter {}

impl ParserRefitter {
    /// Takes the weights of a serialized model for those of the same names in the engine; false if that fails, and
    /// [`errors`](Self::errors) says why. Weights in other files are looked for in the folder of `path`, the model's file.
    pub fn take(&mut self, model: &[u8], path: Option<&CStr>) -> bool {
        let path = path.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the parser is alive and of the version; the model and the path live through the call.
        let take = unsafe { tables::REFIT_FROM_BYTES.of(self.this, self.version) };
        // SAFETY: as above.
        take.is_ok_and(|take| unsafe { take(self.this, model.as_ptr().cast(), model.len(), path) })
    }

    /// What was not right, first to last.
    pub fn errors(&self) -> Vec<ParserError> {
        // SAFETY: the parser is alive and of the version, and so are its errors until it takes another model.
        unsafe {
            let methods = (
                tables::REFIT_NB_ERRORS.of(self.this, self.version),
                tables::REFIT_ERROR_AT.of(self.this, self.version),
            );
            let (Ok(count), Ok(at)) = methods else { return Vec::new() };
            (0..count(self.this)).filter_map(|i| error(at(self.this, i).cast(), self.version)).collect()
        }
    }

    /// Refits the engine with what was taken; false if TensorRT cannot, and its log says why.
    pub fn refit(&mut self) -> bool {
        self.refitter.refit()
    }

    /// The refitter that the model's weights were given to.
    pub fn refitter(&self) -> &Refitter {
        &self.refitter
    }
}

impl Drop for ParserRefitter {
    fn drop(&mut self) {
        // SAFETY: the parser is alive and of the version, and nobody else deletes it; the refitter is dropped after it.
        unsafe {
            if let Ok(delete) = tables::DELETE_PARSER_REFITTER.of(self.this, self.version) {
                delete(self.this);
            }
        }
    }
}

/// An ONNX parser and the network that it writes into, whose weights it may hold. Used by one thread at a time.
pub struct Parser {
    /// The parser itself: its methods are not behind an `mImpl`.
    this: This,
    version: Version,
    network: Network,
}

// SAFETY: a parser belongs to no thread.
unsafe impl Send for Parser {}

/// What the parser could not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParserError {
    /// In words.
    pub description: String,
    /// The index of the node in the model, if it is about one.
    pub node: Option<usize>,
    /// The node's name, where TensorRT tells it (from 10).
    pub node_name: Option<String>,
    /// The node's operator, where TensorRT tells it (from 10).
    pub node_operator: Option<String>,
}

impl Parser {
    /// Reads a serialized model into the network; false if that fails, and [`errors`](Self::errors) says why. Weights in
    /// other files are looked for in the folder of `path`, the model's file.
    pub fn parse(&mut self, model: &[u8], path: Option<&CStr>) -> bool {
        let path = path.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the parser is alive and of the version; the model and the path live through the call.
        unsafe { self.method(&tables::PARSE)(self.this, model.as_ptr().cast(), model.len(), path) }
    }

    /// Whether the parser has an operator of ONNX's, in some form.
    pub fn supports(&self, operator: &CStr) -> bool {
        // SAFETY: the parser is alive and of the version; the name lives through the call.
        unsafe { self.method(&tables::SUPPORTS_OPERATOR)(self.this, operator.as_ptr()) }
    }

    /// What was not right, first to last.
    pub fn errors(&self) -> Vec<ParserError> {
        // SAFETY: the parser is alive and of the version, and so are its errors until it parses again.
        unsafe {
            let count = self.method(&tables::NB_ERRORS)(self.this);
            let at = self.method(&tables::PARSER_ERROR_AT);
            (0..count).filter_map(|i| error(at(self.this, i).cast(), self.version)).collect()
        }
    }

    /// The weights of the layers that were parsed so far, under TensorRT 8; the parser holds them.
    pub fn layer_weights(&self) -> Vec<LayerWeights<'_>> {
        // SAFETY: borrowed from the parser, which keeps what it made the layers of.
        self.network.layers().flat_map(|layer| unsafe { layer.weights() }).collect()
    }

    /// Sets or clears a flag, before anything is parsed.
    pub fn set_flag(&mut self, flag: OnnxParserFlag, on: bool) -> Result<(), Absent> {
        let method = if on { &tables::SET_PARSER_FLAG } else { &tables::CLEAR_PARSER_FLAG };
        // SAFETY: the parser is alive and of the version.
        unsafe { method.of(self.this, self.version)?(self.this, flag as i32) };
        Ok(())
    }

    /// What was parsed so far.
    pub fn network(&mut self) -> &mut Network {
        &mut self.network
    }

    /// # Safety
    /// The method is one of `IParser`.
    unsafe fn method<F: Copy>(&self, method: &Method<F>) -> F {
        // SAFETY: by contract; the parser is of the version.
        unsafe { method.of(self.this, self.version) }
    }
}

/// # Safety
/// `error` is null or an live `IParserError*` of that version.
unsafe fn error(error: This, version: Version) -> Option<ParserError> {
    if error.is_null() {
        return None;
    }
    let owned = |said: *const c_char| {
        // SAFETY: a string of the error's.
        let said = unsafe { text(said) }?;
        Some(said.to_string_lossy().into_owned()).filter(|said| !said.is_empty())
    };
    // SAFETY: by contract.
    unsafe {
        Some(ParserError {
            description: owned(tables::ERROR_DESCRIPTION.of(error, version)(error)).unwrap_or_default(),
            node: usize::try_from(tables::ERROR_NODE.of(error, version)(error)).ok(),
            node_name: tables::ERROR_NODE_NAME.of(error, version).ok().and_then(|get| owned(get(error))),
            node_operator: tables::ERROR_NODE_OPERATOR.of(error, version).ok().and_then(|get| owned(get(error))),
        })
    }
}

impl Drop for Parser {
    fn drop(&mut self) {
        // SAFETY: the parser is alive and of the version, and nobody else deletes it; the network is dropped after it.
        unsafe { self.method(&tables::DELETE_PARSER)(self.this) }
    }
}
