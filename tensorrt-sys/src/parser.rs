//! `nvonnxparser::IParser`: from an ONNX model to a network. It is in a library of its own.

use crate::library::OpenError;
use crate::logger::Logger;
use crate::method::{Absent, Method, This};
use crate::network::Network;
use crate::object::text;
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
        let (create, version) = unsafe {
            (
                shared_object::symbol(&library, c"createNvOnnxParser_INTERNAL")
                    .ok_or_else(|| lacks("createNvOnnxParser_INTERNAL"))?,
                shared_object::symbol(&library, c"getNvOnnxParserVersion")
                    .ok_or_else(|| lacks("getNvOnnxParserVersion"))?,
            )
        };
        std::mem::forget(library);
        Ok(Self { create, version })
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

    /// What was not right, first to last.
    pub fn errors(&self) -> Vec<ParserError> {
        // SAFETY: the parser is alive and of the version, and so are its errors until it parses again.
        unsafe {
            let count = self.method(&tables::NB_ERRORS)(self.this);
            let at = self.method(&tables::PARSER_ERROR_AT);
            (0..count).filter_map(|i| self.error(at(self.this, i).cast())).collect()
        }
    }

    /// # Safety
    /// `error` is null or an `IParserError*` of this parser.
    unsafe fn error(&self, error: This) -> Option<ParserError> {
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
                description: owned(tables::ERROR_DESCRIPTION.of(error, self.version)(error)).unwrap_or_default(),
                node: usize::try_from(tables::ERROR_NODE.of(error, self.version)(error)).ok(),
                node_name: tables::ERROR_NODE_NAME.of(error, self.version).ok().and_then(|get| owned(get(error))),
                node_operator: tables::ERROR_NODE_OPERATOR
                    .of(error, self.version)
                    .ok()
                    .and_then(|get| owned(get(error))),
            })
        }
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

impl Drop for Parser {
    fn drop(&mut self) {
        // SAFETY: the parser is alive and of the version, and nobody else deletes it; the network is dropped after it.
        unsafe { self.method(&tables::DELETE_PARSER)(self.this) }
    }
}
